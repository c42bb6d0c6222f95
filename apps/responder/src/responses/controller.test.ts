import { bodyOf } from '@tripline/bus';
import { describe, expect, test } from 'vitest';
import { pluginId, responseId } from '@tripline/policy';
import { anAlert, aPolicy, startMs } from '../test-support.ts';
import { UnknownResponseError } from './controller.ts';
import { minute, world } from './test-world.ts';

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

  test('live responses are limited; when some end, later revisions take their place', async () => {
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

  test('new responses per minute are limited, over a restart too', async () => {
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
