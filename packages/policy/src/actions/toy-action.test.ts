import { z } from 'zod';
import { expect, test } from 'vitest';
import type { ResponseAction } from '@tripline/model';
import { decide } from '../decide.ts';
import { parsePolicies, policiesJsonSchema } from '../parse.ts';
import { operatorPlugins, planPlugins, predictEffect } from '../plan.ts';
import { reconcile, type ActualPlugin } from '../plugins.ts';
import { anAlert, aResponse } from '../test-support.ts';
import type { ResponseKind } from './action.ts';
import { actions } from './index.ts';
import { ActionRegistry } from './registry.ts';

/** An action that does not exist: its folder would hold no more than this. */
interface ToyAction extends ResponseAction {
  type: 'signal';
  level: number;
}
const signal: ResponseKind<ToyAction> = {
  kind: 'response',
  type: 'signal',
  schema: z.strictObject({
    type: z.literal('signal'),
    id: z.string().optional(),
    duration: z.string(),
    level: z.int().min(1).describe('How loud.'),
  }),
  check: ({ level }) => (level === 13 ? [{ setting: 'level', message: '13 is unlucky; allowed: 14' }] : []),
  documentation: { inKong: '`request-transformer` on the route', settings: '`level`' },
  targets: ['address', 'route'],
  plugin: { name: 'request-transformer', unsetFields: ['remove'], dependsOnOperator: false },
  plan: ({ target, settings, makePlugin }) => ({
    plugins: [
      makePlugin(
        { route: target.kind === 'route' ? target.id : null, service: null, consumer: null },
        { add: { headers: [`x-risk:${Math.max(...settings.map(({ level }) => level))}`] } },
      ),
    ],
    refusal: null,
    remark: null,
  }),
};
// The line in the list.
const registry = new ActionRegistry([...actions.kinds, signal]);

const file = (action: object): string =>
  JSON.stringify({ policies: [{ id: 'p', match: {}, actions: [action] }] });
const messages = (action: object): string[] => {
  const parsed = parsePolicies(file(action), { registry });
  return parsed.ok ? [] : parsed.problems.map(({ path, message }) => `${path}: ${message}`);
};

test('schema, checks and documentation follow from a new action in the list', () => {
  expect(JSON.stringify(policiesJsonSchema({ registry }))).toContain('How loud.');
  expect(registry.table()).toContain('| `signal` | `request-transformer` on the route | `level` |');
  const given = { type: 'signal', duration: '5m', level: 2 };
  expect(messages(given)).toEqual([]);
  expect(messages({ ...given, levels: 3 })).toEqual([
    'policies[0].actions[0].levels: unknown name "levels"; allowed: type, id, duration, level; did you mean "level"?',
  ]);
  expect(messages({ ...given, level: 13 })).toEqual([
    'policies[0].actions[0].level: 13 is unlucky; allowed: 14',
  ]);
  expect(messages({ ...given, type: 'signl' })[0]).toContain(
    'allowed: "block", "rate-limit", "notify", "signal"; did you mean "signal"?',
  );
  expect(parsePolicies(file(given))).toMatchObject({ ok: false });
});

test('decisions and the plugins in Kong follow from it, for the targets that it takes', () => {
  const parsed = parsePolicies(file({ type: 'signal', duration: '5m', level: 2 }), { registry });
  if (!parsed.ok) throw new Error('must parse');
  const aboutAddress = anAlert({ actor: { kind: 'address', id: '203.0.113.9', name: '203.0.113.9' } });
  const [decision] = decide(parsed.policies, aboutAddress, registry);
  expect(decision).toMatchObject({ kind: 'respond', target: { kind: 'address', id: '203.0.113.9' } });
  expect(decide(parsed.policies, anAlert(), registry)).toMatchObject([
    { kind: 'no-target', allowed: ['address', 'route'] },
  ]);

  const action: ToyAction = { type: 'signal', duration: '5m', level: 2 };
  const onRoute = { action, target: { kind: 'route' as const, id: 'r' } };
  const responses = [
    aResponse({ id: 'a', ...onRoute }),
    aResponse({ id: 'b', ...onRoute, action: { ...action, level: 7 } }),
  ];
  const operators = operatorPlugins([], registry);
  const [group, ...others] = planPlugins(responses, 1_500_000, operators, registry);
  expect(others).toEqual([]);
  expect(predictEffect(action, onRoute.target, operators, registry)).toBeNull();
  const [put] = reconcile(group!.plugins, []);
  expect(put).toMatchObject({
    kind: 'put',
    plugin: {
      name: 'request-transformer',
      route: { id: 'r' },
      config: { add: { headers: ['x-risk:7'] } },
      tags: ['tripline', 'tripline-response:a', 'tripline-response:b'],
    },
  });
  const there: ActualPlugin = {
    ...group!.plugins[0]!,
    ...{ consumer: null, service: null, route: { id: 'r' } },
  };
  expect(reconcile(group!.plugins, [there])).toEqual([]);
  const changed = { ...there, config: { ...there.config, remove: { headers: ['x'] } } };
  expect(reconcile(group!.plugins, [changed])).toMatchObject([{ kind: 'put', id: there.id }]);
  expect(reconcile([], [there])).toMatchObject([{ kind: 'delete', id: there.id }]);
});

test('two actions with the same type or plugin are refused', () => {
  expect(() => new ActionRegistry([signal, signal])).toThrow(/same type or plugin: signal/);
  expect(() => new ActionRegistry([signal, { ...signal, type: 'other' }])).toThrow(/request-transformer/);
});
