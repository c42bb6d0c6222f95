import { afterEach, describe, expect, it } from 'vitest';
import { FencedError, type StateStore } from './state-store.ts';

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
      const values = new Map([
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

    it('replaces and removes values', async () => {
      const state = await open();
      const claimed = await state.claim(0);
      await claimed.checkpoint(
        new Map([
          ['a', '1'],
          ['b', '2'],
        ]),
        1,
      );
      await claimed.checkpoint(
        new Map<string, string | null>([
          ['b', null],
          ['never there', null],
          ['a', '3'],
        ]),
        2,
      );
      expect(await claimed.loadAll()).toEqual(new Map([['a', '3']]));
      expect((await state.claim(0)).offset).toBe(2);
    });

    it('keeps partitions apart', async () => {
      const state = await open();
      const [zero, one, eleven] = [await state.claim(0), await state.claim(1), await state.claim(11)];
      await zero.checkpoint(new Map([['a', 'zero']]), 5);
      await one.checkpoint(
        new Map([
          ['a', 'one'],
          ['z', '26'],
        ]),
        7,
      );
      await eleven.checkpoint(new Map([['a', 'eleven']]), 0);
      expect(await zero.loadAll()).toEqual(new Map([['a', 'zero']]));
      expect(await one.loadAll()).toEqual(
        new Map([
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
      const changes = new Map<string, string | null>([
        ['a', '1'],
        ['b', null],
      ]);
      for (let time = 0; time < 3; time++) await claimed.checkpoint(changes, 9);
      const next = await state.claim(0);
      expect(next.offset).toBe(9);
      expect(await next.loadAll()).toEqual(new Map([['a', '1']]));
    });

    it('saves thousands of values in one checkpoint, and loads them at once', async () => {
      const claimed = await (await open()).claim(0);
      const values = new Map(
        Array.from({ length: 10_000 }, (_, n) => [`key ${n}`, `${n},`.repeat(100)] as const),
      );
      await claimed.checkpoint(values, 1);
      expect(await claimed.load([...values.keys()])).toEqual(values);
    });

    it('saves nothing of an owner whose partition was claimed by another since, who may still read', async () => {
      const state = await open();
      const former = await state.claim(0);
      const changes = new Map<string, string | null>([
        ['a', 'former'],
        ['b', 'former'],
      ]);
      await former.checkpoint(changes, 1);

      const present = await state.claim(0);
      expect(present.offset).toBe(1);
      const stale = former.checkpoint(new Map([...changes, ['b', null], ['c', 'stale']]), 2);
      await expect(stale).rejects.toThrow(FencedError);
      expect(await former.load(['a', 'c'])).toEqual(new Map([['a', 'former']]));
      expect(await present.loadAll()).toEqual(changes);

      await present.checkpoint(new Map([['a', 'present']]), 3);
      await expect(former.checkpoint(changes, 2)).rejects.toThrow(FencedError);
      expect((await state.claim(0)).offset).toBe(3);
      expect(await present.load(['a'])).toEqual(new Map([['a', 'present']]));
    });

    it('does not void a claim by one on another partition', async () => {
      const state = await open();
      const claimed = await state.claim(0);
      await state.claim(1);
      await claimed.checkpoint(new Map([['a', '1']]), 1);
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
        new Map([
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
