import { encodeApiCall, type Alert, type ApiCall, type Response } from '@tripline/model';

/** Calls as they are on the bus. */
export function callRecords(calls: readonly ApiCall[]): Buffer[] {
  return calls.map((call) => encodeApiCall(call));
}

export function jsonRecords(rows: readonly object[]): Buffer[] {
  return rows.map((row) => Buffer.from(JSON.stringify(row)));
}

export function bareCall(id: string, startedAt: number): ApiCall {
  return {
    id,
    startedAt,
    actorKind: 'address',
    actorId: '203.0.113.9',
    actorName: '203.0.113.9',
    method: 'GET',
    path: '/orders/17',
    endpoint: 'GET /orders/{id}',
    status: 200,
    source: 'upstream',
    requestBytes: 300,
    responseBytes: 1_000,
    latencyMs: 12,
  };
}

export function fullCall(id: string, startedAt: number): Required<ApiCall> {
  return {
    ...bareCall(id, startedAt + 123),
    actorKind: 'consumer',
    verifiedBy: 'kong',
    consumerId: 'c0ffee00-0000-4000-8000-000000000001',
    consumerUsername: 'Søren "S" Ødegård',
    consumerCustomId: 'ACME/EU 7',
    consumerTags: ['gold', 'a,b'],
    credentialId: 'c0ffee00-0000-4000-8000-000000000002',
    credential: '~key~0123456789abcdefghijkl',
    user: '~user~0123456789abcdefghijkl',
    authScheme: 'basic',
    presented: 'something',
    auth: 'failure',
    addressSuccesses: 3,
    ip: '2001:db8::1',
    network: '2001:db8::/64',
    country: 'DE',
    city: 'Köln',
    latitude: 50.9375,
    longitude: 6.9603,
    asn: 4_200_000_000,
    asOrganization: 'Example \\ Net',
    host: 'api.example.com',
    service: 'orders',
    route: 'orders-route',
    query: { 'ids[]': ['1', '2'], debug: [], __proto__x: ['\u0000'], 'a b': ['', '中'] },
    userAgent: 'Mozilla/5.0 "x"\ty',
    referer: 'https://example.com/?a=%20',
    contentType: 'application/json',
    cookies: { sid: '~cookie~0123456789abcdefghijkl' },
    headers: { 'x-team': 'blue' },
    status: 499,
    source: 'kong',
    upstreamStatus: '502, 200',
    grpcStatus: 0,
    pathGone: true,
    refused: true,
    requestBytes: 9_000_000_000,
    responseBytes: 0,
    latencyMs: 3_600_000,
    upstreamMs: 0,
    workspace: 'default',
  };
}

export function alert(id: string, changes: Partial<Alert> & Record<string, unknown>): Alert {
  return {
    id,
    revision: 1,
    type: 'request-spike',
    severity: 'high',
    score: 71.5,
    actor: { kind: 'consumer', id: 'c1', name: 'Ann "A" O\'Neill', tags: ['gold'] },
    service: 'orders',
    route: null,
    endpoint: null,
    raisedAt: 0,
    startedAt: 0,
    lastSeenAt: 0,
    count: 412,
    status: 'open',
    observed: { value: 412, unit: 'requests/10s' },
    expected: { value: 3.1, low: 0, high: 18, unit: 'requests/10s' },
    summary: 'Ann made 412 requests in 10 s',
    sources: [{ ip: '203.0.113.9', count: 412, country: 'DE' }],
    evidence: {},
    sampleCallIds: ['call-0001'],
    references: ['OWASP API4:2023'],
    ...changes,
  };
}

export function response(id: string, changes: Partial<Response>): Response {
  return {
    id,
    revision: 1,
    policyId: 'stop-spikes',
    alertId: 'alert-1',
    action: { type: 'block', duration: '15m', status: 403, message: 'Blocked' },
    target: { kind: 'consumer', id: 'c1', name: 'Ann' },
    status: 'expired',
    decidedAt: 0,
    expiresAt: null,
    activeAt: null,
    removedAt: null,
    failures: 0,
    problem: null,
    ...changes,
  };
}
