import { mkdirSync } from 'node:fs';
import { open, type Database, type RootDatabase } from 'lmdb';
import { topics, type Topic } from '@tripline/model';
import {
  BeginAgainError,
  BusDamagedError,
  BusFullError,
  type Bus,
  type BusBatch,
  type BusRecord,
  type ConsumeOptions,
  type Subscription,
} from './bus.ts';
import { partitionOf } from './partition.ts';

export interface EmbeddedBusOptions {
  /** Directory of the log; made if absent. One process at a time. */
  path: string;
  /** Fixed when the log is made; a different number later is refused. Default 1: one process gains nothing from more. */
  partitions?: number;
  /** Upper bound of what is kept, in bytes of records. What every group has passed goes first; then `publish` refuses. */
  maxBytes?: number;
  /** How much of what every group has passed is kept anyway, in bytes: what readers may go back to. */
  keepBytes?: number;
  /** Groups that were not heard of for so long (ms) no longer hold records back. */
  forgetGroupMs?: number;
  /** Wall clock in ms. */
  now?: () => number;
}

/** Position of a group on a partition, with the wall-clock time it was written. */
interface Position {
  offset: number;
  at: number;
}

interface Partition {
  topic: Topic;
  number: number;
  /** Offset of the next record to be published. */
  end: number;
  /** Offset of the oldest record kept. */
  start: number;
  bytes: number;
}

interface Waiting {
  topic: Topic;
  records: BusRecord[];
  resolve: () => void;
  reject: (error: unknown) => void;
}

const headerBytes = 4;

/**
 * The bus as an append-only log in LMDB. All records that one commit takes to a partition are one entry: its key is the
 * offset of the first record, its value the number of records (4 bytes) and the records as NDJSON. So a line costs a
 * copy, not a tree insertion, on both sides.
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
  readonly #parts = new Map<string, Partition>();
  readonly #groups = new Map<string, Position>();
  readonly #maxBytes: number;
  readonly #keepBytes: number;
  readonly #forgetGroupMs: number;
  readonly #now: () => number;
  readonly #wakers = new Set<() => void>();
  readonly #subscriptions = new Set<Subscription>();
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;
  #closed = false;

  constructor(options: EmbeddedBusOptions) {
    this.#maxBytes = options.maxBytes ?? 4 * 2 ** 30;
    this.#keepBytes = options.keepBytes ?? 256 * 2 ** 20;
    this.#forgetGroupMs = options.forgetGroupMs ?? 7 * 86_400_000;
    this.#now = options.now ?? Date.now;
    mkdirSync(options.path, { recursive: true });
    this.#root = open<Buffer, number[]>({ path: options.path, encoding: 'binary', maxDbs: 4 });
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
      part.end = key[2] + value.readUInt32LE(0);
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
        await this.#commit(taken);
        for (const one of taken) one.resolve();
        for (const wake of this.#wakers) wake();
      } catch (error) {
        for (const one of taken) one.reject(error);
      }
    }
    // In the same turn as the last look at `#waiting`: a publish from now on starts a new writer.
    this.#writing = undefined;
  }

  async #commit(taken: Waiting[]): Promise<void> {
    const blocks = new Map<Partition, string[]>();
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
    const entries = [...blocks].map(([part, values]) => ({
      part,
      count: values.length,
      value: encodeBlock(values),
    }));
    const added = entries.reduce((sum, entry) => sum + entry.value.length, 0);
    this.#makeRoom(added);
    const puts = entries.map(({ part, value }) =>
      this.#blocks.put([part.topic, part.number, part.end], value),
    );
    try {
      // Puts of one event turn are one LMDB transaction: all of them or none.
      await Promise.all(puts);
    } catch (error) {
      throw fullOr(error);
    }
    for (const { part, count, value } of entries) {
      part.end += count;
      part.bytes += value.length;
    }
  }

  /** Removes what every group has passed, oldest first; refuses if that is not enough. */
  #makeRoom(bytesAdded: number): void {
    let total = bytesAdded;
    for (const part of this.#parts.values()) total += part.bytes;
    if (total > this.#keepBytes) {
      for (const part of this.#parts.values()) {
        if (total <= this.#keepBytes) break;
        total -= this.#trim(part, total - this.#keepBytes);
      }
    }
    if (total > this.#maxBytes) {
      throw new BusFullError(
        `The bus holds ${total - bytesAdded} bytes that some reader has not passed, and may hold ${this.#maxBytes}: ` +
          'a role that reads it (processor, archiver, responder, a webhook) is down or too slow.',
      );
    }
  }

  #trim(part: Partition, bytesWanted: number): number {
    const passed = this.#passedByAll(part);
    let freed = 0;
    const range = { start: [part.topic, part.number, 0], end: [part.topic, part.number, Infinity] } as const;
    for (const { key, value } of this.#blocks.getRange(range as never)) {
      const next = key[2] + value.readUInt32LE(0);
      if (next > passed || freed >= bytesWanted) break;
      void this.#blocks.remove(key);
      freed += value.length;
      part.start = next;
    }
    part.bytes -= freed;
    return freed;
  }

  #passedByAll(part: Partition): number {
    let passed = part.end;
    const horizon = this.#now() - this.#forgetGroupMs;
    for (const [key, position] of this.#groups) {
      const [topic, , number] = splitGroupKey(key);
      if (topic === part.topic && number === part.number && position.at >= horizon) {
        passed = Math.min(passed, position.offset);
      }
    }
    return passed;
  }

  #savePosition(topic: Topic, group: string, partition: number, offset: number): Promise<boolean> {
    const position = { offset, at: this.#now() };
    this.#groups.set(`${topic}/${group}/${partition}`, position);
    return this.#positions.put([topic, group, partition], position);
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
        try {
          await options.onBatch(batch);
        } catch (error) {
          if (!(error instanceof BeginAgainError)) throw error;
          again.add(number);
        }
        if (again.has(number)) continue;
        offset = batch.nextOffset;
        if (!options.startAt) await this.#savePosition(options.topic, options.group, number, offset);
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
    // Whoever awaits `stopped` sees the failure; nobody has to.
    stopped.catch(() => undefined);
    const subscription: Subscription = {
      stopped,
      passed: (partition, offset) => {
        void this.#savePosition(options.topic, options.group, partition, offset);
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
    if (wanted !== undefined && wanted !== offset) options.onLost?.(part.number, wanted, offset);
    // From now on this group holds records back, also before its first batch.
    await this.#savePosition(options.topic, options.group, part.number, offset);
    return offset;
  }

  #read(part: Partition, offset: number, maxBatchBytes: number): BusBatch | undefined {
    if (offset >= part.end) return undefined;
    const bodies: Buffer[] = [];
    let bytes = 0;
    let next = offset;
    for (const { key, value } of this.#blocks.getRange({
      start: [part.topic, part.number, this.#blockOf(part, offset)],
      end: [part.topic, part.number, Infinity],
    })) {
      // Records of a commit still under way are not announced yet.
      if (key[2] >= part.end) break;
      if (bytes > 0 && bytes + value.length > maxBatchBytes) break;
      let body = value.subarray(headerBytes);
      if (key[2] < offset) body = skipLines(body, offset - key[2]);
      bodies.push(body);
      bytes += body.length;
      next = key[2] + value.readUInt32LE(0);
    }
    if (bodies.length === 0)
      throw new Error(`The log of ${part.topic}/${part.number} has a hole at ${offset}.`);
    return {
      topic: part.topic,
      partition: part.number,
      firstOffset: offset,
      nextOffset: next,
      count: next - offset,
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

  lag(): Promise<{ topic: Topic; group: string; records: number }[]> {
    const found = new Map<string, { topic: Topic; group: string; records: number }>();
    for (const [key, position] of this.#groups) {
      const [topic, group, number] = splitGroupKey(key);
      const part = this.#parts.get(`${topic}/${number}`);
      if (!part) continue;
      const row = found.get(`${topic}/${group}`) ?? { topic: part.topic, group, records: 0 };
      row.records += Math.max(0, part.end - Math.max(position.offset, part.start));
      found.set(`${topic}/${group}`, row);
    }
    return Promise.resolve([...found.values()]);
  }

  problem(): null {
    return null;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.stop()));
    await this.#writing;
    await this.#root.flushed;
    await this.#root.close();
  }
}

function encodeBlock(values: readonly string[]): Buffer {
  const text = values.join('\n');
  const bytes = Buffer.byteLength(text);
  const block = Buffer.allocUnsafe(headerBytes + bytes + 1);
  block.writeUInt32LE(values.length, 0);
  block.write(text, headerBytes, bytes, 'utf8');
  block[headerBytes + bytes] = 10;
  return block;
}

function skipLines(body: Buffer, lines: number): Buffer {
  let at = 0;
  for (let skipped = 0; skipped < lines; skipped++) at = body.indexOf(10, at) + 1;
  return body.subarray(at);
}

/** `topic/group/partition`; the group may itself hold slashes. */
function splitGroupKey(key: string): [string, string, number] {
  const first = key.indexOf('/');
  const last = key.lastIndexOf('/');
  return [key.slice(0, first), key.slice(first + 1, last), Number(key.slice(last + 1))];
}

/** Out of space is the one failure that a publisher handles differently. */
function fullOr(error: unknown): unknown {
  const text = String((error as Error | undefined)?.message ?? error);
  const cause = (error as { commitError?: { message?: string; code?: number } } | undefined)?.commitError;
  return /no space|ENOSPC|MAP_FULL|map full|file too large/i.test(`${text} ${cause?.message ?? ''}`)
    ? new BusFullError(`The disk of the bus is full: ${cause?.message ?? text}`, { cause: error })
    : error;
}
