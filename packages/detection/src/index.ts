export { detectionConfigSchema, exceptionSchema, type DetectionConfig, type Exception } from './config.ts';
export {
  createDetection,
  type ActorState,
  type Detection,
  type ParameterEpisodes,
  type ParametersState,
  type PeersState,
} from './detection.ts';
export { idHash, RecentIds } from './sketches/recent-ids.ts';
export {
  decodeEndpointProfile,
  encodeEndpointProfile,
  judgeParameters,
  learnParameters,
  newEndpointProfile,
  seeParameters,
  type EndpointProfile,
  type ParameterFinding,
} from './detectors/abnormal-parameter/parameters.ts';
export { createSeries, type Series, type SeriesRow } from '../../series/src/series.ts';
export * from './across-actors/index.ts';
