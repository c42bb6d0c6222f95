export { startProcessor, type ProcessorOptions } from './processor.ts';
export { CallFold, type CallFoldOptions } from './call-fold.ts';
export { startAggregates, type AggregatesOptions } from './aggregates.ts';
export { AggregateFold, type AggregateFoldOptions } from './aggregate-fold.ts';
export { aggregateRecords } from './emission-records.ts';
