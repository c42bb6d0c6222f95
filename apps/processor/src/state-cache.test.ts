import { describe, expect, it } from 'vitest';
import { loadMissing, StateCache, type StateCacheOptions } from './state-cache.ts';

interface Counter {
  value: number;
}

/** A store of counters, and a cache over it. */
function cacheOver(values: Map<string, Buffer>, options: Partial<StateCacheOptions<Counter>> = {}) {
  const relearnt: string[] = [];
  let decoded = 0;
  const cache = new StateCache<Counter>({
    kind: {
      decode: (bytes) => {
        decoded++;
        if (bytes?.toString() === 'rubbish') throw new Error('no counter');
        return { value: bytes === undefined ? 0 : Number(bytes) };
      },
      encode: ({ value }) => {
        if (Number.isNaN(value)) throw new RangeError('cannot write NaN');
        return value === 0 ? null : Buffer.from(String(value));
      },
    },
    maxStates: () => 4,
    onRelearn: (key, problem) => relearnt.push(`${key}: ${problem}`),
    ...options,
  });
  const loads: string[][] = [];
  const load = (): Promise<void> =>
    loadMissing([cache], (keys) => {
      loads.push([...keys]);
      return Promise.resolve(new Map([...values].filter(([key]) => keys.includes(key))));
    });
  const checkpoint = (): void => {
    const changes = new Map<string, Buffer | null>();
    cache.save(changes);
    for (const [key, value] of changes)
      if (value === null) values.delete(key);
      else values.set(key, value);
    cache.saved();
  };
  /** A batch that adds one to each of the keys. */
  const count = async (...keys: string[]): Promise<void> => {
    const wanted = keys.map((key) => cache.want(key));
    await load();
    for (const cached of wanted) {
      cache.willChange(cached);
      cached.state!.value++;
    }
    cache.endBatch();
  };
  return { cache, count, checkpoint, load, loads, relearnt, decoded: () => decoded };
}

const texts = (values: ReadonlyMap<string, Buffer>): Record<string, string> =>
  Object.fromEntries([...values].map(([key, value]) => [key, value.toString()]));

describe('the state cache', () => {
  it('loads what a batch wants and memory lacks in one round trip, each key once', async () => {
    const { count, loads } = cacheOver(new Map([['a', Buffer.from('7')]]));
    await count('a', 'b', 'a');
    await count('b', 'c');
    expect(loads).toEqual([['a', 'b'], ['c']]);
  });

  it.each([false, true])(
    'gives the same states whatever is dropped from memory in between (encoded after the first batch: %s)',
    async (encodesAfterFirstBatch) => {
      const values = new Map<string, Buffer>();
      const { cache, count, checkpoint } = cacheOver(values, { encodesAfterFirstBatch });
      const expected: Record<string, number> = {};
      for (let n = 0; n < 300; n++) {
        const keys = [`k${(n * 7) % 11}`, `k${n % 3}`];
        for (const key of keys) expected[key] = (expected[key] ?? 0) + 1;
        await count(...keys);
        if (n % 4 !== 0) continue;
        checkpoint();
        expect(cache.size).toBeLessThanOrEqual(4 + 8);
      }
      checkpoint();
      expect(texts(values)).toEqual(
        Object.fromEntries(Object.entries(expected).map(([key, value]) => [key, String(value)])),
      );
    },
  );

  it('drops nothing before a checkpoint has saved it, and keeps what was used lately', async () => {
    const values = new Map<string, Buffer>();
    const { cache, count, checkpoint, loads } = cacheOver(values);
    await count('a', 'b', 'c', 'd', 'e', 'f');
    expect(cache.size).toBe(6);
    checkpoint();
    await count('a');
    await count('x', 'y');
    checkpoint();
    loads.length = 0;
    await count('a', 'b');
    expect(loads).toEqual([['b']]);
  });

  it('keeps bytes of a state that came in one batch only, and the state itself from its second batch on', async () => {
    const { cache, count, decoded } = cacheOver(new Map(), { encodesAfterFirstBatch: true });
    await count('a');
    expect(decoded()).toBe(1);
    await count('a');
    await count('a');
    expect(decoded()).toBe(2);
    expect(cache.want('a').state).toEqual({ value: 3 });
  });

  it('begins anew and reports what cannot be read, and what cannot be saved, and saves the rest', async () => {
    const values = new Map([['bad', Buffer.from('rubbish')]]);
    const { cache, count, checkpoint, relearnt } = cacheOver(values);
    await count('bad', 'good', 'odd');
    cache.want('odd').state!.value = NaN;
    checkpoint();
    expect(relearnt).toEqual(['bad: no counter', 'odd: cannot write NaN']);
    expect(texts(values)).toEqual({ bad: '1', good: '1' });
  });

  it('loads again what a failed load did not bring', async () => {
    const values = new Map([['a', Buffer.from('7')]]);
    const { cache, load } = cacheOver(values);
    cache.want('a');
    await expect(loadMissing([cache], () => Promise.reject(new Error('away')))).rejects.toThrow('away');
    const cached = cache.want('a');
    await load();
    expect(cached.state).toEqual({ value: 7 });
  });
});
