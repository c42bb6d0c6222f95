export { isOneOfMany } from '../detectors/brute-force/group.ts';
export { asEmission, asHold, asStep } from './emission-shape.ts';
export { ENDPOINT_WINDOW_MS } from './limits.ts';
export { createEndpointDetection, type EndpointDetection, type EndpointState } from './endpoint-detection.ts';
export { endpointId } from '../detectors/credential-stuffing/credential-stuffing.ts';
export {
  MinuteHold,
  type EncodedHold,
  type EncodedStep,
  type ReadyStep,
  type WholeMinute,
} from './minute-hold.ts';
export { PreAggregator, type Emission } from './pre-aggregator.ts';
