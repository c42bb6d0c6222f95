import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { indexPlugins, scopeKey, scopeOf, type PluginScope } from '@tripline/kong/precedence';
import type { Response } from '@tripline/model';
import { copiesMax } from './actions/action.ts';
import { copiesPerConsumerMax } from './actions/rate-limit/copies.ts';
import { limitIn, limitWindows } from './actions/rate-limit/limits.ts';
import type { RateLimitAction } from './actions/rate-limit/rate-limit.ts';
import { operatorPlugins, planPlugins, predictEffect, type PluginGroup } from './plan.ts';
import { isOurs, reconcile, type ActualPlugin, type DesiredPlugin, type PluginToWrite } from './plugins.ts';
import { aRateLimit, aResponse } from './test-support.ts';

const now = 1_500_000;

type Scope = Partial<PluginScope>;

function theirs(id: string, scope: Scope, config: object, fields: Partial<ActualPlugin> = {}): ActualPlugin {
  const on = (value: string | null | undefined): { id: string } | null => (value ? { id: value } : null);
  return {
    id,
    name: 'rate-limiting',
    enabled: true,
    tags: null,
    route: on(scope.route),
    service: on(scope.service),
    consumer: on(scope.consumer),
    config: { policy: 'local', limit_by: 'consumer', ...config },
    ...fields,
  };
}

function plan(operators: ActualPlugin[], ...responses: Response[]): PluginGroup {
  return planPlugins(responses, now, operatorPlugins(operators))[0]!;
}

function limit(fields: Partial<RateLimitAction> = {}, id = 'r-1'): Response {
  return aResponse({ id, action: aRateLimit({ minute: undefined, ...fields }) });
}

/** Where each plugin is and what it allows. */
function shown(plugins: readonly DesiredPlugin[]): unknown[] {
  return plugins.map((plugin) => {
    const allowed = limitWindows.filter((window) => typeof plugin.config[window] === 'number');
    return {
      ...(plugin.route && { route: plugin.route.id }),
      ...(plugin.service && { service: plugin.service.id }),
      ...Object.fromEntries(allowed.map((window) => [window, plugin.config[window]])),
    };
  });
}

describe('a rate limit beside those of the operator', () => {
  test("is lowered to the operator's global one, and copied to the route of a stricter one: never 100 instead of 5", () => {
    const operators = [theirs('g', {}, { minute: 60 }), theirs('login', { route: 'r' }, { minute: 5 })];
    const made = plan(operators, limit({ second: 10, minute: 100 }));
    expect(shown(made.plugins)).toEqual([
      { route: 'r', minute: 5 },
      { second: 10, minute: 60 },
    ]);
    expect(made.remark).toBe(
      'the lower of both limits holds in the place of your rate-limiting g (global); ' +
        'as strict already and left as it is: your rate-limiting login on route r',
    );
  });

  test('keeps windows that only the operator has, and what and where the operator counts', () => {
    const config = {
      minute: 60,
      month: 1000,
      policy: 'redis',
      limit_by: 'credential',
      redis: { host: 'cache', port: 6379 },
      redis_host: 'cache',
      fault_tolerant: false,
      hide_client_headers: true,
    };
    const made = plan([theirs('s', { service: 's' }, config)], limit({ minute: 10 }));
    expect(shown(made.plugins)).toEqual([{ service: 's', minute: 10, month: 1000 }, { minute: 10 }]);
    const { redis_host: shorthand, ...rest } = config;
    expect(shorthand).toBe('cache');
    expect(made.plugins[0]?.config).toEqual({ ...rest, minute: 10 });
    expect(made.plugins[1]?.config).toMatchObject({ policy: 'local', limit_by: 'consumer' });
  });

  test('never sets a limit below that of a shorter window, which Kong refuses', () => {
    const made = plan([theirs('g', {}, { second: 20, hour: 1000 })], limit({ minute: 5 }));
    expect(shown(made.plugins)).toEqual([{ second: 5, minute: 5, hour: 1000 }]);
  });

  test('a disabled limit of the operator does not count', () => {
    const made = plan([theirs('g', {}, { minute: 5 }, { enabled: false })], limit({ minute: 100 }));
    expect(shown(made.plugins)).toEqual([{ minute: 100 }]);
    expect(made.remark).toBeNull();
  });

  test('more specific limits of the operator win, are left alone, and are named', () => {
    const operators = [
      theirs('rs', { route: 'r', service: 's' }, { minute: 500 }),
      theirs('rc', { route: 'r2', consumer: 'c-1' }, { minute: 500 }),
      theirs('other', { route: 'r3', consumer: 'c-2' }, { minute: 500 }),
    ];
    const made = plan(operators, limit({ minute: 10 }));
    expect(shown(made.plugins)).toEqual([{ minute: 10 }]);
    expect(made.remark).toBe(
      'masked by your rate-limiting rc on route r2 and the consumer, your rate-limiting rs on route r and service s',
    );
  });

  test("a copy for a service takes no place of the operator's limit on route and service", () => {
    const operators = [
      theirs('s', { service: 's' }, { minute: 50 }),
      theirs('rs', { route: 'r', service: 's' }, { minute: 5 }),
    ];
    expect(shown(plan(operators, limit({ minute: 10 })).plugins)).toEqual([
      { route: 'r', service: 's', minute: 5 },
      { service: 's', minute: 10 },
      { minute: 10 },
    ]);
  });

  test('a count that other consumers share is not lowered, as their calls would use it up', () => {
    const shared = theirs('s', { service: 's' }, { minute: 1000, limit_by: 'service' });
    const made = plan([shared], limit({ minute: 10 }));
    expect(shown(made.plugins)).toEqual([{ service: 's', minute: 1000 }, { minute: 10 }]);
    expect(made.plugins[0]?.config['limit_by']).toBe('service');
    expect(made.remark).toContain(
      'not lowered, since others share the count: your rate-limiting s on service s, counting by service',
    );
  });

  test.each<[string, ActualPlugin[], string]>([
    ['has one of its own', [theirs('c', { consumer: 'c-1' }, { minute: 5 })], "not Tripline's"],
    [
      'may be in a consumer group with one',
      [theirs('cg', {}, { minute: 5 }, { consumer_group: { id: 'gold' } })],
      'consumer group gold',
    ],
    [
      'is limited as strictly already',
      [theirs('g', {}, { minute: 5 })],
      'nothing was attached: as strict already',
    ],
    [
      'has a disabled one where the copy must go',
      [
        theirs('r', { route: 'r' }, { minute: 5 }),
        theirs('rc', { route: 'r', consumer: 'c-1' }, { minute: 9 }, { enabled: false }),
      ],
      'enable or delete it',
    ],
    [
      'has one on a service that the route may belong to',
      [
        theirs('r', { route: 'r' }, { minute: 50 }),
        theirs('sc', { service: 's', consumer: 'c-1' }, { minute: 9 }),
      ],
      'could take the place of your rate-limiting sc',
    ],
    [
      'would need too many copies',
      Array.from({ length: copiesPerConsumerMax + 1 }, (_, at) =>
        theirs(`r${at}`, { route: `r${at}` }, { minute: 50 }),
      ),
      `at most ${copiesPerConsumerMax}`,
    ],
  ])('is refused rather than loosen anything for a consumer that %s', (_, operators, why) => {
    const made = plan(operators, limit({ minute: 10 }));
    expect(made.plugins).toEqual([]);
    expect(made.refusal).toContain(why);
  });

  test('copies for all consumers together are bounded; those limited first keep theirs', () => {
    const operators = Array.from({ length: 50 }, (_, at) =>
      theirs(`r${at}`, { route: `r${at}` }, { minute: 50 }),
    );
    const responses = Array.from({ length: 41 }, (_, at) => ({
      ...limit({ minute: 10 }, `r-${at}`),
      decidedAt: 1_000_000 - at,
      target: { kind: 'consumer' as const, id: `c-${at}`, name: `c-${at}` },
    }));
    const groups = planPlugins(responses, now, operatorPlugins(operators));
    expect(groups.reduce((sum, group) => sum + Math.max(0, group.plugins.length - 1), 0)).toBe(copiesMax);
    expect(groups.filter((group) => group.refusal !== null).map((group) => group.target.id)).toEqual(['c-0']);
  });
});

describe('a block beside request-terminations of the operator', () => {
  test('is made all the same, and says where something more specific wins', () => {
    const name = 'request-termination';
    const operators = [
      theirs('sc', { service: 's', consumer: 'c-1' }, {}, { name }),
      theirs('rs', { route: 'r', service: 's2' }, {}, { name }),
      theirs('r', { route: 'r' }, {}, { name }),
      theirs('off', { route: 'r2', consumer: 'c-1' }, {}, { name, enabled: false }),
      theirs('limit', { route: 'r2', consumer: 'c-1' }, { minute: 1 }),
    ];
    const made = plan(operators, aResponse());
    expect(made.plugins).toHaveLength(1);
    expect(made.remark).toBe(
      'masked by your request-termination sc on service s and the consumer, your request-termination rs on route r and service s2',
    );
  });
});

describe('what is said before anything is done', () => {
  test('is what would be remarked or refused, and nothing where there is nothing to say', () => {
    const { action, target } = limit({ minute: 10 });
    const say = (...operators: ActualPlugin[]): string | null =>
      predictEffect(action, target, operatorPlugins(operators));
    expect(say()).toBeNull();
    expect(say(theirs('g', {}, { minute: 50 }))).toBe(
      'the lower of both limits holds in the place of your rate-limiting g (global)',
    );
    expect(say(theirs('g', {}, { minute: 5 }))).toMatch(/^without effect: nothing was attached: as strict/);
    const own = theirs('c', { consumer: 'c-1' }, {}, { name: 'request-termination' });
    expect(predictEffect(aResponse().action, target, operatorPlugins([own]))).toMatch(
      /^without effect: the consumer has a request-termination plugin/,
    );
  });
});

describe('over random plugins of the operator', () => {
  const amount = fc.option(fc.integer({ min: 1, max: 1000 }), { nil: undefined });
  const limits = fc
    .record({ second: amount, minute: amount, hour: amount, day: amount, month: amount, year: amount })
    .map((given) => {
      // Kong takes no limit that is lower than that of a shorter window.
      let least = 0;
      const config: Record<string, number> = {};
      for (const window of limitWindows) {
        const value = given[window];
        if (value !== undefined) config[window] = least = Math.max(value, least);
      }
      return least === 0 ? { minute: 7 } : config;
    });
  const plugin = fc
    .record({
      scope: fc.record({
        route: fc.constantFrom(null, null, 'r-1', 'r-2'),
        service: fc.constantFrom(null, null, 's-1', 's-2'),
        consumer: fc.constantFrom(null, null, null, 'c-1', 'c-2'),
      }),
      enabled: fc.constantFrom(true, true, true, false),
      limits,
      limit_by: fc.constantFrom('consumer', 'consumer', 'credential', 'ip', 'header', 'service', 'path'),
      policy: fc.constantFrom('local', 'redis'),
      tags: fc.constantFrom<string[] | null>(null, ['ops'], ['tripline']),
    })
    .map(({ scope, enabled, limits, limit_by, policy, tags }) =>
      theirs(`op ${scopeKey(scope)}`, scope, { ...limits, limit_by, policy }, { enabled, tags }),
    );
  const operatorsOf = fc.uniqueArray(plugin, { selector: (one) => one.id, maxLength: 7 });
  const responsesOf = fc.array(
    fc.record({ second: amount, minute: amount, hour: amount }).map((given) => {
      const some = Object.values(given).some((value) => value !== undefined) ? given : { minute: 3 };
      return limit(some);
    }),
    { maxLength: 2 },
  );
  const numbered = (responses: Response[]): Response[] =>
    responses.map((response, at) => ({ ...response, id: `r-${at}` }));
  const requests: PluginScope[] = ['c-1', 'c-2'].flatMap((consumer) =>
    [null, 'r-1', 'r-2', 'r-3'].flatMap((route) =>
      [null, 's-1', 's-2', 's-3'].map((service) => ({ route, service, consumer })),
    ),
  );

  /** Nobody may do more, in no window, and all that was counted so far counts on. */
  function expectNothingLoosened(operators: readonly ActualPlugin[], all: readonly ActualPlugin[]): void {
    const before = indexPlugins(operators, 'rate-limiting');
    const after = indexPlugins(all, 'rate-limiting');
    for (const request of requests) {
      const was = before.winner(request);
      const is = after.winner(request);
      if (is === was) continue;
      const counter = (one: ActualPlugin): unknown[] => [
        one.route?.id,
        one.service?.id,
        one.config['limit_by'],
        one.config['policy'],
      ];
      const isRight =
        request.consumer === 'c-1' &&
        is !== undefined &&
        isOurs(is) &&
        (!was ||
          (limitWindows.every((window) => limitIn(is.config, window) <= limitIn(was.config, window)) &&
            counter(is).join() === counter(was).join()));
      // Not an expectation for each: there are millions of them.
      if (!isRight) expect.fail(`loosened for ${JSON.stringify({ request, was, is })}`);
    }
  }

  function inKong(id: string, plugin: PluginToWrite): ActualPlugin {
    return { route: null, service: null, consumer: null, ...plugin, id };
  }

  /** Carries the operations out one by one, as Kong would take them, and checks each state between. */
  function carryOut(operators: ActualPlugin[], ours: Map<string, ActualPlugin>, responses: Response[]): void {
    const groups = planPlugins(responses, now, operatorPlugins(operators));
    const desired = groups.flatMap((group) => group.plugins);
    for (const operation of reconcile(desired, [...operators, ...ours.values()])) {
      if (operation.kind === 'delete') ours.delete(operation.id);
      else ours.set(operation.id, inKong(operation.id, operation.plugin));
      expectNothingLoosened(operators, [...operators, ...ours.values()]);
      const places = [...operators, ...ours.values()].map((one) => scopeKey(scopeOf(one)));
      expect(new Set(places).size, 'Kong takes one plugin in a place').toBe(places.length);
    }
    expect(reconcile(desired, [...operators, ...ours.values()])).toEqual([]);
    expectNothingLoosened(operators, [...operators, ...ours.values()]);
  }

  test('nobody is allowed more with a response in force than without, on no route, in no window, at no moment', () => {
    fc.assert(
      fc.property(operatorsOf, responsesOf, responsesOf, (operators, first, second) => {
        const ours = new Map<string, ActualPlugin>();
        carryOut(operators, ours, numbered(first));
        carryOut(operators, ours, numbered(second));
        carryOut(operators, ours, []);
        expect(ours.size).toBe(0);
      }),
      { numRuns: 500 },
    );
  });

  test('whatever the operator changes meanwhile, the next pass makes it so again', () => {
    fc.assert(
      fc.property(operatorsOf, operatorsOf, responsesOf, (before, after, responses) => {
        const ours = new Map<string, ActualPlugin>();
        carryOut(before, ours, numbered(responses));
        // Kong let the operator put a plugin only where none of ours was.
        const taken = new Set([...ours.values()].map((one) => scopeKey(scopeOf(one))));
        const operators = after.filter((one) => !taken.has(scopeKey(scopeOf(one))));
        const groups = planPlugins(numbered(responses), now, operatorPlugins(operators));
        const desired = groups.flatMap((group) => group.plugins);
        for (const operation of reconcile(desired, [...operators, ...ours.values()])) {
          if (operation.kind === 'delete') ours.delete(operation.id);
          else ours.set(operation.id, inKong(operation.id, operation.plugin));
        }
        expectNothingLoosened(operators, [...operators, ...ours.values()]);
        expect(ours.size).toBe(desired.length);
      }),
      { numRuns: 500 },
    );
  });

  test('where nothing of the operator applied, the limit of the response does', () => {
    fc.assert(
      fc.property(operatorsOf, responsesOf, (operators, responses) => {
        fc.pre(responses.length > 0);
        const [group] = planPlugins(numbered(responses), now, operatorPlugins(operators));
        if (group!.refusal !== null) return;
        const before = indexPlugins(operators, 'rate-limiting');
        const ours = group!.plugins.map(({ id, ...plugin }) => inKong(id, plugin));
        const after = indexPlugins([...operators, ...ours], 'rate-limiting');
        for (const request of requests.filter((one) => one.consumer === 'c-1')) {
          if (before.winner(request)) continue;
          const config = after.winner(request)?.config ?? {};
          const asWanted = responses.every(({ action }) =>
            (['second', 'minute', 'hour'] as const).every(
              (window) => limitIn(config, window) <= ((action as RateLimitAction)[window] ?? Infinity),
            ),
          );
          if (!asWanted) expect.fail(`not limited: ${JSON.stringify({ request, config, responses })}`);
        }
      }),
      { numRuns: 500 },
    );
  });
});
