export { isOneOfMany } from './brute-force-group.ts';
export { asEmission, asHold, asStep } from './emission-shape.ts';
export { ENDPOINT_WINDOW_MS } from './constants.ts';
export { createEndpointDetection, type EndpointDetection, type EndpointState } from './endpoint-detection.ts';
export { endpointId } from './credential-stuffing.ts';
export {
  MinuteHold,
  type EncodedHold,
  type EncodedStep,
  type ReadyStep,
  type WholeMinute,
} from './minute-hold.ts';
export { PreAggregator, type Emission } from './pre-aggregator.ts';
