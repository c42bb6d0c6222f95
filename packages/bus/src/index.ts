export * from './bus.ts';
export * from './embedded-bus.ts';
export * from './partition.ts';
