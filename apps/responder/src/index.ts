export { startResponder, type ResponderOptions, type RunningResponder } from './responder.ts';
export { UnknownResponseError, type ControllerLimits } from './controller.ts';
export {
  watchPolicyFile,
  type PolicyFile,
  type PolicyFileOptions,
  type PolicySource,
} from './policy-file.ts';
export { StandbyError, startStandby, type StandbyOptions } from './standby.ts';
export { forgeryProblems } from './forgery.ts';
export type { WebhookStatus } from './notifier.ts';
export { proxyFromEnvironment, type ProxySettings } from '@tripline/notify';
