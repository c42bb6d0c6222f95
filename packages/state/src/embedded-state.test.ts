import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { open } from 'lmdb';
import { expect, it } from 'vitest';
import { createSmallDisk } from '../../../test/support/small-disk.ts';
import { createEmbeddedState } from './embedded-state.ts';
import { stateContract } from './state.contract.ts';
import type { PartitionState, StateChanges } from './state-store.ts';
import { bytesOf } from './test-support.ts';

stateContract('embedded state', () => {
  const path = mkdtempSync(join(tmpdir(), 'tripline-state-'));
  let state = createEmbeddedState({ path });
  return Promise.resolve({
    state,
    reopen: async () => {
      await state.close();
      state = createEmbeddedState({ path });
      return state;
    },
    dispose: async () => {
      await state.close();
      rmSync(path, { recursive: true });
    },
  });
});

it('removes values that were not written for the expiry time, and no others', async () => {
  const path = mkdtempSync(join(tmpdir(), 'tripline-state-'));
  let now = 1_000_000;
  const state = createEmbeddedState({ path, idleExpiryMs: 60_000, now: () => now });
  const claimed = await state.claim(0);
  await claimed.checkpoint(
    bytesOf([
      ['idle', '1'],
      ['busy', '1'],
    ]),
    1,
  );
  now += 50_000;
  await claimed.checkpoint(bytesOf([['busy', '2']]), 2);
  expect((await claimed.loadAll()).size).toBe(2);
  now += 20_000;
  await claimed.checkpoint(new Map(), 3);
  expect(await claimed.loadAll()).toEqual(bytesOf([['busy', '2']]));
  await state.close();
  rmSync(path, { recursive: true });
});

it('gives back what another version wrote as the bytes that stand there, and can be written and swept again', async () => {
  const path = mkdtempSync(join(tmpdir(), 'tripline-state-'));
  const root = open({ path, encoding: 'json', maxDbs: 4 });
  // As version 0.1.0 opened it before values were bytes.
  const entries = root.openDB<unknown, [number, string]>({ name: 'entries', encoding: 'msgpack' });
  await entries.put([0, 'earlier version'], [1_769_990_339, '[4,1769990339627]']);
  await root.close();
  const damaging = open({ path, encoding: 'json', maxDbs: 4 });
  const raw = damaging.openDB<Buffer, [number, string]>({ name: 'entries', encoding: 'binary' });
  await raw.put([0, 'no format'], Buffer.from([0xc1, 0xff, 0x00, 0x93]));
  await raw.put([0, 'too short'], Buffer.from([1, 0]));
  await raw.put([0, 'nothing'], Buffer.alloc(0));
  await damaging
    .openDB<Buffer, number>({ name: 'offsets', encoding: 'binary' })
    .put(0, Buffer.from('{"at":7'));
  await damaging.close();
  const state = createEmbeddedState({ path, idleExpiryMs: 60_000 });
  const claimed = await state.claim(0);
  expect(claimed.offset).toBeUndefined();
  const found = await claimed.loadAll();
  expect([...found.keys()].sort()).toEqual(['earlier version', 'no format', 'nothing', 'too short']);
  expect(found.get('earlier version')![0]).toBe(0x92);
  expect(found.get('earlier version')!.toString('latin1')).toContain('[4,1769990339627]');
  expect(found.get('no format')).toEqual(Buffer.from([0xc1, 0xff, 0x00, 0x93]));
  expect(found.get('too short')).toEqual(Buffer.from([1, 0]));
  expect(found.get('nothing')).toEqual(Buffer.alloc(0));
  expect(await claimed.load([...found.keys()])).toEqual(found);
  await claimed.checkpoint(bytesOf([['no format', '1']]), 8);
  expect(await claimed.loadAll()).toEqual(bytesOf([['no format', '1']]));
  expect((await state.claim(0)).offset).toBe(8);
  await state.close();
  rmSync(path, { recursive: true });
});

it('rejects a checkpoint while the disk is full, says so, and takes it whole when there is room', async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => void unhandled.push(reason);
  process.on('unhandledRejection', note);
  const disk = createSmallDisk(4 * 2 ** 20);
  const state = createEmbeddedState({ path: join(disk.path, 'state') });
  try {
    const claimed = await state.claim(0);
    const changes = (value: number): StateChanges =>
      bytesOf(Array.from({ length: 50 }, (_, i) => [`key-${i}`, `${value} ${'x'.repeat(10_000)}`] as const));
    await claimed.checkpoint(changes(1), 1);
    disk.fill();
    const save = (into: PartitionState, offset: number): Promise<boolean> =>
      into.checkpoint(changes(offset), offset).then(
        () => true,
        () => false,
      );
    let offset = 1;
    // Pages that earlier checkpoints freed may do for some.
    while (await save(claimed, offset + 1)) offset++;
    expect(state.problem()).toMatch(/cannot be written/);
    const before = await claimed.loadAll();
    expect((await state.claim(0)).offset).toBe(offset);
    expect(new Set([...before.values()].map((value) => value.toString('latin1').split(' ')[0]))).toEqual(
      new Set([String(offset)]),
    );
    disk.empty();
    const next = await state.claim(0);
    while (!(await save(next, 100))) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(state.problem()).toBeNull();
    expect((await state.claim(0)).offset).toBe(100);
    expect(String((await next.load(['key-7'])).get('key-7'))).toMatch(/^100 /);
    expect(unhandled).toEqual([]);
  } finally {
    process.off('unhandledRejection', note);
    disk.empty();
    await state.close();
    disk.dispose();
  }
});
