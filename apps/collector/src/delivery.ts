import {
  BusFullError,
  BusUnavailableError,
  RecordTooLargeError,
  type Bus,
  type BusRecord,
} from '@tripline/bus';
import type { Batch, DropReason, Ledger } from './accounting.ts';
import { transitions, type DeliveryEvent, type DeliveryState } from './delivery-states.ts';
import type { Schedule } from './schedule.ts';
import type { Spool, SpooledBatch } from './spool.ts';

export interface DeliveryOptions {
  bus: Bus;
  /** Where records wait while the bus takes none. Left out: they are dropped, or returned to their sender. */
  spool?: Spool | undefined;
  ledger: Ledger;
  /** Batches under way may take half of it, in bytes; beyond that they go to the spool. */
  maxInFlightBytes: number;
  onTooLarge: (record: BusRecord, problem: string) => void;
  /** Records are in the spool, for the first time since it was empty. */
  onSpooling: (problem: string) => void;
  /** Every record that was spooled is on the bus. */
  onSpoolEmpty: (sinceMs: number) => void;
  now: () => number;
  schedule: Schedule;
}

/** How long a batch waits for the bus in memory: less than the 10 s that Kong waits for an answer. */
const patienceMs = 5_000;
const retryMs = 200;
const retryMaxMs = 5_000;

/** A time in which records go to the spool. */
export interface Spooling {
  /** Wall clock of its beginning, in ms. */
  since: number;
  /** Why the bus does not take records. */
  problem: string;
}

/**
 * Brings batches to the bus, or while the bus takes none to the spool, and from there to the bus; delivery-states.ts says
 * when. Batches that were under way when the bus failed go to the spool first, in their order, so that the order stays.
 * What had reached the bus although it did not answer is published a second time; ids make that harmless. What neither
 * bus nor spool takes is lost, counted and reported.
 */
export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #ledger: Ledger;
  #state: DeliveryState = 'direct';
  /** Batches that the bus was given and has not answered, oldest first. Empty outside of `direct`. */
  readonly #underWay = new Set<Batch>();
  /** Set outside of `direct`. */
  #spooling: (Spooling & { reported: boolean }) | undefined;
  #recordsSpooled = 0;
  #appends = 0;
  /** Resolves when the appends under way have ended. */
  #appended: Promise<void> = Promise.resolve();
  /** The loop that empties the spool; undefined in `direct`. */
  #emptying: Promise<void> | undefined;
  #stopping = false;
  #closed = false;
  #endWait: (() => void) | undefined;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    this.#ledger = options.ledger;
    const { spool } = options;
    if (spool && spool.records > 0) this.#enterSpooling(spool, 'an earlier process left records in it', true);
  }

  /** Records that went to the spool, by this process. */
  get recordsSpooled(): number {
    return this.#recordsSpooled;
  }

  /** When and why records went to the spool instead of the bus; undefined if they go to the bus. */
  get spooling(): Spooling | undefined {
    return this.#spooling;
  }

  /** Takes a batch whose lines are in flight, and settles it in the ledger. Never throws. */
  deliver(batch: Batch): void {
    this.#ledger.open();
    const { spool, maxInFlightBytes } = this.#options;
    if (spool && this.#state !== 'direct') {
      this.#append(spool, batch);
      return;
    }
    void this.#publish(batch);
    // While there is still room for what comes until the disk has taken these.
    const { inFlight, inFlightBytes } = this.#ledger.accounting;
    if (spool && inFlightBytes > maxInFlightBytes / 2) this.#busFailed(`${inFlight} lines wait for the bus`);
  }

  /** Empties the spool as far as the bus takes it without a failure. Every batch must have been settled. */
  async finish(): Promise<void> {
    this.#stopping = true;
    this.#endWait?.();
    await this.#emptying;
  }

  /** Touches neither bus nor spool any more. */
  close(): void {
    this.#closed = true;
  }

  async #publish(batch: Batch): Promise<void> {
    const { records } = batch;
    this.#underWay.add(batch);
    const cancel = this.#options.schedule(() => {
      if (this.#underWay.has(batch)) this.#busFailed(`the bus has not answered for ${patienceMs / 1_000} s`);
    }, patienceMs);
    try {
      const tooLarge = await this.#publishFitting(records, () => this.#underWay.has(batch));
      // Else it went to the spool meanwhile.
      if (!this.#underWay.delete(batch)) return;
      this.#on('bus-accepted');
      this.#ledger.settle(batch, true);
      this.#countPublished(records, tooLarge);
    } catch (error) {
      if (!this.#underWay.has(batch)) return;
      const problem = (error as Error).message;
      if (error instanceof BusUnavailableError) this.#busFailed(problem);
      else if (error instanceof BusFullError) this.#busFailed(problem, 'bus-full');
      else {
        this.#underWay.delete(batch);
        this.#ledger.lose(batch, records.length, 'bus-error', problem);
        this.#ledger.settle(batch, false);
      }
    } finally {
      cancel();
    }
  }

  /** From now on records go to the spool, those under way first. Without a spool those are lost, for `reason`. */
  #busFailed(problem: string, reason: DropReason = 'bus-unavailable'): void {
    const { spool } = this.#options;
    const waiting = [...this.#underWay];
    this.#underWay.clear();
    if (!spool) {
      for (const batch of waiting) {
        this.#ledger.lose(batch, batch.records.length, reason, problem);
        this.#ledger.settle(batch, false);
      }
      return;
    }
    this.#enterSpooling(spool, problem, false, waiting);
  }

  /** `reported`: whether it was said already that records are in the spool. */
  #enterSpooling(spool: Spool, problem: string, reported: boolean, batches: readonly Batch[] = []): void {
    this.#on('bus-failed');
    this.#spooling = { since: this.#options.now(), problem, reported };
    for (const batch of batches) this.#append(spool, batch);
    this.#emptying = this.#empty(spool);
  }

  #append(spool: Spool, batch: Batch): void {
    this.#appends++;
    const before = this.#appended;
    this.#appended = this.#appendNow(spool, batch).then(() => before);
  }

  async #appendNow(spool: Spool, batch: Batch): Promise<void> {
    const appended = await spool.append(batch.records);
    this.#appends--;
    const { taken } = appended;
    if (appended.reason)
      this.#ledger.lose(batch, batch.records.length - taken, appended.reason, appended.problem);
    this.#recordsSpooled += taken;
    if (taken > 0) this.#reportSpooling();
    this.#ledger.settle(batch, appended.reason === undefined);
  }

  #reportSpooling(): void {
    if (!this.#spooling || this.#spooling.reported) return;
    this.#spooling.reported = true;
    this.#options.onSpooling(this.#spooling.problem);
  }

  /** Publishes what is in the spool, oldest first, until it is empty; then records go to the bus again. */
  async #empty(spool: Spool): Promise<void> {
    let waitMs = retryMs;
    while (spool.records > 0 || this.#appends > 0) {
      if (spool.records === 0) {
        await this.#appended;
        continue;
      }
      try {
        const batch = await spool.peek();
        if (batch) await this.#publishSpooled(spool, batch);
        waitMs = retryMs;
      } catch (error) {
        this.#on('bus-failed');
        if (this.#spooling) this.#spooling.problem = (error as Error).message;
        if (this.#stopping) return;
        await this.#wait(waitMs);
        waitMs = Math.min(waitMs * 2, retryMaxMs);
      }
      if (this.#closed) return;
    }
    // Also when nothing was in the spool, as it could not be written: the next records try the bus.
    this.#on('spool-emptied');
    const spooling = this.#spooling;
    this.#spooling = undefined;
    this.#emptying = undefined;
    if (spooling?.reported) this.#options.onSpoolEmpty(this.#options.now() - spooling.since);
  }

  async #publishSpooled(spool: Spool, batch: SpooledBatch): Promise<void> {
    const tooLarge = await this.#publishFitting(batch.records, () => !this.#closed);
    // A crash from here on until the position is on the disk repeats these records.
    if (this.#closed) return;
    const committed = spool.commit(batch);
    this.#on('bus-accepted');
    this.#countPublished(batch.records, tooLarge);
    if (batch.damaged > 0)
      this.#ledger.drop(
        'spool-damaged',
        batch.damaged,
        `records in the spool ${spool.dir} are damaged or gone`,
      );
    await committed;
  }

  /** Publishes all but the records that the bus finds too large, and returns those; as long as it is `wanted`. */
  async #publishFitting(records: BusRecord[], wanted: () => boolean): Promise<TooLarge[]> {
    const tooLarge: TooLarge[] = [];
    let fitting = records;
    for (;;) {
      try {
        if (fitting.length > 0) await this.#options.bus.publish('api-calls', fitting);
        return tooLarge;
      } catch (error) {
        if (!(error instanceof RecordTooLargeError) || !wanted()) throw error;
        // The bus does not say which: if one is too large, the largest is.
        const record = fitting.reduce((a, b) => (b.value.length > a.value.length ? b : a));
        tooLarge.push({ record, problem: error.message });
        fitting = fitting.filter((one) => one !== record);
      }
    }
  }

  #countPublished(records: readonly BusRecord[], tooLarge: readonly TooLarge[]): void {
    this.#ledger.accounting.published += records.length - tooLarge.length;
    for (const { record, problem } of tooLarge) {
      this.#ledger.drop('too-large', 1, problem);
      this.#options.onTooLarge(record, problem);
    }
  }

  #on(event: DeliveryEvent): void {
    this.#state = transitions[this.#state][event];
  }

  /** Ends early at `finish`. */
  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        cancel();
        resolve();
      };
      const cancel = this.#options.schedule(end, ms);
      this.#endWait = end;
    });
  }
}

interface TooLarge {
  record: BusRecord;
  problem: string;
}
