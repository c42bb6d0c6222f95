import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  BusFullError,
  BusUnavailableError,
  RecordTooLargeError,
  type Bus,
  type BusRecord,
} from '@tripline/bus';
import { readApiCall, type ApiCall } from '@tripline/model';
import type { Accounting } from './accounting.ts';
import { Publisher } from './publisher.ts';
import { Spool, type Appended, type SpooledBatch } from './spool.ts';

/**
 * Test support: what the bus does with a call of `publish`.
 * - `away`, `full`, `broken`: refuses it.
 * - `forgets`: takes it and does not answer in time; `halves`: takes the first half of it and then fails.
 * - `flaky`: takes every other call and is away for the rest.
 * - `silent`: lets it wait until the mode changes.
 */
export const busModes = ['works', 'away', 'full', 'broken', 'forgets', 'halves', 'flaky', 'silent'] as const;
export type BusMode = (typeof busModes)[number];

interface Call {
  records: BusRecord[];
  /** The publisher gave it to the bus before it began to spool. */
  direct: boolean;
  /** The publisher that waited for the answer has stopped. */
  abandoned: boolean;
  resolve: () => void;
  reject: (error: Error) => void;
}

/** Records longer than this are too large for the bus, in characters. */
export const maxValueChars = 1_500;

/** A bus that takes calls one after the other, in order, and fails in the way that the test sets. */
class FailingBus {
  mode: BusMode = 'works';
  /** Ids of API calls in the order in which the bus took them. */
  readonly taken: string[] = [];
  /** As far as the publisher knows that it took them. */
  readonly acknowledged: string[] = [];
  /** Ids that may be there twice: the bus took them, and the publisher could not know that it did. */
  readonly repeatable = new Set<string>();
  /** Keys whose order is not promised: a record too large made the bus refuse a call, and took later ones before its rest. */
  readonly unordered = new Set<string>();
  #calls: Call[] = [];
  #lastTaken: readonly string[] = [];
  #count = 0;

  /** What the publisher sees of it; `isSpooling` says whether the publisher spools. */
  handle(isSpooling: () => boolean): Bus {
    return {
      partitions: 1,
      publish: (topic, records) =>
        topic === 'api-calls'
          ? new Promise((resolve, reject) => {
              this.#calls.push({ records, direct: !isSpooling(), abandoned: false, resolve, reject });
              queueMicrotask(() => this.answer(isSpooling));
            })
          : Promise.resolve(),
      consume: () => {
        throw new Error('Nobody consumes here.');
      },
      lag: () => Promise.resolve([]),
      problem: () => null,
      close: () => Promise.resolve(),
    };
  }

  answer(isSpooling: () => boolean): void {
    while (this.mode !== 'silent') {
      const call = this.#calls.shift();
      if (!call) return;
      const { records, direct, abandoned, resolve, reject } = call;
      const mode = this.mode === 'flaky' ? (this.#count++ % 2 === 0 ? 'works' : 'away') : this.mode;
      if (mode === 'away') reject(new BusUnavailableError('The bus is away.'));
      else if (mode === 'full') reject(new BusFullError('The bus is full.'));
      else if (mode === 'broken') reject(new Error('The bus is broken.'));
      else if (records.some(({ value }) => value.length > maxValueChars)) {
        if (this.#calls.length > 0) for (const { key } of records) this.unordered.add(key);
        reject(new RecordTooLargeError(`A record is larger than ${maxValueChars}.`));
      } else {
        const ids = records
          .map(idOf)
          .slice(0, mode === 'halves' ? Math.floor(records.length / 2) : undefined);
        this.taken.push(...ids);
        this.#lastTaken = ids;
        const heard = mode === 'works' && !abandoned && !(direct && isSpooling());
        if (heard) this.acknowledged.push(...ids);
        else for (const id of ids) this.repeatable.add(id);
        if (mode === 'works') resolve();
        else reject(new BusUnavailableError('The bus did not answer.'));
      }
    }
  }

  /** The publisher has stopped: it heard no answer to the calls that wait. */
  abandon(): void {
    for (const call of this.#calls) call.abandoned = true;
  }

  /** The publisher's process is killed: nobody hears answers, and the position behind the last call may not be on disk. */
  lose(): void {
    this.#calls = [];
    for (const id of this.#lastTaken) this.repeatable.add(id);
  }
}

/** The real spool, on a disk that fails in the way that the test sets. */
class FailingSpool extends Spool {
  broken = false;
  readonly #work = new Set<Promise<unknown>>();

  /** Whether the disk is at work. */
  get busy(): boolean {
    return this.#work.size > 0;
  }

  /** Resolves when what is under way now has ended. */
  async underWay(): Promise<void> {
    await Promise.allSettled(this.#work);
  }

  override append(records: readonly BusRecord[]): Promise<Appended> {
    return this.broken
      ? Promise.resolve({ taken: 0, reason: 'spool-error', problem: 'The disk is broken.' })
      : this.#track(super.append(records));
  }

  override peek(): Promise<SpooledBatch | undefined> {
    return this.broken ? Promise.reject(new Error('The disk is broken.')) : this.#track(super.peek());
  }

  override commit(batch: SpooledBatch): Promise<void> {
    return this.#track(super.commit(batch));
  }

  override close(): Promise<void> {
    return this.#track(super.close());
  }

  /** Waits until the disk is not at work, and closes the files. */
  async quiet(): Promise<void> {
    await this.close();
    while (this.busy) await nextTurn();
  }

  #track<T>(work: Promise<T>): Promise<T> {
    this.#work.add(work);
    void work.finally(() => this.#work.delete(work));
    return work;
  }
}

/** Time that passes when the test says so. */
class TestClock {
  nowMs = 1_700_000_000_000;
  readonly #timers = new Set<{ at: number; work: () => void }>();

  readonly schedule = (work: () => void, afterMs: number): (() => void) => {
    const timer = { at: this.nowMs + afterMs, work };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  };

  /** Runs the timers that are due, one by one, and what follows from each. */
  async advance(ms: number): Promise<void> {
    const end = this.nowMs + ms;
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.delete(due);
      this.nowMs = Math.max(this.nowMs, due.at);
      due.work();
      await nextTurn();
    }
    this.nowMs = end;
  }
}

/** A collector's publisher through several lives of its process, with all that happened to its lines. */
export class PublisherUnderTest {
  readonly bus = new FailingBus();
  /** Ids of the calls that were acknowledged to a waiting sender. */
  readonly answeredKept: string[] = [];
  /** Lines that somebody counts on: received, and neither dropped, returned nor in memory at a kill. */
  #owed = 0;
  #sent = 0;
  #clock = new TestClock();
  #spool!: FailingSpool;
  #publisher!: Publisher;
  /** Whether the log says that it spools. */
  #saidSpooling = false;
  readonly #faults: string[] = [];
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  async start(): Promise<void> {
    this.#clock = new TestClock();
    this.#spool = new FailingSpool({ dir: this.#dir, maxBytes: 12_000 });
    await this.#spool.load();
    this.#saidSpooling = this.#spool.records > 0;
    const life: { publisher?: Publisher } = {};
    this.#publisher = life.publisher = new Publisher({
      bus: this.bus.handle(() => life.publisher?.spooling !== undefined),
      spool: this.#spool,
      maxInFlightBytes: 20_000,
      onDrop: (_reason, lines) => {
        if (lines < 1) this.#faults.push(`${lines} lines were reported as dropped`);
      },
      onSpooling: () => this.#says(true),
      onSpoolEmpty: () => this.#says(false),
      now: () => this.#clock.nowMs,
      schedule: this.#clock.schedule,
    });
  }

  accept(lines: number, pad: number): void {
    for (let i = 0; i < lines; i++) this.#publisher.accept(this.#call('tcp', pad));
  }

  submit(lines: number, pad: number): void {
    const calls = Array.from({ length: lines }, () => this.#call('http', pad));
    this.#publisher.submit(calls).then(
      (kept) => {
        if (kept && pad < maxValueChars) this.answeredKept.push(...calls.map(({ id }) => id));
      },
      (error: unknown) => this.#faults.push(`submit rejected: ${String(error)}`),
    );
  }

  async setBus(mode: BusMode): Promise<void> {
    this.bus.mode = mode;
    this.bus.answer(() => this.#publisher.spooling !== undefined);
    await nextTurn();
  }

  breakDisk(broken: boolean): void {
    this.#spool.broken = broken;
  }

  /** Lets time pass, and the disk do what it has begun. */
  async advance(ms: number): Promise<void> {
    await this.#clock.advance(ms);
    await this.#spool.underWay();
    await nextTurn();
  }

  /** Stops as on SIGTERM, and starts again on the same disk. */
  async restart(): Promise<void> {
    let stopped = false;
    const stopping = this.#publisher.stop().then(() => (stopped = true));
    // A silent bus is waited for 5 s, and the spool is emptied for 10 s.
    await this.#passTime(() => stopped);
    await stopping;
    this.bus.abandon();
    await this.#spool.quiet();
    const { accounting } = this.#publisher;
    if (accounting.inFlight !== 0)
      this.#faults.push(`${accounting.inFlight} lines are in flight after a stop`);
    await this.#nextLife();
  }

  /** Loses what is in memory, and starts again on the same disk. */
  async kill(): Promise<void> {
    this.bus.lose();
    const mode = this.bus.mode;
    this.bus.mode = 'silent';
    await this.#spool.quiet();
    this.bus.lose();
    await this.#nextLife();
    this.bus.mode = mode;
  }

  /** With a bus and a disk that work, everything gets onto the bus. */
  async recover(): Promise<void> {
    this.breakDisk(false);
    await this.setBus('works');
    await this.#passTime(() => {
      const { inFlight, spooled } = this.#publisher.accounting;
      return inFlight === 0 && spooled === 0 && this.#publisher.spooling === undefined;
    });
  }

  get accounting(): Accounting {
    return this.#publisher.accounting;
  }

  /** What is wrong with the promises that hold at every moment. */
  faults(): string[] {
    const { received, restored, published, rejected, streamSessions, dropped, returned, spooled, inFlight } =
      this.accounting;
    const places = published + sum(rejected) + streamSessions + sum(dropped) + returned + spooled + inFlight;
    const faults = [...this.#faults];
    if (received + restored !== places)
      faults.push(`${received} + ${restored} lines are in ${places} places`);
    if (inFlight < 0 || this.accounting.inFlightBytes < 0) faults.push('less than nothing is in flight');
    if ((inFlight === 0) !== (this.accounting.inFlightBytes === 0))
      faults.push('lines in flight have no bytes');
    return faults;
  }

  /** What is wrong with what the bus has, when everything is there. */
  faultsOnBus(): string[] {
    const { taken, acknowledged, repeatable, unordered } = this.bus;
    const faults: string[] = [];
    const there = new Set(taken);
    if (there.size < this.#owedNow())
      faults.push(`${this.#owedNow()} lines are owed, ${there.size} are on the bus`);
    for (const id of this.answeredKept)
      if (!there.has(id)) faults.push(`${id} was kept and is not on the bus`);
    const seen = new Set<string>();
    for (const id of taken) {
      if (seen.has(id) && !repeatable.has(id)) faults.push(`${id} is on the bus twice for no reason`);
      seen.add(id);
    }
    // By their last appearance: a kill repeats what was published last, in its order.
    const lastKnown = new Map(acknowledged.map((id, at) => [id, at]));
    const newest = new Map<string, number>();
    for (const [id] of [...lastKnown].sort((a, b) => a[1] - b[1])) {
      const [key = '', number] = id.split('/');
      if (unordered.has(key)) continue;
      if (Number(number) < (newest.get(key) ?? 0))
        faults.push(`${id} is behind ${newest.get(key)} of its key`);
      newest.set(key, Number(number));
    }
    return faults;
  }

  /** Lets time pass while the disk is not at work. */
  async #passTime(until: () => boolean): Promise<void> {
    for (let passedMs = 0; !until();) {
      if (passedMs > 600_000) throw new Error(`It does not end: ${JSON.stringify(this.accounting)}`);
      if (!this.#spool.busy) {
        await this.#clock.advance(100);
        passedMs += 100;
      }
      await nextTurn();
    }
  }

  #owedNow(): number {
    const { received, dropped, returned, inFlight } = this.accounting;
    return this.#owed + received - sum(dropped) - returned - inFlight;
  }

  async #nextLife(): Promise<void> {
    this.#owed = this.#owedNow();
    const { spooled } = this.accounting;
    await this.start();
    // More if the position behind the last published ones was not on the disk.
    if (this.accounting.restored < spooled)
      this.#faults.push(`${this.accounting.restored} of ${spooled} were restored`);
  }

  #says(spooling: boolean): void {
    if (this.#saidSpooling === spooling) this.#faults.push(`it says twice that it spools: ${spooling}`);
    this.#saidSpooling = spooling;
  }

  /** Lines of a sender that waits and of one that does not have keys of their own: their order is not promised. */
  #call(sender: 'tcp' | 'http', pad: number): ApiCall {
    const number = this.#sent++;
    const actorId = `${sender}${number % 3}`;
    return {
      id: `consumer:${actorId}/${number}`,
      startedAt: number,
      actorKind: 'consumer',
      actorId,
      actorName: 'x'.repeat(pad + 1),
      method: 'GET',
      path: '/',
      endpoint: 'GET /',
      status: 200,
      source: 'upstream',
      requestBytes: 1,
      responseBytes: 1,
      latencyMs: 1,
    };
  }
}

function idOf({ value }: BusRecord): string {
  return (readApiCall(value) as ApiCall).id;
}

function sum(counts: Map<string, number>): number {
  return [...counts.values()].reduce((all, one) => all + one, 0);
}
