import { BeginAgainError, jsonRecord, type Bus, type BusRecord, type Subscription } from '@tripline/bus';
import type { Alert, Topic } from '@tripline/model';
import {
  Counter,
  createPersist,
  Gauge,
  Histogram,
  StoppedError,
  type Persist,
  type RoleContext,
  type RoleHealth,
  type RunningRole,
} from '@tripline/runtime';
import { FencedError, StateLostError, type PartitionState, type StateStore } from '@tripline/state';
import type { OnUnreadable } from './call-reader.ts';
import { createDeadLetters, type DeadLetters } from './dead-letters.ts';
import { PartitionWorker, type Fold } from './partition-worker.ts';
import { createRareLog } from './rare-log.ts';

/** What a fold gets from the role. */
export interface FoldTools {
  state: PartitionState;
  /** How many partitions this process has at the moment. */
  partitions: () => number;
  onUnreadable: OnUnreadable;
  /** `step`: what could not be done with the record. */
  onFailed: (record: string, step: string, error: unknown) => void;
  onRelearn: (key: string, problem: string) => void;
}

export interface WorkerRoleOptions<F extends Fold> extends RoleContext {
  /** Also the prefix of its metrics, `tripline_<name>_…`. */
  name: string;
  bus: Bus;
  state: StateStore;
  topic: Topic;
  group: string;
  /** Reason of the dead letters of records that cannot be read. */
  unreadableReason: string;
  /** The fold of a partition that this process has claimed. */
  createFold: (tools: FoldTools) => F;
  /**
   * Records that must not be published before the state that remembers them: asked for when a partition is taken over and after each
   * checkpoint, and `published` once the bus has them.
   */
  followUp?: { topic: Topic; records: (fold: F) => BusRecord[]; published: (fold: F) => void };
  /** In a few words, what it has done. */
  describe: (folds: F[]) => string;
  /** Longest time between checkpoints while records come, in ms. */
  checkpointEveryMs: number;
}

/** Small enough that a batch's records are garbage before they grow old, and that alerts do not wait for each other. */
const maxBatchBytes = 512 * 1024;
const tickMs = 2_000;
/** A worker that has not ended a batch for so long has stalled. */
const stalledMs = 60_000;

/**
 * A role that turns the records of a topic into alerts, with a worker for each partition that the bus gives to this process.
 *
 * A store or a bus that does not answer makes a partition wait, with its position unmoved, until it does. A partition that comes from
 * another process is claimed, which voids what that process may still try to save, and goes on from its last checkpoint. A store that was
 * emptied is rebuilt from the oldest record that the bus keeps.
 */
export class WorkerRole<F extends Fold> implements RunningRole {
  readonly name: string;
  readonly ended: Promise<void>;
  readonly #options: WorkerRoleOptions<F>;
  readonly #workers = new Map<number, PartitionWorker<F>>();
  readonly #stopping = new AbortController();
  readonly #persist: Persist;
  readonly #deadLetters: DeadLetters;
  readonly #metrics: RoleMetrics;
  readonly #logs: RoleLogs;
  readonly #subscription: Subscription;
  readonly #timer: NodeJS.Timeout;
  #stopped: Promise<void> | undefined;

  constructor(options: WorkerRoleOptions<F>) {
    const { bus, logger, now, topic, group } = options;
    this.name = options.name;
    this.#options = options;
    this.#persist = createPersist({ logger, now, stopped: this.#stopping.signal });
    this.#metrics = createRoleMetrics(options);
    this.#deadLetters = createDeadLetters({ ...options, role: options.name });
    this.#logs = createRoleLogs(options);
    this.#subscription = bus.consume({
      topic,
      group,
      maxBatchBytes,
      startAt: (partition) => this.#claim(partition),
      onRevoked: (partition) => this.#revoke(partition),
      onBatch: (batch) => {
        const worker = this.#workers.get(batch.partition);
        if (worker) return worker.handle(batch);
        return Promise.reject(new BeginAgainError(`Partition ${batch.partition} is not claimed.`));
      },
    });
    this.ended = this.#subscription.stopped.catch((error: unknown) => {
      if (!(error instanceof StoppedError)) throw error;
    });
    this.#timer = setInterval(() => {
      for (const [partition, worker] of this.#workers) void this.#tick(partition, worker);
    }, tickMs);
  }

  /** The folds of the partitions that this process has. */
  folds(): F[] {
    return Array.from(this.#workers.values(), ({ fold }) => fold);
  }

  /** Registers a metric that is the sum over the folds. */
  counter(name: string, help: string, read: (fold: F) => number): void {
    const folds = (): F[] => this.folds();
    new Counter({
      name: `tripline_${this.name}_${name}`,
      help,
      registers: [this.#options.metrics],
      collect() {
        this.reset();
        this.inc(folds().reduce((sum, fold) => sum + read(fold), 0));
      },
    });
  }

  gauge(name: string, help: string, read: (folds: F[]) => number): void {
    const folds = (): F[] => this.folds();
    new Gauge({
      name: `tripline_${this.name}_${name}`,
      help,
      registers: [this.#options.metrics],
      collect() {
        this.set(read(folds()));
      },
    });
  }

  health(): RoleHealth {
    const { bus, state, now, describe } = this.#options;
    const [waiting] = this.#persist.failing();
    // Waiting for a store that is down is no stall: a restart would not help.
    if (waiting)
      return { alive: true, ready: false, detail: `${waiting[0]} fails, trying again: ${waiting[1]}` };
    const problem = bus.problem() ?? state.problem();
    if (problem !== null) return { alive: true, ready: false, detail: problem };
    const isStalled = [...this.#workers.values()].some(
      ({ busySince }) => busySince !== undefined && now() - busySince > stalledMs,
    );
    return {
      alive: !isStalled,
      ready: !isStalled,
      detail: isStalled
        ? `a batch has taken more than ${stalledMs} ms`
        : `${describe(this.folds())}, ${this.#workers.size} of ${bus.partitions} partitions`,
    };
  }

  stop(): Promise<void> {
    return (this.#stopped ??= this.#stop());
  }

  /** Claims the partition and reads where its state stands; gives the position to go on from. */
  async #claim(partition: number): Promise<number> {
    const { state, createFold, logger, now, checkpointEveryMs, bus } = this.#options;

    // 1. Claim: what another process still tries to save is refused from now on.
    const claimed = await this.#persist.run(`claiming the state of partition ${partition}`, () =>
      state.claim(partition),
    );
    const offset = claimed.offset ?? 0;
    if (claimed.offset === undefined)
      logger.warn({ partition }, 'there is no state yet: learning from the oldest record that the bus keeps');

    // 2. Take up the states of the last checkpoint.
    const fold = createFold({
      state: persistent(claimed, this.#persist),
      partitions: () => this.#workers.size,
      ...this.#reports(partition),
    });
    await fold.open();

    // 3. Publish what that checkpoint may say: it is not known whether it was published before. Whoever reads it passes over repeats.
    await this.#publishFollowUp(fold);

    // 4. Go on at the position that the checkpoint includes.
    const worker = new PartitionWorker({
      fold,
      offset,
      now,
      checkpointEveryMs,
      busWorks: () => bus.problem() === null,
      publish: (alerts) => this.#publish(alerts),
      checkpointSeconds: this.#metrics.checkpointSeconds,
      onCheckpoint: (reached) => this.#subscription.passed(partition, reached),
      afterCheckpoint: () => this.#publishFollowUp(fold),
      onClaimLost: (problem) => {
        this.#metrics.claimsLost.inc();
        logger.warn({ partition, problem }, 'this partition begins again from its last checkpoint');
      },
    });
    this.#workers.set(partition, worker);
    return offset;
  }

  #revoke(partition: number): void {
    this.#workers.get(partition)?.revoke();
    this.#workers.delete(partition);
  }

  async #tick(partition: number, worker: PartitionWorker<F>): Promise<void> {
    try {
      await worker.tick();
    } catch (error) {
      if (error instanceof StoppedError) return;
      if (!(error instanceof BeginAgainError))
        this.#options.logger.error({ err: error, partition }, 'could not end episodes; beginning again');
      if (this.#workers.get(partition) === worker) this.#subscription.beginAgain(partition);
    }
  }

  async #publish(alerts: readonly Alert[]): Promise<void> {
    if (alerts.length === 0) return;
    const records = alerts.map((alert) => jsonRecord(`${alert.actor.kind}:${alert.actor.id}`, alert));
    await this.#persist.run('publishing alerts', () => this.#options.bus.publish('alerts', records));
    for (const { id, type, severity, summary, revision } of alerts) {
      if (revision !== 1) continue;
      this.#metrics.alerts.inc({ type });
      this.#options.logger.warn({ alert: id, type, severity }, summary);
    }
  }

  async #publishFollowUp(fold: F): Promise<void> {
    const { bus, followUp } = this.#options;
    const records = followUp?.records(fold) ?? [];
    if (!followUp || records.length === 0) return;
    await this.#persist.run(`publishing ${followUp.topic}`, () => bus.publish(followUp.topic, records));
    followUp.published(fold);
  }

  /** What a fold cannot use is set aside, counted and reported, and never ends the role. */
  #reports(partition: number): Pick<FoldTools, 'onUnreadable' | 'onFailed' | 'onRelearn'> {
    const { topic, unreadableReason } = this.#options;
    const where = `${topic}/${partition}`;
    return {
      onUnreadable: (record, problem) =>
        this.#deadLetters.add(unreadableReason, `${where}: ${problem}`, record),
      onFailed: (record, step, error) => {
        const problem = error instanceof Error ? error.message : String(error);
        this.#deadLetters.add('fold-failed', `${where}: ${step}: ${problem}`, record);
        this.#logs.failed({ err: error, partition, step });
      },
      onRelearn: (key, problem) => this.#logs.relearnt({ partition, key, problem }),
    };
  }

  async #stop(): Promise<void> {
    clearInterval(this.#timer);
    // Partitions whose store works get a last checkpoint. The records of the others are folded again by the next process.
    this.#persist.lastTry();
    if (this.#persist.failing().size > 0) this.#stopping.abort();
    await this.#subscription.stop();
    const last = Array.from(this.#workers.values(), (worker) => worker.saveLast());
    for (const result of await Promise.allSettled(last)) {
      if (result.status === 'rejected' && !(result.reason instanceof StoppedError))
        this.#options.logger.warn(
          { err: result.reason as Error },
          'the last checkpoint failed: its records are folded again',
        );
    }
    this.#stopping.abort();
  }
}

interface RoleMetrics {
  alerts: Counter<'type'>;
  checkpointSeconds: Histogram;
  claimsLost: Counter;
}

function createRoleMetrics({ name, metrics }: { name: string } & RoleContext): RoleMetrics {
  const registers = [metrics];
  return {
    alerts: new Counter({
      name: `tripline_${name}_alerts_total`,
      help: 'Alerts raised, by type.',
      labelNames: ['type'],
      registers,
    }),
    checkpointSeconds: new Histogram({
      name: `tripline_${name}_checkpoint_seconds`,
      help: 'Duration of a checkpoint.',
      registers,
    }),
    claimsLost: new Counter({
      name: `tripline_${name}_claims_lost_total`,
      help: 'Partitions whose state was claimed by another process, or lost by the store, and begun again.',
      registers,
    }),
  };
}

interface RoleLogs {
  failed: (detail: object) => void;
  relearnt: (detail: object) => void;
}

function createRoleLogs({ logger, now }: RoleContext): RoleLogs {
  return {
    failed: createRareLog(now, (records, detail: object) =>
      logger.error(
        { ...detail, records },
        'a record could not be folded and was set aside: please report it',
      ),
    ),
    relearnt: createRareLog(now, (states, detail: object) =>
      logger.error(
        { ...detail, states },
        'states cannot be used, as another version wrote them or the store is damaged: they are learnt anew',
      ),
    ),
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
