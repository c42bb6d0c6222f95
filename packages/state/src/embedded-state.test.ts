import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createEmbeddedState } from './embedded-state.ts';
import { stateContract } from './state.contract.ts';

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
    new Map([
      ['idle', '1'],
      ['busy', '1'],
    ]),
    1,
  );
  now += 50_000;
  await claimed.checkpoint(new Map([['busy', '2']]), 2);
  expect((await claimed.loadAll()).size).toBe(2);
  now += 20_000;
  await claimed.checkpoint(new Map(), 3);
  expect(await claimed.loadAll()).toEqual(new Map([['busy', '2']]));
  await state.close();
  rmSync(path, { recursive: true });
});
