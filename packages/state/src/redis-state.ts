import { RedisConnection, scriptOf, type Argument, type RedisConnectionOptions } from './redis-connection.ts';
import {
  FencedError,
  offsetOf,
  StateLostError,
  type PartitionState,
  type StateChanges,
  type StateStore,
} from './state-store.ts';

export interface RedisStateOptions extends RedisConnectionOptions {
  /** Role whose state it is, such as `processor`. `keyPrefix` and this keep the stores of one Redis apart. */
  name: string;
  /** Begin of every key; without braces. */
  keyPrefix: string;
  /** A key that was not written for so long (ms) is removed. Without it keys stay for ever. */
  idleExpiryMs?: number;
}

/**
 * State in Redis (7.0 or later) or in a Redis Cluster. Connects with the first call, and again for ever; while Redis does
 * not answer, calls reject within about 5 s with an error that says why. `size` is an estimate where there are many keys.
 *
 * Keys of partition 7 of the store `processor` begin with `{tripline:processor:7}`, so that they share a hash slot and one
 * script can change them together:
 * - `…owner`: a hash of `epoch` (who may write: the claim that came last), `sequence` (of its last checkpoint) and `offset`;
 * - `….KEY`: one string per state, with expiry, if states expire;
 * - `…states`: one hash of all states, if they do not.
 */
export function createRedisState(options: RedisStateOptions): StateStore {
  return new RedisState(options);
}

/** States that one command asks for: Redis serves no other client while it runs. */
const keysPerLoad = 1_000;
/** Keys that `size` samples. */
const keysPerSample = 1_000;

/** The epoch always rises: by the clock where Redis was emptied, by the stored epoch where the clock was set back. */
const claimScript = scriptOf(`
local stored = tonumber(redis.call('HGET', KEYS[1], 'epoch'))
local time = redis.call('TIME')
local epoch = time[1] * 1000 + math.floor(time[2] / 1000)
if stored and stored >= epoch then epoch = stored + 1 end
redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', epoch), 'sequence', 0)
return {string.format('%.0f', epoch), redis.call('HGET', KEYS[1], 'offset')}
`);

const saved = 0;
const fenced = 1;
const lost = 2;

/**
 * ARGV: epoch, sequence acknowledged last, sequence of this try, offset. A try whose answer was lost may have been carried
 * out, so any sequence from the acknowledged one on was written by this owner, and this try includes what it saved.
 *
 * All of it is done or nothing: the first write needs memory, and Redis refuses it when it is full, is a replica, or cannot
 * persist; in the rest of a script that has begun to write it does not check again.
 */
const checkpointHead = `
local owner = redis.call('HMGET', KEYS[1], 'epoch', 'sequence')
local epoch, sequence = tonumber(owner[1]), tonumber(owner[2])
if not epoch or epoch < tonumber(ARGV[1]) then return ${lost} end
if epoch > tonumber(ARGV[1]) then return ${fenced} end
if sequence < tonumber(ARGV[2]) then return ${lost} end
if sequence >= tonumber(ARGV[3]) then return redis.error_reply('ERR overtaken by a later checkpoint') end
redis.call('HSET', KEYS[1], 'sequence', ARGV[3], 'offset', ARGV[4])
`;

/** KEYS: owner, then one per state. ARGV from 5 on: expiry in ms, then the values of the first keys; the others go. */
const checkpointKeys = scriptOf(`${checkpointHead}
local values = #ARGV - 5
for n = 1, #KEYS - 1 do
  if n <= values then redis.call('SET', KEYS[n + 1], ARGV[n + 5], 'PX', ARGV[5])
  else redis.call('DEL', KEYS[n + 1]) end
end
return ${saved}
`);

/** KEYS: owner, states. ARGV from 5 on: how many values, then field and value of each, then fields that go. */
const checkpointHash = scriptOf(`${checkpointHead}
local gone = 6 + 2 * ARGV[5]
for n = 6, gone - 1, 2 do redis.call('HSET', KEYS[2], ARGV[n], ARGV[n + 1]) end
for n = gone, #ARGV do redis.call('HDEL', KEYS[2], ARGV[n]) end
return ${saved}
`);

const leaseScript = scriptOf(`
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
`);

const releaseScript = scriptOf(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
`);

class RedisState implements StateStore {
  readonly #redis: RedisConnection;
  /** Begin of all keys of the store. */
  readonly #prefix: string;
  readonly #idleExpiryMs: number | undefined;
  readonly #claimed = new Set<number>();

  constructor(options: RedisStateOptions) {
    const { name, keyPrefix, idleExpiryMs } = options;
    // The text between the first braces decides the hash slot.
    if (/[{}]/.test(keyPrefix + name))
      throw new Error(`keyPrefix and name must not contain braces: "${keyPrefix}", "${name}".`);
    this.#prefix = `{${keyPrefix}:${name}`;
    this.#idleExpiryMs = idleExpiryMs;
    this.#redis = new RedisConnection(options);
  }

  async claim(partition: number): Promise<PartitionState> {
    const tag = this.#tag(partition);
    const owner = `${tag}owner`;
    const [epoch, offset] = await this.#redis.run<[Buffer, Buffer | null]>(claimScript, [owner], []);
    this.#redis.wrote();
    this.#claimed.add(partition);
    let acknowledged = 0;
    let tried = 0;
    return {
      partition,
      offset: offsetOf(offset?.toString() ?? null),
      load: (keys) => this.#load(tag, keys),
      loadAll: () => this.#loadAll(tag),
      checkpoint: async (changes, position) => {
        const sequence = ++tried;
        const head = [epoch, acknowledged, sequence, position];
        const outcome = await this.#save(tag, owner, head, changes);
        if (outcome === fenced)
          throw new FencedError(`Partition ${partition} was claimed by another process.`);
        if (outcome === lost)
          throw new StateLostError(
            `Redis no longer has the last checkpoint of partition ${partition}: it was emptied, or an older copy took its place.`,
          );
        this.#redis.wrote();
        acknowledged = Math.max(acknowledged, sequence);
      },
    };
  }

  async lease(name: string, holder: string, ttlMs: number): Promise<{ held: boolean; holder: string }> {
    const answer = await this.#redis.run<Buffer>(leaseScript, [this.#leaseKey(name)], [holder, ttlMs]);
    const now = answer.toString();
    if (now === holder) this.#redis.wrote();
    return { held: now === holder, holder: now };
  }

  async release(name: string, holder: string): Promise<void> {
    await this.#redis.run(releaseScript, [this.#leaseKey(name)], [holder]);
  }

  /** The whole store, estimated by a sample, where states expire; else the partitions that this process claimed. */
  size(): Promise<{ keys: number; bytes: number }> {
    return this.#idleExpiryMs === undefined ? this.#sizeOfHashes() : this.#sampledSize();
  }

  problem(): string | null {
    return this.#redis.problem();
  }

  close(): Promise<void> {
    return this.#redis.close();
  }

  #tag(partition: number): string {
    return `${this.#prefix}:${partition}}`;
  }

  #leaseKey(name: string): string {
    return `${this.#prefix}}lease.${name}`;
  }

  #save(tag: string, owner: string, head: Argument[], changes: StateChanges): Promise<number> {
    const kept: [key: string, value: Buffer][] = [];
    const gone: string[] = [];
    for (const [key, value] of changes) {
      if (value === null) gone.push(key);
      else kept.push([key, value]);
    }
    if (this.#idleExpiryMs === undefined) {
      const fields = kept.flat();
      const args = [...head, kept.length, ...fields, ...gone];
      return this.#redis.run(checkpointHash, [owner, `${tag}states`], args);
    }
    const keys = [owner, ...kept.map(([key]) => `${tag}.${key}`), ...gone.map((key) => `${tag}.${key}`)];
    const args = [...head, this.#idleExpiryMs, ...kept.map(([, value]) => value)];
    return this.#redis.run(checkpointKeys, keys, args);
  }

  async #load(tag: string, keys: readonly string[]): Promise<Map<string, Buffer>> {
    const parts: string[][] = [];
    for (let at = 0; at < keys.length; at += keysPerLoad) parts.push(keys.slice(at, at + keysPerLoad));
    const answers = await Promise.all(
      parts.map((part) =>
        this.#idleExpiryMs === undefined
          ? this.#redis.call<(Buffer | null)[]>('HMGET', [`${tag}states`, ...part])
          : this.#redis.call<(Buffer | null)[]>(
              'MGET',
              part.map((key) => `${tag}.${key}`),
            ),
      ),
    );
    const found = new Map<string, Buffer>();
    for (const [at, part] of parts.entries()) {
      for (const [index, value] of answers[at]!.entries()) if (value !== null) found.set(part[index]!, value);
    }
    return found;
  }

  async #loadAll(tag: string): Promise<Map<string, Buffer>> {
    if (this.#idleExpiryMs === undefined) {
      const answer = await this.#redis.call<Buffer[]>('HGETALL', [`${tag}states`]);
      const found = new Map<string, Buffer>();
      for (let at = 0; at < answer.length; at += 2) found.set(answer[at]!.toString(), answer[at + 1]!);
      return found;
    }
    // Scans every key of the server: roles that read all of their state keep it in a store without expiry.
    const keys = new Set<string>();
    const pattern = `${tag.replace(/[*?[\]\\]/g, '\\$&')}.*`;
    for (const node of await this.#redis.nodes()) {
      let cursor = '0';
      do {
        const scan = ['MATCH', pattern, 'COUNT', keysPerLoad];
        const [next, part] = await node.call<[Buffer, Buffer[]]>('SCAN', [cursor, ...scan]);
        for (const key of part) keys.add(key.toString().slice(tag.length + 1));
        cursor = next.toString();
      } while (cursor !== '0');
    }
    return this.#load(tag, [...keys]);
  }

  async #sizeOfHashes(): Promise<{ keys: number; bytes: number }> {
    const size = { keys: 0, bytes: 0 };
    for (const partition of this.#claimed) {
      const values = await this.#redis.call<Buffer[]>('HVALS', [`${this.#tag(partition)}states`]);
      size.keys += values.length;
      for (const value of values) size.bytes += value.length;
    }
    return size;
  }

  async #sampledSize(): Promise<{ keys: number; bytes: number }> {
    const size = { keys: 0, bytes: 0 };
    for (const node of await this.#redis.nodes()) {
      let cursor = '0';
      let seen = 0;
      const ours: Buffer[] = [];
      do {
        const [next, part] = await node.call<[Buffer, Buffer[]]>('SCAN', [cursor, 'COUNT', keysPerSample]);
        seen += part.length;
        ours.push(...part.filter((key) => key.toString().startsWith(`${this.#prefix}:`) && isState(key)));
        cursor = next.toString();
      } while (cursor !== '0' && seen < keysPerSample);
      if (ours.length === 0) continue;
      const share = cursor === '0' ? 1 : (await node.call<number>('DBSIZE', [])) / seen;
      let bytes = 0;
      for (const length of await Promise.all(ours.map((key) => node.call<number>('STRLEN', [key]))))
        bytes += length;
      size.keys += Math.round(ours.length * share);
      size.bytes += Math.round(bytes * share);
    }
    return size;
  }
}

function isState(key: Buffer): boolean {
  return key[key.indexOf('}') + 1] === 0x2e;
}
