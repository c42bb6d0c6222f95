import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Response } from '@tripline/model';
import { operatorPlugins, planPlugins } from './plan.ts';
import { isOurs, pluginId, reconcile, type ActualPlugin, type DesiredPlugin } from './plugins.ts';
import { aBlock, aRateLimit, aResponse } from './test-support.ts';

const now = 1_500_000;

/** In a Kong without plugins of the operator. */
function desiredPlugins(responses: Response[], nowMs: number): DesiredPlugin[] {
  return planPlugins(responses, nowMs, operatorPlugins([])).flatMap((group) => group.plugins);
}

/** What Kong answers after the plugin was written: with its defaults filled in. */
function asKongShows(desired: DesiredPlugin): ActualPlugin {
  const defaults =
    desired.name === 'request-termination'
      ? { body: null, content_type: null, trigger: null, echo: false }
      : {
          second: null,
          minute: null,
          hour: null,
          day: null,
          month: null,
          year: null,
          path: null,
          header_name: null,
          hide_client_headers: false,
        };
  return {
    service: null,
    route: null,
    consumer: null,
    ...desired,
    config: { ...defaults, ...desired.config },
  };
}

describe('desired plugins', () => {
  test('one block is one request-termination on the consumer, tagged with the response', () => {
    expect(desiredPlugins([aResponse()], now)).toEqual([
      {
        id: pluginId('c-1', 'request-termination'),
        name: 'request-termination',
        consumer: { id: 'c-1' },
        enabled: true,
        config: { status_code: 403, message: 'stop' },
        tags: ['tripline', 'tripline-response:r-1'],
        group: pluginId('c-1', 'request-termination'),
        unsetFields: ['body', 'content_type', 'trigger', 'echo'],
      },
    ]);
  });

  test('of several blocks the one that lasts longest decides, permanent before all', () => {
    const responses = [
      aResponse({ id: 'r-1', action: aBlock({ message: 'short' }) }),
      aResponse({ id: 'r-3', expiresAt: null, action: aBlock({ message: 'for ever', status: 451 }) }),
      aResponse({ id: 'r-2', expiresAt: 9_000_000, action: aBlock({ message: 'long' }) }),
    ];
    expect(desiredPlugins(responses, now)).toMatchObject([
      {
        config: { status_code: 451, message: 'for ever' },
        tags: ['tripline', 'tripline-response:r-1', 'tripline-response:r-2', 'tripline-response:r-3'],
      },
    ]);
  });

  test('of several rate limits the smallest of each unit counts, never lower than that of a longer unit', () => {
    const responses = [
      aResponse({ id: 'r-1', action: { type: 'rate-limit', duration: '1h', second: 5, minute: 100 } }),
      aResponse({ id: 'r-2', action: { type: 'rate-limit', duration: '1h', second: 10, hour: 50 } }),
    ];
    // Kong refuses minute 100 beside hour 50; 50 an hour is at most 50 a minute anyway.
    expect(desiredPlugins(responses, now)[0]?.config).toMatchObject({ second: 5, minute: 50, hour: 50 });
  });

  test('what has run out, was lifted, is impossible or a dry run is not desired', () => {
    const not: Partial<Response>[] = [
      { expiresAt: now },
      { status: 'expired' },
      { status: 'lifted' },
      { status: 'impossible' },
      { status: 'dry-run' },
      { target: { kind: 'consumer', id: '', name: 'x' } },
    ];
    expect(
      desiredPlugins(
        not.map((fields) => aResponse(fields)),
        now,
      ),
    ).toEqual([]);
    const wanted: Partial<Response>[] = [{ status: 'pending' }, { status: 'blocked-by-operator' }];
    expect(
      desiredPlugins(
        wanted.map((fields, at) => aResponse({ ...fields, id: `r-${at}` })),
        now,
      ),
    ).toHaveLength(1);
  });

  test('the uuid of a plugin is a valid version 5 uuid, and always the same', () => {
    expect(pluginId('c-1', 'request-termination')).toBe('c1c7bff3-ecb4-539c-b8ba-4cdfd823e7ef');
    // What is in force in a Kong carries these ids, whatever makes them.
    expect(pluginId('c-1', 'rate-limiting', { route: 'r' })).toBe('47a7d934-8df3-5b94-976d-b249c6aabcf6');
    expect(pluginId('c-1', 'rate-limiting', { route: 'r', service: 's' })).toBe(
      '1074e441-6f81-566b-b8f1-ec31d0bca924',
    );
    expect(pluginId('4ad3…ü', 'rate-limiting', { service: 's' })).toBe(
      '92e1d2f3-70fc-5f2b-a985-7f300f9af044',
    );
    expect(pluginId('\ud800', 'request-termination')).toBe('fb832d12-a5a5-5f1f-af16-851cf4499dd1');
    fc.assert(
      fc.property(fc.string(), fc.string(), (consumer, name) =>
        /^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(
          pluginId(consumer, name),
        ),
      ),
    );
  });
});

describe('reconciling', () => {
  const desired = desiredPlugins([aResponse(), aResponse({ id: 'r-2', action: aRateLimit() })], now);
  const there = desired.map(asKongShows);
  const block = desired.find((plugin) => plugin.name === 'request-termination')!;
  const limit = desired.find((plugin) => plugin.name === 'rate-limiting')!;

  test('what is as desired is left alone', () => {
    expect(reconcile(desired, there)).toEqual([]);
  });

  test('what is missing is put, what nobody wants any more is deleted', () => {
    expect(reconcile(desired, []).map((operation) => [operation.kind, operation.id])).toEqual(
      desired.map(({ id }) => ['put', id]),
    );
    expect(reconcile([], there).map((operation) => [operation.kind, operation.id])).toEqual(
      there.map(({ id }) => ['delete', id]),
    );
  });

  test.each<[string, (plugin: ActualPlugin) => ActualPlugin]>([
    ['disabled', (plugin) => ({ ...plugin, enabled: false })],
    ['given another status', (plugin) => ({ ...plugin, config: { ...plugin.config, status_code: 200 } })],
    ['made to need a trigger', (plugin) => ({ ...plugin, config: { ...plugin.config, trigger: 'x-block' } })],
    ['deprived of a response tag', (plugin) => ({ ...plugin, tags: ['tripline', 'tripline-response:old'] })],
    ['moved to a route', (plugin) => ({ ...plugin, route: { id: 'r' } })],
    ['moved to another consumer', (plugin) => ({ ...plugin, consumer: { id: 'c-2' } })],
  ])('a plugin of ours that was %s by hand is put right', (_, change) => {
    expect(reconcile([block], [change(asKongShows(block))])).toEqual([
      {
        kind: 'put',
        id: block.id,
        group: block.group,
        plugin: expect.objectContaining({ consumer: { id: 'c-1' }, enabled: true }),
      },
    ]);
  });

  test('a unit added to a rate limit by hand is put right', () => {
    const shown = asKongShows(limit);
    expect(reconcile([limit], [{ ...shown, config: { ...shown.config, day: 5 } }])).toHaveLength(1);
  });

  test('a tag that the operator added to our plugin is no reason to write', () => {
    const shown = asKongShows(block);
    expect(reconcile([block], [{ ...shown, tags: [...shown.tags!, 'audited'] }])).toEqual([]);
  });

  test('a plugin of ours that came back under another id is taken as it is, and removed by that id', () => {
    const restored = { ...asKongShows(block), id: 'ffffffff-0000-4000-8000-000000000000' };
    expect(reconcile([block], [restored])).toEqual([]);
    expect(reconcile([block], [{ ...restored, enabled: false }])).toMatchObject([
      { kind: 'put', id: restored.id },
    ]);
    expect(reconcile([], [restored])).toMatchObject([{ kind: 'delete', id: restored.id }]);
  });

  test('only plugins with our tags are ever touched, whatever else is in Kong', () => {
    const tags = fc.option(fc.subarray(['tripline', 'tripline-response:r-1', 'tripline-response:x', 'ops']), {
      nil: null,
    });
    const plugin: fc.Arbitrary<ActualPlugin> = fc.record({
      id: fc.uuid(),
      name: fc.constantFrom('request-termination', 'rate-limiting', 'tcp-log', 'acl'),
      enabled: fc.boolean(),
      config: fc.constantFrom({}, { status_code: 403, message: 'stop' }, { minute: 10 }),
      tags,
      consumer: fc.constantFrom(null, { id: 'c-1' }, { id: 'c-2' }),
      service: fc.constantFrom(null, { id: 's' }),
      route: fc.constantFrom(null, { id: 'r' }),
    });
    fc.assert(
      fc.property(fc.array(plugin), (actual) => {
        const touched = reconcile(desired, actual).map((operation) => operation.id);
        const foreign = actual.filter((one) => !isOurs(one)).map((one) => one.id);
        expect(touched.filter((id) => foreign.includes(id))).toEqual([]);
        expect(isOurs({ tags: ['tripline'] })).toBe(false);
      }),
    );
  });

  test('carrying out the operations leads to what is desired, from any mix of our plugins', () => {
    const ours: fc.Arbitrary<ActualPlugin> = fc.record({
      id: fc.constantFrom(block.id, limit.id, pluginId('c-2', 'rate-limiting'), 'other'),
      name: fc.constantFrom('request-termination', 'rate-limiting'),
      enabled: fc.boolean(),
      config: fc.constantFrom(asKongShows(block).config, asKongShows(limit).config, {}),
      tags: fc.constantFrom(block.tags, limit.tags, ['tripline', 'tripline-response:x']),
      consumer: fc.constantFrom({ id: 'c-1' }, { id: 'c-2' }, null),
      service: fc.constantFrom(null, { id: 's' }),
      route: fc.constant(null),
    });
    fc.assert(
      fc.property(fc.uniqueArray(ours, { selector: (one) => one.id }), (actual) => {
        // Kong's unique key: no two plugins of one name in one place.
        const place = (one: ActualPlugin): string =>
          JSON.stringify([one.name, one.consumer, one.service, one.route]);
        fc.pre(new Set(actual.map(place)).size === actual.length);
        const kong = new Map(actual.map((one) => [one.id, one]));
        for (const operation of reconcile(desired, actual)) {
          if (operation.kind === 'delete') kong.delete(operation.id);
          else {
            const { id, group, plugin } = operation;
            kong.set(id, asKongShows({ id, group, unsetFields: [], ...plugin }));
          }
        }
        expect(reconcile(desired, [...kong.values()])).toEqual([]);
        expect(kong.size).toBe(desired.length);
      }),
    );
  });
});
