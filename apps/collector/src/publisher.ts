import { BusFullError, type Bus, type BusRecord } from '@tripline/bus';
import { actorKey, type ApiCall, type DeadLetter } from '@tripline/model';

/** Why an accepted line did not get onto the bus. */
export type DropReason = 'bus-full' | 'bus-slow' | 'bus-error';

export interface Accounting {
  /** Every line that was read, good or bad. */
  received: number;
  published: number;
  rejected: Map<string, number>;
  dropped: Map<DropReason, number>;
  /** Accepted, and not yet known to be on the bus. `received` is always the sum of this and the others. */
  inFlight: number;
}

const flushAfterMs = 10;
const flushAtRecords = 2_000;
const deadLettersPerSecond = 10;

/**
 * Gathers API calls for a moment and publishes them together. Never makes its caller wait: Kong's timers would pile up
 * behind a collector that reads slowly. What the bus cannot take is dropped, counted and told.
 */
export class Publisher {
  readonly accounting: Accounting = {
    received: 0,
    published: 0,
    rejected: new Map(),
    dropped: new Map(),
    inFlight: 0,
  };
  readonly #bus: Bus;
  readonly #maxInFlightRecords: number;
  readonly #onDrop: (reason: DropReason, lines: number, problem: string) => void;
  readonly #now: () => number;
  #gathered: BusRecord[] = [];
  #timer: NodeJS.Timeout | undefined;
  readonly #underWay = new Set<Promise<void>>();
  #deadLetterSecond = 0;
  #deadLettersInSecond = 0;

  constructor(options: {
    bus: Bus;
    /** How many accepted lines may wait for the bus in memory; about 1 kB each. */
    maxInFlightRecords: number;
    onDrop: (reason: DropReason, lines: number, problem: string) => void;
    now: () => number;
  }) {
    this.#bus = options.bus;
    this.#maxInFlightRecords = options.maxInFlightRecords;
    this.#onDrop = options.onDrop;
    this.#now = options.now;
  }

  accept(call: ApiCall): void {
    this.accounting.received++;
    if (this.accounting.inFlight >= this.#maxInFlightRecords) {
      this.#drop('bus-slow', 1, `more than ${this.#maxInFlightRecords} lines wait for the bus`);
      return;
    }
    this.accounting.inFlight++;
    this.#gathered.push({ key: actorKey(call), value: JSON.stringify(call) });
    if (this.#gathered.length >= flushAtRecords) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), flushAfterMs);
  }

  /**
   * Counts a line that was refused, and keeps a sample of such lines for inspection: `sample` is only called for those
   * that are kept.
   */
  reject(reason: string, detail: string, sample: () => string): void {
    this.accounting.received++;
    this.accounting.rejected.set(reason, (this.accounting.rejected.get(reason) ?? 0) + 1);
    const receivedAt = this.#now();
    const second = Math.floor(receivedAt / 1_000);
    if (second !== this.#deadLetterSecond) {
      this.#deadLetterSecond = second;
      this.#deadLettersInSecond = 0;
    }
    if (++this.#deadLettersInSecond > deadLettersPerSecond) return;
    const letter: DeadLetter = { receivedAt, reason, detail, sample: sample() };
    // A sample that cannot be kept is no loss worth a word: the line is counted above.
    this.#track(
      this.#bus
        .publish('dead-letters', [{ key: reason, value: JSON.stringify(letter) }])
        .catch(() => undefined),
    );
  }

  /** Resolves when nothing is under way any more. */
  async drain(): Promise<void> {
    this.#flush();
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const records = this.#gathered;
    if (records.length === 0) return;
    this.#gathered = [];
    const done = this.#bus.publish('api-calls', records).then(
      () => {
        this.accounting.inFlight -= records.length;
        this.accounting.published += records.length;
      },
      (error: unknown) => {
        this.accounting.inFlight -= records.length;
        this.#drop(
          error instanceof BusFullError ? 'bus-full' : 'bus-error',
          records.length,
          (error as Error).message,
        );
      },
    );
    this.#track(done);
  }

  #track(work: Promise<void>): void {
    this.#underWay.add(work);
    void work.finally(() => this.#underWay.delete(work));
  }

  #drop(reason: DropReason, lines: number, problem: string): void {
    this.accounting.dropped.set(reason, (this.accounting.dropped.get(reason) ?? 0) + lines);
    this.#onDrop(reason, lines, problem);
  }
}
