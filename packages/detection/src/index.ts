export { detectionConfigSchema, exceptionSchema, type DetectionConfig, type Exception } from './config.ts';
export {
  createDetection,
  type ActorState,
  type Detection,
  type ParameterEpisodes,
  type ParametersState,
  type PeersState,
} from './detection.ts';
export { idHash, RecentIds } from './recent-ids.ts';
export {
  decodeEndpointProfile,
  encodeEndpointProfile,
  judgeParameters,
  learnParameters,
  newEndpointProfile,
  seeParameters,
  type EndpointProfile,
  type ParameterFinding,
} from './parameters/parameters.ts';
export { createSeries, type Series, type SeriesRow } from './series/series.ts';
export * from './endpoint/index.ts';
