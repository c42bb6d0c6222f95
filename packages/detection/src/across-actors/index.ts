export { decodeEmission, encodeEmission, type EmittedPart, type Emission } from './emission.ts';
export { createEndpointDetection, type EndpointDetection, type EndpointState } from './endpoint-detection.ts';
export { endpointId, type EndpointName } from './endpoint-id.ts';
export { ENDPOINT_WINDOW_MS } from './limits.ts';
export { MinuteHold, type ReadyStep, type WholeMinute } from './minute-hold.ts';
export { PreAggregator } from './pre-aggregator.ts';
