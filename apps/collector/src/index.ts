export * from './collector.ts';
export { openGeo } from './geo.ts';
export type { Accounting } from './publisher.ts';
export type { Observations } from './observations.ts';
