import type { BusRecord } from '@tripline/bus';

/** Why an accepted line was lost. */
export type DropReason =
  | 'bus-full'
  | 'bus-slow'
  | 'bus-unavailable'
  | 'bus-error'
  | 'too-large'
  | 'spool-full'
  | 'spool-error'
  | 'spool-damaged';

/**
 * Where every line is; at every moment
 * `received + restored = published + rejected + streamSessions + dropped + returned + spooled + inFlight`.
 */
export interface Accounting {
  /** Every line that was read, good or bad. */
  received: number;
  /** Records that an earlier process had left in the spool. */
  readonly restored: number;
  published: number;
  /** By reason. */
  rejected: Map<string, number>;
  /** Lines of TCP and TLS sessions, which are no API calls. */
  streamSessions: number;
  dropped: Map<DropReason, number>;
  /** Lines that could not be kept and whose sender was asked to send them again. */
  returned: number;
  /** On disk, not yet on the bus. */
  readonly spooled: number;
  /** Accepted, and not yet known to be on the bus or on disk. */
  inFlight: number;
  /** Memory of the lines in flight, in bytes. */
  inFlightBytes: number;
}

/** Records that were handed in together and have one fate. */
export interface Batch {
  records: BusRecord[];
  /** Memory that the records take, in bytes. */
  bytes: number;
  /**
   * For a sender that waits: called with true once every record is on the bus or on disk (oversized records do not
   * count), else with false. Such a sender still has the lines, so those that cannot be kept are returned, not dropped.
   */
  answer?: (kept: boolean) => void;
}

export interface LedgerOptions {
  /** Where the numbers of restored and of spooled records come from. */
  spool: { readonly restored: number; readonly records: number } | undefined;
  onDrop: (reason: DropReason, lines: number, problem: string) => void;
  now: () => number;
}

/** How long after a loss the collector says that it is losing lines. */
const lossIsRecentMs = 10_000;

/** Keeps the accounting: each line moves from `inFlight` to exactly one other place. */
export class Ledger {
  readonly accounting: Accounting;
  readonly #onDrop: LedgerOptions['onDrop'];
  readonly #now: () => number;
  #unsettledBatches = 0;
  #onAllSettled: (() => void) | undefined;
  #lastLoss: { at: number; problem: string } | undefined;

  constructor({ spool, onDrop, now }: LedgerOptions) {
    this.#onDrop = onDrop;
    this.#now = now;
    this.accounting = {
      received: 0,
      get restored() {
        return spool?.restored ?? 0;
      },
      published: 0,
      rejected: new Map(),
      streamSessions: 0,
      dropped: new Map(),
      returned: 0,
      get spooled() {
        return spool?.records ?? 0;
      },
      inFlight: 0,
      inFlightBytes: 0,
    };
  }

  /** What made it lose lines in the last seconds; undefined if it keeps them. */
  get losing(): string | undefined {
    const loss = this.#lastLoss;
    return loss && this.#now() - loss.at < lossIsRecentMs ? loss.problem : undefined;
  }

  hold(lines: number, bytes: number): void {
    this.accounting.inFlight += lines;
    this.accounting.inFlightBytes += bytes;
  }

  /** A batch of lines in flight is on its way; `settle` ends that. */
  open(): void {
    this.#unsettledBatches++;
  }

  /** The batch has its fate: `kept` says whether every record is on the bus or on disk. Answers its sender. */
  settle(batch: Batch, kept: boolean): void {
    this.accounting.inFlight -= batch.records.length;
    this.accounting.inFlightBytes -= batch.bytes;
    if (kept) this.#lastLoss = undefined;
    batch.answer?.(kept);
    if (--this.#unsettledBatches > 0) return;
    this.#onAllSettled?.();
    this.#onAllSettled = undefined;
  }

  /** Resolves when no batch is on its way. */
  async allSettled(): Promise<void> {
    while (this.#unsettledBatches > 0) await new Promise<void>((resolve) => (this.#onAllSettled = resolve));
  }

  /** So many lines of the batch could not be kept. */
  lose(batch: Batch, lines: number, reason: DropReason, problem: string): void {
    if (batch.answer) this.accounting.returned += lines;
    else this.drop(reason, lines, problem);
    this.loss(problem);
  }

  /** Counts lines that nobody sends again, and reports them. */
  drop(reason: DropReason, lines: number, problem: string): void {
    add(this.accounting.dropped, reason, lines);
    this.#onDrop(reason, lines, problem);
  }

  /** Lines are being lost, see `losing`. */
  loss(problem: string): void {
    this.#lastLoss = { at: this.#now(), problem };
  }
}

/** Adds to a count that may not be there yet. */
export function add<Key>(counts: Map<Key, number>, key: Key, count: number): void {
  counts.set(key, (counts.get(key) ?? 0) + count);
}
