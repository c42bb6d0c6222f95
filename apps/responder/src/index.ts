export { startResponder, type ResponderOptions, type RunningResponder } from './responder.ts';
export type { ControllerLimits } from './responses/admission.ts';
export { UnknownResponseError } from './responses/controller.ts';
export {
  watchPolicyFile,
  type PolicyFile,
  type PolicyFileOptions,
  type PolicySource,
} from './policy-file.ts';
export { StandbyError, startStandby, type StandbyOptions } from './standby.ts';
export { forgeryProblems } from './forgery.ts';
export type { ChannelStatus } from './notifications/metrics.ts';
export { createChannels, proxyFromEnvironment, type Channels, type ProxySettings } from '@tripline/notify';
