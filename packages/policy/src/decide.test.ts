import { expect, test } from 'vitest';
import { actionIds, decide, responseId, responseIdByIndex } from './decide.ts';
import type { Policies } from './policy.ts';
import { aBlock, anAlert, aRateLimit } from './test-support.ts';

const policies: Policies = {
  policies: [
    { id: 'off', enabled: false, dryRun: false, match: {}, actions: [aBlock()] },
    {
      id: 'a',
      enabled: true,
      dryRun: false,
      match: {},
      actions: [aBlock(), { type: 'notify', webhook: 'w' }],
    },
    { id: 'b', enabled: true, dryRun: true, match: { service: 'orders' }, actions: [aRateLimit()] },
    { id: 'c', enabled: true, dryRun: false, match: { service: 'users' }, actions: [aBlock()] },
  ],
};

test('the enabled policies that match act in the order of the file, dry runs are marked', () => {
  expect(decide(policies, anAlert())).toEqual([
    {
      kind: 'respond',
      policyId: 'a',
      actionId: 'block',
      dryRun: false,
      responseId: responseId('a', 'alert-1', 'block'),
      action: aBlock(),
      target: { kind: 'consumer', id: 'c-1', name: 'acme' },
    },
    { kind: 'notify', policyId: 'a', actionId: 'notify', dryRun: false, channel: 'w' },
    {
      kind: 'respond',
      policyId: 'b',
      actionId: 'rate-limit',
      dryRun: true,
      responseId: responseId('b', 'alert-1', 'rate-limit'),
      action: aRateLimit(),
      target: { kind: 'consumer', id: 'c-1', name: 'acme' },
    },
  ]);
});

test.each(['credential', 'address', 'endpoint', 'campaign'] as const)(
  'an alert about a %s leads to no block, only to notifications',
  (kind) => {
    const decisions = decide(policies, anAlert({ actor: { kind, id: 'c-1', name: 'x' } }));
    expect(decisions.map((decision) => decision.kind)).toEqual(['no-target', 'notify', 'no-target']);
  },
);

test('an alert of a detector that is only tried out makes every decision a dry run', () => {
  const decisions = decide(policies, anAlert({ dryRun: true }));
  expect(decisions.map(({ kind, dryRun }) => [kind, dryRun])).toEqual([
    ['respond', true],
    ['notify', true],
    ['respond', true],
  ]);
});

test('a consumer without an id is never acted on', () => {
  const decisions = decide(policies, anAlert({ actor: { kind: 'consumer', id: '', name: 'x' } }));
  expect(decisions.some((decision) => decision.kind === 'respond')).toBe(false);
});

test('response ids are fixed: the same on every machine and version', () => {
  expect(responseId('p', 'alert-1', 'block')).toBe('e8d0ff750754d86586ed14f934c4a9d6');
  const ids = [
    responseId('p', 'alert-1', 'block', 1),
    responseId('p', 'alert-1', 'block-2'),
    responseId('p', 'alert-11', 'block'),
    responseId('pa', 'lert-1', 'block'),
    responseIdByIndex('p', 'alert-1', 0),
  ];
  expect(new Set(ids).size).toBe(5);
  expect(ids).not.toContain(responseId('p', 'alert-1', 'block'));
  // What versions that numbered the actions made, and left in states and in Kong.
  expect(responseIdByIndex('p', 'alert-1', 0)).toBe('d706aa1f1cb017fde2701590a2f3f1bd');
});

test('an action keeps its id whatever actions of other types, or with ids, are put beside it', () => {
  const notify = { type: 'notify', webhook: 'w' } as const;
  expect(actionIds([aBlock()])).toEqual(['block']);
  expect(actionIds([notify, aRateLimit(), aBlock()])).toEqual(['notify', 'rate-limit', 'block']);
  expect(actionIds([{ ...aBlock(), id: 'hard' }, aBlock()])).toEqual(['hard', 'block']);
  expect(actionIds([aBlock(), notify, aBlock(), aBlock()])).toEqual([
    'block',
    'notify',
    'block-2',
    'block-3',
  ]);
});
