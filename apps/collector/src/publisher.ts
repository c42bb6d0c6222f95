import type { Bus, BusRecord } from '@tripline/bus';
import { actorKey, encodeApiCall, readApiCall, type ApiCall } from '@tripline/model';
import { add, Ledger, type Accounting, type DropReason } from './accounting.ts';
import { Delivery, type Spooling } from './delivery.ts';
import { RejectedSamples } from './rejected-samples.ts';
import { schedule as scheduleByClock, type Schedule } from './schedule.ts';
import type { Spool } from './spool.ts';

export interface PublisherOptions {
  bus: Bus;
  /** Where records wait while the bus takes none. Left out: they are dropped, or returned to their sender. */
  spool?: Spool;
  /** Memory that accepted lines may take while they wait, in bytes. From the half on they go to the spool. */
  maxInFlightBytes: number;
  onDrop: (reason: DropReason, lines: number, problem: string) => void;
  /** Records are in the spool, for the first time since it was empty. */
  onSpooling: (problem: string) => void;
  /** Every record that was spooled is on the bus. */
  onSpoolEmpty: (sinceMs: number) => void;
  now: () => number;
  /** Default: by the clock of the machine. */
  schedule?: Schedule;
}

const flushAfterMs = 10;
const flushAtRecords = 2_000;
const flushAtBytes = 4 * 2 ** 20;
/** What a record takes in memory besides its key and value. */
const recordOverheadBytes = 100;
/** How long a stop goes on emptying the spool, as long as that works. */
const drainMs = 10_000;

/**
 * Gathers API calls for a moment and publishes them together, by `Delivery`. Accounts for every line. Never throws, and
 * never makes its caller wait: Kong's timers would pile up behind a collector that reads slowly.
 */
export class Publisher {
  readonly #spool: Spool | undefined;
  readonly #ledger: Ledger;
  readonly #samples: RejectedSamples;
  readonly #delivery: Delivery;
  readonly #maxInFlightBytes: number;
  readonly #schedule: Schedule;
  #gathered: BusRecord[] = [];
  #gatheredBytes = 0;
  #cancelFlush: (() => void) | undefined;

  constructor(options: PublisherOptions) {
    const { bus, spool, maxInFlightBytes, now, schedule = scheduleByClock } = options;
    this.#spool = spool;
    this.#maxInFlightBytes = maxInFlightBytes;
    this.#schedule = schedule;
    this.#ledger = new Ledger({ spool, onDrop: options.onDrop, now });
    this.#samples = new RejectedSamples(bus, now);
    this.#delivery = new Delivery({
      bus,
      spool,
      ledger: this.#ledger,
      maxInFlightBytes,
      onTooLarge: (record, problem) =>
        this.#samples.keep('too-large', problem, () =>
          JSON.stringify(readApiCall(record.value)).slice(0, 2_000),
        ),
      onSpooling: options.onSpooling,
      onSpoolEmpty: options.onSpoolEmpty,
      now,
      schedule,
    });
  }

  get accounting(): Accounting {
    return this.#ledger.accounting;
  }

  /** Lines that went to the spool, by this process. */
  get spooledTotal(): number {
    return this.#delivery.recordsSpooled;
  }

  get spoolBytes(): number {
    return this.#spool?.bytes ?? 0;
  }

  /** Since when and why records go to the spool instead of the bus; undefined if they go to the bus. */
  get spooling(): Spooling | undefined {
    return this.#delivery.spooling;
  }

  /** What made it lose lines in the last seconds; undefined if it keeps them. */
  get losing(): string | undefined {
    return this.#ledger.losing;
  }

  /** Takes a call whose sender does not wait. */
  accept(call: ApiCall): void {
    const { accounting } = this;
    accounting.received++;
    if (accounting.inFlightBytes >= this.#maxInFlightBytes) {
      const problem = this.#tooMuchInMemory();
      this.#ledger.drop('bus-slow', 1, problem);
      this.#ledger.loss(problem);
      return;
    }
    const record = recordOf(call);
    const bytes = bytesOf(record);
    this.#ledger.hold(1, bytes);
    this.#gathered.push(record);
    this.#gatheredBytes += bytes;
    if (this.#gathered.length >= flushAtRecords || this.#gatheredBytes >= flushAtBytes) this.#flush();
    else this.#cancelFlush ??= this.#schedule(() => this.#flush(), flushAfterMs);
  }

  /**
   * Takes calls whose sender waits for an answer: resolves with true when all of them are on the bus or on disk, with
   * false when they could not be kept and must be sent again. Never rejects.
   */
  submit(calls: ApiCall[]): Promise<boolean> {
    const { accounting } = this;
    if (calls.length === 0) return Promise.resolve(true);
    accounting.received += calls.length;
    const records = calls.map(recordOf);
    const bytes = records.reduce((sum, record) => sum + bytesOf(record), 0);
    if (accounting.inFlightBytes + bytes > this.#maxInFlightBytes) {
      accounting.returned += calls.length;
      this.#ledger.loss(this.#tooMuchInMemory());
      return Promise.resolve(false);
    }
    this.#ledger.hold(records.length, bytes);
    return new Promise((answer) => this.#delivery.deliver({ records, bytes, answer }));
  }

  /** Counts a line that was refused. A sample of such lines is kept: `sample` is only called for those. */
  reject(reason: string, detail: string, sample: () => string): void {
    this.accounting.received++;
    add(this.accounting.rejected, reason, 1);
    this.#samples.keep(reason, detail, sample);
  }

  /** Counts a line that is no API call and no fault. */
  countStreamSession(): void {
    this.accounting.received++;
    this.accounting.streamSessions++;
  }

  /**
   * Resolves when every accepted line is on the bus, on disk or lost. The spool is emptied as far as the bus takes it
   * without delay; the rest stays for the next process. Closes the spool.
   */
  async stop(): Promise<void> {
    this.#flush();
    await this.#ledger.allSettled();
    await new Promise<void>((resolve) => {
      const cancel = this.#schedule(resolve, drainMs);
      const finished = (): void => {
        cancel();
        resolve();
      };
      Promise.all([this.#delivery.finish(), this.#samples.settled()]).then(finished, finished);
    });
    this.#delivery.close();
    await this.#spool?.close();
  }

  #flush(): void {
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
    const [records, bytes] = [this.#gathered, this.#gatheredBytes];
    if (records.length === 0) return;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#delivery.deliver({ records, bytes });
  }

  #tooMuchInMemory(): string {
    const { inFlight, inFlightBytes } = this.accounting;
    return `${inFlight} lines wait in memory with ${inFlightBytes} bytes; allowed: ${this.#maxInFlightBytes}`;
  }
}

/** Memory that a record takes. */
function bytesOf({ key, value }: BusRecord): number {
  return value.length + key.length + recordOverheadBytes;
}

function recordOf(call: ApiCall): BusRecord {
  return { key: actorKey(call), value: encodeApiCall(call) };
}
