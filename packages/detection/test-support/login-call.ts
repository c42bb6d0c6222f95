import type { ApiCall } from '@tripline/model';
import fc from 'fast-check';

export const beganMs = Date.parse('2026-03-02T09:00:00Z');

/** A failed login from an address, unless `more` says otherwise. */
export function loginCall(more: Partial<ApiCall>): ApiCall {
  const ip = more.ip ?? '10.0.0.1';
  return {
    id: `call-${more.startedAt ?? 0}-${ip}-${more.user ?? ''}`,
    startedAt: beganMs,
    actorKind: 'address',
    actorId: ip,
    actorName: ip,
    ip,
    method: 'POST',
    path: '/login',
    endpoint: 'POST /login',
    service: 'accounts',
    status: 401,
    source: 'upstream',
    requestBytes: 1,
    responseBytes: 1,
    latencyMs: 1,
    ...((more.status ?? 401) === 401 ? { auth: 'failure' as const } : {}),
    ...more,
  };
}

/** A call to a login endpoint within a quarter of an hour, ended in whatever way. */
export const anyCall = fc
  .record({
    address: fc.nat(300),
    account: fc.nat(300),
    status: fc.constantFrom(200, 401, 401, 401, 403, 404, 503),
    auth: fc.constantFrom(undefined, 'challenge' as const, 'success' as const),
    consumer: fc.boolean(),
    country: fc.constantFrom(undefined, 'NO', 'SE'),
    n: fc.nat(1_000_000),
  })
  .map(({ address, account, status, auth, consumer, country, n }) =>
    loginCall({
      id: `call-${n}-${address}-${account}-${status}-${auth}-${country}-${consumer}`,
      startedAt: beganMs + n,
      ip: `10.0.${address >> 8}.${address & 255}`,
      user: `~user~${account}`,
      status,
      ...(auth === undefined ? {} : { auth }),
      ...(consumer ? { consumerId: `c${account}`, actorName: `consumer ${account}` } : {}),
      ...(country === undefined ? {} : { country, asn: n % 7 }),
    }),
  );
