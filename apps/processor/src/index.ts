export * from './processor.ts';
export { PartitionFold, type FoldCounts } from './partition-fold.ts';
export {
  AggregateFold,
  aggregateRecords,
  startAggregates,
  type AggregateFoldOptions,
  type AggregatesOptions,
} from './aggregates.ts';
