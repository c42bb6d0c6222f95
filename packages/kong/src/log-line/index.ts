export { linesOfBody } from './body.ts';
export { EqualLines } from './equal-lines.ts';
export { GrowingBuffer } from './growing-buffer.ts';
export { bytesOf, FrameSplitter, lineOf, type Frame, type LineBytes } from './frames.ts';
export {
  createNormaliser,
  type Normalised,
  type NormaliserOptions,
  type Place,
  type RejectReason,
} from './normalise.ts';
export { pathTemplate } from './endpoint.ts';
export type { ShownCredentials } from './credentials.ts';
export { createJudge, type JudgeOptions, type ServiceSettings } from './judge.ts';
export { ipv6NetworkOf } from './network.ts';
export {
  createVerifyingEndpoints,
  type EndpointEvidence,
  type VerifyingEndpoints,
} from './verifying-endpoints.ts';
export {
  createServedPaths,
  type SavedServedPaths,
  type ServedPaths,
  type ServedPathsOptions,
} from './served-paths.ts';
export type { RouteMatch } from './log-line.ts';
export {
  createTemplateLearner,
  type LearntTemplate,
  type Teacher,
  type TemplateLearner,
  type TemplateLearnerOptions,
} from './template-learner.ts';
