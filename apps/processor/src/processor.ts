import type { Bus, BusBatch, Subscription } from '@tripline/bus';
import type { Detection } from '@tripline/detection';
import type { Alert, DeadLetter } from '@tripline/model';
import { Counter, Gauge, Histogram, type RoleContext, type RunningRole } from '@tripline/runtime';
import type { StateStore } from '@tripline/state';
import { latenessMs, PartitionFold } from './partition-fold.ts';

export interface ProcessorOptions extends RoleContext {
  bus: Bus;
  state: StateStore;
  detection: Detection;
  /** How many actors are kept in memory, per partition. Default 50,000, about 1 kB each. */
  maxActorsInMemory?: number;
  /** How many call ids are remembered at least to drop duplicates, per partition. Default 500,000, 16 to 32 bytes each. */
  rememberedIds?: number;
  /** Longest time between checkpoints while calls come, in ms. Default 2,000. */
  checkpointEveryMs?: number;
}

/** After a restart so many calls before the checkpoint are read again, only to know their duplicates. */
const warmUpRecords = 20_000;
/** Small enough that a batch's calls are garbage before they grow old, and that alerts do not wait for each other. */
const maxBatchBytes = 512 * 1024;
/** Without calls for so long, event time is taken to run on with the clock, so that episodes end. */
const idleMs = 10_000;
const tickMs = 2_000;
/** A loop that has not ended a batch for so long has stalled. */
const stalledMs = 60_000;

/** One partition: its fold, and where it stands. */
interface Lane {
  fold: PartitionFold;
  /** Position behind the last batch that was folded. */
  offset: number;
  /** Position of the last checkpoint. */
  saved: number;
  savedAt: number;
  batchAt: number;
  /** Begin of the batch under way; undefined between batches. */
  busySince: number | undefined;
  /** A batch failed: the next life of this process begins again at the last checkpoint. */
  failed: boolean;
  /** One thing at a time: batches, ticks and the last checkpoint. */
  turn: Promise<void>;
}

/**
 * API calls to alerts. Per batch: load the states that it needs, fold the calls in, publish the alerts, and from time to
 * time checkpoint the changed states with the position they include.
 *
 * The order of effects: alerts are published before the checkpoint. A crash between the two folds the same calls again
 * from the last checkpoint and publishes the same alerts again, with the same ids and revisions, which is harmless. The
 * other way round an alert could be lost.
 */
export function startProcessor(options: ProcessorOptions): RunningRole {
  const { bus, state, detection, logger, now } = options;
  const checkpointEveryMs = options.checkpointEveryMs ?? 2_000;
  const lanes = new Map<number, Lane>();
  const alertsTotal = new Counter({
    name: 'tripline_processor_alerts_total',
    help: 'Alerts raised, by type.',
    labelNames: ['type'],
    registers: [options.metrics],
  });
  const checkpointSeconds = new Histogram({
    name: 'tripline_processor_checkpoint_seconds',
    help: 'Duration of a checkpoint.',
    registers: [options.metrics],
  });
  publishMetrics(options, lanes);

  const lane = (partition: number): Lane => {
    let found = lanes.get(partition);
    if (!found) {
      const fold = new PartitionFold({
        partition,
        detection,
        state,
        maxActorsInMemory: options.maxActorsInMemory ?? 50_000,
        rememberedIds: options.rememberedIds ?? 500_000,
        onUnreadable: (record, problem) => {
          const letter: DeadLetter = {
            receivedAt: now(),
            reason: 'no-api-call',
            detail: problem,
            sample: record.slice(0, 2_000),
          };
          bus
            .publish('dead-letters', [{ key: letter.reason, value: JSON.stringify(letter) }])
            .catch(() => undefined);
        },
        onRelearn: (key, problem) =>
          logger.error({ key, problem }, 'a state could not be read: learning it anew'),
      });
      const at = now();
      found = {
        fold,
        offset: 0,
        saved: 0,
        savedAt: at,
        batchAt: at,
        busySince: undefined,
        failed: false,
        turn: Promise.resolve(),
      };
      lanes.set(partition, found);
    }
    return found;
  };

  const publish = async (alerts: readonly Alert[]): Promise<void> => {
    if (alerts.length === 0) return;
    await bus.publish(
      'alerts',
      alerts.map((alert) => ({
        key: `${alert.actor.kind}:${alert.actor.id}`,
        value: JSON.stringify(alert),
      })),
    );
    for (const alert of alerts) {
      if (alert.revision !== 1) continue;
      alertsTotal.inc({ type: alert.type });
      logger.warn({ alert: alert.id, type: alert.type, severity: alert.severity }, alert.summary);
    }
  };

  const checkpoint = async (at: Lane, partition: number): Promise<void> => {
    // A batch that failed may be folded in already, and is not behind `offset`: what is in memory must not be kept.
    if (at.failed || at.offset === at.saved) return;
    const done = checkpointSeconds.startTimer();
    await at.fold.checkpoint(at.offset);
    done();
    at.saved = at.offset;
    at.savedAt = now();
    subscription.passed(partition, at.offset);
  };

  /** Runs after whatever is under way on the lane. */
  const inTurn = (at: Lane, work: () => Promise<void>): Promise<void> => {
    const done = at.turn.then(work);
    at.turn = done.catch(() => undefined);
    return done;
  };

  const onBatch = (batch: BusBatch): Promise<void> => {
    const at = lane(batch.partition);
    return inTurn(at, async () => {
      at.failed = true;
      at.busySince = now();
      let body = batch.body;
      const known = Math.min(Math.max(at.saved - batch.firstOffset, 0), batch.count);
      if (known > 0) {
        const cut = endOfLine(body, known);
        at.fold.remember(body.subarray(0, cut));
        body = body.subarray(cut);
      }
      if (body.length > 0) {
        await publish(await at.fold.fold(body));
        at.offset = batch.nextOffset;
        at.batchAt = now();
      }
      at.failed = false;
      if (known > 0) subscription.passed(batch.partition, Math.min(batch.nextOffset, at.saved));
      if (body.length > 0) {
        if (now() - at.savedAt >= checkpointEveryMs) await checkpoint(at, batch.partition);
      }
      at.busySince = undefined;
    });
  };

  const subscription: Subscription = bus.consume({
    topic: 'api-calls',
    group: 'processor',
    startAt: async (partition) => {
      const at = lane(partition);
      await at.fold.open();
      const offset = await state.offset(partition);
      at.offset = at.saved = offset ?? 0;
      return offset === undefined ? undefined : Math.max(0, offset - warmUpRecords);
    },
    onBatch,
    maxBatchBytes,
  });

  const tick = (): void => {
    for (const [partition, at] of lanes) {
      inTurn(at, async () => {
        const idle = now() - at.batchAt;
        if (idle >= idleMs) await publish(await at.fold.closeUntil(at.fold.watermark - latenessMs + idle));
        if (now() - at.savedAt >= checkpointEveryMs) await checkpoint(at, partition);
      }).catch((error: unknown) => logger.error({ err: error }, 'could not end episodes; trying again'));
    }
  };
  const timer = setInterval(tick, tickMs);

  const stop = async (): Promise<void> => {
    clearInterval(timer);
    await subscription.stop();
    for (const [partition, at] of lanes) await inTurn(at, () => checkpoint(at, partition));
  };
  let stopped: Promise<void> | undefined;
  return {
    name: 'processor',
    health: () => {
      const stalled = [...lanes.values()].some(
        (at) => at.busySince !== undefined && now() - at.busySince > stalledMs,
      );
      const folded = [...lanes.values()].reduce((sum, at) => sum + at.fold.counts.folded, 0);
      return {
        alive: !stalled,
        ready: lanes.size > 0 && !stalled,
        detail: stalled ? `a batch has taken more than ${stalledMs} ms` : `${folded} calls folded`,
      };
    },
    ended: subscription.stopped,
    stop: () => (stopped ??= stop()),
  };
}

function endOfLine(body: Buffer, lines: number): number {
  let at = 0;
  for (let line = 0; line < lines; line++) at = body.indexOf(10, at) + 1;
  return at;
}

function publishMetrics(context: RoleContext, lanes: Map<number, Lane>): void {
  const registers = [context.metrics];
  const sum = (read: (lane: Lane) => number): number =>
    [...lanes.values()].reduce((all, one) => all + read(one), 0);
  const counter = (name: string, help: string, read: (lane: Lane) => number): void => {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(sum(read));
      },
    });
  };
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  };
  counter('tripline_processor_calls_total', 'API calls folded.', (lane) => lane.fold.counts.folded);
  counter(
    'tripline_processor_duplicates_total',
    'API calls seen before.',
    (lane) => lane.fold.counts.duplicates,
  );
  counter(
    'tripline_processor_unreadable_total',
    'Records that are no API calls.',
    (lane) => lane.fold.counts.unreadable,
  );
  counter('tripline_processor_relearnt_total', 'States begun anew.', (lane) => lane.fold.counts.relearnt);
  gauge('tripline_processor_actors_in_memory', 'Actors in memory.', () =>
    sum((lane) => lane.fold.actorsInMemory),
  );
  gauge('tripline_processor_open_episodes', 'Alerts still growing.', () =>
    sum((lane) => lane.fold.openEpisodes),
  );
  gauge('tripline_processor_event_time_seconds', 'Event time of the newest call.', () =>
    Math.max(0, ...[...lanes.values()].map((lane) => lane.fold.watermark / 1_000)),
  );
}
