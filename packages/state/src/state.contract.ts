import { afterEach, describe, expect, it } from 'vitest';
import type { StateStore } from './state-store.ts';

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
      const state = await open();
      expect(await state.offset(0)).toBeUndefined();
      expect(await state.load(0, ['a'])).toEqual(new Map());
    });

    it('keeps values and position of a checkpoint over a restart', async () => {
      const state = await open();
      await state.checkpoint(
        0,
        new Map([
          ['a', '{"n":1}'],
          ['b', 'Søren 😀'],
        ]),
        17,
      );
      const again = await under!.reopen();
      expect(await again.offset(0)).toBe(17);
      expect(await again.load(0, ['a', 'b', 'c'])).toEqual(
        new Map([
          ['a', '{"n":1}'],
          ['b', 'Søren 😀'],
        ]),
      );
    });

    it('replaces and removes values', async () => {
      const state = await open();
      await state.checkpoint(
        0,
        new Map([
          ['a', '1'],
          ['b', '2'],
        ]),
        1,
      );
      await state.checkpoint(
        0,
        new Map<string, string | null>([
          ['a', '3'],
          ['b', null],
        ]),
        2,
      );
      expect(await state.loadAll(0)).toEqual(new Map([['a', '3']]));
      expect(await state.offset(0)).toBe(2);
    });

    it('keeps partitions apart', async () => {
      const state = await open();
      await state.checkpoint(0, new Map([['a', 'zero']]), 5);
      await state.checkpoint(
        1,
        new Map([
          ['a', 'one'],
          ['z', '26'],
        ]),
        7,
      );
      expect(await state.loadAll(0)).toEqual(new Map([['a', 'zero']]));
      expect(await state.loadAll(1)).toEqual(
        new Map([
          ['a', 'one'],
          ['z', '26'],
        ]),
      );
      expect([await state.offset(0), await state.offset(1)]).toEqual([5, 7]);
    });

    it('moves the position on without any change of values', async () => {
      const state = await open();
      await state.checkpoint(0, new Map(), 3);
      expect(await state.offset(0)).toBe(3);
    });

    it('tells how many values it holds and their bytes', async () => {
      const state = await open();
      await state.checkpoint(
        0,
        new Map([
          ['a', '12345'],
          ['b', 'é'],
        ]),
        1,
      );
      expect(await state.size()).toEqual({ keys: 2, bytes: 7 });
    });
  });
}
