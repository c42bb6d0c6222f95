export * from './bus.ts';
export * from './embedded-bus.ts';
export { EmbeddedLogReader, type LogPositions } from './embedded-log.ts';
export * from './partition.ts';
export { bodyOf, jsonRecord, recordsOf } from './records.ts';
