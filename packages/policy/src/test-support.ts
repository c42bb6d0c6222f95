import type { Alert, Response } from '@tripline/model';
import type { BlockAction } from './actions/block/block.ts';
import type { RateLimitAction } from './actions/rate-limit/rate-limit.ts';

/** An alert about the consumer `c-1`, for tests; the fields given replace the usual ones. */
export function anAlert(fields: Partial<Alert> = {}): Alert {
  return {
    id: 'alert-1',
    revision: 1,
    type: 'request-spike',
    severity: 'high',
    score: 70,
    actor: {
      kind: 'consumer',
      id: 'c-1',
      name: 'acme',
      username: 'acme',
      customId: 'ACME/7',
      tags: ['gold'],
    },
    service: 'orders',
    route: null,
    endpoint: 'GET /orders/{id}',
    raisedAt: 1_000_000,
    startedAt: 990_000,
    lastSeenAt: 1_010_000,
    count: 400,
    status: 'open',
    observed: { value: 412, unit: 'requests/10s' },
    expected: { value: 3, low: 0, high: 18, unit: 'requests/10s' },
    summary: 'acme sends far more requests than usual',
    sources: [{ ip: '203.0.113.9', count: 400, country: 'NO' }],
    evidence: {},
    sampleCallIds: [],
    references: [],
    ...fields,
  };
}

/** A block in force until 2,000,000, for tests. */
export function aResponse(fields: Partial<Response> = {}): Response {
  return {
    id: 'r-1',
    revision: 1,
    policyId: 'p',
    alertId: 'alert-1',
    action: aBlock(),
    target: { kind: 'consumer', id: 'c-1', name: 'acme' },
    status: 'active',
    decidedAt: 1_000_000,
    expiresAt: 2_000_000,
    activeAt: 1_000_100,
    removedAt: null,
    failures: 0,
    problem: null,
    ...fields,
  };
}

export function aBlock(fields: Partial<BlockAction> = {}): BlockAction {
  return { type: 'block', duration: '15m', status: 403, message: 'stop', ...fields };
}

export function aRateLimit(fields: Partial<RateLimitAction> = {}): RateLimitAction {
  return { type: 'rate-limit', duration: '15m', minute: 10, ...fields };
}
