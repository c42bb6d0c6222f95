import { BeginAgainError, jsonRecord, type Bus, type BusBatch, type Subscription } from '@tripline/bus';
import type { Alert, Topic } from '@tripline/model';
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
import { createDeadLetters } from './dead-letters.ts';

/** Folds the records of one partition, in order, into states, and says which alerts come of it. */
export interface Fold {
  /** States that the next checkpoint would save. */
  readonly changedStates: number;
  /** Something is to be saved although no record came. */
  readonly unsaved: boolean;
  /** Takes up where the last checkpoint ended. */
  open(): Promise<void>;
  /** Folds the body of a batch; returns the alert revisions to publish, oldest first. */
  fold(body: Buffer): Promise<Alert[]>;
  /** No records have come for so long: what follows from that alone. */
  idle(idleMs: number): Promise<Alert[]>;
  /** Saves what changed together with the position that it includes: after a crash all of it is there, or nothing. */
  checkpoint(offset: number): Promise<void>;
}

export interface LanesOptions<F extends Fold> extends RoleContext {
  /** Also the prefix of its metrics, `tripline_<name>_…`. */
  name: string;
  bus: Bus;
  state: StateStore;
  topic: Topic;
  group: string;
  /** The fold of a partition that this process has claimed; `lanes` is how many it has at the moment. */
  createFold: (tools: {
    state: PartitionState;
    lanes: () => number;
    onUnreadable: (record: string, problem: string) => void;
    onFailed: (record: string, step: string, error: unknown) => void;
    onRelearn: (key: string, problem: string) => void;
  }) => F;
  /**
   * For effects that must not come before the state that remembers them: called when a partition is taken over and after
   * each checkpoint. What it throws is treated like a failed checkpoint.
   */
  afterCheckpoint?: (fold: F, persist: Persist) => Promise<void>;
  /** In a few words, what it has done. */
  describe: (folds: F[]) => string;
  /** Longest time between checkpoints while records come, in ms. */
  checkpointEveryMs: number;
}

export interface Lanes<F extends Fold> extends RunningRole {
  /** The folds of the partitions that this process has. */
  folds: () => F[];
  /** A metric that is the sum over them. */
  counter: (name: string, help: string, read: (fold: F) => number) => void;
  gauge: (name: string, help: string, read: (folds: F[]) => number) => void;
}

/** A checkpoint is made early when it would save so many states: one write to the store stays short. */
const maxChangedStates = 5_000;
/** Small enough that a batch's records are garbage before they grow old, and that alerts do not wait for each other. */
const maxBatchBytes = 512 * 1024;
/** Without records for so long, event time is taken to run on with the clock, so that episodes end. */
const idleAfterMs = 10_000;
const tickMs = 2_000;
/** A loop that has not ended a batch for so long has stalled. */
const stalledMs = 60_000;
/** Records that cannot be folded are logged no more often: each of them is counted. */
const logFailuresEveryMs = 60_000;

/** One partition in the hands of this process: its fold, and where it stands. */
interface Lane<F> {
  fold: F;
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
 * Records of a topic to alerts, partition by partition. Per batch: load the states that it needs, fold the records in,
 * publish the alerts, and from time to time checkpoint the changed states with the position they include.
 *
 * The order of effects: alerts are published before the checkpoint. A crash between the two folds the same records again
 * from the last checkpoint and publishes the same alerts again, with the same ids and revisions, which is harmless. The
 * other way round an alert could be lost.
 *
 * A store or a bus that does not answer makes the partition wait, with its position unmoved, until it does. A partition
 * that comes from another process is claimed, which voids what that process may still try to save, and goes on from its
 * last checkpoint. A store that was emptied is rebuilt from the oldest record that the bus keeps.
 */
export function startLanes<F extends Fold>(options: LanesOptions<F>): Lanes<F> {
  const { name, bus, state, logger, now, checkpointEveryMs, topic } = options;
  const lanes = new Map<number, Lane<F>>();
  const stopping = new AbortController();
  const persist = createPersist({ logger, now, stopped: stopping.signal });
  const registers = [options.metrics];
  const alertsTotal = new Counter({
    name: `tripline_${name}_alerts_total`,
    help: 'Alerts raised, by type.',
    labelNames: ['type'],
    registers,
  });
  const checkpointSeconds = new Histogram({
    name: `tripline_${name}_checkpoint_seconds`,
    help: 'Duration of a checkpoint.',
    registers,
  });
  const claimsLost = new Counter({
    name: `tripline_${name}_claims_lost_total`,
    help: 'Partitions whose state was claimed by another process, or lost by the store, and begun again.',
    registers,
  });

  const deadLetters = createDeadLetters({ ...options, role: name });
  let failureLoggedAt = -Infinity;
  const onFailed = (partition: number, record: string, step: string, error: unknown): void => {
    const problem = error instanceof Error ? error.message : String(error);
    deadLetters.add('fold-failed', `${topic}/${partition}: ${step}: ${problem}`, record);
    if (now() - failureLoggedAt < logFailuresEveryMs) return;
    failureLoggedAt = now();
    logger.error(
      { err: error, partition, step },
      'a record could not be folded and was set aside: please report it',
    );
  };

  /** Claims the partition and reads where its state stands; gives the position to go on from. */
  const begin = async (partition: number): Promise<number> => {
    const claimed = await persist.run(`claiming the state of partition ${partition}`, () =>
      state.claim(partition),
    );
    const fold = options.createFold({
      state: persistent(claimed, persist),
      lanes: () => lanes.size,
      onUnreadable: (record, problem) => {
        const reason = topic === 'api-calls' ? 'no-api-call' : 'no-aggregate';
        deadLetters.add(reason, `${topic}/${partition}: ${problem}`, record);
      },
      onFailed: (record, step, error) => onFailed(partition, record, step, error),
      onRelearn: (key, problem) =>
        logger.error({ key, problem }, 'a state could not be used as it was: learning it anew'),
    });
    await fold.open();
    await options.afterCheckpoint?.(fold, persist);
    if (claimed.offset === undefined)
      logger.warn({ partition }, 'there is no state yet: learning from the oldest record that the bus keeps');
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
    const records = alerts.map((alert) => jsonRecord(`${alert.actor.kind}:${alert.actor.id}`, alert));
    await persist.run('publishing alerts', () => bus.publish('alerts', records));
    for (const alert of alerts) {
      if (alert.revision !== 1) continue;
      alertsTotal.inc({ type: alert.type });
      logger.warn({ alert: alert.id, type: alert.type, severity: alert.severity }, alert.summary);
    }
  };

  const checkpoint = async (at: Lane<F>, partition: number): Promise<void> => {
    if (at.spoilt || (at.offset === at.saved && !at.fold.unsaved)) return;
    const done = checkpointSeconds.startTimer();
    try {
      await at.fold.checkpoint(at.offset);
    } catch (error) {
      if (error instanceof FencedError || error instanceof StateLostError) {
        at.spoilt = true;
        claimsLost.inc();
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
    await options.afterCheckpoint?.(at.fold, persist);
  };

  /** Runs after whatever is under way on the lane. */
  const inTurn = (at: Lane<F>, work: () => Promise<void>): Promise<void> => {
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
    topic,
    group: options.group,
    startAt: begin,
    onRevoked: forget,
    onBatch,
    maxBatchBytes,
  });

  const tick = (): void => {
    for (const [partition, at] of lanes) {
      inTurn(at, async () => {
        if (at.spoilt) return;
        const idleMs = now() - at.batchAt;
        // While the bus does not work, nothing coming means nothing.
        if (idleMs >= idleAfterMs && bus.problem() === null) await publish(await at.fold.idle(idleMs));
        if (now() - at.savedAt >= checkpointEveryMs) await checkpoint(at, partition);
      }).catch((error: unknown) => {
        if (error instanceof FencedError || error instanceof StateLostError)
          subscription.beginAgain(partition);
        else if (!(error instanceof StoppedError))
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
          'the last checkpoint failed: its records are folded again',
        );
    }
    stopping.abort();
  };
  let stopped: Promise<void> | undefined;
  const folds = (): F[] => [...lanes.values()].map((lane) => lane.fold);
  return {
    name,
    health: () => {
      const late = [...lanes.values()].some(
        (at) => at.busySince !== undefined && now() - at.busySince > stalledMs,
      );
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
          : `${options.describe(folds())}, ${lanes.size} of ${bus.partitions} partitions`,
      };
    },
    ended: subscription.stopped.catch((error: unknown) => {
      if (!(error instanceof StoppedError)) throw error;
    }),
    stop: () => (stopped ??= stop()),
    folds,
    counter: (metric, help, read) => {
      new Counter({
        name: `tripline_${name}_${metric}`,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(folds().reduce((sum, fold) => sum + read(fold), 0));
        },
      });
    },
    gauge: (metric, help, read) => {
      new Gauge({
        name: `tripline_${name}_${metric}`,
        help,
        registers,
        collect() {
          this.set(read(folds()));
        },
      });
    },
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
