import { describe, expect, test } from 'vitest';
import type { Response } from '@tripline/model';
import { responseId, responseIdByIndex, type Policy } from '@tripline/policy';
import { anAlert, aPolicy } from '../test-support.ts';
import { minute, world } from './test-world.ts';

const day = 24 * 60 * minute;

describe('a lifted block does not come back for the same alert', () => {
  const block = aPolicy().actions[0]!;
  const notify = { type: 'notify', webhook: 'w' } as const;
  const lifted = async (policies: Policy[] = [aPolicy()]) => {
    const w = await world({ policies });
    await w.decide(anAlert());
    await w.controller.pass();
    for (const { id, status } of w.controller.responses())
      if (status === 'active') await w.controller.lift(id);
    expect(w.kong.store.size).toBe(0);
    return w;
  };
  let revision = 1;
  const goesOn = async (w: Awaited<ReturnType<typeof lifted>>): Promise<string[]> => {
    await w.decide(anAlert({ revision: ++revision, lastSeenAt: w.clock.nowMs }));
    await w.controller.pass();
    return w.kong.blocked();
  };

  test('however many dry runs are decided', async () => {
    const tried = aPolicy({ id: 'try', dryRun: true, match: { type: 'brute-force' } });
    const w = await lifted([aPolicy({ match: { type: 'request-spike' } }), tried]);
    for (let n = 0; n < 12; n++) {
      const alerts = Array.from({ length: 1_000 }, (_, k) =>
        anAlert({ id: `try-${n}-${k}`, type: 'brute-force' }),
      );
      await w.decide(...alerts);
      await w.controller.pass();
    }
    expect(w.controller.responses().length).toBeLessThanOrEqual(10_001);
    expect(await goesOn(w)).toEqual([]);
    await w.restart();
    expect(await goesOn(w)).toEqual([]);
  });

  test.each([
    ['an action put before it', [notify, block]],
    ['actions in another order', [{ type: 'rate-limit', duration: '5m', minute: 5 }, notify, block]],
    ['an id given to it', [{ ...block, id: 'stop' }]],
    ['another block with an id put before it', [{ ...block, id: 'other' }, block]],
    ['a longer duration', [{ ...block, duration: '2h' }]],
  ] as [string, Policy['actions']][])('after the policy was edited: %s', async (_, actions) => {
    const w = await lifted();
    w.policies.policies = [aPolicy({ actions })];
    await goesOn(w);
    const blocks = w.controller
      .responses()
      .filter(({ action, status }) => action.type === 'block' && status === 'active');
    // A block that is new in the policy may act; the lifted one may not.
    expect(blocks.map(({ action }) => action.id)).toEqual(
      actions.some(({ id }) => id === 'other') ? ['other'] : [],
    );
  });

  test('for as long as the alert lasts, and seven days more', async () => {
    const w = await lifted();
    w.clock.nowMs += 40 * day;
    await w.run(minute);
    await w.run(minute);
    expect(await goesOn(w)).toEqual([]);
    await w.decide(anAlert({ revision: ++revision, status: 'closed' }));
    await w.restart();
    w.clock.nowMs += 6 * day;
    expect(await goesOn(w)).toEqual([]);
    w.clock.nowMs += 8 * day;
    await w.run(minute);
    await w.run(minute);
    expect(w.controller.responses()).toEqual([]);
    expect(w.store.values.size).toBe(0);
  });

  /** Rewrites what is saved to what versions wrote that numbered the actions. */
  function asEarlierVersion(w: Awaited<ReturnType<typeof lifted>>, indexes: Record<string, number>): void {
    for (const [key, value] of [...w.store.values]) {
      const held = JSON.parse(value) as { response: Response; firstId: string; actionId?: string };
      const index = indexes[held.actionId!]!;
      delete held.actionId;
      held.firstId = responseIdByIndex('block-all', held.response.alertId, index);
      held.response.id = held.firstId;
      w.store.values.delete(key);
      w.store.values.set(`response:${held.firstId}`, JSON.stringify(held));
    }
  }

  test('after an upgrade from a version that numbered the actions', async () => {
    const w = await lifted([aPolicy({ actions: [notify, block] })]);
    asEarlierVersion(w, { block: 1 });
    await w.restart();
    expect(await goesOn(w)).toEqual([]);
    expect(w.status()).toEqual(['lifted']);
    await w.restart();
    expect(await goesOn(w)).toEqual([]);
    w.policies.policies = [aPolicy({ actions: [{ ...block, id: 'stop' }] })];
    expect(await goesOn(w)).toEqual([]);
  });

  test('nor does what is in force begin again by an upgrade, each action for itself', async () => {
    const second = { ...block, duration: '2h' };
    const w = await world({ policies: [aPolicy({ actions: [block, notify, second] })] });
    await w.decide(anAlert());
    await w.controller.pass();
    await w.controller.lift(responseId('block-all', 'alert-c-1', 'block-2'));
    asEarlierVersion(w, { block: 0, 'block-2': 2 });
    await w.restart();
    await goesOn(w);
    expect(w.status().sort()).toEqual(['active', 'lifted']);
    // The one in force runs out, and only that one starts again.
    await w.run(16 * minute);
    await goesOn(w);
    const responses = w.controller.responses();
    expect(responses.map(({ action, status }) => [action.duration, status]).sort()).toEqual([
      ['15m', 'active'],
      ['15m', 'expired'],
      ['2h', 'lifted'],
    ]);
  });
});
