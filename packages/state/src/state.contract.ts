import { afterEach, describe, expect, it } from 'vitest';
import { FencedError, type StateStore } from './state-store.ts';
import { bytesOf, textsOf } from './test-support.ts';

export interface StateUnderTest {
  state: StateStore;
  /** Closes the store and opens it on what it left behind. */
  reopen: () => Promise<StateStore>;
  dispose: () => Promise<void>;
}

/** What every state store guarantees; run for each implementation. */
export function stateContract(name: string, create: () => Promise<StateUnderTest>): void {
  describe(`${name}: the state contract`, () => {
    let under: StateUnderTest | undefined;
    const open = async (): Promise<StateStore> => (under = await create()).state;
    afterEach(async () => {
      await under?.dispose();
      under = undefined;
    });

    it('has no position and no values before the first checkpoint', async () => {
      const claimed = await (await open()).claim(0);
      expect(claimed.partition).toBe(0);
      expect(claimed.offset).toBeUndefined();
      expect(await claimed.load(['a'])).toEqual(new Map());
      expect(await claimed.loadAll()).toEqual(new Map());
    });

    it('keeps values and position of a checkpoint over a restart', async () => {
      const values = bytesOf([
        ['a', '{"n":1}'],
        ['b', 'Søren 😀\u0000'],
        ['', ''],
        ['ключ}{*', '[1,1769990339627,"accounts",[176999033,[0,64,0,128],"0kb0op13907we",null]]'],
        ['c', 'NONE OF IT IN LOWER CASE'],
      ]);
      const claimed = await (await open()).claim(0);
      await claimed.checkpoint(values, 17);
      const again = await (await under!.reopen()).claim(0);
      expect(again.offset).toBe(17);
      expect(await again.load([...values.keys(), 'not there'])).toEqual(values);
      expect(await again.loadAll()).toEqual(values);
    });

    it('gives back any bytes as they are, each value in a buffer of its own', async () => {
      const anyBytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
      const values = new Map<string, Buffer>([
        ['empty', Buffer.alloc(0)],
        ['a zero', Buffer.from([0])],
        ['zeros', Buffer.alloc(5_000)],
        ['no UTF-8', Buffer.from([0xff, 0xfe, 0xc0, 0x80, 0xed, 0xa0, 0x80])],
        ['lines', Buffer.from('\r\n$-1\r\n*0\r\n')],
        ['all', anyBytes],
        ['part of a larger one', anyBytes.subarray(7, 9)],
        ['large', Buffer.concat(Array.from({ length: 1_000 }, () => anyBytes))],
        // As the first bytes of other formats: an array of MessagePack, text of seven bits a character, JSON.
        ...[0x92, 8, 0x5b, 1].map((byte) => [`begins with ${byte}`, Buffer.from([byte, 1, 2, 3])] as const),
      ]);
      const claimed = await (await open()).claim(0);
      await claimed.checkpoint(values, 1);
      const loaded = await claimed.load([...values.keys()]);
      const all = await claimed.loadAll();
      for (const found of [loaded, all]) {
        expect([...found.keys()].sort()).toEqual([...values.keys()].sort());
        for (const [key, value] of values) {
          expect(Buffer.isBuffer(found.get(key)), key).toBe(true);
          expect(found.get(key)!.equals(value), key).toBe(true);
        }
      }
      loaded.get('all')!.fill(0);
      expect((await claimed.load(['all'])).get('all')!.equals(anyBytes)).toBe(true);
    });

    it('does not change what was loaded or saved before when values are written again', async () => {
      const claimed = await (await open()).claim(0);
      const saved = Buffer.from('first');
      await claimed.checkpoint(new Map([['a', saved]]), 1);
      const loaded = (await claimed.load(['a'])).get('a')!;
      await claimed.checkpoint(bytesOf([['a', 'after']]), 2);
      await claimed.load(['a']);
      expect([saved, loaded].map(String)).toEqual(['first', 'first']);
    });

    it('replaces and removes values', async () => {
      const state = await open();
      const claimed = await state.claim(0);
      await claimed.checkpoint(
        bytesOf([
          ['a', '1'],
          ['b', '2'],
        ]),
        1,
      );
      await claimed.checkpoint(
        bytesOf([
          ['b', null],
          ['never there', null],
          ['a', '3'],
        ]),
        2,
      );
      expect(await claimed.loadAll()).toEqual(bytesOf([['a', '3']]));
      expect((await state.claim(0)).offset).toBe(2);
    });

    it('keeps partitions apart', async () => {
      const state = await open();
      const [zero, one, eleven] = [await state.claim(0), await state.claim(1), await state.claim(11)];
      await zero.checkpoint(bytesOf([['a', 'zero']]), 5);
      await one.checkpoint(
        bytesOf([
          ['a', 'one'],
          ['z', '26'],
        ]),
        7,
      );
      await eleven.checkpoint(bytesOf([['a', 'eleven']]), 0);
      expect(await zero.loadAll()).toEqual(bytesOf([['a', 'zero']]));
      expect(await one.loadAll()).toEqual(
        bytesOf([
          ['a', 'one'],
          ['z', '26'],
        ]),
      );
      const offsets = await Promise.all([0, 1, 11].map(async (at) => (await state.claim(at)).offset));
      expect(offsets).toEqual([5, 7, 0]);
    });

    it('moves the position on without any change of values', async () => {
      const state = await open();
      await (await state.claim(0)).checkpoint(new Map(), 3);
      expect((await state.claim(0)).offset).toBe(3);
    });

    it('takes the same checkpoint again', async () => {
      const state = await open();
      const claimed = await state.claim(0);
      const changes = bytesOf([
        ['a', '1'],
        ['b', null],
      ]);
      for (let time = 0; time < 3; time++) await claimed.checkpoint(changes, 9);
      const next = await state.claim(0);
      expect(next.offset).toBe(9);
      expect(await next.loadAll()).toEqual(bytesOf([['a', '1']]));
    });

    it('saves thousands of values in one checkpoint, and loads them at once', async () => {
      const claimed = await (await open()).claim(0);
      const values = new Map(
        Array.from({ length: 10_000 }, (_, n) => [`key ${n}`, `${n},`.repeat(100)] as const),
      );
      await claimed.checkpoint(bytesOf(values), 1);
      expect(textsOf(await claimed.load([...values.keys()]))).toEqual(values);
    });

    it('saves nothing of an owner whose partition was claimed by another since, who may still read', async () => {
      const state = await open();
      const former = await state.claim(0);
      const changes = bytesOf([
        ['a', 'former'],
        ['b', 'former'],
      ]);
      await former.checkpoint(changes, 1);

      const present = await state.claim(0);
      expect(present.offset).toBe(1);
      const stale = former.checkpoint(
        new Map([
          ...changes,
          ...bytesOf([
            ['b', null],
            ['c', 'stale'],
          ]),
        ]),
        2,
      );
      await expect(stale).rejects.toThrow(FencedError);
      expect(await former.load(['a', 'c'])).toEqual(bytesOf([['a', 'former']]));
      expect(await present.loadAll()).toEqual(changes);

      await present.checkpoint(bytesOf([['a', 'present']]), 3);
      await expect(former.checkpoint(changes, 2)).rejects.toThrow(FencedError);
      expect((await state.claim(0)).offset).toBe(3);
      expect(await present.load(['a'])).toEqual(bytesOf([['a', 'present']]));
    });

    it('does not void a claim by one on another partition', async () => {
      const state = await open();
      const claimed = await state.claim(0);
      await state.claim(1);
      await claimed.checkpoint(bytesOf([['a', '1']]), 1);
      expect((await claimed.loadAll()).size).toBe(1);
    });

    it('gives a lease to one holder, who may renew it and give it up', async () => {
      const state = await open();
      expect(await state.lease('leader', 'anna', 60_000)).toEqual({ held: true, holder: 'anna' });
      expect(await state.lease('leader', 'boris', 60_000)).toEqual({ held: false, holder: 'anna' });
      expect(await state.lease('leader', 'anna', 60_000)).toEqual({ held: true, holder: 'anna' });
      expect(await state.lease('another', 'boris', 60_000)).toEqual({ held: true, holder: 'boris' });

      await state.release('leader', 'boris');
      expect(await state.lease('leader', 'boris', 60_000)).toEqual({ held: false, holder: 'anna' });
      await state.release('leader', 'anna');
      expect(await state.lease('leader', 'boris', 60_000)).toEqual({ held: true, holder: 'boris' });
    });

    it('gives a lease to the next one when it was not renewed in time, and not before', async () => {
      const state = await open();
      const until = Date.now() + 200;
      expect((await state.lease('leader', 'anna', 300)).held).toBe(true);
      let held = false;
      let heldAt = 0;
      while (!held) {
        ({ held } = await state.lease('leader', 'boris', 60_000));
        heldAt = Date.now();
        if (heldAt > until + 20_000) throw new Error('the lease does not end');
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      expect(heldAt).toBeGreaterThan(until);
      expect(await state.lease('leader', 'anna', 300)).toEqual({ held: false, holder: 'boris' });
    });

    it('tells how many values it holds and about how many bytes they take', async () => {
      const state = await open();
      const claimed = await state.claim(0);
      await claimed.checkpoint(
        bytesOf([
          ['a', '12345'.repeat(100)],
          ['b', 'é'],
        ]),
        1,
      );
      const { keys, bytes } = await state.size();
      expect(keys).toBe(2);
      expect(bytes).toBeGreaterThan(300);
      expect(bytes).toBeLessThanOrEqual(510);
    });

    it('has no problem while it works', async () => {
      const state = await open();
      await state.claim(0);
      expect(state.problem()).toBeNull();
    });
  });
}
