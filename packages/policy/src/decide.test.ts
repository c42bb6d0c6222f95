import { expect, test } from 'vitest';
import type { Policies } from '@tripline/model';
import { decide, responseId } from './decide.ts';
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
      actionIndex: 0,
      dryRun: false,
      responseId: responseId('a', 'alert-1', 0),
      action: aBlock(),
      consumer: { id: 'c-1', name: 'acme' },
    },
    { kind: 'notify', policyId: 'a', actionIndex: 1, dryRun: false, webhook: 'w' },
    {
      kind: 'respond',
      policyId: 'b',
      actionIndex: 0,
      dryRun: true,
      responseId: responseId('b', 'alert-1', 0),
      action: aRateLimit(),
      consumer: { id: 'c-1', name: 'acme' },
    },
  ]);
});

test.each(['credential', 'address', 'endpoint', 'campaign'] as const)(
  'an alert about a %s leads to no block, only to notifications',
  (kind) => {
    const decisions = decide(policies, anAlert({ actor: { kind, id: 'c-1', name: 'x' } }));
    expect(decisions.map((decision) => decision.kind)).toEqual(['no-consumer', 'notify', 'no-consumer']);
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
  expect(responseId('p', 'alert-1', 0)).toBe('d706aa1f1cb017fde2701590a2f3f1bd');
  const ids = [
    responseId('p', 'alert-1', 0, 1),
    responseId('p', 'alert-1', 1),
    responseId('p', 'alert-11', 0),
    responseId('pa', 'lert-1', 0),
  ];
  expect(new Set(ids).size).toBe(4);
  expect(ids).not.toContain(responseId('p', 'alert-1', 0));
});
