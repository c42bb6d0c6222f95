export * from './processor.ts';
export { PartitionFold, type FoldCounts } from './partition-fold.ts';
