import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { indexPlugins, type KongPlugin } from '@tripline/kong';
import type { Alert, Response } from '@tripline/model';
import { isOurs, pluginId, responseId, type Policy } from '@tripline/policy';
import { Controller } from './controller.ts';
import { openRoleState } from '../role-state.ts';
import {
  anAlert,
  aPolicy,
  asBatch,
  MemoryBus,
  MemoryKong,
  MemoryState,
  TestClock,
  testContext,
  TestPolicies,
} from '../test-support.ts';

const minute = 60_000;
const limitPolicy = (limits: object): Policy =>
  aPolicy({ id: 'limit', actions: [{ type: 'rate-limit', duration: '15m', ...limits }] });

/** A controller beside an operator who has plugins of his own. The process can be killed and started again. */
async function world(...policies: Policy[]) {
  const clock = new TestClock();
  const store = new MemoryState();
  const bus = new MemoryBus();
  const kong = new MemoryKong(['c-1', 'c-2']);
  let offset = 0;
  let context = testContext(clock.now);
  const start = async () => {
    context = testContext(clock.now);
    return new Controller({
      ...context,
      bus,
      state: await openRoleState(store, 1),
      admin: kong,
      policies: new TestPolicies(...policies),
      random: () => 1,
      wake: () => undefined,
    });
  };
  const made = {
    clock,
    bus,
    kong,
    controller: await start(),
    get log() {
      return context.lines.join('');
    },
    async restart() {
      made.controller = await start();
    },
    decide: (...alerts: Alert[]) => made.controller.decide(asBatch(alerts, ++offset)),
    async run(ms: number) {
      const end = clock.nowMs + ms;
      await made.controller.pass();
      while (clock.nowMs < end) {
        clock.nowMs = Math.min(end, clock.nowMs + Math.max(1, made.controller.dueInMs()));
        await made.controller.pass();
      }
    },
    operator(id: string, scope: Scope, config: object, fields: Partial<KongPlugin> = {}) {
      const on = (value?: string): { id: string } | null => (value === undefined ? null : { id: value });
      const place = { route: on(scope.route), service: on(scope.service), consumer: on(scope.consumer) };
      const counting = { policy: 'local', limit_by: 'consumer' };
      kong.byHand({ id, name: 'rate-limiting', ...place, config: { ...counting, ...config }, ...fields });
    },
    /** What a call of `c-1` there is allowed a minute; undefined: without limit. */
    allowed: (scope: Scope, consumer = 'c-1'): unknown =>
      indexPlugins(kong.store.values(), 'rate-limiting').winner({
        route: scope.route ?? null,
        service: scope.service ?? null,
        consumer,
      })?.config['minute'],
    responses: (): Pick<Response, 'status' | 'problem'>[] =>
      made.controller.responses().map(({ status, problem }) => ({ status, problem })),
    ours: () => [...kong.store.values()].filter(isOurs),
  };
  return made;
}

type Scope = { route?: string; service?: string; consumer?: string };

describe('a rate limit beside those of the operator', () => {
  test('never allows more than they do; when it ends, everything is as before', async () => {
    const w = await world(limitPolicy({ second: 5, minute: 100 }));
    w.operator('global', {}, { minute: 60 });
    w.operator('login', { route: 'login' }, { minute: 5 });
    const before = structuredClone([...w.kong.store.values()]);
    await w.controller.pass();
    w.kong.calls.length = 0;
    await w.decide(anAlert());
    await w.controller.pass();
    // The operator's plugins are read anew, and the most specific plugin is written first.
    expect(w.kong.calls).toEqual(['plugins', 'put', 'put']);
    expect(w.kong.writes.map((one) => one.id)).toEqual([
      pluginId('c-1', 'rate-limiting', { route: 'login' }),
      pluginId('c-1', 'rate-limiting'),
    ]);
    expect(w.allowed({ route: 'login' })).toBe(5);
    expect(w.allowed({})).toBe(60);
    const [response] = w.responses();
    expect(response?.status).toBe('active');
    expect(response?.problem).toContain('your rate-limiting global (global)');
    expect(w.log).toContain('your rate-limiting login on route login');
    await w.run(15 * minute);
    expect(w.responses()).toEqual([{ status: 'expired', problem: null }]);
    expect([...w.kong.store.values()]).toEqual(before);
    // First what would take the place of the operator's limit on the route, then its copy.
    expect(w.kong.writes.slice(2).map((one) => one.id)).toEqual([
      pluginId('c-1', 'rate-limiting'),
      pluginId('c-1', 'rate-limiting', { route: 'login' }),
    ]);
  });

  test('follows when the operator adds, changes or removes one meanwhile, which is no change by hand', async () => {
    const w = await world(limitPolicy({ minute: 100 }));
    await w.decide(anAlert());
    await w.run(minute);
    expect(w.responses()).toEqual([{ status: 'active', problem: null }]);
    w.operator('s', { service: 's' }, { minute: 50 });
    await w.run(31_000);
    expect([w.allowed({ service: 's' }), w.allowed({})]).toEqual([50, 100]);
    expect(w.responses()[0]?.problem).toContain('your rate-limiting s on service s');
    w.operator('s', { service: 's' }, { minute: 30 });
    await w.run(31_000);
    expect([w.allowed({ service: 's' }), w.allowed({})]).toEqual([30, 100]);
    w.kong.store.delete('s');
    await w.run(31_000);
    expect(w.ours().map((one) => one.id)).toEqual([pluginId('c-1', 'rate-limiting')]);
    expect(w.responses()).toEqual([{ status: 'active', problem: null }]);
    expect(w.log).not.toContain('by hand');
  });

  test('a copy removed by hand is put back, and reported', async () => {
    const w = await world(limitPolicy({ minute: 10 }));
    w.operator('r', { route: 'r' }, { minute: 50 });
    await w.decide(anAlert());
    await w.run(minute);
    w.kong.store.delete(pluginId('c-1', 'rate-limiting', { route: 'r' }));
    await w.run(31_000);
    expect(w.allowed({ route: 'r' })).toBe(10);
    expect(w.log).toContain('removed or changed by hand');
  });

  test('a copy that cannot be written keeps the plugin on the consumer from being written before it', async () => {
    const w = await world(limitPolicy({ minute: 100 }));
    w.operator('r', { route: 'r' }, { minute: 5 });
    await w.controller.pass();
    w.kong.faults = ['unavailable'];
    await w.decide(anAlert());
    await w.controller.pass();
    expect(w.kong.store.size).toBe(1);
    expect(w.responses()[0]?.status).toBe('pending');
    await w.run(minute);
    expect([w.allowed({ route: 'r' }), w.allowed({})]).toEqual([5, 100]);
    expect(w.responses()[0]?.status).toBe('active');
  });

  test('is refused where it cannot be made without loosening one, and made as soon as it can', async () => {
    const w = await world(limitPolicy({ minute: 10 }));
    w.operator('r', { route: 'r' }, { minute: 50 });
    w.operator('sc', { service: 's', consumer: 'c-1' }, { minute: 5 });
    await w.decide(anAlert());
    await w.run(2 * minute);
    expect(w.responses()).toMatchObject([{ status: 'blocked-by-operator' }]);
    expect(w.responses()[0]?.problem).toContain('could take the place of your rate-limiting sc');
    expect(w.ours()).toEqual([]);
    // Reported once.
    expect(w.bus.responses).toHaveLength(2);
    w.kong.store.delete('sc');
    await w.run(31_000);
    expect(w.responses()[0]?.status).toBe('active');
    w.operator('sc', { service: 's', consumer: 'c-1' }, { minute: 5 });
    await w.run(31_000);
    expect(w.responses()[0]?.status).toBe('blocked-by-operator');
    expect(w.ours()).toEqual([]);
  });

  test('two limits on one consumer end one after the other, and what remains is what the other one asks for', async () => {
    const longer = aPolicy({
      id: 'longer',
      actions: [{ type: 'rate-limit', duration: '30m', minute: 40 }],
    });
    const w = await world(limitPolicy({ minute: 10 }), longer);
    w.operator('r', { route: 'r' }, { minute: 50 });
    await w.decide(anAlert());
    await w.run(minute);
    expect([w.allowed({ route: 'r' }), w.allowed({})]).toEqual([10, 10]);
    await w.run(15 * minute);
    expect([w.allowed({ route: 'r' }), w.allowed({})]).toEqual([40, 40]);
    await w.run(15 * minute);
    expect([w.allowed({ route: 'r' }), w.allowed({})]).toEqual([50, undefined]);
  });

  test("a copy whose tags were taken off is the operator's from then on", async () => {
    const w = await world(limitPolicy({ minute: 10 }));
    w.operator('r', { route: 'r' }, { minute: 50 });
    await w.decide(anAlert());
    await w.run(minute);
    const id = pluginId('c-1', 'rate-limiting', { route: 'r' });
    w.kong.byHand({ ...w.kong.store.get(id)!, tags: ['ops'] });
    await w.run(20 * minute);
    expect(w.kong.store.get(id)?.tags).toEqual(['ops']);
    expect([...w.kong.store.keys()].sort()).toEqual(['r', id].sort());
  });
});

describe('a block beside request-terminations of the operator', () => {
  test('is in force, and says where something more specific wins, as long as it does', async () => {
    const w = await world(aPolicy());
    await w.decide(anAlert());
    await w.run(minute);
    expect(w.responses()).toEqual([{ status: 'active', problem: null }]);
    w.operator('open', { route: 'r', consumer: 'c-1' }, {}, { name: 'request-termination' });
    await w.run(31_000);
    expect(w.responses()).toEqual([
      {
        status: 'active',
        problem: 'masked by your request-termination open on route r and the consumer',
      },
    ]);
    expect(w.bus.responses.at(-1)?.problem).toContain('masked by');
    expect(w.log).toContain('masked by');
    w.kong.store.delete('open');
    await w.run(31_000);
    expect(w.responses()).toEqual([{ status: 'active', problem: null }]);
  });
});

describe('a dry run', () => {
  test('says what it would have come to beside the plugins of the operator, and reads them at most every 30 s', async () => {
    const w = await world({ ...limitPolicy({ minute: 10 }), dryRun: true });
    await w.controller.pass();
    w.operator('g', {}, { minute: 50 });
    await w.run(minute);
    w.kong.calls.length = 0;
    await w.decide(anAlert());
    await w.controller.pass();
    await w.decide(anAlert({ consumer: 'c-2' }));
    await w.controller.pass();
    const problem = 'the lower of both limits holds in the place of your rate-limiting g (global)';
    expect(w.responses()).toEqual([
      { status: 'dry-run', problem },
      { status: 'dry-run', problem },
    ]);
    expect(w.bus.responses.at(-1)).toMatchObject({ status: 'dry-run', problem });
    expect(w.kong.calls).toEqual(['plugins']);
    expect(w.kong.writes).toEqual([]);
  });
});

describe('over random histories of an operator and a responder', () => {
  const scopes: Scope[] = [
    {},
    { route: 'r' },
    { service: 's' },
    { route: 'r', service: 's' },
    { consumer: 'c-1' },
    { route: 'r', consumer: 'c-1' },
    { service: 's', consumer: 'c-1' },
  ];
  const step = fc.oneof(
    fc.record({
      do: fc.constant('alert' as const),
      episode: fc.nat(2),
      consumer: fc.constantFrom('c-1', 'c-2'),
    }),
    fc.record({
      do: fc.constant('operator' as const),
      scope: fc.constantFrom(...scopes),
      minute: fc.integer({ min: 1, max: 100 }),
      enabled: fc.constantFrom(true, true, false),
    }),
    fc.record({ do: fc.constant('operator removes' as const), scope: fc.constantFrom(...scopes) }),
    fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(1_000, 31_000, 6 * minute) }),
    fc.record({
      do: fc.constant('fault' as const),
      fault: fc.constantFrom('unavailable' as const, 'unavailable-after-effect' as const),
    }),
    fc.record({ do: fc.constant('kill' as const) }),
    fc.record({ do: fc.constant('lift' as const), episode: fc.nat(2) }),
    fc.record({ do: fc.constant('clear ours' as const) }),
  );

  test("nobody is allowed more than without Tripline, and no plugin of the operator's is touched", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 20 }), async (steps) => {
        const w = await world(limitPolicy({ minute: 40 }));
        const theirs = new Map<string, KongPlugin>();
        const place = (one: KongPlugin): string => JSON.stringify([one.route, one.service, one.consumer]);
        for (const one of steps) {
          if (one.do === 'alert') {
            const id = `alert-${one.consumer}-${one.episode}`;
            await w.decide(anAlert({ id, consumer: one.consumer, lastSeenAt: w.clock.nowMs }));
            await w.controller.pass();
          } else if (one.do === 'wait') await w.run(one.ms);
          else if (one.do === 'kill') await w.restart();
          else if (one.do === 'fault') w.kong.faults.push(one.fault);
          else if (one.do === 'lift') {
            await w.controller
              .lift(responseId('limit', `alert-c-1-${one.episode}`, 'rate-limit'))
              .catch(() => undefined);
          } else if (one.do === 'clear ours') for (const { id } of w.ours()) w.kong.store.delete(id);
          else {
            const id = JSON.stringify(one.scope);
            if (one.do === 'operator removes') {
              w.kong.store.delete(id);
              theirs.delete(id);
              continue;
            }
            w.operator(id, one.scope, { minute: one.minute }, { enabled: one.enabled });
            const made = w.kong.store.get(id)!;
            // Kong answers 409 where one of ours is.
            if (w.ours().some((other) => place(other) === place(made))) w.kong.store.delete(id);
            else theirs.set(id, structuredClone(made));
          }
        }
        w.kong.faults = [];
        await w.run(2 * minute);
        const without = indexPlugins(theirs.values(), 'rate-limiting');
        for (const consumer of ['c-1', 'c-2']) {
          for (const route of ['r', null]) {
            for (const service of ['s', null]) {
              const limit = without.winner({ route, service, consumer })?.config['minute'];
              const scope = { ...(route && { route }), ...(service && { service }) };
              const allowed = Number(w.allowed(scope, consumer) ?? Infinity);
              expect(allowed).toBeLessThanOrEqual(Number(limit ?? Infinity));
            }
          }
        }
        for (const { before } of w.kong.writes) if (before) expect(isOurs(before)).toBe(true);
        await w.run(20 * minute);
        expect([...w.kong.store.values()]).toEqual(expect.arrayContaining([...theirs.values()]));
        expect(w.kong.store.size).toBe(theirs.size);
      }),
      { numRuns: 100 },
    );
  });
});
