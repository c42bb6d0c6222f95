import type { ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { newPlaces, observe } from './places.ts';

const beganMs = Date.parse('2026-03-02T09:00:00Z');

function call(more: Partial<ApiCall>): ApiCall {
  return {
    id: 'call-0001',
    startedAt: beganMs,
    actorKind: 'consumer',
    actorId: 'c-1',
    actorName: 'ana',
    consumerId: 'c-1',
    ip: '192.0.2.1',
    country: 'NO',
    asn: 64_500,
    method: 'GET',
    path: '/orders',
    endpoint: 'GET /orders',
    status: 200,
    source: 'upstream',
    requestBytes: 1,
    responseBytes: 1,
    latencyMs: 1,
    ...more,
  };
}

describe('places of an actor', () => {
  it('remember the /64 of an IPv6 address, however it is written, and the /24 of an IPv4 address', () => {
    const prefixOf = (more: Partial<ApiCall>): number =>
      observe(newPlaces(beganMs), call(more), false)!.prefix;
    const network = '2001:db8::/64';
    expect(prefixOf({ ip: '2001:db8::1', network })).toBe(prefixOf({ ip: '2001:db8::5:6:7:8', network }));
    expect(prefixOf({ ip: '2001:db8::1', network })).not.toBe(
      prefixOf({ ip: '2001:db8:0:1::1', network: '2001:db8:0:1::/64' }),
    );
    expect(prefixOf({ ip: '192.0.2.1' })).toBe(prefixOf({ ip: '192.0.2.200' }));
  });

  it('count a refused login by what the call says about credentials, not by its status', () => {
    const refusedBy = (more: Partial<ApiCall>): number => {
      const places = newPlaces(beganMs);
      expect(observe(places, call(more), false)).toBeUndefined();
      return places.refused?.count ?? 0;
    };
    expect(refusedBy({ status: 401, auth: 'failure' })).toBe(1);
    expect(refusedBy({ status: 400, auth: 'failure' })).toBe(1);
    expect(refusedBy({ status: 200, auth: 'failure' })).toBe(1);
    expect(refusedBy({ status: 401, auth: 'challenge' })).toBe(0);
    expect(refusedBy({ status: 403 })).toBe(0);
  });
});
