import { mkdirSync } from 'node:fs';
import { open, type Database, type RootDatabase } from 'lmdb';
import { topics, type Topic } from '@tripline/model';
import { CommitFailedError, Commits, type CommitsOptions } from '@tripline/runtime';
import {
  BeginAgainError,
  BusDamagedError,
  BusFullError,
  BusUnavailableError,
  type Bus,
  type BusBatch,
  type BusRecord,
  type ConsumeOptions,
  type Lag,
  type Subscription,
} from './bus.ts';
import { partitionOf } from './partition.ts';
import { bodyOfBlock, blockBytes, countOf, encodeBlock } from './embedded-blocks.ts';
import { skipRecords } from './records.ts';

export interface EmbeddedBusOptions {
  /** Directory of the log; made if absent. One process at a time. */
  path: string;
  /** Fixed when the log is made; a different number later is refused. Default 1: one process gains nothing from more. */
  partitions?: number;
  /** Upper bound of what is kept, in bytes of records; each topic has its share of it, see `topicShares`. Default 4 GiB. */
  maxBytes?: number;
  /**
   * How much of what every group has passed is kept anyway, in bytes: what readers may go back to. Each topic has its share
   * of it. Default 256 MiB.
   */
  keepBytes?: number;
  /** Groups that were not heard of for so long (ms) no longer hold records back. */
  forgetGroupMs?: number;
  /** Wall clock in ms. */
  now?: () => number;
  /** Told when the disk takes no records, and when it takes them again. */
  onLog?: CommitsOptions['onLog'];
}

/** Position of a group on a partition, with the wall-clock time it was written. */
interface Position {
  offset: number;
  at: number;
  /** See `ConsumeOptions`. */
  mayLose?: boolean;
}

/**
 * The part of `maxBytes` that each topic may hold, so that none of them takes the room of another. A topic at its limit lets
 * its oldest records go, a sixteenth of the limit at a time, as far as only readers with `mayLose` still want them; else `publish`
 * refuses records of this topic, and of no other.
 */
export const topicShares: Readonly<Record<Topic, number>> = {
  'api-calls': 0.75,
  aggregates: 0.1,
  alerts: 0.06,
  responses: 0.06,
  'dead-letters': 0.03,
};
const chunkShare = 1 / 16;

interface Partition {
  topic: Topic;
  number: number;
  /** Offset of the next record to be published. */
  end: number;
  /** Offset of the oldest record kept. */
  start: number;
  bytes: number;
}

/** Blocks at the beginning of a partition that are to go. */
interface Removal {
  part: Partition;
  keys: [string, number, number][];
  bytes: number;
  /** Offset of the oldest record that stays. */
  start: number;
}

interface Waiting {
  topic: Topic;
  records: BusRecord[];
  resolve: () => void;
  reject: (error: unknown) => void;
}

/**
 * The bus as an append-only log in LMDB. All records that one commit takes to a partition are one block: its key is the
 * offset of the first record, its value a header and the records. So a record costs a copy, not a tree insertion, on
 * both sides.
 *
 * `publish` resolves after LMDB's commit: the data is then in the operating system's hands and survives a kill of the
 * process; LMDB flushes it to the disk right after, so that a power failure can cost the last moments.
 */
export function createEmbeddedBus(options: EmbeddedBusOptions): Bus {
  return new EmbeddedBus(options);
}

class EmbeddedBus implements Bus {
  readonly partitions: number;
  readonly #root: RootDatabase<Buffer, number[]>;
  readonly #blocks: Database<Buffer, [string, number, number]>;
  readonly #positions: Database<Position, [string, string, number]>;
  readonly #commits: Commits;
  readonly #parts = new Map<string, Partition>();
  readonly #groups = new Map<string, Position>();
  /** Those of them that are not on the disk. */
  readonly #unsaved = new Map<string, Position>();
  /** `topic/group` to how many records the group has lost to the topic's limit. */
  readonly #lost = new Map<string, number>();
  readonly #maxBytes: number;
  readonly #keepBytes: number;
  readonly #forgetGroupMs: number;
  readonly #now: () => number;
  readonly #wakers = new Set<() => void>();
  readonly #subscriptions = new Set<Subscription>();
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;
  /** Blocks are being removed: they may be gone from the disk before `Partition.start` says so. */
  #removing = false;
  #closed = false;

  constructor(options: EmbeddedBusOptions) {
    this.#maxBytes = options.maxBytes ?? 4 * 2 ** 30;
    this.#keepBytes = options.keepBytes ?? 256 * 2 ** 20;
    this.#forgetGroupMs = options.forgetGroupMs ?? 7 * 86_400_000;
    this.#now = options.now ?? Date.now;
    const { path } = options;
    mkdirSync(path, { recursive: true });
    this.#root = open<Buffer, number[]>({ path, encoding: 'binary', maxDbs: 4, eventTurnBatching: false });
    this.#commits = new Commits({
      lmdb: this.#root,
      path,
      what: 'the bus',
      ...(options.onLog ? { onLog: options.onLog } : {}),
    });
    this.#blocks = this.#root.openDB({ name: 'blocks', encoding: 'binary' });
    this.#positions = this.#root.openDB({ name: 'positions', encoding: 'json' });
    this.partitions = this.#settlePartitions(options.partitions);
    this.#readLog();
  }

  #settlePartitions(wanted: number | undefined): number {
    const made = this.#positions.get(['', 'partitions', 0])?.offset;
    if (made !== undefined && wanted !== undefined && made !== wanted) {
      throw new Error(
        `The bus was made with ${made} partitions and cannot be opened with ${wanted}: ` +
          `keep ${made}, or start with an empty data directory.`,
      );
    }
    const partitions = made ?? wanted ?? 1;
    if (made === undefined)
      this.#positions.putSync(['', 'partitions', 0], { offset: partitions, at: this.#now() });
    return partitions;
  }

  /** Rebuilds ends, sizes and positions from what is on disk. Throws `BusDamagedError` if that makes no log. */
  #readLog(): void {
    for (const topic of topics) {
      for (let number = 0; number < this.partitions; number++) {
        this.#parts.set(`${topic}/${number}`, { topic, number, end: 0, start: 0, bytes: 0 });
      }
    }
    let previous: Partition | undefined;
    for (const { key, value } of this.#blocks.getRange({})) {
      const part = this.#parts.get(`${key[0]}/${key[1]}`);
      if (!part) continue;
      if (part !== previous) part.start = key[2];
      else if (part.end !== key[2])
        throw new BusDamagedError(`the records of ${key[0]}/${key[1]} before ${key[2]} end at ${part.end}`);
      previous = part;
      part.end = key[2] + countOf(value);
      part.bytes += value.length;
    }
    for (const { key, value } of this.#positions.getRange({})) {
      if (key[0] === '') continue;
      this.#groups.set(key.join('/'), value);
      // A log that was emptied by retention still goes on counting where its readers are.
      const part = this.#parts.get(`${key[0]}/${key[2]}`);
      if (part && part.end < value.offset && part.bytes === 0) part.start = part.end = value.offset;
    }
  }

  #part(topic: Topic, number: number): Partition {
    const part = this.#parts.get(`${topic}/${number}`);
    if (!part) throw new Error(`No partition ${number} of ${topic}: there are ${this.partitions}.`);
    return part;
  }

  publish(topic: Topic, records: BusRecord[]): Promise<void> {
    if (this.#closed) return Promise.reject(new Error('The bus is closed.'));
    if (records.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ topic, records, resolve, reject });
      this.#writing ??= this.#write();
    });
  }

  /** One writer; each commit takes everything that has come meanwhile. */
  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const taken = this.#waiting;
      this.#waiting = [];
      try {
        const fitting = await this.#makeRoom(taken);
        await this.#append(fitting);
        for (const one of fitting) one.resolve();
        for (const wake of this.#wakers) wake();
      } catch (error) {
        // Those that were refused before keep that answer.
        for (const one of taken) one.reject(asBusError(error));
      }
    }
    // In the same turn as the last look at `#waiting`: a publish from now on starts a new writer.
    this.#writing = undefined;
  }

  /** One transaction: all of it is there afterwards, or nothing. */
  async #append(taken: readonly Waiting[]): Promise<void> {
    const blocks = new Map<Partition, Buffer[]>();
    for (const { topic, records } of taken) {
      for (const { key, value, partition } of records) {
        const part = this.#part(
          topic,
          partition ?? (this.partitions === 1 ? 0 : partitionOf(key, this.partitions)),
        );
        const values = blocks.get(part);
        if (values) values.push(value);
        else blocks.set(part, [value]);
      }
    }
    if (blocks.size === 0) return;
    const entries = [...blocks].map(([part, values]) => ({
      part,
      count: values.length,
      value: encodeBlock(values),
    }));
    await this.#commit(
      () => {
        for (const { part, value } of entries)
          void this.#blocks.put([part.topic, part.number, part.end], value);
      },
      entries.reduce((sum, { value }) => sum + value.length, 0),
    );
    for (const { part, count, value } of entries) {
      part.end += count;
      part.bytes += value.length;
    }
  }

  /** Commits what `work` writes, about so many bytes, and with it the positions that are not saved yet. */
  async #commit(work: () => void, bytes = 0): Promise<void> {
    const positions = [...this.#unsaved];
    await this.#commits.run(() => {
      work();
      // What these return is no answer of their own: that is the transaction's.
      for (const [key, position] of positions) void this.#positions.put(splitGroupKey(key), position);
    }, bytes);
    for (const [key, position] of positions)
      if (this.#unsaved.get(key) === position) this.#unsaved.delete(key);
  }

  /**
   * Lets go of what need not be kept, topic by topic. Refuses the publishers of topics that hold too much even so, and returns
   * the others.
   */
  async #makeRoom(taken: readonly Waiting[]): Promise<Waiting[]> {
    const added = new Map<Topic, number>();
    for (const { topic, records } of taken) {
      const bytes = blockBytes(records.map(({ value }) => value));
      added.set(topic, (added.get(topic) ?? 0) + bytes);
    }
    const removals: Removal[] = [];
    const refused = new Map<Topic, BusFullError>();
    for (const [topic, bytes] of added) {
      const room = this.#roomIn(topic, bytes);
      removals.push(...room.removals);
      if (room.problem) refused.set(topic, room.problem);
    }
    for (const one of taken) {
      const problem = refused.get(one.topic);
      if (problem) one.reject(problem);
    }
    await this.#remove(removals);
    return taken.filter(({ topic }) => !refused.has(topic));
  }

  /** What must go before a topic can take so many bytes more; with the reason if even that is not enough. */
  #roomIn(topic: Topic, bytesAdded: number): { removals: Removal[]; problem?: BusFullError } {
    const share = topicShares[topic];
    const maxBytes = Math.floor(this.#maxBytes * share);
    const keepBytes = Math.floor(this.#keepBytes * share);
    const parts = [...this.#parts.values()].filter((part) => part.topic === topic);
    const total = parts.reduce((sum, part) => sum + part.bytes, bytesAdded);
    const left = (): number => removals.reduce((sum, { bytes }) => sum - bytes, total);
    let removals: Removal[] = [];
    // A little too much stays for a while, so that not every commit has something to remove.
    if (total > keepBytes * (1 + chunkShare)) removals = this.#oldest(parts, total - keepBytes, () => true);
    if (left() > maxBytes)
      removals = this.#oldest(parts, total - maxBytes * (1 - chunkShare), ({ mayLose }) => mayLose !== true);
    // What alone is larger than the limit would else never be taken.
    if (left() <= maxBytes || left() === bytesAdded) return { removals };
    const problem = new BusFullError(
      `${topic} is full: it may hold ${maxBytes} bytes (${share * 100} % of bus.maxBytes) that not every reader has ` +
        'dealt with. A role that reads it is down or too slow: see the lag in tripline doctor',
    );
    return { removals, problem };
  }

  /** The oldest blocks, up to so many bytes of them, that no group holds back for which `holds` is true. */
  #oldest(parts: readonly Partition[], bytes: number, holds: (position: Position) => boolean): Removal[] {
    const removals: Removal[] = [];
    let wanted = bytes;
    for (const part of parts) {
      const passed = this.#passedBy(part, holds);
      const removal: Removal = { part, keys: [], bytes: 0, start: part.start };
      const range = {
        start: [part.topic, part.number, 0],
        end: [part.topic, part.number, Infinity],
      } as const;
      for (const { key, value } of this.#blocks.getRange(range as never)) {
        const next = key[2] + countOf(value);
        if (next > passed || wanted <= 0) break;
        removal.keys.push(key);
        removal.bytes += value.length;
        removal.start = next;
        wanted -= value.length;
      }
      if (removal.keys.length > 0) removals.push(removal);
    }
    return removals;
  }

  /** A transaction of its own: LMDB can use the pages that it frees for the next ones. */
  async #remove(removals: readonly Removal[]): Promise<void> {
    if (removals.length === 0) return;
    this.#removing = true;
    try {
      await this.#commit(() => {
        for (const { keys } of removals) for (const key of keys) void this.#blocks.remove(key);
      });
      for (const { part, bytes, start } of removals) {
        part.bytes -= bytes;
        part.start = start;
      }
    } finally {
      this.#removing = false;
    }
  }

  /** Up to where the groups have passed that hold records back. */
  #passedBy(part: Partition, holds: (position: Position) => boolean): number {
    let passed = part.end;
    const horizon = this.#now() - this.#forgetGroupMs;
    for (const [key, position] of this.#groups) {
      const [topic, , number] = splitGroupKey(key);
      if (topic === part.topic && number === part.number && position.at >= horizon && holds(position))
        passed = Math.min(passed, position.offset);
    }
    return passed;
  }

  /** Never rejects: a position that the disk does not take goes there with the next commit that succeeds. */
  async #savePosition(options: ConsumeOptions, partition: number, offset: number): Promise<void> {
    const mayLose = options.mayLose === true ? { mayLose: true } : {};
    const position: Position = { offset, at: this.#now(), ...mayLose };
    const key = `${options.topic}/${options.group}/${partition}`;
    this.#groups.set(key, position);
    this.#unsaved.set(key, position);
    await this.#commit(() => undefined).catch(() => undefined);
  }

  consume(options: ConsumeOptions): Subscription {
    let stopping = false;
    let wake: () => void = () => undefined;
    const wakeUp = (): void => wake();
    this.#wakers.add(wakeUp);

    /** Partitions that are to be begun again. */
    const again = new Set<number>();
    const run = async (number: number): Promise<void> => {
      const part = this.#part(options.topic, number);
      let offset = await this.#beginAt(options, part);
      while (!stopping) {
        if (again.delete(number)) {
          options.onRevoked?.(number);
          offset = await this.#beginAt(options, part);
        }
        const batch = this.#read(part, offset, options.maxBatchBytes ?? 4 * 2 ** 20);
        if (!batch) {
          await idle();
          continue;
        }
        if (batch.firstOffset > offset) this.#tellLoss(options, number, offset, batch.firstOffset);
        try {
          await options.onBatch(batch);
        } catch (error) {
          if (!(error instanceof BeginAgainError)) throw error;
          again.add(number);
        }
        if (again.has(number)) continue;
        offset = batch.nextOffset;
        if (!options.startAt) await this.#savePosition(options, number, offset);
      }
    };
    const sleepers = new Set<() => void>();
    const idle = (): Promise<void> =>
      new Promise((resolve) => {
        if (stopping) resolve();
        else sleepers.add(resolve);
      });
    wake = () => {
      for (const resolve of sleepers) resolve();
      sleepers.clear();
    };

    const loops = Array.from({ length: this.partitions }, (_, number) =>
      run(number).catch((error: unknown) => {
        stopping = true;
        wake();
        throw error;
      }),
    );
    const stopped = Promise.allSettled(loops).then((results) => {
      this.#wakers.delete(wakeUp);
      this.#subscriptions.delete(subscription);
      const failed = results.find((result) => result.status === 'rejected');
      if (failed) throw failed.reason;
    });
    // A failure is reported to callers that await `stopped`. Without one it must not count as an unhandled rejection.
    stopped.catch(() => undefined);
    const subscription: Subscription = {
      stopped,
      passed: (partition, offset) => {
        void this.#savePosition(options, partition, offset);
      },
      beginAgain: (partition) => {
        again.add(partition);
        wake();
      },
      stop: async () => {
        stopping = true;
        wake();
        await Promise.allSettled(loops);
      },
    };
    this.#subscriptions.add(subscription);
    return subscription;
  }

  async #beginAt(options: ConsumeOptions, part: Partition): Promise<number> {
    const own = options.startAt && (await options.startAt(part.number));
    const wanted = own ?? this.#groups.get(`${options.topic}/${options.group}/${part.number}`)?.offset;
    const offset = Math.min(
      Math.max(wanted ?? (options.from === 'newest' ? part.end : part.start), part.start),
      part.end,
    );
    if (wanted !== undefined && wanted !== offset) this.#tellLoss(options, part.number, wanted, offset);
    // From now on this group holds records back, also before its first batch.
    await this.#savePosition(options, part.number, offset);
    return offset;
  }

  #tellLoss(options: ConsumeOptions, partition: number, from: number, to: number): void {
    const { topic, group } = options;
    const key = `${topic}/${group}`;
    this.#lost.set(key, (this.#lost.get(key) ?? 0) + Math.max(0, to - from));
    options.onLost?.(partition, from, to);
  }

  /** What there is from `offset` on; begins later if the records there were let go. Undefined if there is nothing yet. */
  #read(part: Partition, offset: number, maxBatchBytes: number): BusBatch | undefined {
    if (offset >= part.end) return undefined;
    const bodies: Buffer[] = [];
    let bytes = 0;
    let first = Math.max(offset, part.start);
    let next = first;
    for (const { key, value } of this.#blocks.getRange({
      start: [part.topic, part.number, this.#blockOf(part, first)],
      end: [part.topic, part.number, Infinity],
    })) {
      // Records of a commit still under way are not announced yet.
      if (key[2] >= part.end) break;
      if (bytes > 0 && bytes + value.length > maxBatchBytes) break;
      let body = bodyOfBlock(value);
      if (key[2] < first) body = skipRecords(body, first - key[2]);
      else if (bodies.length === 0) first = key[2];
      bodies.push(body);
      bytes += body.length;
      next = key[2] + countOf(value);
    }
    if (bodies.length === 0) {
      // All of it is on its way out, and what is being published is announced when it is there.
      if (this.#removing || first >= part.end) return undefined;
      throw new Error(`The log of ${part.topic}/${part.number} has a hole at ${first}.`);
    }
    return {
      topic: part.topic,
      partition: part.number,
      firstOffset: first,
      nextOffset: next,
      count: next - first,
      // A copy: the memory of what was read is LMDB's.
      body: Buffer.concat(bodies),
    };
  }

  /** Key of the block that holds a record: a reader may begin in the middle of one. */
  #blockOf(part: Partition, offset: number): number {
    const range = {
      start: [part.topic, part.number, offset],
      end: [part.topic, part.number, -1],
      reverse: true,
      limit: 1,
    };
    for (const key of this.#blocks.getKeys(range)) return key[2];
    return offset;
  }

  lag(): Promise<Lag[]> {
    const found = new Map<string, Lag>();
    for (const [key, position] of this.#groups) {
      const [topic, group, number] = splitGroupKey(key);
      const part = this.#parts.get(`${topic}/${number}`);
      if (!part) continue;
      const row = found.get(`${topic}/${group}`) ?? { topic: part.topic, group, records: 0 };
      const lost = this.#lost.get(`${topic}/${group}`);
      if (lost !== undefined) row.lost = lost;
      row.records += Math.max(0, part.end - Math.max(position.offset, part.start));
      found.set(`${topic}/${group}`, row);
    }
    return Promise.resolve([...found.values()]);
  }

  problem(): string | null {
    return this.#commits.problem();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.stop()));
    await this.#writing;
    if (this.#unsaved.size > 0) await this.#commit(() => undefined).catch(() => undefined);
    await this.#commits.close();
  }
}

/** `topic/group/partition`; the group may itself hold slashes. */
function splitGroupKey(key: string): [string, string, number] {
  const first = key.indexOf('/');
  const last = key.lastIndexOf('/');
  return [key.slice(0, first), key.slice(first + 1, last), Number(key.slice(last + 1))];
}

/** What a publisher can act on. */
function asBusError(error: unknown): unknown {
  if (!(error instanceof CommitFailedError)) return error;
  return error.diskFull
    ? new BusFullError(error.message, { cause: error })
    : new BusUnavailableError(error.message, { cause: error });
}
