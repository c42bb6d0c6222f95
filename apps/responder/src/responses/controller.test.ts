import { bodyOf } from '@tripline/bus';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Alert, Response } from '@tripline/model';
import { isOurs, pluginId, responseId, responseIdByIndex, type Policy } from '@tripline/policy';
import type { ControllerLimits } from './admission.ts';
import { Controller, UnknownResponseError } from './controller.ts';
import { openRoleState } from '../role-state.ts';
import {
  anAlert,
  aPolicy,
  asBatch,
  MemoryBus,
  MemoryKong,
  MemoryState,
  startMs,
  TestClock,
  testContext,
  TestPolicies,
} from '../test-support.ts';

const minute = 60_000;
const day = 24 * 60 * minute;

interface Options {
  policies?: Policy[];
  limits?: Partial<ControllerLimits>;
  kong?: MemoryKong | null;
  consumers?: string[];
}

/** A controller whose process can be killed and started again; state, bus and Kong stay. */
async function world(options: Options = {}) {
  const clock = new TestClock();
  const store = new MemoryState();
  const bus = new MemoryBus();
  const policies = new TestPolicies(...(options.policies ?? [aPolicy()]));
  const kong =
    options.kong === null ? null : (options.kong ?? new MemoryKong(options.consumers ?? ['c-1', 'c-2']));
  let context = testContext(clock.now);
  let offset = 0;
  const start = async () => {
    context = testContext(clock.now);
    const state = await openRoleState(store, 1);
    return new Controller({
      ...context,
      bus,
      state,
      admin: kong ?? undefined,
      policies,
      random: () => 1,
      wake: () => undefined,
      ...(options.limits && { limits: options.limits }),
    });
  };
  const made = {
    clock,
    store,
    bus,
    policies,
    kong: kong!,
    controller: await start(),
    get log() {
      return context.lines.join('');
    },
    get metrics() {
      return context.metrics;
    },
    /** As after kill -9: what was only in memory is gone. */
    async restart() {
      made.controller = await start();
    },
    decide: (...alerts: Alert[]) => made.controller.decide(asBatch(alerts, ++offset)),
    /** Lets the time pass in steps until nothing is due for a while. */
    async run(ms: number) {
      const end = clock.nowMs + ms;
      await made.controller.pass();
      while (clock.nowMs < end) {
        clock.nowMs = Math.min(end, clock.nowMs + Math.max(1, made.controller.dueInMs()));
        await made.controller.pass();
      }
    },
    /** The last published state of each response. */
    published(): Map<string, Response> {
      return new Map(bus.responses.map((one) => [one.id, one]));
    },
    status(): string[] {
      return made.controller.responses().map((one) => one.status);
    },
  };
  return made;
}

describe('deciding', () => {
  test('an alert that a policy matches becomes a plugin with one call, without asking Kong first', async () => {
    const w = await world();
    await w.controller.pass();
    w.kong.calls.length = 0;
    await w.decide(anAlert());
    await w.controller.pass();
    expect(w.kong.calls).toEqual(['put']);
    expect(w.kong.blocked()).toEqual(['c-1']);
    expect(w.kong.store.get(pluginId('c-1', 'request-termination'))).toMatchObject({
      config: { status_code: 403, message: 'stop' },
      tags: ['tripline', `tripline-response:${responseId('block-all', 'alert-c-1', 'block')}`],
    });
    expect(w.bus.responses.map((one) => [one.revision, one.status])).toEqual([
      [1, 'pending'],
      [2, 'active'],
    ]);
  });

  test('the same alert again, or grown, leads to no second response', async () => {
    const w = await world();
    await w.decide(anAlert(), anAlert());
    await w.decide(anAlert({ revision: 2, count: 500 }));
    await w.restart();
    await w.decide(anAlert());
    await w.run(minute);
    expect(w.controller.responses()).toHaveLength(1);
    expect(w.kong.writes).toHaveLength(1);
  });

  test('an alert that grows so that another policy matches leads to that response then', async () => {
    const w = await world({
      policies: [aPolicy({ id: 'critical', match: { severityAtLeast: 'critical' } })],
    });
    await w.decide(anAlert());
    expect(w.status()).toEqual([]);
    await w.decide(anAlert({ revision: 2, severity: 'critical' }));
    expect(w.status()).toEqual(['pending']);
  });

  test('alerts about calls of more than an hour ago and closed alerts start nothing', async () => {
    const w = await world();
    await w.decide(
      anAlert({ lastSeenAt: startMs - 60 * minute - 1 }),
      anAlert({ consumer: 'c-2', status: 'closed' }),
    );
    expect(w.status()).toEqual([]);
    expect(w.log).toContain('no response is started');
    await w.decide(anAlert({ lastSeenAt: startMs - 60 * minute }));
    expect(w.status()).toEqual(['pending']);
  });

  test('a record that is no alert is counted and left out, the others are decided', async () => {
    const w = await world();
    const values = ['nonsense', '{"id":5}', 'null', JSON.stringify(anAlert())];
    const body = bodyOf(values.map((value) => Buffer.from(value)));
    await w.controller.decide({ partition: 0, nextOffset: 4, body });
    expect(w.status()).toEqual(['pending']);
    expect(await w.metrics.metrics()).toContain('tripline_responder_alerts_total{outcome="malformed"} 3');
  });

  test('an episode that goes on after its response ran out starts another one, with an id of its own', async () => {
    const w = await world();
    await w.decide(anAlert());
    await w.run(16 * minute);
    expect(w.status()).toEqual(['expired']);
    const again = anAlert({ revision: 2, lastSeenAt: startMs + 10 * minute });
    await w.decide(again);
    expect(w.status()).toEqual(['expired']);
    const wentOn = { ...again, revision: 3, lastSeenAt: w.clock.nowMs - 1 };
    await w.decide(wentOn, wentOn);
    await w.restart();
    await w.decide(wentOn);
    await w.controller.pass();
    expect(w.controller.responses().map((one) => [one.id, one.status])).toEqual(
      expect.arrayContaining([
        [responseId('block-all', 'alert-c-1', 'block', 0), 'expired'],
        [responseId('block-all', 'alert-c-1', 'block', 1), 'active'],
      ]),
    );
    expect(w.controller.responses()).toHaveLength(2);
  });

  test('nothing is decided before it is saved, and then only once', async () => {
    const w = await world();
    w.store.failures = 1;
    await expect(w.decide(anAlert())).rejects.toThrow('disk full');
    await w.controller.pass();
    expect(w.kong.blocked()).toEqual([]);
    expect(w.controller.problem()).toContain('disk full');
    await w.decide(anAlert());
    await w.controller.pass();
    expect(w.kong.blocked()).toEqual(['c-1']);
    expect(w.controller.problem()).toBeNull();
  });

  test('a policy taken out of the file does not end what is in force', async () => {
    const w = await world();
    await w.decide(anAlert());
    await w.controller.pass();
    w.policies.policies = [];
    await w.run(5 * minute);
    expect(w.kong.blocked()).toEqual(['c-1']);
  });
});

describe('the circuit breakers', () => {
  const crowd = Array.from({ length: 20 }, (_, at) => `c-${at}`);
  const alerts = crowd.map((consumer) => anAlert({ consumer }));

  test('never more than so many live responses; when some end, later revisions take their place', async () => {
    const w = await world({ consumers: crowd, limits: { liveMax: 5 } });
    await w.decide(...alerts);
    await w.controller.pass();
    expect(w.kong.blocked()).toHaveLength(5);
    expect(w.log).toContain('no further consumer is blocked');
    expect(w.controller.notice()).toContain('the most allowed');
    expect(await w.metrics.metrics()).toContain('tripline_responses_refused_total{reason="live"} 15');
    await w.run(16 * minute);
    await w.decide(...alerts.map((alert) => ({ ...alert, revision: 2 })));
    await w.controller.pass();
    expect(w.kong.blocked()).toHaveLength(5);
  });

  test('never more than so many new ones in a minute, over a restart too', async () => {
    const w = await world({ consumers: crowd, limits: { newPerMinuteMax: 3 } });
    await w.decide(...alerts);
    await w.restart();
    await w.decide(...alerts);
    expect(w.controller.responses()).toHaveLength(3);
    w.clock.nowMs += minute;
    await w.decide(...alerts);
    expect(w.controller.responses()).toHaveLength(6);
  });

  test('dry runs write nothing and count in no limit', async () => {
    const w = await world({
      consumers: crowd,
      limits: { liveMax: 1 },
      policies: [aPolicy({ dryRun: true })],
    });
    await w.decide(...alerts);
    await w.run(20 * minute);
    expect(w.status()).toEqual(crowd.map(() => 'dry-run'));
    expect(w.kong.writes).toEqual([]);
    expect(w.kong.calls).not.toContain('put');
    expect(w.published().size).toBe(20);
  });
});

describe('the end of a response', () => {
  test('its plugin is removed at its time, and not before', async () => {
    const w = await world();
    await w.decide(anAlert());
    await w.run(15 * minute - 1);
    expect(w.kong.blocked()).toEqual(['c-1']);
    await w.run(1);
    expect(w.kong.store.size).toBe(0);
    expect([...w.published().values()]).toMatchObject([
      { status: 'expired', removedAt: startMs + 15 * minute, failures: 0 },
    ]);
  });

  test('it is removed with the first pass after the responder was down at that time', async () => {
    const w = await world();
    await w.decide(anAlert());
    await w.controller.pass();
    w.clock.nowMs += 24 * 60 * minute;
    await w.restart();
    await w.controller.pass();
    expect(w.kong.store.size).toBe(0);
    expect(w.status()).toEqual(['expired']);
  });

  test('it stays active until Kong confirmed, if Kong is down at that time', async () => {
    const w = await world();
    await w.decide(anAlert());
    await w.controller.pass();
    w.kong.down = true;
    await w.run(20 * minute);
    expect(w.status()).toEqual(['active']);
    expect(w.controller.problem()).toContain('ECONNREFUSED');
    expect([...w.published().values()][0]).toMatchObject({
      status: 'active',
      problem: 'connect ECONNREFUSED',
    });
    w.kong.down = false;
    await w.run(30_000);
    expect(w.status()).toEqual(['expired']);
    expect(w.kong.store.size).toBe(0);
  });

  test('of two responses on one consumer the plugin stays until the last has ended', async () => {
    const long = aPolicy({
      id: 'long',
      actions: [{ type: 'block', duration: '30m', status: 451, message: 'long' }],
    });
    const w = await world({ policies: [aPolicy(), long] });
    await w.decide(anAlert());
    await w.controller.pass();
    expect(w.kong.store.size).toBe(1);
    expect([...w.kong.store.values()][0]?.config).toMatchObject({ status_code: 451 });
    await w.run(16 * minute);
    expect(w.status().sort()).toEqual(['active', 'expired']);
    expect(w.kong.blocked()).toEqual(['c-1']);
    expect(w.log).not.toContain('by hand');
    await w.run(15 * minute);
    expect(w.status()).toEqual(['expired', 'expired']);
    expect(w.kong.store.size).toBe(0);
  });

  test('a response is lifted for good, over a restart, and not started again by the same alert', async () => {
    const w = await world();
    await w.decide(anAlert());
    await w.controller.pass();
    const id = responseId('block-all', 'alert-c-1', 'block');
    expect(await w.controller.lift(id)).toMatchObject({ status: 'lifted', removedAt: startMs });
    expect(w.kong.store.size).toBe(0);
    await w.restart();
    await w.decide(anAlert({ revision: 2 }));
    await w.run(16 * minute);
    await w.decide(anAlert({ revision: 3, lastSeenAt: w.clock.nowMs }));
    expect(w.status()).toEqual(['lifted']);
    expect(await w.controller.lift(id)).toMatchObject({ status: 'lifted' });
    await expect(w.controller.lift('nobody')).rejects.toThrow(UnknownResponseError);
  });

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

  test('dry runs that cannot be published are not decided without limit', async () => {
    const w = await world({ policies: [aPolicy({ dryRun: true })] });
    w.bus.full = true;
    for (let n = 0; n < 12; n++) {
      await w.decide(...Array.from({ length: 1_000 }, (_, k) => anAlert({ id: `try-${n}-${k}` })));
      await w.controller.pass();
    }
    expect(w.controller.responses()).toHaveLength(10_000);
    expect(await w.metrics.getSingleMetricAsString('tripline_responses_refused_total')).toContain(
      'reason="unpublished"} 2000',
    );
  });

  test('a block is taken off on request and by its end while the state cannot be saved, and saved when it can', async () => {
    const w = await world();
    await w.decide(anAlert());
    await w.decide(anAlert({ consumer: 'c-2' }));
    await w.controller.pass();
    expect(w.kong.store.size).toBe(2);
    w.store.failures = Infinity;
    expect(await w.controller.lift(responseId('block-all', 'alert-c-1', 'block'))).toMatchObject({
      status: 'lifted',
    });
    expect(w.kong.store.size).toBe(1);
    await w.run(16 * minute);
    expect(w.kong.store.size).toBe(0);
    expect(w.controller.problem()).toMatch(/cannot be saved/);
    // What failed all the time was logged once.
    expect(w.log.match(/responses cannot be saved; trying again/g)).toHaveLength(1);
    w.store.failures = 0;
    await w.run(minute);
    expect(w.controller.problem()).toBeNull();
    await w.restart();
    await w.controller.pass();
    expect(w.status().sort()).toEqual(['expired', 'lifted']);
    expect(w.kong.store.size).toBe(0);
  });

  test('a lift while Kong is down is kept, over a restart, and done when Kong is back', async () => {
    const w = await world();
    await w.decide(anAlert());
    await w.controller.pass();
    w.kong.down = true;
    const lifted = await w.controller.lift(responseId('block-all', 'alert-c-1', 'block'));
    expect(lifted).toMatchObject({ status: 'active', problem: 'connect ECONNREFUSED' });
    await w.restart();
    w.kong.down = false;
    await w.controller.pass();
    expect(w.status()).toEqual(['lifted']);
    expect(w.kong.store.size).toBe(0);
  });

  test('a plugin of ours whose response nobody knows any more is removed', async () => {
    const w = await world();
    w.kong.byHand({
      id: 'x',
      name: 'request-termination',
      consumer: { id: 'c-2' },
      tags: ['tripline', 'tripline-response:lost'],
    });
    w.kong.byHand({ id: 'log', name: 'tcp-log', tags: ['tripline'] });
    await w.controller.pass();
    expect([...w.kong.store.keys()]).toEqual(['log']);
  });

  test('what has ended is forgotten after seven days', async () => {
    const w = await world();
    await w.decide(anAlert());
    await w.run(15 * minute);
    w.clock.nowMs += 7 * 24 * 60 * minute;
    await w.run(minute);
    await w.run(minute);
    expect(w.controller.responses()).toEqual([]);
    expect(w.store.values.size).toBe(0);
  });
});

describe('whatever goes wrong, Kong becomes what it should be', () => {
  test('Kong down when the alert comes: blocked as soon as it is back', async () => {
    const w = await world();
    w.kong.down = true;
    await w.decide(anAlert());
    await w.run(5 * minute);
    expect(w.status()).toEqual(['pending']);
    const tries = w.kong.calls.length;
    // Back-off: doubling to 30 s, not a hot loop.
    expect(tries).toBeLessThan(20);
    w.kong.down = false;
    await w.run(30_000);
    expect(w.kong.blocked()).toEqual(['c-1']);
    expect(w.status()).toEqual(['active']);
    expect(w.controller.problem()).toBeNull();
    // First, second, fourth, eighth … failure, not each.
    expect(w.bus.responses.length).toBeLessThan(10);
  });

  test.each(['before', 'after'])(
    'kill -9 between decided and done, %s the write took effect: one plugin',
    async (when) => {
      const w = await world();
      await w.decide(anAlert());
      if (when === 'after') {
        await w.controller.pass();
        // As if nothing that followed the write had been saved.
        const key = `response:${responseId('block-all', 'alert-c-1', 'block')}`;
        const held = JSON.parse(w.store.values.get(key)!) as { response: Response };
        held.response.status = 'pending';
        w.store.values.set(key, JSON.stringify(held));
      }
      await w.restart();
      await w.run(minute);
      expect(w.kong.writes).toHaveLength(1);
      expect(w.kong.blocked()).toEqual(['c-1']);
      expect(w.status()).toEqual(['active']);
    },
  );

  test('killed before the decision was published: it is published after the start', async () => {
    const w = await world();
    w.bus.full = true;
    await w.decide(anAlert());
    await w.controller.pass();
    expect(w.kong.blocked()).toEqual(['c-1']);
    await w.restart();
    w.bus.full = false;
    await w.controller.pass();
    expect(w.bus.responses.map((one) => one.revision)).toEqual([1, 2]);
  });

  test('a 5xx after the write took effect: found to be there, not written twice', async () => {
    const w = await world();
    await w.controller.pass();
    w.kong.faults = ['unavailable-after-effect'];
    await w.decide(anAlert());
    await w.run(minute);
    expect(w.kong.writes).toHaveLength(1);
    expect(w.status()).toEqual(['active']);
  });

  test('a 5xx after a removal took effect: the response has ended', async () => {
    const w = await world();
    await w.decide(anAlert());
    await w.controller.pass();
    w.kong.faults = ['unavailable-after-effect'];
    await w.run(16 * minute);
    expect(w.status()).toEqual(['expired']);
  });

  test('one call that always fails does not hold up the others', async () => {
    const many = ['c-1', 'c-2', 'c-3', 'c-4', 'c-5'];
    const w = await world({ consumers: many });
    w.kong.brokenConsumer = 'c-1';
    await w.decide(...many.map((consumer) => anAlert({ consumer })));
    await w.run(minute);
    expect(w.kong.blocked()).toEqual(['c-2', 'c-3', 'c-4', 'c-5']);
  });

  test('a Kong that refuses everything is asked three times per pass, not for each response', async () => {
    const many = Array.from({ length: 10 }, (_, at) => `c-${at}`);
    const w = await world({ consumers: many });
    await w.controller.pass();
    w.kong.calls.length = 0;
    w.kong.faults = many.map(() => 'unavailable');
    await w.decide(...many.map((consumer) => anAlert({ consumer })));
    await w.controller.pass();
    expect(w.kong.calls).toEqual(['put', 'put', 'put']);
    await w.run(2 * minute);
    expect(w.kong.blocked()).toEqual(many);
  });

  test('a plugin deleted or disabled by hand while in force is put back, and told', async () => {
    const w = await world();
    await w.decide(anAlert());
    await w.controller.pass();
    w.kong.store.clear();
    await w.run(31_000);
    expect(w.kong.blocked()).toEqual(['c-1']);
    const id = pluginId('c-1', 'request-termination');
    w.kong.byHand({ ...w.kong.store.get(id)!, enabled: false });
    await w.run(31_000);
    expect(w.kong.blocked()).toEqual(['c-1']);
    expect(w.log).toContain('removed or changed by hand');
  });

  test("a plugin whose tags were taken off is the operator's from then on", async () => {
    const w = await world();
    await w.decide(anAlert());
    await w.controller.pass();
    const id = pluginId('c-1', 'request-termination');
    const theirs = { ...w.kong.store.get(id)!, tags: ['ops'], config: { status_code: 418 } };
    w.kong.byHand(theirs);
    await w.run(31_000);
    expect(w.status()).toEqual(['blocked-by-operator']);
    await w.restart();
    await w.decide(anAlert({ id: 'another' }));
    await w.run(16 * minute);
    expect(w.kong.store.get(id)).toEqual(theirs);
    expect(w.status()).toEqual(['expired', 'expired']);
  });

  test('a plugin is not taken back either if its tags were taken off before its write was confirmed', async () => {
    const w = await world();
    await w.controller.pass();
    w.kong.faults = ['unavailable-after-effect'];
    await w.decide(anAlert());
    await w.controller.pass();
    const id = pluginId('c-1', 'request-termination');
    w.kong.byHand({ ...w.kong.store.get(id)!, tags: null });
    await w.run(minute);
    expect(w.kong.store.get(id)?.tags).toBeNull();
    expect(w.status()).toEqual(['blocked-by-operator']);
  });

  test("an operator's own plugin is left alone and reported; when it is gone, ours takes its place", async () => {
    const w = await world();
    w.kong.byHand({
      id: 'ops',
      name: 'request-termination',
      consumer: { id: 'c-1' },
      config: { status_code: 503 },
    });
    await w.decide(anAlert());
    await w.run(2 * minute);
    expect(w.status()).toEqual(['blocked-by-operator']);
    expect([...w.published().values()][0]?.problem).toContain("not Tripline's");
    expect([...w.kong.store.keys()]).toEqual(['ops']);
    // Asked again with each full compare, about every 30 s, and reported once.
    expect(w.kong.calls.filter((call) => call === 'put').length).toBeLessThanOrEqual(5);
    expect(w.bus.responses).toHaveLength(2);
    w.kong.store.delete('ops');
    await w.run(31_000);
    expect(w.status()).toEqual(['active']);
  });

  test('a consumer that does not exist (any more) makes the response impossible', async () => {
    const w = await world();
    await w.decide(anAlert({ consumer: 'nobody' }), anAlert());
    await w.controller.pass();
    w.kong.deleteConsumer('c-1');
    await w.run(31_000);
    expect(w.status()).toEqual(['impossible', 'impossible']);
    expect([...w.published().values()][0]?.problem).toContain('does not exist in Kong');
  });

  test('a DB-less Kong makes it impossible, said once and clearly', async () => {
    const w = await world();
    w.kong.dbLess = true;
    await w.decide(anAlert());
    await w.run(5 * minute);
    expect(w.status()).toEqual(['impossible']);
    expect(w.kong.calls.filter((call) => call === 'put')).toHaveLength(1);
    expect(w.controller.notice()).toContain('DB-less');
    expect(w.controller.problem()).toBeNull();
  });

  test('without a Kong configured it is impossible, and said', async () => {
    const w = await world({ kong: null });
    await w.decide(anAlert());
    await w.controller.pass();
    expect(w.status()).toEqual(['impossible']);
    expect(w.controller.notice()).toContain('no Kong Admin API is configured');
  });

  test('a disk that is full for a while costs nothing that was decided', async () => {
    const w = await world();
    await w.decide(anAlert());
    w.store.failures = 3;
    w.bus.full = true;
    await w.run(minute);
    expect(w.kong.blocked()).toEqual(['c-1']);
    w.bus.full = false;
    await w.run(minute);
    expect(w.published().get(responseId('block-all', 'alert-c-1', 'block'))).toMatchObject({
      status: 'active',
    });
    await w.restart();
    expect(w.status()).toEqual(['active']);
  });
});

describe('over random histories', () => {
  const consumers = ['c-1', 'c-2', 'c-3'];
  const policies = [
    aPolicy(),
    aPolicy({
      id: 'limit',
      match: { severityAtLeast: 'high' },
      actions: [{ type: 'rate-limit', duration: '5m', minute: 10 }],
    }),
    aPolicy({
      id: 'dry',
      dryRun: true,
      actions: [{ type: 'block', duration: 'permanent', status: 451, message: 'dry' }],
    }),
    aPolicy({
      id: 'ever',
      match: { severityAtLeast: 'critical' },
      actions: [{ type: 'block', duration: 'permanent', status: 403, message: 'ever' }],
    }),
  ];
  const step = fc.oneof(
    fc.record({
      do: fc.constant('alert' as const),
      consumer: fc.constantFrom(...consumers, ''),
      kind: fc.constantFrom(
        'consumer' as const,
        'consumer' as const,
        'consumer' as const,
        'address' as const,
      ),
      severity: fc.constantFrom('low' as const, 'high' as const, 'critical' as const),
      episode: fc.nat(2),
    }),
    fc.record({
      do: fc.constant('wait' as const),
      ms: fc.constantFrom(1_000, 30_000, 6 * minute, 16 * minute),
    }),
    fc.record({
      do: fc.constant('fault' as const),
      fault: fc.constantFrom('unavailable' as const, 'unavailable-after-effect' as const),
    }),
    fc.record({ do: fc.constant('down' as const), down: fc.boolean() }),
    fc.record({ do: fc.constant('kill' as const) }),
    fc.record({ do: fc.constant('lift' as const), nth: fc.nat(5) }),
    fc.record({
      do: fc.constant('hand' as const),
      hand: fc.constantFrom(
        'clear' as const,
        'own' as const,
        'untag' as const,
        'disable' as const,
        'orphan' as const,
        'no own' as const,
      ),
      consumer: fc.constantFrom(...consumers),
    }),
    fc.record({ do: fc.constant('delete consumer' as const), consumer: fc.constantFrom(...consumers) }),
    fc.record({ do: fc.constant('disk' as const), failures: fc.nat(2) }),
  );

  test('the safety rules hold at every step, and Kong ends up as the responses say', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
        const limits = { liveMax: 4, newPerMinuteMax: 3 };
        const w = await world({ policies, consumers, limits });
        let revision = 0;
        for (const one of steps) {
          const { kong } = w;
          switch (one.do) {
            case 'alert': {
              const actor = { kind: one.kind, id: one.consumer, name: one.consumer };
              const id = `alert-${one.consumer}-${one.episode}`;
              const alert = anAlert({
                id,
                revision: ++revision,
                actor,
                severity: one.severity,
                lastSeenAt: w.clock.nowMs,
              });
              // The bus delivers a batch again until it was dealt with.
              while (
                !(await w.decide(alert).then(
                  () => true,
                  () => false,
                ))
              );
              await w.controller.pass();
              break;
            }
            case 'wait':
              await w.run(one.ms);
              break;
            case 'fault':
              kong.faults.push(one.fault);
              break;
            case 'down':
              kong.down = one.down;
              break;
            case 'kill':
              await w.restart();
              break;
            case 'lift': {
              const response = w.controller.responses()[one.nth];
              if (response) await w.controller.lift(response.id).catch(() => undefined);
              break;
            }
            case 'disk':
              w.store.failures = one.failures;
              break;
            case 'delete consumer':
              kong.deleteConsumer(one.consumer);
              break;
            case 'hand':
              byHand(kong, one.hand, one.consumer);
          }
          checkSafety(w, limits);
        }
        // The world calms down: everything must settle.
        w.kong.down = false;
        w.kong.faults = [];
        w.store.failures = 0;
        await w.run(2 * minute);
        checkSafety(w, limits);
        expect(w.controller.problem()).toBeNull();
        const active = w.controller.responses().filter((one) => one.status === 'active');
        const tags = [...w.kong.store.values()]
          .filter(isOurs)
          .flatMap((plugin) => plugin.tags!.filter((tag) => tag.startsWith('tripline-response:')));
        expect(tags.sort()).toEqual(active.map((one) => `tripline-response:${one.id}`).sort());
        for (const one of active) expect(one.expiresAt ?? Infinity).toBeGreaterThan(w.clock.nowMs);
        expect(w.status()).not.toContain('pending');
        for (const one of w.controller.responses()) {
          expect(w.published().get(one.id)).toMatchObject({ status: one.status });
        }
        for (const response of w.bus.responses.filter((one) => one.policyId === 'dry')) {
          expect(response.status).toBe('dry-run');
        }
      }),
      { numRuns: 300 },
    );
  });

  function byHand(kong: MemoryKong, hand: string, consumer: string): void {
    const id = pluginId(consumer, 'request-termination');
    const plugin = kong.store.get(id);
    if (hand === 'clear') for (const one of kong.store.values()) if (isOurs(one)) kong.store.delete(one.id);
    if (hand === 'own' && !plugin && kong.consumers.has(consumer)) {
      kong.byHand({ id: `ops-${consumer}`, name: 'request-termination', consumer: { id: consumer } });
    }
    if (hand === 'no own') kong.store.delete(`ops-${consumer}`);
    if (hand === 'untag' && plugin) kong.byHand({ ...plugin, tags: ['ops'] });
    if (hand === 'disable' && plugin) kong.byHand({ ...plugin, enabled: false });
    if (hand === 'orphan' && !kong.store.has('orphan') && kong.consumers.has(consumer)) {
      kong.byHand({
        id: 'orphan',
        name: 'rate-limiting',
        consumer: { id: consumer },
        route: { id: 'r' },
        tags: ['tripline', 'tripline-response:lost'],
      });
    }
  }

  function checkSafety(
    w: Awaited<ReturnType<typeof world>>,
    limits: { liveMax: number; newPerMinuteMax: number },
  ): void {
    for (const write of w.kong.writes) {
      if (write.before) expect(isOurs(write.before), 'only what carries our tags is touched').toBe(true);
      if (write.kind === 'delete') continue;
      expect(write.input?.consumer?.id, 'never without a consumer').toBeTruthy();
      expect(write.input?.tags).toContain('tripline');
      expect(write.input?.config['status_code'], 'a dry run writes nothing').not.toBe(451);
    }
    const responses = w.controller.responses();
    const live = responses.filter((one) => ['pending', 'active', 'blocked-by-operator'].includes(one.status));
    expect(live.length).toBeLessThanOrEqual(limits.liveMax);
    const real = responses.filter((one) => one.status !== 'dry-run').map((one) => one.decidedAt);
    for (const at of real) {
      expect(real.filter((other) => other >= at && other < at + minute).length).toBeLessThanOrEqual(
        limits.newPerMinuteMax,
      );
    }
    expect(w.kong.store.size).toBeLessThanOrEqual(20);
  }
});
