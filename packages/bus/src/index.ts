export * from './bus.ts';
export * from './embedded-bus.ts';
export { createKafkaBus, type KafkaBusOptions, type KafkaLog } from './kafka-bus.ts';
export * from './partition.ts';
export { bodyOf, jsonRecord, recordsOf } from './records.ts';
