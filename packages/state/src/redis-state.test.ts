import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { inspect } from 'node:util';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { skipWithout } from '../../../test/engines/needs.ts';
import { startRedis, type RedisEngine, type RedisEngineOptions } from '../../../test/engines/redis.ts';
import { createRedisState, type RedisStateOptions } from './redis-state.ts';
import { FencedError, StateLostError, type StateChanges, type StateStore } from './state-store.ts';
import { stateContract } from './state.contract.ts';
import { bytesOf, textsOf } from './test-support.ts';

const skip = await skipWithout('the state on Redis', 'Redis');
const hourMs = 3_600_000;

let prefixes = 0;
/** No two tests see each other's keys, also on a server that others use. */
const freshPrefix = (): string => `test-${process.pid}-${Date.now()}-${prefixes++}`;

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** What the work ends with once Redis answers: its result, or that the claim is void. */
async function eventually<T>(work: () => Promise<T>): Promise<T> {
  const end = Date.now() + 30_000;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof FencedError || error instanceof StateLostError || Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

function contractOn(
  redis: () => RedisEngine,
  options: () => Partial<RedisStateOptions>,
): Parameters<typeof stateContract>[1] {
  return () => {
    const open = (): StateStore => createRedisState({ name: 'contract', keyPrefix, ...options() });
    const keyPrefix = freshPrefix();
    let state = open();
    return Promise.resolve({
      state,
      reopen: async () => {
        await state.close();
        return (state = open());
      },
      dispose: async () => {
        await state.close();
        // The next test's size is a sample of all keys.
        const client = new Redis(redis().url);
        const keys = await client.keys(`{${keyPrefix}:*`);
        await client.pipeline(keys.map((key) => ['unlink', key])).exec();
        client.disconnect();
      },
    });
  };
}

describe.skipIf(skip)('Redis', () => {
  let redis: RedisEngine;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.dispose());

  stateContract(
    'Redis, states for ever',
    contractOn(
      () => redis,
      () => ({ url: redis.url }),
    ),
  );
  stateContract(
    'Redis, states that expire',
    contractOn(
      () => redis,
      () => ({ url: redis.url, idleExpiryMs: hourMs }),
    ),
  );

  it('lets a state go that was not written for the expiry time, and keeps what was', async () => {
    const keyPrefix = freshPrefix();
    const state = createRedisState({ name: 'processor', keyPrefix, url: redis.url, idleExpiryMs: 400 });
    const claimed = await state.claim(0);
    await claimed.checkpoint(bytesOf([['idle', '1']]), 1);
    let offset = 1;
    await until(async () => {
      await claimed.checkpoint(bytesOf([['busy', `${offset}`]]), ++offset);
      return !(await claimed.load(['idle'])).has('idle');
    }, 'the idle state is gone');
    expect(await claimed.loadAll()).toEqual(bytesOf([['busy', `${offset - 1}`]]));
    expect(await redis.command('PTTL', `{${keyPrefix}:processor:0}owner`)).toBe(-1);
    await state.close();
  });

  it('keeps states without expiry for ever', async () => {
    const keyPrefix = freshPrefix();
    const state = createRedisState({ name: 'responder', keyPrefix, url: redis.url });
    await (await state.claim(0)).checkpoint(bytesOf([['a', '1']]), 1);
    expect(await redis.command('PTTL', `{${keyPrefix}:responder:0}states`)).toBe(-1);
    await state.close();
  });

  it('estimates the size of a store among the keys of others', async () => {
    const state = createRedisState({
      name: 'processor',
      keyPrefix: freshPrefix(),
      url: redis.url,
      idleExpiryMs: hourMs,
    });
    const others = createRedisState({
      name: 'processor',
      keyPrefix: freshPrefix(),
      url: redis.url,
      idleExpiryMs: hourMs,
    });
    const values = bytesOf(Array.from({ length: 8_000 }, (_, n) => [`actor ${n}`, '0'.repeat(400)] as const));
    await (await state.claim(0)).checkpoint(values, 1);
    await (await others.claim(0)).checkpoint(values, 1);
    const { keys, bytes } = await state.size();
    expect(keys).toBeGreaterThan(6_000);
    expect(keys).toBeLessThan(10_000);
    expect(bytes / keys).toBeCloseTo(400, 0);
    await Promise.all([state.close(), others.close()]);
  });
});

describe.skipIf(skip)('Redis Cluster', () => {
  let redis: RedisEngine;
  beforeAll(async () => {
    redis = await startRedis({ own: true, cluster: true });
  });
  afterAll(() => redis.dispose());
  const cluster = (): string[] => [`${redis.host}:${redis.port}`];

  stateContract(
    'Redis Cluster, states for ever',
    contractOn(
      () => redis,
      () => ({ cluster: cluster() }),
    ),
  );
  stateContract(
    'Redis Cluster, states that expire',
    contractOn(
      () => redis,
      () => ({ cluster: cluster(), idleExpiryMs: hourMs }),
    ),
  );

  it('holds the keys of a partition in one hash slot, and spreads the partitions', async () => {
    const keyPrefix = freshPrefix();
    const state = createRedisState({
      name: 'processor',
      keyPrefix,
      cluster: cluster(),
      idleExpiryMs: hourMs,
    });
    for (let partition = 0; partition < 12; partition++) {
      const values = bytesOf(['a:consumer:{anna}', 'p:orders', 'progress'].map((key) => [key, '1'] as const));
      await (await state.claim(partition)).checkpoint(values, 1);
    }
    const keys = (await redis.command('KEYS', `{${keyPrefix}:*`)) as string[];
    expect(keys).toHaveLength(12 * 4);
    const slots = new Map<string, Set<number>>();
    for (const key of keys) {
      const tag = key.slice(0, key.indexOf('}'));
      const slot = (await redis.command('CLUSTER', 'KEYSLOT', key)) as number;
      slots.set(tag, (slots.get(tag) ?? new Set()).add(slot));
    }
    expect([...slots.values()].map((of) => of.size)).toEqual(new Array(12).fill(1));
    expect(new Set([...slots.values()].flatMap((of) => [...of])).size).toBeGreaterThan(8);
    await state.close();
  });
});

describe.skipIf(skip)('when Redis fails', () => {
  const opened: { close?: () => Promise<void>; dispose?: () => Promise<void> }[] = [];
  afterEach(async () => {
    for (const one of opened.splice(0).reverse()) await (one.close ?? one.dispose)?.call(one);
  });
  const start = async (config?: Record<string, string>): Promise<RedisEngine> => {
    const options: RedisEngineOptions = { own: true, ...(config ? { config } : {}) };
    const redis = await startRedis(options);
    opened.push(redis);
    return redis;
  };
  const open = (url: string, more: Partial<RedisStateOptions> = {}): StateStore & { log: string[] } => {
    const log: string[] = [];
    const state = createRedisState({
      name: 'processor',
      keyPrefix: 'tripline',
      url,
      idleExpiryMs: hourMs,
      onLog: (level, message) => log.push(`${level}: ${message}`),
      ...more,
    });
    opened.push(state);
    return Object.assign(state, { log });
  };
  const values = (count: number, text: string): StateChanges =>
    bytesOf(Array.from({ length: count }, (_, n) => [`actor ${n}`, text] as const));

  it('goes on where it was when Redis comes back with its data', async () => {
    const redis = await start();
    const state = open(redis.url);
    const claimed = await state.claim(0);
    await claimed.checkpoint(bytesOf([['a', '1']]), 1);

    await redis.kill();
    const began = Date.now();
    await expect(claimed.checkpoint(bytesOf([['a', '2']]), 2)).rejects.toThrow(
      /127\.0\.0\.1:\d+ cannot be reached/,
    );
    await expect(claimed.load(['a'])).rejects.toThrow(/cannot be reached/);
    expect(Date.now() - began).toBeLessThan(10_000);
    expect(state.problem()).toMatch(/cannot be reached: .*ECONNREFUSED/);

    await redis.restart();
    await eventually(() => claimed.checkpoint(bytesOf([['a', '2']]), 2));
    expect(state.problem()).toBeNull();
    expect(await claimed.load(['a'])).toEqual(bytesOf([['a', '2']]));
    expect((await state.claim(0)).offset).toBe(2);
    // Told once each, however many commands failed: that it broke, perhaps why, and that it works again.
    expect(state.log[0]).toMatch(/^error: Redis at 127\.0\.0\.1:\d+ cannot be reached/);
    expect(state.log.length).toBeLessThanOrEqual(3);
    expect(state.log.at(-1)).toMatch(/^info: .* answers again$/);
  });

  it('fails within seconds, and works again, when Redis hangs', async () => {
    const redis = await start();
    const state = open(redis.url);
    const claimed = await state.claim(0);
    await redis.pause();
    const began = Date.now();
    await expect(claimed.checkpoint(bytesOf([['a', '1']]), 1)).rejects.toThrow('gives no answer within 5 s');
    expect(Date.now() - began).toBeLessThan(7_000);
    expect(state.problem()).toContain('gives no answer');
    await redis.resume();
    await eventually(() => claimed.checkpoint(bytesOf([['a', '1']]), 1));
    expect(state.problem()).toBeNull();
  });

  it('tells an owner that Redis was emptied, and begins anew with the next claim', async () => {
    const redis = await start();
    const state = open(redis.url);
    const claimed = await state.claim(0);
    await claimed.checkpoint(bytesOf([['a', '1']]), 1);
    await redis.flush();
    await expect(claimed.checkpoint(bytesOf([['b', '1']]), 2)).rejects.toThrow(StateLostError);
    expect(await redis.command('DBSIZE')).toBe(0);
    const again = await state.claim(0);
    expect(again.offset).toBeUndefined();
    await expect(claimed.checkpoint(bytesOf([['b', '1']]), 2)).rejects.toThrow(FencedError);
    await again.checkpoint(bytesOf([['c', '1']]), 3);
    expect(await again.loadAll()).toEqual(bytesOf([['c', '1']]));
  });

  it('tells an owner that Redis came back with older data, and goes on from those with the next claim', async () => {
    const redis = await start({ appendonly: 'no' });
    const state = open(redis.url);
    const claimed = await state.claim(0);
    await claimed.checkpoint(bytesOf([['a', '1']]), 1);
    await redis.command('SAVE');
    await claimed.checkpoint(bytesOf([['a', '2']]), 2);
    await redis.kill();
    await redis.restart();
    const next = eventually(() => claimed.checkpoint(bytesOf([['b', '3']]), 3));
    await expect(next).rejects.toThrow(StateLostError);
    const again = await state.claim(0);
    expect(again.offset).toBe(1);
    expect(await again.loadAll()).toEqual(bytesOf([['a', '1']]));
  });

  it('tells the present owner that Redis failed over to a copy without its claim', async () => {
    const redis = await start({ appendonly: 'no' });
    const [former, present] = [open(redis.url), open(redis.url)];
    const before = await former.claim(0);
    await before.checkpoint(bytesOf([['a', '1']]), 1);
    await redis.command('SAVE');
    const after = await present.claim(0);
    await redis.kill();
    await redis.restart();
    const next = eventually(() => after.checkpoint(bytesOf([['a', '2']]), 2));
    await expect(next).rejects.toThrow(StateLostError);
    expect((await present.claim(0)).offset).toBe(1);
  });

  it('saves nothing of a former owner in another process, not even by a connection that stalled', async () => {
    const redis = await start();
    const [former, present] = [open(redis.url), open(redis.url)];
    const before = await former.claim(0);
    await before.checkpoint(bytesOf([['a', 'former']]), 1);
    const after = await present.claim(0);
    await after.checkpoint(bytesOf([['a', 'present']]), 2);
    const late = bytesOf([
      ['a', null],
      ['b', 'late'],
    ]);
    await expect(before.checkpoint(late, 3)).rejects.toThrow(FencedError);
    expect(await after.loadAll()).toEqual(bytesOf([['a', 'present']]));
    expect((await present.claim(0)).offset).toBe(2);
  });

  it('takes a checkpoint again whose answer was lost, once, and a larger one in its place', async () => {
    const redis = await start();
    const proxy = await startProxy(redis.port);
    opened.push(proxy);
    const state = open(`redis://127.0.0.1:${proxy.port}`);
    const claimed = await state.claim(0);
    await claimed.checkpoint(bytesOf([['a', '1']]), 1);

    proxy.loseNextAnswer();
    await expect(claimed.checkpoint(bytesOf([['a', '2']]), 2)).rejects.toThrow(
      'the connection broke before the answer came',
    );
    expect(await redis.command('HGET', '{tripline:processor:0}owner', 'offset')).toBe('2');
    await claimed.checkpoint(bytesOf([['a', '2']]), 2);
    expect(await claimed.loadAll()).toEqual(bytesOf([['a', '2']]));

    proxy.loseNextAnswer();
    await expect(claimed.checkpoint(bytesOf([['a', '3']]), 3)).rejects.toThrow(
      'the connection broke before the answer came',
    );
    await claimed.checkpoint(
      bytesOf([
        ['a', '4'],
        ['b', '4'],
      ]),
      4,
    );
    await claimed.checkpoint(bytesOf([['b', null]]), 5);
    expect(await claimed.loadAll()).toEqual(bytesOf([['a', '4']]));
    expect((await state.claim(0)).offset).toBe(5);
  });

  it('refuses a try that arrives after a later one', async () => {
    const redis = await start();
    const proxy = await startProxy(redis.port);
    opened.push(proxy);
    const state = open(`redis://127.0.0.1:${proxy.port}`);
    const claimed = await state.claim(0);
    await claimed.checkpoint(bytesOf([['a', '1']]), 1);
    const late = proxy.holdNextRequest();
    await expect(claimed.checkpoint(bytesOf([['a', '2']]), 2)).rejects.toThrow(
      'the connection broke before the answer came',
    );
    await claimed.checkpoint(bytesOf([['a', '3']]), 3);
    expect(await (await late)()).toContain('overtaken');
    expect(await claimed.load(['a'])).toEqual(bytesOf([['a', '3']]));
    expect((await state.claim(0)).offset).toBe(3);
  });

  it('saves a checkpoint whole or not at all wherever memory ends, says what to do, and goes on when there is room', async () => {
    const redis = await start({ appendonly: 'no' });
    const state = open(redis.url);
    const claimed = await state.claim(0);
    await claimed.checkpoint(new Map([...values(2_000, '0'), ...bytesOf([['gone with success', '1']])]), 0);
    const info = String(await redis.command('INFO', 'memory'));
    const used = Number(/^used_memory:(\d+)/m.exec(info)![1]);
    let offset = 0;
    let refused = 0;
    for (let room = -1; room < 16; room++) {
      await redis.command('CONFIG', 'SET', 'maxmemory', used + room * 500_000);
      // Values that need more room each time, and a removal first: what frees memory is not done either.
      const text = `${room},`.repeat(400 + 20 * room);
      const changes: StateChanges = new Map([
        ...bytesOf([['gone with success', null]]),
        ...values(2_000, text),
        ...bytesOf([[`new ${room}`, text]]),
      ]);
      const outcome = await claimed.checkpoint(changes, offset + 1).then(
        () => 'saved',
        (error: unknown) => String(error),
      );
      await redis.command('CONFIG', 'SET', 'maxmemory', 0);
      const owner = await redis.command('HGET', '{tripline:processor:0}owner', 'offset');
      const held = textsOf(await claimed.load([...changes.keys()]));
      if (outcome === 'saved') {
        offset++;
        changes.delete('gone with success');
        expect(held).toEqual(textsOf(changes));
      } else {
        refused++;
        expect(outcome).toContain('is full (maxmemory) and takes no writes: raise maxmemory');
        expect(state.problem()).toContain('is full (maxmemory)');
        expect(held.has(`new ${room}`)).toBe(false);
        expect(held.get('actor 0')).not.toBe(text);
        expect(new Set(held.values()).size).toBeLessThanOrEqual(offset === 0 ? 2 : 1);
        expect(held.has('gone with success')).toBe(offset === 0);
      }
      expect(owner).toBe(`${offset}`);
    }
    expect(refused).toBeGreaterThan(0);
    expect(offset).toBeGreaterThan(0);
    await claimed.checkpoint(new Map(), offset + 1);
    expect(state.problem()).toBeNull();
    expect(state.log.at(-1)).toContain('takes writes again');
  });

  it('reads on, and tells it, when Redis has become a read-only replica', async () => {
    const redis = await start();
    const state = open(redis.url);
    const claimed = await state.claim(0);
    await claimed.checkpoint(bytesOf([['a', '1']]), 1);
    await redis.command('REPLICAOF', '127.0.0.1', '1');
    await expect(claimed.checkpoint(bytesOf([['a', '2']]), 2)).rejects.toThrow('is a read-only replica');
    expect(await eventually(() => claimed.load(['a']))).toEqual(bytesOf([['a', '1']]));
    expect(state.problem()).toContain('the address must lead to the primary');
    await redis.command('REPLICAOF', 'NO', 'ONE');
    await eventually(() => claimed.checkpoint(bytesOf([['a', '2']]), 2));
    expect(state.problem()).toBeNull();
  });

  it('tells a wrong or missing password, and goes on when it is right', async () => {
    const redis = await start({ requirepass: 'secret-1' });
    const without = open(redis.url);
    await expect(without.claim(0)).rejects.toThrow('asks for a password, and none is configured');
    expect(without.problem()).toContain('asks for a password');
    const state = open(redis.url, { password: 'secret-2' });
    await expect(state.claim(0)).rejects.toThrow('refuses the user name or the password');
    expect(state.problem()).toContain('refuses the user name or the password');
    const error: unknown = await state.claim(0).catch((refused: unknown) => refused);
    expect(inspect([error, state.log], { depth: 9, showHidden: true })).not.toContain('secret');

    const admin = open(`redis://:secret-1@${redis.host}:${redis.port}/3`);
    await admin.claim(0);
    expect(admin.problem()).toBeNull();
    await redis.command('CONFIG', 'SET', 'requirepass', 'secret-2');
    await eventually(() => state.claim(0));
    expect(state.problem()).toBeNull();
  });

  it('tells that Redis still loads its data', async () => {
    // It answers after every 1,024 commands that it has loaded.
    const redis = await start({ 'key-load-delay': '500', 'loading-process-events-interval-bytes': '1024' });
    const state = open(redis.url);
    await (await state.claim(0)).checkpoint(values(5_000, '0'), 1);
    const started = redis.restart();
    await until(async () => {
      await state.claim(0).catch(() => undefined);
      return state.problem()?.includes('still loads its data') === true;
    }, 'it tells');
    await started;
    await eventually(() => state.claim(0));
  });

  it('warns of a Redis that may forget states', async () => {
    const redis = await start({ maxmemory: '100mb', 'maxmemory-policy': 'volatile-lru' });
    const state = open(redis.url);
    await state.claim(0);
    await until(() => state.log.length > 0, 'it warns');
    expect(state.log[0]).toMatch(/^warn: .*volatile-lru.*Set maxmemory-policy to noeviction/);
  });

  it('refuses braces in names, which would tear the keys of a partition apart', () => {
    expect(() => createRedisState({ name: 'a', keyPrefix: '{b', url: 'redis://x' })).toThrow('braces');
  });
});

interface Proxy {
  port: number;
  /** Breaks the connection instead of handing on what Redis answers next. */
  loseNextAnswer(): void;
  /** Breaks the connection to the client and keeps what it sends next; gives a function that sends it on at last. */
  holdNextRequest(): Promise<() => Promise<string>>;
  dispose(): Promise<void>;
}

/** Stands between a client and Redis. */
async function startProxy(redisPort: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  let losing = false;
  let hold: ((deliver: () => Promise<string>) => void) | undefined;
  const server = createServer((client) => {
    const upstream = connect(redisPort, '127.0.0.1');
    let held = false;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
    }
    client.on('data', (request) => {
      if (!hold) return upstream.write(request);
      held = true;
      hold(
        () =>
          new Promise((resolve) => {
            upstream.once('data', (answer) => resolve(answer.toString()));
            upstream.write(request);
          }),
      );
      hold = undefined;
      client.destroy();
    });
    upstream.on('data', (answer) => {
      if (losing) client.destroy();
      else if (!client.destroyed) client.write(answer);
      losing = false;
    });
    client.on('close', () => {
      if (!held) upstream.destroy();
    });
    upstream.on('close', () => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    loseNextAnswer: () => {
      losing = true;
    },
    holdNextRequest: () =>
      new Promise((resolve) => {
        hold = resolve;
      }),
    dispose: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
