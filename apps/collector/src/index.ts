export * from './collector.ts';
export type { Certificate } from './certificates.ts';
export { openGeo } from './geo.ts';
export { inheritedSockets, type InheritedSockets } from './inherited.ts';
export { Intake, type IntakeOptions, type Outcome } from './intake.ts';
export { createLogHandler, type LogHandlerOptions } from './log-handler.ts';
export {
  openServedPathsFile,
  type ServedPathsFile,
  type ServedPathsFileOptions,
} from './served-paths-file.ts';
export { openTemplateFile, type TemplateFile, type TemplateFileOptions } from './template-file.ts';
export type { Accounting, DropReason } from './accounting.ts';
export type { Observations } from './observations.ts';
export { ServiceActorCounts, type ServiceActors } from './service-actors.ts';
export { openVerifyingEndpointsFile, type VerifyingEndpointsFile } from './verifying-endpoints-file.ts';
