import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { indexPlugins, rankOf, scopeOf, type ScopedPlugin } from './precedence.ts';

const request = { route: 'r', service: 's', consumer: 'c' };

function plugin(fields: Partial<ScopedPlugin> & { id: string }): ScopedPlugin {
  return { name: 'rate-limiting', enabled: true, consumer: null, service: null, route: null, ...fields };
}

const [r, s, c] = [{ id: 'r' }, { id: 's' }, { id: 'c' }];
/** As measured, most specific first. */
const measured: ScopedPlugin[] = [
  plugin({ id: 'route+service+consumer', route: r, service: s, consumer: c }),
  plugin({ id: 'route+consumer', route: r, consumer: c }),
  plugin({ id: 'service+consumer', service: s, consumer: c }),
  plugin({ id: 'route+service', route: r, service: s }),
  plugin({ id: 'consumer', consumer: c }),
  plugin({ id: 'route', route: r }),
  plugin({ id: 'service', service: s }),
  plugin({ id: 'global' }),
];

describe('which configuration wins', () => {
  test('the ranks are those that were measured', () => {
    expect(measured.map((one) => rankOf(scopeOf(one)))).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test.each(measured.map((one, at) => ({ id: one.id, left: measured.slice(at) })))(
    'without what is more specific, $id wins, in whatever order Kong lists them',
    ({ id, left }) => {
      fc.assert(
        fc.property(fc.shuffledSubarray(left, { minLength: left.length }), (listed) => {
          expect(indexPlugins(listed, 'rate-limiting').winner(request)?.id).toBe(id);
        }),
      );
    },
  );

  test('a disabled plugin, another name, or one for TCP sessions does not count; the next rank takes over', () => {
    const others = [
      plugin({ id: 'disabled', route: r, service: s, consumer: c, enabled: false }),
      plugin({ id: 'another name', route: r, consumer: c, name: 'acl' }),
      plugin({ id: 'tcp', service: s, consumer: c, protocols: ['tcp', 'tls'] }),
      plugin({ id: 'http', route: r, protocols: ['grpc', 'http'] }),
    ];
    const index = indexPlugins(others, 'rate-limiting');
    expect(index.winner(request)?.id).toBe('http');
    expect(index.at(request)?.id).toBe('disabled');
  });

  test('what is attached to another route, service or consumer does not apply', () => {
    const index = indexPlugins(
      [
        plugin({ id: 'r2', route: { id: 'r2' } }),
        plugin({ id: 's2', service: { id: 's2' } }),
        plugin({ id: 'c2', consumer: { id: 'c2' } }),
        plugin({ id: 'r and s2', route: r, service: { id: 's2' } }),
      ],
      'rate-limiting',
    );
    expect(index.winner(request)).toBeUndefined();
    expect(index.winner({ route: 'r', service: 's2', consumer: null })?.id).toBe('r and s2');
    // A route without a service.
    expect(index.winner({ route: 'r2', service: null, consumer: 'c' })?.id).toBe('r2');
  });

  test('plugins on consumer groups are told apart, since their members are not known', () => {
    const group = plugin({ id: 'group', consumer_group: { id: 'gold' } });
    const index = indexPlugins([group, plugin({ id: 'global' })], 'rate-limiting');
    expect(index.winner(request)?.id).toBe('global');
    expect(index.onConsumerGroups).toEqual([group]);
  });
});
