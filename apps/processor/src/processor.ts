import { BeginAgainError, type Bus, type BusBatch, type Subscription } from '@tripline/bus';
import type { Detection } from '@tripline/detection';
import type { Alert, DeadLetter } from '@tripline/model';
import {
  Counter,
  createPersist,
  Gauge,
  Histogram,
  StoppedError,
  type Persist,
  type RoleContext,
  type RunningRole,
} from '@tripline/runtime';
import { FencedError, StateLostError, type PartitionState, type StateStore } from '@tripline/state';
import { latenessMs, PartitionFold } from './partition-fold.ts';

export interface ProcessorOptions extends RoleContext {
  bus: Bus;
  state: StateStore;
  detection: Detection;
  /** How many actors are kept in memory, in all partitions together. Default 100,000, about 3 kB each. */
  maxActorsInMemory?: number;
  /**
   * How many call ids are remembered at least to drop duplicates, in all partitions of the bus together. Default 500,000,
   * 32 to 64 bytes each.
   */
  rememberedIds?: number;
  /** Longest time between checkpoints while calls come, in ms. Default 2,000. */
  checkpointEveryMs?: number;
}

/** A checkpoint is made early when it would save so many states: one write to the store stays short. */
const maxChangedStates = 5_000;
/** Least number of ids to remember and of actors in memory per partition, however many partitions there are. */
const leastIds = 50_000;
const leastActors = 1_000;
/** Small enough that a batch's calls are garbage before they grow old, and that alerts do not wait for each other. */
const maxBatchBytes = 512 * 1024;
/** Without calls for so long, event time is taken to run on with the clock, so that episodes end. */
const idleMs = 10_000;
const tickMs = 2_000;
/** A loop that has not ended a batch for so long has stalled. */
const stalledMs = 60_000;

/** One partition in the hands of this process: its fold, and where it stands. */
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
  /**
   * What is in memory must not be saved: a batch failed half-way, or the partition went to another process, or the store
   * lost what this lane had saved.
   */
  spoilt: boolean;
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
 *
 * A store or a bus that does not answer makes the partition wait, with its position unmoved, until it does. A partition
 * that comes from another process is claimed, which voids what that process may still try to save, and goes on from its
 * last checkpoint. A store that was emptied is rebuilt from the oldest call that the bus keeps.
 */
export function startProcessor(options: ProcessorOptions): RunningRole {
  const { bus, state, detection, logger, now } = options;
  const checkpointEveryMs = options.checkpointEveryMs ?? 2_000;
  const maxActorsInMemory = options.maxActorsInMemory ?? 100_000;
  const rememberedIds = Math.max(leastIds, Math.ceil((options.rememberedIds ?? 500_000) / bus.partitions));
  const lanes = new Map<number, Lane>();
  const stopping = new AbortController();
  const persist = createPersist({ logger, now, stopped: stopping.signal });
  const metrics = registerMetrics(options, lanes);

  const deadLetter = (record: string, problem: string): void => {
    const letter: DeadLetter = {
      receivedAt: now(),
      reason: 'no-api-call',
      detail: problem,
      sample: record.slice(0, 2_000),
    };
    // The record is counted; a sample that cannot be kept is no loss worth a word.
    bus
      .publish('dead-letters', [{ key: letter.reason, value: JSON.stringify(letter) }])
      .catch(() => undefined);
  };

  /** Claims the partition and reads where its state stands; gives the position to go on from. */
  const begin = async (partition: number): Promise<number> => {
    const claimed = await persist.run(`claiming the state of partition ${partition}`, () =>
      state.claim(partition),
    );
    const fold = new PartitionFold({
      detection,
      state: persistent(claimed, persist),
      maxActorsInMemory: () => Math.max(leastActors, Math.floor(maxActorsInMemory / lanes.size)),
      rememberedIds,
      onUnreadable: deadLetter,
      onRelearn: (key, problem) =>
        logger.error({ key, problem }, 'a state could not be read: learning it anew'),
    });
    await fold.open();
    if (claimed.offset === undefined)
      logger.warn({ partition }, 'there is no state yet: learning from the oldest call that the bus keeps');
    const at = now();
    lanes.set(partition, {
      fold,
      offset: claimed.offset ?? 0,
      saved: claimed.offset ?? 0,
      savedAt: at,
      batchAt: at,
      busySince: undefined,
      spoilt: false,
      turn: Promise.resolve(),
    });
    return claimed.offset ?? 0;
  };

  const forget = (partition: number): void => {
    const gone = lanes.get(partition);
    if (gone) gone.spoilt = true;
    lanes.delete(partition);
  };

  const publish = async (alerts: readonly Alert[]): Promise<void> => {
    if (alerts.length === 0) return;
    const records = alerts.map((alert) => ({
      key: `${alert.actor.kind}:${alert.actor.id}`,
      value: JSON.stringify(alert),
    }));
    await persist.run('publishing alerts', () => bus.publish('alerts', records));
    for (const alert of alerts) {
      if (alert.revision !== 1) continue;
      metrics.alerts.inc({ type: alert.type });
      logger.warn({ alert: alert.id, type: alert.type, severity: alert.severity }, alert.summary);
    }
  };

  const checkpoint = async (at: Lane, partition: number): Promise<void> => {
    if (at.spoilt || at.offset === at.saved) return;
    const done = metrics.checkpointSeconds.startTimer();
    try {
      await at.fold.checkpoint(at.offset);
    } catch (error) {
      if (error instanceof FencedError || error instanceof StateLostError) {
        at.spoilt = true;
        metrics.claimsLost.inc();
        logger.warn(
          { partition, problem: error.message },
          'this partition begins again from its last checkpoint',
        );
      }
      throw error;
    }
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
    const at = lanes.get(batch.partition);
    if (!at) return Promise.reject(new BeginAgainError(`Partition ${batch.partition} is not claimed.`));
    return inTurn(at, async () => {
      if (at.spoilt) throw new BeginAgainError(`The claim on partition ${batch.partition} is void.`);
      at.spoilt = true;
      at.busySince = now();
      await publish(await at.fold.fold(batch.body));
      // It may have gone to another process meanwhile: then this is no longer the lane of the partition.
      if (lanes.get(batch.partition) !== at) return;
      at.offset = batch.nextOffset;
      at.batchAt = now();
      at.spoilt = false;
      if (now() - at.savedAt >= checkpointEveryMs || at.fold.changedStates >= maxChangedStates) {
        await checkpoint(at, batch.partition).catch((error: unknown) => {
          throw at.spoilt ? new BeginAgainError((error as Error).message, { cause: error }) : error;
        });
      }
      at.busySince = undefined;
    });
  };

  const subscription: Subscription = bus.consume({
    topic: 'api-calls',
    group: 'processor',
    startAt: begin,
    onRevoked: forget,
    onBatch,
    maxBatchBytes,
  });

  const tick = (): void => {
    for (const [partition, at] of lanes) {
      inTurn(at, async () => {
        if (at.spoilt) return;
        const idle = now() - at.batchAt;
        if (idle >= idleMs) await publish(await at.fold.closeUntil(at.fold.watermark - latenessMs + idle));
        if (now() - at.savedAt >= checkpointEveryMs) await checkpoint(at, partition);
      }).catch((error: unknown) => {
        if (!(error instanceof StoppedError) && !at.spoilt)
          logger.error({ err: error }, 'could not end episodes; trying again');
      });
    }
  };
  const timer = setInterval(tick, tickMs);

  const stop = async (): Promise<void> => {
    clearInterval(timer);
    // What works gets the last checkpoint; what does not is folded again by whoever comes next.
    persist.lastTry();
    if (persist.failing().size > 0) stopping.abort();
    await subscription.stop();
    const last = [...lanes].map(([partition, at]) => inTurn(at, () => checkpoint(at, partition)));
    for (const result of await Promise.allSettled(last)) {
      if (result.status === 'rejected' && !(result.reason instanceof StoppedError))
        logger.warn(
          { err: result.reason as Error },
          'the last checkpoint failed: its calls are folded again',
        );
    }
    stopping.abort();
  };
  let stopped: Promise<void> | undefined;
  return {
    name: 'processor',
    health: () => {
      const late = [...lanes.values()].some(
        (at) => at.busySince !== undefined && now() - at.busySince > stalledMs,
      );
      const folded = [...lanes.values()].reduce((sum, at) => sum + at.fold.counts.folded, 0);
      const [waiting] = persist.failing();
      // Waiting for a store that is down is no stall: a restart would not help.
      if (waiting)
        return { alive: true, ready: false, detail: `${waiting[0]} fails, trying again: ${waiting[1]}` };
      const problem = bus.problem() ?? state.problem();
      if (problem !== null) return { alive: true, ready: false, detail: problem };
      return {
        alive: !late,
        ready: !late,
        detail: late
          ? `a batch has taken more than ${stalledMs} ms`
          : `${folded} calls folded, ${lanes.size} of ${bus.partitions} partitions`,
      };
    },
    ended: subscription.stopped.catch((error: unknown) => {
      if (!(error instanceof StoppedError)) throw error;
    }),
    stop: () => (stopped ??= stop()),
  };
}

/** A partition's state that is tried until it answers: a batch that is half folded cannot be begun again. */
function persistent(claimed: PartitionState, persist: Persist): PartitionState {
  const { partition } = claimed;
  return {
    ...claimed,
    load: (keys) => persist.run(`loading states of partition ${partition}`, () => claimed.load(keys)),
    checkpoint: (changes, offset) =>
      persist.run(
        `saving states of partition ${partition}`,
        () => claimed.checkpoint(changes, offset),
        (error) => error instanceof FencedError || error instanceof StateLostError,
      ),
  };
}

function registerMetrics(context: ProcessorOptions, lanes: Map<number, Lane>) {
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
  new Gauge({
    name: 'tripline_processor_lag_seconds',
    help: 'How far the newest call folded lies back, by event time; 0 when none is waiting.',
    registers,
    async collect() {
      const waiting = (await context.bus.lag()).find(
        ({ topic, group }) => topic === 'api-calls' && group === 'processor',
      );
      const newest = Math.max(0, ...[...lanes.values()].map((lane) => lane.fold.watermark));
      this.set(waiting && waiting.records > 0 && newest > 0 ? (context.now() - newest) / 1_000 : 0);
    },
  });
  return {
    alerts: new Counter({
      name: 'tripline_processor_alerts_total',
      help: 'Alerts raised, by type.',
      labelNames: ['type'],
      registers,
    }),
    checkpointSeconds: new Histogram({
      name: 'tripline_processor_checkpoint_seconds',
      help: 'Duration of a checkpoint.',
      registers,
    }),
    claimsLost: new Counter({
      name: 'tripline_processor_claims_lost_total',
      help: 'Partitions whose state was claimed by another process, or lost by the store, and begun again.',
      registers,
    }),
  };
}
