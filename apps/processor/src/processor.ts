import type { Bus } from '@tripline/bus';
import type { Detection } from '@tripline/detection';
import { Gauge, type RoleContext, type RunningRole } from '@tripline/runtime';
import type { StateStore } from '@tripline/state';
import { aggregateRecords } from './aggregates.ts';
import { startLanes } from './lanes.ts';
import { closedEarlyLog } from './open-episodes.ts';
import { PartitionFold } from './partition-fold.ts';

export interface ProcessorOptions extends RoleContext {
  bus: Bus;
  state: StateStore;
  detection: Detection;
  /** Whether calls are counted per endpoint and sent on to `startAggregates`: what nobody reads need not be sent. */
  aggregates: boolean;
  /** How many actors are kept in memory, in all partitions together. Default 100,000, about 4 kB each, those of one batch 1 to 2 kB. */
  maxActorsInMemory?: number;
  /**
   * How many call ids are remembered at least to drop duplicates, in all partitions of the bus together. Default 500,000,
   * 32 to 64 bytes each.
   */
  rememberedIds?: number;
  /** Longest time between checkpoints while calls come, in ms. Default 2,000. */
  checkpointEveryMs?: number;
}

/** Least number of ids to remember and of actors in memory per partition, however many partitions there are. */
const leastIds = 50_000;
const leastActors = 1_000;

/**
 * API calls to alerts, and to what is counted per endpoint: see `startLanes` for what happens on failures. What is counted is
 * published after the checkpoint that has it, and again when the partition is taken over, as it is not known whether it was
 * published before: the receiver passes over what it had.
 */
export function startProcessor(options: ProcessorOptions): RunningRole {
  const { bus } = options;
  const maxActorsInMemory = options.maxActorsInMemory ?? 100_000;
  const rememberedIds = Math.max(leastIds, Math.ceil((options.rememberedIds ?? 500_000) / bus.partitions));
  const onClosedEarly = closedEarlyLog(options);
  const lanes = startLanes({
    ...options,
    name: 'processor',
    topic: 'api-calls',
    group: 'processor',
    checkpointEveryMs: options.checkpointEveryMs ?? 2_000,
    createFold: ({ state, lanes: count, onUnreadable, onFailed, onRelearn }) =>
      new PartitionFold({
        detection: options.detection,
        aggregates: options.aggregates,
        state,
        maxActorsInMemory: () => Math.max(leastActors, Math.floor(maxActorsInMemory / count())),
        rememberedIds,
        onUnreadable,
        onFailed,
        onRelearn,
        onClosedEarly,
      }),
    afterCheckpoint: async (fold, persist) => {
      const records = fold.emissions.flatMap((emission) => aggregateRecords(emission, bus.partitions));
      if (records.length === 0) return;
      await persist.run('publishing aggregates', () => bus.publish('aggregates', records));
      fold.emitted();
    },
    describe: (folds) => `${folds.reduce((sum, fold) => sum + fold.counts.folded, 0)} calls folded`,
  });

  const { counter, gauge } = lanes;
  counter('calls_total', 'API calls folded.', (fold) => fold.counts.folded);
  counter('duplicates_total', 'API calls seen before.', (fold) => fold.counts.duplicates);
  counter('unreadable_total', 'Records that are no API calls.', (fold) => fold.counts.unreadable);
  counter(
    'failed_total',
    'API calls that could not be folded and were set aside.',
    (fold) => fold.counts.failed,
  );
  counter('relearnt_total', 'States begun anew.', (fold) => fold.counts.relearnt);
  counter(
    'closed_early_total',
    'States of which episodes were closed before their time, as too many were open.',
    (fold) => fold.counts.closedEarly,
  );
  counter(
    'aggregate_late_total',
    'API calls too late to be counted per endpoint.',
    (fold) => fold.aggregateCounts.late,
  );
  counter(
    'aggregate_pooled_total',
    'API calls of endpoints that were too many, counted together per service.',
    (fold) => fold.aggregateCounts.pooled,
  );
  gauge('actors_in_memory', 'Actors in memory.', (folds) => sum(folds, (fold) => fold.actorsInMemory));
  gauge('open_episodes', 'Alerts still growing.', (folds) => sum(folds, (fold) => fold.openEpisodes));
  gauge('event_time_seconds', 'Event time of the newest call.', (folds) => newestOf(folds) / 1_000);
  new Gauge({
    name: 'tripline_processor_lag_seconds',
    help: 'How far the newest call folded lies back, by event time; 0 when none is waiting.',
    registers: [options.metrics],
    async collect() {
      const waiting = (await bus.lag()).find(
        ({ topic, group }) => topic === 'api-calls' && group === 'processor',
      );
      const newest = newestOf(lanes.folds());
      this.set(waiting && waiting.records > 0 && newest > 0 ? (options.now() - newest) / 1_000 : 0);
    },
  });
  return lanes;
}

function sum(folds: PartitionFold[], read: (fold: PartitionFold) => number): number {
  return folds.reduce((all, fold) => all + read(fold), 0);
}

function newestOf(folds: PartitionFold[]): number {
  return Math.max(0, ...folds.map((fold) => fold.watermark));
}
