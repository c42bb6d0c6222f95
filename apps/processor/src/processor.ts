import type { Bus } from '@tripline/bus';
import type { Detection } from '@tripline/detection';
import { Gauge, type RoleContext, type RunningRole } from '@tripline/runtime';
import type { StateStore } from '@tripline/state';
import { CallFold } from './call-fold.ts';
import { aggregateRecords } from './emission-records.ts';
import { closedEarlyLog } from './open-episodes.ts';
import { WorkerRole } from './worker-role.ts';

export interface ProcessorOptions extends RoleContext {
  bus: Bus;
  state: StateStore;
  detection: Detection;
  /** Whether calls are counted per endpoint and sent on to `startAggregates`: what nobody reads need not be sent. */
  aggregates: boolean;
  /** How many actors are kept in memory, in all partitions together: about 4 kB each, those of one batch 1 to 2 kB. */
  maxActorsInMemory: number;
  /**
   * How many call ids are remembered at least to drop duplicates, in all partitions of the bus together. Default 500,000,
   * 32 to 64 bytes each.
   */
  rememberedIds?: number;
  /** Longest time between checkpoints while calls come, in ms. Default 2,000. */
  checkpointEveryMs?: number;
}

/** Least number of ids to remember and of actors in memory per partition, however many partitions there are. */
const minIds = 50_000;
const minActors = 1_000;

/** API calls to alerts, and to what is counted per endpoint. */
export function startProcessor(options: ProcessorOptions): RunningRole {
  const { bus } = options;
  const rememberedIds = Math.max(minIds, Math.ceil((options.rememberedIds ?? 500_000) / bus.partitions));
  const onClosedEarly = closedEarlyLog(options);
  const role = new WorkerRole({
    ...options,
    name: 'processor',
    topic: 'api-calls',
    group: 'processor',
    unreadableReason: 'no-api-call',
    checkpointEveryMs: options.checkpointEveryMs ?? 2_000,
    createFold: ({ partitions, ...tools }) =>
      new CallFold({
        ...tools,
        detection: options.detection,
        aggregates: options.aggregates,
        maxActorsInMemory: () => Math.max(minActors, Math.floor(options.maxActorsInMemory / partitions())),
        rememberedIds,
        onClosedEarly,
      }),
    followUp: {
      topic: 'aggregates',
      records: (fold) => fold.emissions.flatMap((emission) => aggregateRecords(emission, bus.partitions)),
      published: (fold) => fold.emitted(),
    },
    describe: (folds) => `${sum(folds, (fold) => fold.counts.folded)} calls folded`,
  });
  registerMetrics(role);
  registerLag(role, options);
  return role;
}

function registerMetrics(role: WorkerRole<CallFold>): void {
  role.counter('calls_total', 'API calls folded.', (fold) => fold.counts.folded);
  role.counter('duplicates_total', 'API calls seen before.', (fold) => fold.counts.duplicates);
  role.counter('unreadable_total', 'Records that are no API calls.', (fold) => fold.counts.unreadable);
  role.counter(
    'failed_total',
    'API calls that could not be folded and were set aside.',
    (fold) => fold.counts.failed,
  );
  role.counter('relearnt_total', 'States begun anew.', (fold) => fold.counts.relearnt);
  role.counter(
    'closed_early_total',
    'States of which episodes were closed before their time, as too many were open.',
    (fold) => fold.counts.closedEarly,
  );
  role.counter(
    'aggregate_late_total',
    'API calls too late to be counted per endpoint.',
    (fold) => fold.aggregateCounts.late,
  );
  role.counter(
    'aggregate_pooled_total',
    'API calls of endpoints that were too many, counted together per service.',
    (fold) => fold.aggregateCounts.pooled,
  );
  role.gauge('actors_in_memory', 'Actors in memory.', (folds) => sum(folds, (fold) => fold.actorsInMemory));
  role.gauge('open_episodes', 'Alerts still growing.', (folds) => sum(folds, (fold) => fold.openEpisodes));
  role.gauge('event_time_seconds', 'Event time of the newest call.', (folds) => newestOf(folds) / 1_000);
}

function registerLag(role: WorkerRole<CallFold>, { bus, metrics, now }: ProcessorOptions): void {
  new Gauge({
    name: 'tripline_processor_lag_seconds',
    help: 'How far the newest call folded lies back, by event time; 0 when none is waiting.',
    registers: [metrics],
    async collect() {
      const waiting = (await bus.lag()).find(
        ({ topic, group }) => topic === 'api-calls' && group === 'processor',
      );
      const newest = newestOf(role.folds());
      this.set(waiting && waiting.records > 0 && newest > 0 ? (now() - newest) / 1_000 : 0);
    },
  });
}

function sum(folds: readonly CallFold[], read: (fold: CallFold) => number): number {
  return folds.reduce((all, fold) => all + read(fold), 0);
}

/** Event time of the newest call that was folded, ms; 0 before the first. */
function newestOf(folds: readonly CallFold[]): number {
  return Math.max(0, ...folds.map((fold) => fold.watermark));
}
