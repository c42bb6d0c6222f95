import { bodyOf } from '@tripline/bus';
import type { ApiCall } from '@tripline/model';
import type { PartitionState, StateChanges } from '@tripline/state';

/** The state of one partition in memory, with the keys that its last checkpoint wrote. */
export function memoryState(): PartitionState & { values: Map<string, Buffer>; written: string[] } {
  const values = new Map<string, Buffer>();
  const state = {
    partition: 0,
    offset: undefined,
    values,
    written: [] as string[],
    load: (keys: readonly string[]) =>
      Promise.resolve(
        new Map(keys.flatMap((key) => (values.has(key) ? [[key, values.get(key)!] as const] : []))),
      ),
    loadAll: () => Promise.resolve(new Map(values)),
    checkpoint: (changes: StateChanges) => {
      state.written = [...changes.keys()];
      for (const [key, value] of changes) {
        if (value === null) values.delete(key);
        else values.set(key, value);
      }
      return Promise.resolve();
    },
  };
  return state;
}

export const beganMs = Date.UTC(2026, 10, 21, 9);

/** A call of an address to a path that nobody serves, `atMs` after the beginning. */
export function probe(address: string, atMs: number, n: number): ApiCall {
  return {
    id: `${address}-${n}-${atMs}`,
    startedAt: beganMs + atMs,
    actorKind: 'address',
    actorId: address,
    actorName: address,
    ip: address,
    method: 'GET',
    path: `/probe/${n}`,
    endpoint: 'GET /probe/{id}',
    status: 404,
    source: 'kong',
    requestBytes: 100,
    responseBytes: 100,
    latencyMs: 1,
  };
}

export function ndjson(records: readonly unknown[]): Buffer {
  return bodyOf(records.map((record) => Buffer.from(JSON.stringify(record))));
}

/** Values of every type that JSON can carry, and of sizes that nobody expects. */
export const anyValues: readonly unknown[] = [
  null,
  -1,
  0,
  1.5,
  1e300,
  '',
  'NaN',
  'x'.repeat(3_000),
  true,
  false,
  [],
  [null],
  [[1]],
  {},
  { a: null },
  { a: ['b', 1] },
  { length: -1, __proto__: null },
];
