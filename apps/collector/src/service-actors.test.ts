import type { ApiCall } from '@tripline/model';
import { expect, it } from 'vitest';
import { ServiceActorCounts } from './service-actors.ts';

const call = (service: string | undefined, by: Partial<ApiCall>): ApiCall => ({
  id: 'call-0001',
  startedAt: 1_000,
  actorKind: 'address',
  actorId: '203.0.113.9',
  actorName: '203.0.113.9',
  method: 'GET',
  path: '/',
  endpoint: 'GET /',
  status: 200,
  source: 'upstream',
  requestBytes: 1,
  responseBytes: 1,
  latencyMs: 1,
  ...(service === undefined ? {} : { service }),
  ...by,
});

it('tells for each service who acts, and how many present what nobody verifies', () => {
  const counts = new ServiceActorCounts();
  for (const by of ['kong', 'declared', 'learnt'] as const)
    counts.saw(call('shop', { actorKind: 'credential', verifiedBy: by }));
  counts.saw(call('shop', { actorKind: 'consumer' }));
  counts.saw(call('shop', {}));
  counts.saw(call('shop', { presented: 'something' }));
  counts.saw(call('shop', { presented: 'something', status: 401 }));
  counts.saw(call(undefined, {}));
  expect(counts.report()).toEqual([
    { service: 'shop', consumer: 1, kong: 1, declared: 1, learnt: 1, address: 3, unverified: 1 },
  ]);
});

it('follows a change of configuration within 10,000 calls, and counts no more than 500 services', () => {
  const counts = new ServiceActorCounts();
  for (let at = 0; at < 50_000; at++) counts.saw(call('shop', {}));
  for (let at = 0; at < 10_000; at++) counts.saw(call('shop', { actorKind: 'consumer' }));
  const [shop] = counts.report();
  expect(shop!.consumer).toBeGreaterThan(shop!.address);
  for (let at = 0; at < 2_000; at++) counts.saw(call(`service-${at}`, {}));
  expect(counts.report()).toHaveLength(500);
});
