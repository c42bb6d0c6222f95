export { detectionConfigSchema, exceptionSchema, type DetectionConfig, type Exception } from './config.ts';
export { createDetection, type ActorState, type Detection, type PeersState } from './detection.ts';
export { idHash, RecentIds } from './recent-ids.ts';
export * from './endpoint/index.ts';
