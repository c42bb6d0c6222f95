import { describe, expect, test } from 'vitest';
import type { Response } from '@tripline/model';
import { pluginId, responseId } from '@tripline/policy';
import { anAlert } from '../test-support.ts';
import { minute, world } from './test-world.ts';

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

  test('a plugin deleted or disabled by hand while in force is put back, and reported', async () => {
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
