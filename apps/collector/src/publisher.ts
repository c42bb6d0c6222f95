import { setTimeout as sleep } from 'node:timers/promises';
import {
  BusFullError,
  BusUnavailableError,
  jsonRecord,
  RecordTooLargeError,
  type Bus,
  type BusRecord,
} from '@tripline/bus';
import { actorKey, encodeApiCall, readApiCall, type ApiCall, type DeadLetter } from '@tripline/model';
import type { Spool, SpooledBatch } from './spool.ts';

/** Why an accepted line did not get onto the bus. */
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
 * What became of every line, exactly:
 * `received + restored = published + rejected + streamSessions + dropped + returned + spooled + inFlight`.
 */
export interface Accounting {
  /** Every line that was read, good or bad. */
  received: number;
  /** Records that an earlier process had left in the spool. */
  readonly restored: number;
  published: number;
  rejected: Map<string, number>;
  /** Lines of TCP and TLS sessions, which are no API calls. */
  streamSessions: number;
  dropped: Map<DropReason, number>;
  /** Could not be kept, and their sender was told so: it still has them and sends them again. */
  returned: number;
  /** On disk, not yet on the bus. */
  readonly spooled: number;
  /** Accepted, and not yet known to be on the bus or on disk. */
  inFlight: number;
  /** Memory that these take, in bytes. */
  inFlightBytes: number;
}

export interface PublisherOptions {
  bus: Bus;
  /** Where records wait while the bus takes none. Left out: they are dropped, or returned to who sent them. */
  spool?: Spool;
  /** Memory that accepted lines may take while they wait, in bytes. From the half on they go to the spool. */
  maxInFlightBytes: number;
  onDrop: (reason: DropReason, lines: number, problem: string) => void;
  /** Records go to the spool from now on, for the first time since it was empty. */
  onSpooling: (problem: string) => void;
  /** Everything spooled is on the bus. */
  onSpoolEmpty: (sinceMs: number) => void;
  now: () => number;
}

/** Records that were handed in together and have one fate. */
interface Batch {
  records: BusRecord[];
  /** Memory that the records take. */
  bytes: number;
  /** Whether the sender keeps them until it is told: what cannot be kept is then not lost but left to it. */
  returnable: boolean;
  /** Resolves with whether all of it, but for what no bus would take, is on the bus or on the disk. */
  kept: Promise<boolean>;
  settle: (kept: boolean) => void;
}

const flushAfterMs = 10;
const flushAtRecords = 2_000;
const flushAtBytes = 4 * 2 ** 20;
/** What a record takes in memory besides its key and value. */
const recordOverheadBytes = 100;
const deadLettersPerSecond = 10;
/** Samples that wait for the bus; beyond it further ones are left out. */
const maxDeadLettersInFlight = 100;
/** How long a batch waits for the bus in memory: less than the 10 s that Kong waits for an answer. */
const patienceMs = 5_000;
const retryMs = 200;
const retryMaxMs = 5_000;
/** How long a stop goes on emptying the spool, as long as that works. */
const drainMs = 10_000;
const lossIsNewsMs = 10_000;

/**
 * Gathers API calls for a moment and publishes them together. Never makes its caller wait: Kong's timers would pile up
 * behind a collector that reads slowly.
 *
 * While the bus does not answer, or is full, everything goes to the spool: first what was under way, in its order, then what comes, so
 * that the order stays. One loop publishes the oldest of it until that works and the spool is empty. What had reached the
 * bus although it did not answer is published a second time; ids make that harmless. What neither bus nor spool can take is
 * dropped, counted and told.
 */
export class Publisher {
  readonly accounting: Accounting;
  readonly #bus: Bus;
  readonly #spool: Spool | undefined;
  readonly #maxInFlightBytes: number;
  readonly #on: Pick<PublisherOptions, 'onDrop' | 'onSpooling' | 'onSpoolEmpty'>;
  readonly #now: () => number;
  #gathered: BusRecord[] = [];
  #gatheredBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  /** All that is not settled. */
  readonly #batches = new Set<Batch>();
  /** Those of them that the bus was given and has not answered, oldest first. */
  readonly #underWay = new Set<Batch>();
  readonly #letters = new Set<Promise<void>>();
  /** Set while records take the way over the spool. */
  #spooling: { since: number; problem: string; told: boolean } | undefined;
  #appends = 0;
  #spooledTotal = 0;
  #draining: Promise<void> | undefined;
  readonly #stop = new AbortController();
  #closed = false;
  #lastLoss: { at: number; problem: string } | undefined;
  #deadLetterSecond = 0;
  #deadLettersInSecond = 0;

  constructor(options: PublisherOptions) {
    const { spool } = options;
    this.#bus = options.bus;
    this.#spool = spool;
    this.#maxInFlightBytes = options.maxInFlightBytes;
    this.#on = options;
    this.#now = options.now;
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
    if (spool && spool.records > 0) {
      this.#spooling = { since: this.#now(), problem: 'an earlier process left records in it', told: true };
      this.#drain(spool);
    }
  }

  /** Lines that went to the spool, by this process. */
  get spooledTotal(): number {
    return this.#spooledTotal;
  }

  get spoolBytes(): number {
    return this.#spool?.bytes ?? 0;
  }

  /** Since when records take the way over the spool, and why; undefined if they go to the bus. */
  get spooling(): { since: number; problem: string } | undefined {
    return this.#spooling;
  }

  /** What made it lose lines in the last seconds; undefined if it keeps them. */
  get losing(): string | undefined {
    const loss = this.#lastLoss;
    return loss && this.#now() - loss.at < lossIsNewsMs ? loss.problem : undefined;
  }

  accept(call: ApiCall): void {
    this.accounting.received++;
    if (this.accounting.inFlightBytes >= this.#maxInFlightBytes) {
      const problem = this.#tooMuchInMemory();
      this.#drop('bus-slow', 1, problem);
      this.#lastLoss = { at: this.#now(), problem };
      return;
    }
    const record = recordOf(call);
    const bytes = bytesOf(record);
    this.accounting.inFlight++;
    this.accounting.inFlightBytes += bytes;
    this.#gathered.push(record);
    this.#gatheredBytes += bytes;
    if (this.#gathered.length >= flushAtRecords || this.#gatheredBytes >= flushAtBytes) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), flushAfterMs);
  }

  /**
   * Takes calls whose sender waits for an answer: resolves with true when all of them are on the bus or on the disk, with
   * false when they could not be kept and must be sent again. Never rejects.
   */
  submit(calls: ApiCall[]): Promise<boolean> {
    if (calls.length === 0) return Promise.resolve(true);
    this.accounting.received += calls.length;
    const records = calls.map(recordOf);
    const bytes = records.reduce((sum, record) => sum + bytesOf(record), 0);
    if (this.accounting.inFlightBytes + bytes > this.#maxInFlightBytes) {
      this.accounting.returned += calls.length;
      this.#lastLoss = { at: this.#now(), problem: this.#tooMuchInMemory() };
      return Promise.resolve(false);
    }
    this.accounting.inFlight += calls.length;
    this.accounting.inFlightBytes += bytes;
    return this.#send(records, bytes, true);
  }

  #tooMuchInMemory(): string {
    const { inFlight, inFlightBytes } = this.accounting;
    return `${inFlight} lines wait in memory with ${inFlightBytes} bytes; allowed: ${this.#maxInFlightBytes}`;
  }

  /**
   * Counts a line that was refused, and keeps a sample of such lines for inspection: `sample` is only called for those
   * that are kept.
   */
  reject(reason: string, detail: string, sample: () => string): void {
    this.accounting.received++;
    this.accounting.rejected.set(reason, (this.accounting.rejected.get(reason) ?? 0) + 1);
    this.#keepSample(reason, detail, sample);
  }

  /** Counts a line that is no API call and no fault. */
  countStreamSession(): void {
    this.accounting.received++;
    this.accounting.streamSessions++;
  }

  /**
   * Resolves when all that was taken has its fate: on the bus, on the disk or lost. The spool is emptied as far as the bus
   * takes it without delay; the rest stays for the next process. Closes the spool.
   */
  async stop(): Promise<void> {
    this.#flush();
    while (this.#batches.size > 0) await Promise.all([...this.#batches].map(({ kept }) => kept));
    this.#stop.abort();
    const enough = new AbortController();
    const late = sleep(drainMs, undefined, { signal: enough.signal }).catch(() => undefined);
    await Promise.race([Promise.all([this.#draining, Promise.all(this.#letters)]), late]);
    enough.abort();
    this.#closed = true;
    await this.#spool?.close();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const [records, bytes] = [this.#gathered, this.#gatheredBytes];
    if (records.length === 0) return;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    void this.#send(records, bytes, false);
  }

  /** `records` and their `bytes` are counted as in flight. */
  #send(records: BusRecord[], bytes: number, returnable: boolean): Promise<boolean> {
    let settle: Batch['settle'] = () => undefined;
    const kept = new Promise<boolean>((resolve) => (settle = resolve));
    const batch: Batch = { records, bytes, returnable, kept, settle };
    this.#batches.add(batch);
    if (this.#spooling) void this.#toSpool(batch);
    else {
      void this.#publish(batch);
      // While there is still room for what comes until the disk has taken these.
      if (this.#spool && this.accounting.inFlightBytes > this.#maxInFlightBytes / 2)
        this.#startSpooling(`${this.accounting.inFlight} lines wait for the bus`);
    }
    return kept;
  }

  async #publish(batch: Batch): Promise<void> {
    const { records } = batch;
    this.#underWay.add(batch);
    const patience = setTimeout(() => {
      if (this.#underWay.has(batch))
        this.#startSpooling(`the bus has not answered for ${patienceMs / 1_000} s`);
    }, patienceMs);
    try {
      const tooLarge = await this.#publishFitting(records);
      // Else it went to the spool meanwhile.
      if (!this.#underWay.delete(batch)) return;
      this.#settle(batch, true);
      this.accounting.published += records.length - tooLarge.length;
      this.#dropTooLarge(tooLarge);
    } catch (error) {
      if (!this.#underWay.has(batch)) return;
      const problem = (error as Error).message;
      if (error instanceof BusUnavailableError) this.#startSpooling(problem);
      else if (error instanceof BusFullError) this.#startSpooling(problem, 'bus-full');
      else {
        this.#underWay.delete(batch);
        this.#lose(batch, records.length, 'bus-error', problem);
        this.#settle(batch, false);
      }
    } finally {
      clearTimeout(patience);
    }
  }

  /** Publishes all but the records that the bus finds too large, and gives those back. */
  async #publishFitting(records: BusRecord[]): Promise<{ record: BusRecord; problem: string }[]> {
    const tooLarge: { record: BusRecord; problem: string }[] = [];
    let fitting = records;
    for (;;) {
      try {
        if (fitting.length > 0) await this.#bus.publish('api-calls', fitting);
        return tooLarge;
      } catch (error) {
        if (!(error instanceof RecordTooLargeError)) throw error;
        // The bus does not say which: if one is too large, the largest is.
        const record = fitting.reduce((a, b) => (b.value.length > a.value.length ? b : a));
        tooLarge.push({ record, problem: error.message });
        fitting = fitting.filter((one) => one !== record);
      }
    }
  }

  /** From now on everything goes to the spool, what is under way first. Without a spool that is lost, for `reason`. */
  #startSpooling(problem: string, reason: DropReason = 'bus-unavailable'): void {
    const waiting = [...this.#underWay];
    this.#underWay.clear();
    if (!this.#spool) {
      for (const batch of waiting) {
        this.#lose(batch, batch.records.length, reason, problem);
        this.#settle(batch, false);
      }
      return;
    }
    this.#spooling ??= { since: this.#now(), problem, told: false };
    for (const batch of waiting) void this.#toSpool(batch);
    this.#drain(this.#spool);
  }

  async #toSpool(batch: Batch): Promise<void> {
    const spool = this.#spool!;
    this.#appends++;
    const appended = await spool.append(batch.records);
    this.#appends--;
    const { taken } = appended;
    if (appended.reason) this.#lose(batch, batch.records.length - taken, appended.reason, appended.problem);
    this.#spooledTotal += taken;
    if (taken > 0) this.#tellSpooling();
    this.#settle(batch, appended.reason === undefined);
    this.#drain(spool);
  }

  #tellSpooling(): void {
    if (!this.#spooling || this.#spooling.told) return;
    this.#spooling.told = true;
    this.#on.onSpooling(this.#spooling.problem);
  }

  #drain(spool: Spool): void {
    this.#draining ??= this.#drainSpool(spool).finally(() => {
      this.#draining = undefined;
      // An append may have ended since the loop looked for the last time.
      const more = spool.records > 0 || this.#appends === 0;
      if (this.#spooling && more && !this.#stop.signal.aborted) this.#drain(spool);
    });
  }

  /** Publishes what is in the spool, oldest first, until it is empty; then records go to the bus again. */
  async #drainSpool(spool: Spool): Promise<void> {
    let waitMs = retryMs;
    while (spool.records > 0) {
      try {
        const batch = await spool.peek();
        if (batch) await this.#publishSpooled(spool, batch);
        waitMs = retryMs;
      } catch (error) {
        if (this.#spooling) this.#spooling.problem = (error as Error).message;
        if (this.#stop.signal.aborted) return;
        await sleep(waitMs, undefined, { signal: this.#stop.signal }).catch(() => undefined);
        waitMs = Math.min(waitMs * 2, retryMaxMs);
      }
      if (this.#closed) return;
    }
    // With nothing in it although records went there, the spool is of no use: the next records ask the bus.
    if (!this.#spooling || this.#appends > 0) return;
    const { since, told } = this.#spooling;
    this.#spooling = undefined;
    if (told) this.#on.onSpoolEmpty(this.#now() - since);
  }

  async #publishSpooled(spool: Spool, batch: SpooledBatch): Promise<void> {
    const tooLarge = await this.#publishFitting(batch.records);
    // A crash from here on until the position is on the disk repeats these records.
    if (this.#closed) return;
    const passed = spool.pass(batch);
    this.accounting.published += batch.records.length - tooLarge.length;
    this.#dropTooLarge(tooLarge);
    if (batch.damaged > 0)
      this.#drop('spool-damaged', batch.damaged, `records in the spool ${spool.dir} are damaged or gone`);
    await passed;
  }

  #settle(batch: Batch, kept: boolean): void {
    this.#batches.delete(batch);
    this.accounting.inFlight -= batch.records.length;
    this.accounting.inFlightBytes -= batch.bytes;
    batch.settle(kept);
    if (kept) this.#lastLoss = undefined;
  }

  #lose(batch: Batch, lines: number, reason: DropReason, problem: string): void {
    if (batch.returnable) this.accounting.returned += lines;
    else this.#drop(reason, lines, problem);
    this.#lastLoss = { at: this.#now(), problem };
  }

  #drop(reason: DropReason, lines: number, problem: string): void {
    this.accounting.dropped.set(reason, (this.accounting.dropped.get(reason) ?? 0) + lines);
    this.#on.onDrop(reason, lines, problem);
  }

  #dropTooLarge(tooLarge: { record: BusRecord; problem: string }[]): void {
    for (const { record, problem } of tooLarge) {
      this.#drop('too-large', 1, problem);
      this.#keepSample('too-large', problem, () => JSON.stringify(readApiCall(record.value)).slice(0, 2_000));
    }
  }

  #keepSample(reason: string, detail: string, sample: () => string): void {
    const receivedAt = this.#now();
    const second = Math.floor(receivedAt / 1_000);
    if (second !== this.#deadLetterSecond) {
      this.#deadLetterSecond = second;
      this.#deadLettersInSecond = 0;
    }
    if (++this.#deadLettersInSecond > deadLettersPerSecond) return;
    if (this.#letters.size >= maxDeadLettersInFlight) return;
    const letter: DeadLetter = { receivedAt, reason, detail, sample: sample() };
    // A sample that cannot be kept is no loss worth a word: the line is counted.
    const sent = this.#bus.publish('dead-letters', [jsonRecord(reason, letter)]).catch(() => undefined);
    this.#letters.add(sent);
    void sent.then(() => this.#letters.delete(sent));
  }
}

/** Memory that a record takes. */
function bytesOf({ key, value }: BusRecord): number {
  return value.length + key.length + recordOverheadBytes;
}

function recordOf(call: ApiCall): BusRecord {
  return { key: actorKey(call), value: encodeApiCall(call) };
}
