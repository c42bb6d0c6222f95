import { createDetection, detectionConfigSchema } from '@tripline/detection';
import type { PartitionState, StateStore } from '@tripline/state';
import { createRedisState } from '@tripline/state/redis';
import { population } from '../../packages/detection/test-support/population.ts';
import { callsOf } from '../../packages/detection/test-support/program.ts';
import { run } from '../../packages/detection/test-support/run.ts';
import { startRedis } from '../engines/redis.ts';

export interface RedisActors {
  actors: number;
  /** Of a state, on average. */
  stateBytes: number;
  /** What Redis's `used_memory` grew by, per actor: keys, values, expiry, all tables, and some 0.2 MB that it takes once. */
  redisBytesPerIdleActor: number;
  /** CPU of this process per state that is saved and that is loaded, in batches as the processor makes them. */
  saveMicros: number;
  loadMicros: number;
  /** CPU of the Redis server likewise. */
  redisSaveMicros: number;
  redisLoadMicros: number;
  /** The longest that one checkpoint of `batch` states kept Redis from serving others, in ms. */
  longestCheckpointMs: number;
  batch: number;
}

const partitions = 12;
const batch = 5_000;

/** States of actors with one service after four weeks of ordinary traffic, as the processor would save them. */
export function learnedStates(consumers: number): Buffer[] {
  const detection = createDetection(detectionConfigSchema.parse({}));
  const phases = population(consumers, 28, 7, 20);
  const { actors } = run(detection, callsOf(phases, Date.UTC(2026, 0, 5), 7));
  return [...actors.values()].map((actor) => detection.actors.encode(actor));
}

/** Saves states of so many actors in a Redis of its own, through the store of the processor, and loads them again. */
export async function measureRedisActors(actors: number, states: readonly Buffer[]): Promise<RedisActors> {
  const redis = await startRedis({ own: true, config: { appendonly: 'no' } });
  const open = (): StateStore =>
    createRedisState({
      name: 'processor',
      keyPrefix: 'tripline',
      url: redis.url,
      idleExpiryMs: 30 * 86_400_000,
    });
  let store = open();
  const info = async (section: string, field: string): Promise<number> =>
    Number(new RegExp(`^${field}:([0-9.]+)`, 'm').exec(String(await redis.command('INFO', section)))![1]);
  const redisMicros = async (): Promise<number> =>
    1e6 * ((await info('cpu', 'used_cpu_user')) + (await info('cpu', 'used_cpu_sys')));
  const timed = async (work: () => Promise<void>): Promise<{ own: number; redis: number }> => {
    const server = await redisMicros();
    const cpu = process.cpuUsage();
    await work();
    const { user, system } = process.cpuUsage(cpu);
    return { own: (user + system) / actors, redis: ((await redisMicros()) - server) / actors };
  };
  try {
    const claimAll = (): Promise<PartitionState[]> =>
      Promise.all(Array.from({ length: partitions }, (_, at) => store.claim(at)));
    const keyOf = (actor: number): string =>
      `a:consumer:${actor.toString(16).padStart(8, '0')}-5a0c-4e1f-9b7d-${(actor * 2_654_435_761).toString(16).slice(-12).padStart(12, '0')}`;
    const batches: { at: number; keys: string[] }[] = [];
    for (let first = 0; first < actors; first += batch) {
      const keys = Array.from({ length: Math.min(batch, actors - first) }, (_, n) => keyOf(first + n));
      batches.push({ at: batches.length % partitions, keys });
    }

    await redis.command('CONFIG', 'SET', 'slowlog-log-slower-than', 0, 'slowlog-max-len', 1_000);
    const before = await info('memory', 'used_memory');
    let claims = await claimAll();
    let offset = 0;
    let longestMicros = 0;
    const save = await timed(async () => {
      for (const { at, keys } of batches) {
        const changes = new Map(keys.map((key, n) => [key, states[(offset + n) % states.length]!]));
        await claims[at]!.checkpoint(changes, ++offset);
      }
    });
    for (const [, , micros, [name]] of (await redis.command('SLOWLOG', 'GET', 1_000)) as SlowCall[])
      if (name === 'EVALSHA' || name === 'EVAL') longestMicros = Math.max(longestMicros, micros);
    // The buffers of a connection, and a log of commands, are no actor's.
    await store.close();
    await redis.command('SLOWLOG', 'RESET');
    const redisBytes = (await settled(() => info('memory', 'used_memory'))) - before;
    store = open();
    claims = await claimAll();
    let found = 0;
    const load = await timed(async () => {
      for (const { at, keys } of batches) found += (await claims[at]!.load(keys)).size;
    });
    if (found !== actors) throw new Error(`${found} of ${actors} actors were found again`);
    return {
      actors,
      stateBytes: Math.round(states.reduce((sum, state) => sum + state.length, 0) / states.length),
      redisBytesPerIdleActor: Math.round(redisBytes / actors),
      saveMicros: save.own,
      loadMicros: load.own,
      redisSaveMicros: save.redis,
      redisLoadMicros: load.redis,
      longestCheckpointMs: longestMicros / 1_000,
      batch: Math.min(batch, actors),
    };
  } finally {
    await store.close();
    await redis.dispose();
  }
}

type SlowCall = [id: number, at: number, micros: number, args: string[]];

/** A figure once it has stopped falling. */
async function settled(read: () => Promise<number>): Promise<number> {
  for (let last = await read(); ;) {
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const now = await read();
    if (now >= last * 0.999) return now;
    last = now;
  }
}
