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
export { createEndpointOf } from './endpoint-of.ts';
export {
  createTemplateLearner,
  type LearntTemplate,
  type Teacher,
  type TemplateLearner,
  type TemplateLearnerOptions,
} from './template-learner.ts';
