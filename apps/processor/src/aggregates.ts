import type { Bus } from '@tripline/bus';
import type { EndpointDetection } from '@tripline/detection';
import type { RoleContext, RunningRole } from '@tripline/runtime';
import type { StateStore } from '@tripline/state';
import { AggregateFold } from './aggregate-fold.ts';
import { closedEarlyLog } from './open-episodes.ts';
import { maxSilenceMs } from './silent-sources.ts';
import { WorkerRole } from './worker-role.ts';

export interface AggregatesOptions extends RoleContext {
  bus: Bus;
  /** A store of its own: its partitions are those of `aggregates`. */
  state: StateStore;
  detection: EndpointDetection;
  /** Longest time between checkpoints while records come, in ms. Default 2,000. */
  checkpointEveryMs?: number;
}

/** What processors counted per endpoint, put together and judged: the half of the processor that looks across actors. */
export function startAggregates(options: AggregatesOptions): RunningRole {
  const { bus, logger } = options;
  const onClosedEarly = closedEarlyLog(options);
  const role = new WorkerRole({
    ...options,
    name: 'aggregates',
    topic: 'aggregates',
    group: 'aggregates',
    unreadableReason: 'no-aggregate',
    checkpointEveryMs: options.checkpointEveryMs ?? 2_000,
    createFold: ({ state, onUnreadable, onRelearn }) =>
      new AggregateFold({
        detection: options.detection,
        state,
        sources: bus.partitions,
        onUnreadable,
        onRelearn,
        onClosedEarly,
        now: options.now,
        onPassedOver: (source) =>
          logger.warn(
            { partition: source, waitedMs: maxSilenceMs },
            'a partition of api-calls is silent while others go on: endpoints are judged without it until it speaks again',
          ),
      }),
    describe,
  });
  registerMetrics(role);
  return role;
}

function describe(folds: readonly AggregateFold[]): string {
  const waiting = [...new Set(folds.flatMap((fold) => fold.hold.waitingFor))].sort((a, b) => a - b);
  const minutes = folds.reduce((sum, fold) => sum + fold.hold.held, 0);
  return `${minutes} minutes of endpoints held${waiting.length > 0 ? ` for partitions ${waiting.join(', ')} of api-calls` : ''}`;
}

function registerMetrics(role: WorkerRole<AggregateFold>): void {
  role.counter('emissions_total', 'Emissions of processors taken.', (fold) => fold.counts.emissions);
  role.counter('repeats_total', 'Emissions that came again.', (fold) => fold.hold.repeats);
  role.counter('unreadable_total', 'Records that are no emissions.', (fold) => fold.counts.unreadable);
  role.counter('relearnt_total', 'States begun anew.', (fold) => fold.counts.relearnt);
  role.counter(
    'closed_early_total',
    'Endpoints of which episodes were closed before their time, as too many were open.',
    (fold) => fold.counts.closedEarly,
  );
  role.counter(
    'dropped_parts_total',
    'Parts of minutes that were dropped, as this version does not know their detector or their version.',
    (fold) => fold.hold.droppedParts,
  );
  role.counter(
    'forced_total',
    'Minutes of endpoints judged before all partitions of api-calls had come so far.',
    (fold) => fold.hold.forced,
  );
  role.counter(
    'passed_over_total',
    'Times that a partition of api-calls was silent for so long that it was no longer waited for.',
    (fold) => fold.counts.passedOver,
  );
  role.gauge('held_minutes', 'Minutes of endpoints that wait for other partitions.', (folds) =>
    folds.reduce((sum, fold) => sum + fold.hold.held, 0),
  );
  role.gauge('open_episodes', 'Alerts still growing.', (folds) =>
    folds.reduce((sum, fold) => sum + fold.openEpisodes, 0),
  );
}
