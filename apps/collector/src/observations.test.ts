import type { ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { Observer } from './observations.ts';

const call = (actorId: string, ip: string, place: Partial<ApiCall> = {}): ApiCall => ({
  id: `${actorId}-${ip}`,
  startedAt: 1_000,
  actorKind: 'consumer',
  actorId,
  actorName: actorId,
  ip,
  method: 'GET',
  path: '/',
  endpoint: 'GET /',
  status: 200,
  source: 'upstream',
  requestBytes: 1,
  responseBytes: 1,
  latencyMs: 1,
  ...place,
});
const frankfurt = { asn: 64_580, country: 'DE', city: 'Frankfurt', latitude: 50.1, longitude: 8.7 };

describe('observations of the lines', () => {
  it('tell the place from which most located lines are, and how many actors are there', () => {
    const observer = new Observer();
    for (let at = 0; at < 30; at++) observer.saw(call(`c${at % 20}`, `192.0.2.${at}`, frankfurt), 2_000);
    for (let at = 0; at < 10; at++) observer.saw(call('other', '198.51.100.1', { country: 'US' }), 2_000);
    for (let at = 0; at < 50; at++) observer.saw(call('unlocated', '203.0.113.1'), 2_000);
    expect(observer.report().clients).toEqual({
      lines: 90,
      distinct: 32,
      top: '203.0.113.1',
      topShare: 50 / 90,
      privateShare: 0,
      topPlace: 'Frankfurt, DE (AS64580)',
      topPlaceShare: 0.75,
      topPlaceActors: 20,
    });
  });

  it('know no place without a database', () => {
    const observer = new Observer();
    observer.saw(call('c', '192.0.2.1'), 2_000);
    expect(observer.report().clients).toMatchObject({ topPlace: undefined, topPlaceShare: 0 });
  });
});
