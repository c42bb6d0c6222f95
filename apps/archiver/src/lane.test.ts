import type { BusBatch } from '@tripline/bus';
import { expect, it } from 'vitest';
import { Lane } from './lane.ts';

const batch = (from: number, to: number): BusBatch => ({
  topic: 'api-calls',
  partition: 0,
  firstOffset: from,
  nextOffset: to,
  count: to - from,
  body: Buffer.from(Array.from({ length: to - from }, (_, i) => `{"n":${from + i}}\n`).join('')),
});

it('cuts what is delivered again in other pieces exactly where it had noted, whatever has come since', async () => {
  const written: { token: string; rows: number }[] = [];
  let note: string | undefined;
  const start = (): Lane =>
    new Lane({
      topic: 'api-calls',
      partition: 0,
      bus: undefined as never,
      load: () => Promise.resolve(note),
      save: (text) => Promise.resolve(void (note = text)),
      insert: (ndjson, token) => {
        written.push({ token, rows: Buffer.concat(ndjson).toString('utf8').split('\n').length - 1 });
        return Promise.resolve();
      },
      now: () => 0,
      on: { archived: () => undefined, refused: () => undefined, jumped: () => expect.unreachable() },
    });

  const before = start();
  expect(await before.open()).toBeUndefined();
  before.add(batch(0, 3));
  before.add(batch(3, 10));
  expect(await before.flush()).toBe(10);

  const after = start();
  expect(await after.open()).toBe(0);
  after.add(batch(0, 6));
  expect(await after.flush()).toBeUndefined();
  after.add(batch(6, 9));
  expect(await after.flush()).toBeUndefined();
  after.add(batch(9, 25));
  expect(await after.flush()).toBe(10);
  expect(await after.flush()).toBe(25);
  expect(written.map(({ rows }) => rows)).toEqual([10, 10, 15]);
  expect(new Set(written.map(({ token }) => token)).size).toBe(3);
});
