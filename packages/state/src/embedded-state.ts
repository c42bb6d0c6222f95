import { mkdirSync } from 'node:fs';
import { open, type Database, type RootDatabase } from 'lmdb';
import { Commits, type CommitsOptions } from '@tripline/runtime';
import {
  FencedError,
  offsetOf,
  type PartitionState,
  type StateChanges,
  type StateStore,
} from './state-store.ts';

export interface EmbeddedStateOptions {
  /** Directory of the store, created if absent. One process at a time may use it. */
  path: string;
  /** A key that was not written for so long (ms) is removed. Without it keys stay for ever. */
  idleExpiryMs?: number;
  /** Wall clock in ms. */
  now?: () => number;
  /** Called when the disk takes no checkpoints, and when it takes them again. */
  onLog?: CommitsOptions['onLog'];
}

interface Entry {
  writtenAtSeconds: number;
  value: Buffer;
}

/** First byte of an entry; behind it the second in which it was written (32 bits, little-endian), then the value. */
const entryFormat = 1;
const entryHeadBytes = 5;

/** Entries that a checkpoint checks for idleness: the sweep goes on from one checkpoint to the next and never stops the loop. */
const sweepPerCheckpoint = 200;

/** State in LMDB. A checkpoint is one transaction and survives a kill of the process once it resolved. */
export function createEmbeddedState(options: EmbeddedStateOptions): StateStore {
  return new EmbeddedState(options);
}

class EmbeddedState implements StateStore {
  readonly #root: RootDatabase<number, string>;
  readonly #entries: Database<Buffer, [number, string]>;
  readonly #offsets: Database<number, number>;
  readonly #commits: Commits;
  readonly #idleExpiryMs: number | undefined;
  readonly #now: () => number;
  readonly #claims = new Map<number, symbol>();
  /** By partition, its latest checkpoint. */
  readonly #writing = new Map<number, Promise<void>>();
  /** In memory, as one process at a time uses the store. */
  readonly #leases = new Map<string, { holder: string; until: number }>();
  #sweptTo: [number, string] = [0, ''];

  constructor(options: EmbeddedStateOptions) {
    const { path } = options;
    mkdirSync(path, { recursive: true });
    this.#root = open<number, string>({ path, encoding: 'json', maxDbs: 4, eventTurnBatching: false });
    this.#commits = new Commits({
      lmdb: this.#root,
      path,
      what: 'the state',
      ...(options.onLog ? { onLog: options.onLog } : {}),
    });
    this.#entries = this.#root.openDB({ name: 'entries', encoding: 'binary' });
    this.#offsets = this.#root.openDB({ name: 'offsets', encoding: 'json' });
    this.#idleExpiryMs = options.idleExpiryMs;
    this.#now = options.now ?? Date.now;
  }

  async claim(partition: number): Promise<PartitionState> {
    const claim = Symbol();
    this.#claims.set(partition, claim);
    // A checkpoint of the former owner that had begun is part of what the new one finds, position and states alike.
    await this.#writing.get(partition)?.catch(() => undefined);
    return {
      partition,
      offset: this.#offset(partition),
      load: (keys) => Promise.resolve(this.#load(partition, keys)),
      loadAll: () => Promise.resolve(this.#loadAll(partition)),
      checkpoint: async (changes, offset) => {
        // One process at a time uses the store, so the latest claim need not be on the disk.
        if (this.#claims.get(partition) !== claim)
          throw new FencedError(`Partition ${partition} was claimed again since.`);
        const writing = this.#checkpoint(partition, changes, offset);
        this.#writing.set(partition, writing);
        await writing;
      },
    };
  }

  lease(name: string, holder: string, ttlMs: number): Promise<{ held: boolean; holder: string }> {
    const now = this.#now();
    const lease = this.#leases.get(name);
    if (lease && lease.holder !== holder && lease.until > now)
      return Promise.resolve({ held: false, holder: lease.holder });
    this.#leases.set(name, { holder, until: now + ttlMs });
    return Promise.resolve({ held: true, holder });
  }

  release(name: string, holder: string): Promise<void> {
    if (this.#leases.get(name)?.holder === holder) this.#leases.delete(name);
    return Promise.resolve();
  }

  problem(): string | null {
    return this.#commits.problem();
  }

  #load(partition: number, keys: readonly string[]): Map<string, Buffer> {
    const found = new Map<string, Buffer>();
    for (const key of keys) {
      const entry = this.#entry([partition, key]);
      if (entry) found.set(key, entry.value);
    }
    return found;
  }

  #offset(partition: number): number | undefined {
    try {
      return offsetOf(this.#offsets.get(partition));
    } catch {
      return undefined;
    }
  }

  #entry(key: [number, string]): Entry | undefined {
    const bytes = this.#entries.getBinary(key);
    return bytes && decodeEntry(bytes);
  }

  #loadAll(partition: number): Map<string, Buffer> {
    const found = new Map<string, Buffer>();
    // Keys sort by partition first; strings of any length lie between '' and the next partition.
    for (const key of this.#entries.getKeys({ start: [partition, ''], end: [partition + 1, ''] })) {
      const entry = this.#entry(key);
      if (entry) found.set(key[1], entry.value);
    }
    return found;
  }

  /** Writes changes and position in one transaction: all of it is there afterwards, or nothing. */
  async #checkpoint(partition: number, changes: StateChanges, offset: number): Promise<void> {
    const seconds = Math.floor(this.#now() / 1000);
    const { idle, sweptTo } = this.#findIdle(seconds, partition, changes);
    // The promises of single writes are ignored: the transaction resolves or rejects for all of them.
    let bytes = 0;
    for (const [key, value] of changes) bytes += key.length + (value?.length ?? 0);
    await this.#commits.run(() => {
      for (const [key, value] of changes) {
        if (value === null) void this.#entries.remove([partition, key]);
        else void this.#entries.put([partition, key], encodeEntry(seconds, value));
      }
      for (const key of idle) void this.#entries.remove(key);
      void this.#offsets.put(partition, offset);
    }, bytes);
    this.#sweptTo = sweptTo;
  }

  /** Idle keys among the next `sweepPerCheckpoint`, and the key from which the next checkpoint goes on. */
  #findIdle(
    seconds: number,
    partition: number,
    changes: StateChanges,
  ): { idle: [number, string][]; sweptTo: [number, string] } {
    const idle: [number, string][] = [];
    if (this.#idleExpiryMs === undefined) return { idle, sweptTo: this.#sweptTo };
    let sweptTo = this.#sweptTo;
    let checked = 0;
    for (const key of this.#entries.getKeys({ start: this.#sweptTo, limit: sweepPerCheckpoint })) {
      checked++;
      sweptTo = key;
      const fresh = key[0] === partition && changes.has(key[1]);
      const writtenAt = this.#entry(key)?.writtenAtSeconds ?? seconds;
      if (!fresh && (seconds - writtenAt) * 1000 > this.#idleExpiryMs) idle.push(key);
    }
    return { idle, sweptTo: checked < sweepPerCheckpoint ? [0, ''] : sweptTo };
  }

  size(): Promise<{ keys: number; bytes: number }> {
    let keys = 0;
    let bytes = 0;
    for (const key of this.#entries.getKeys({})) {
      keys++;
      bytes += this.#entry(key)?.value.length ?? 0;
    }
    return Promise.resolve({ keys, bytes });
  }

  close(): Promise<void> {
    return this.#commits.close();
  }
}

function encodeEntry(writtenAtSeconds: number, value: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(entryHeadBytes + value.length);
  bytes[0] = entryFormat;
  bytes.writeUInt32LE(writtenAtSeconds, 1);
  value.copy(bytes, entryHeadBytes);
  return bytes;
}

/** Bytes of another format are given whole, as a value of long ago, which its role does not recognise. */
function decodeEntry(bytes: Buffer): Entry {
  if (bytes[0] !== entryFormat || bytes.length < entryHeadBytes) return { writtenAtSeconds: 0, value: bytes };
  return { writtenAtSeconds: bytes.readUInt32LE(1), value: bytes.subarray(entryHeadBytes) };
}
