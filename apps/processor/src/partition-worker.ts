import { BeginAgainError, type BusBatch } from '@tripline/bus';
import type { Alert } from '@tripline/model';
import { createSerialQueue, type Histogram } from '@tripline/runtime';
import { FencedError, StateLostError } from '@tripline/state';

/** What becomes of the records of one partition, in order: states in memory, and alerts to publish. */
export interface Fold {
  /** States that the next checkpoint saves. */
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

export interface PartitionWorkerOptions<F extends Fold> {
  fold: F;
  /** Position that the claimed state includes. */
  offset: number;
  now: () => number;
  /** Longest time between checkpoints while records come, in ms. */
  checkpointEveryMs: number;
  /** Resolves once the bus has the alerts. */
  publish: (alerts: readonly Alert[]) => Promise<void>;
  /** Whether the bus delivers: while it does not, nothing coming means nothing. */
  busWorks: () => boolean;
  checkpointSeconds: Histogram;
  /** A checkpoint up to `offset` was made. */
  onCheckpoint: (offset: number) => void;
  /** Effects that must not come before the checkpoint that remembers them. */
  afterCheckpoint: (fold: F) => Promise<void>;
  /** Another process claimed the partition, or the store lost what this worker had saved. */
  onClaimLost: (problem: string) => void;
}

/** A checkpoint is made early when it would save so many states: one write to the store stays short. */
const maxChangedStates = 5_000;
/** Without records for so long, event time is taken to run on with the clock, so that episodes end. */
const idleAfterMs = 10_000;

/**
 * One partition that this process has claimed: its records to alerts and saved states.
 *
 * It does one thing at a time, in the order in which it was asked: batches, ticks, the last checkpoint.
 */
export class PartitionWorker<F extends Fold> {
  readonly fold: F;
  readonly #options: PartitionWorkerOptions<F>;
  readonly #inTurn = createSerialQueue();
  /** Position behind the last batch that was folded and whose alerts are published. */
  #offset: number;
  /** Position of the last checkpoint. */
  #savedOffset: number;
  /** By the clock, ms. */
  #savedAt: number;
  #foldedAt: number;
  #busySince: number | undefined;
  /** A batch or a tick ended half-way: what is in memory belongs to no position, and must not be saved. */
  #isHalfFolded = false;
  /** The partition is another process's, or the store lost what was saved: whatever is in memory is out of date. */
  #isClaimVoid = false;

  constructor(options: PartitionWorkerOptions<F>) {
    this.#options = options;
    this.fold = options.fold;
    this.#offset = options.offset;
    this.#savedOffset = options.offset;
    this.#savedAt = this.#foldedAt = options.now();
  }

  /** When the batch under way began, by the clock, ms; undefined between batches. */
  get busySince(): number | undefined {
    return this.#busySince;
  }

  /**
   * A batch of records, from bytes to alerts and, from time to time, a checkpoint. Rejects with a `BeginAgainError` if the partition has
   * to begin again from its last checkpoint.
   */
  handle(batch: BusBatch): Promise<void> {
    return this.#inTurn(() => this.#handle(batch));
  }

  /** Ends what is over by the clock, and saves what waits for it. Rejects as `handle` does. */
  tick(): Promise<void> {
    return this.#inTurn(() => this.#tick());
  }

  /** The checkpoint before a stop. Without it the records since the last one are folded again. */
  saveLast(): Promise<void> {
    return this.#inTurn(() => this.#checkpoint());
  }

  /** The partition goes to another process, or is about to be claimed anew: nothing of what is in memory may be saved. */
  revoke(): void {
    this.#isClaimVoid = true;
  }

  async #handle(batch: BusBatch): Promise<void> {
    const { now, publish } = this.#options;
    if (!this.#isUsable()) throw new BeginAgainError(`The claim on partition ${batch.partition} is void.`);
    this.#busySince = now();

    // 1. Fold the records into states in memory. A failure or a crash leaves nothing behind: memory is not saved any more, and the
    //    records are folded again from the last checkpoint.
    this.#isHalfFolded = true;
    const alerts = await this.fold.fold(batch.body);

    // 2. Publish the alerts, before the states that remember them are saved. A crash from here on publishes them again, with the same
    //    ids and revisions, which is harmless; the other way round they could be lost.
    await publish(alerts);
    if (this.#isClaimVoid) return;

    // 3. The batch is complete in memory: what is saved from now on includes it.
    this.#isHalfFolded = false;
    this.#offset = batch.nextOffset;
    this.#foldedAt = now();

    // 4. From time to time, save changed states and position in one step. Where that fails, either all of it is there or nothing.
    if (this.#isCheckpointDue() || this.fold.changedStates >= maxChangedStates) await this.#checkpoint();
    this.#busySince = undefined;
  }

  async #tick(): Promise<void> {
    const { now, publish, busWorks } = this.#options;
    if (!this.#isUsable()) return;
    const idleMs = now() - this.#foldedAt;
    if (idleMs >= idleAfterMs && busWorks()) {
      // As with a batch: closed alerts that were not published must not be saved as closed.
      this.#isHalfFolded = true;
      await publish(await this.fold.idle(idleMs));
      this.#isHalfFolded = false;
    }
    if (this.#isCheckpointDue()) await this.#checkpoint();
  }

  async #checkpoint(): Promise<void> {
    const { now, checkpointSeconds, onCheckpoint, afterCheckpoint, onClaimLost } = this.#options;
    if (!this.#isUsable() || (this.#offset === this.#savedOffset && !this.fold.unsaved)) return;
    const done = checkpointSeconds.startTimer();

    // 1. Save. Refused if the claim is void: then nothing was saved.
    try {
      await this.fold.checkpoint(this.#offset);
    } catch (error) {
      if (!(error instanceof FencedError || error instanceof StateLostError)) throw error;
      this.#isClaimVoid = true;
      onClaimLost(error.message);
      throw new BeginAgainError(error.message, { cause: error });
    }
    done();
    this.#savedOffset = this.#offset;
    this.#savedAt = now();

    // 2. Tell the bus what is behind us. A crash before leaves its lag too high until the next checkpoint.
    onCheckpoint(this.#offset);

    // 3. Publish what only a saved state may say. A crash before publishes it when the partition is claimed again.
    await afterCheckpoint(this.fold);
  }

  #isUsable(): boolean {
    return !this.#isHalfFolded && !this.#isClaimVoid;
  }

  #isCheckpointDue(): boolean {
    return this.#options.now() - this.#savedAt >= this.#options.checkpointEveryMs;
  }
}
