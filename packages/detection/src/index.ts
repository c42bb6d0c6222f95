export type { DetectionOutput, Detector } from './detector.ts';
export {
  createDetection,
  type ActorState,
  type CallKeys,
  type Detection,
  type DetectionOptions,
  type EndpointEpisodes,
  type EndpointProfileState,
  type PeersState,
  type StateKind,
} from './detection.ts';
export {
  alertTypes,
  configSchemaOf,
  describeDetectors,
  detectionConfigSchema,
  registry,
  type DetectionConfig,
  type DetectorDescription,
} from './registry.ts';
export { exceptionSchema, type Exception } from './settings.ts';
export { idHash, RecentIds } from './sketches/recent-ids.ts';
export {
  judgeParameters,
  learnParameters,
  newEndpointProfile,
  seeParameters,
  type EndpointProfile,
  type ParameterFinding,
} from './detectors/abnormal-parameter/parameters.ts';
export { createSeries, type Series, type SeriesRow } from '../../series/src/series.ts';
export * from './across-actors/index.ts';
