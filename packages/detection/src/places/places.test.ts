import { apiCallSchema, type Alert, type ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { detectorRevisions } from '../../test-support/run-detector.ts';
import { detectionConfigSchema } from '../config.ts';
import { createPlacesDetector } from './places-detector.ts';

const startMs = Date.parse('2026-03-02T00:00:00Z');
const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

type Place = Partial<
  Pick<ApiCall, 'country' | 'city' | 'latitude' | 'longitude' | 'asn' | 'asOrganization'>
> & {
  ip: string;
};
const place = (
  country: string,
  city: string | undefined,
  latitude: number,
  longitude: number,
  asn: number,
  ip: string,
): Place => ({
  country,
  ...(city ? { city, latitude, longitude } : {}),
  asn,
  asOrganization: `AS ${asn}`,
  ip,
});
const amsterdam = place('NL', 'Amsterdam', 52.37, 4.9, 1136, '198.51.100.1');
const amsterdamMobile = place('NL', 'Amsterdam', 52.37, 4.9, 31615, '198.51.100.2');
const newYork = place('US', 'New York', 40.71, -74.01, 7018, '192.0.2.1');
const tokyo = place('JP', 'Tokyo', 35.68, 139.69, 2516, '192.0.2.2');
const cloud = place('US', 'Ashburn', 39.04, -77.49, 16509, '203.0.113.9');
const phone =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile Safari/604.1';
const laptop = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/128.0.0.0 Safari/537.36';
const script = 'python-requests/2.32.3';

let made = 0;
function call(atMs: number, from: Place, change: Partial<ApiCall> = {}): ApiCall {
  return apiCallSchema.parse({
    id: `call-${String(++made).padStart(8, '0')}`,
    startedAt: startMs + Math.round(atMs),
    actorKind: 'consumer',
    actorId: 'ann',
    actorName: 'ann',
    consumerId: 'ann',
    method: 'GET',
    path: '/orders',
    endpoint: 'GET /orders',
    service: 'orders',
    status: 200,
    source: 'upstream',
    requestBytes: 100,
    responseBytes: 100,
    latencyMs: 5,
    userAgent: phone,
    ...from,
    ...change,
  }) as ApiCall;
}

/** Days at these places, in turn, `perDay` calls between 8 and 20 o'clock. */
function days(
  count: number,
  places: readonly Place[],
  perDay = 24,
  change: Partial<ApiCall> = {},
): ApiCall[] {
  return Array.from({ length: count * perDay }, (_, n) =>
    call(
      Math.floor(n / perDay) * dayMs + 8 * hourMs + ((n % perDay) * 12 * hourMs) / perDay,
      places[n % places.length]!,
      change,
    ),
  );
}

const detectorOf = (config: object = {}): ReturnType<typeof createPlacesDetector> =>
  createPlacesDetector(detectionConfigSchema.parse(config));
function alertsOf(calls: readonly ApiCall[], detector = detectorOf()): Alert[] {
  const sorted = calls.toSorted((a, b) => a.startedAt - b.startedAt);
  return [...new Map(detectorRevisions(detector, sorted).map((alert) => [alert.id, alert])).values()];
}
const typesOf = (calls: readonly ApiCall[]): string[] => alertsOf(calls).map(({ type }) => type);

const home = days(10, [amsterdam]);
const noon = 10 * dayMs + 12 * hourMs;

describe('impossible travel', () => {
  it('names both ends, distance, speed and the second fact, and is one alert for the episode', () => {
    const away = Array.from({ length: 30 }, (_, n) =>
      call(noon + (10 + n) * minuteMs, newYork, { userAgent: laptop }),
    );
    const alerts = alertsOf([...home, call(noon, amsterdam), ...away]);
    expect(alerts).toHaveLength(1);
    expect(alerts[0]).toMatchObject({
      type: 'impossible-travel',
      status: 'closed',
      count: 30,
      actor: { kind: 'consumer', id: 'ann' },
      sources: [{ ip: '192.0.2.1', count: 30, country: 'US', asn: 7018 }],
      observed: { unit: 'km/h' },
      expected: { high: 1_000, unit: 'km/h' },
    });
    expect(alerts[0]!.evidence).toMatchObject({ facts: expect.arrayContaining(['newClient']) as unknown });
    expect(alerts[0]!.evidence['distanceKm']).toBeGreaterThan(5_700);
    expect(alerts[0]!.summary).toMatch(/New York, US \(AS7018\).*km from NL \(AS1136\)/);
  });

  it.each<[string, ApiCall[]]>([
    [
      'use in turn from two places within an hour',
      Array.from({ length: 8 }, (_, n) => call(noon + n * 6 * minuteMs, n % 2 ? newYork : amsterdam)),
    ],
    [
      'the slow variant, 9,300 km in 6 h',
      [
        call(noon, amsterdam),
        ...[0, 1, 2].map((n) => call(noon + 6 * hourMs + n * minuteMs, tokyo, { userAgent: script })),
      ],
    ],
    [
      'a cloud of another country right after failed attempts from it',
      [
        call(noon, amsterdam),
        ...Array.from({ length: 6 }, (_, n) =>
          call(noon + (1 + n) * minuteMs, cloud, { status: 401, source: 'kong', userAgent: script }),
        ),
        call(noon + 8 * minuteMs, cloud, { userAgent: script }),
      ],
    ],
    [
      'a token replayed from another network and client within a minute',
      [call(noon, amsterdam), call(noon + 30_000, cloud, { userAgent: script })],
    ],
    [
      '1,200 km within the country in 5 min',
      [
        call(noon, place('NL', 'Amsterdam', 52.37, 4.9, 1136, '198.51.100.1')),
        call(noon + 5 * minuteMs, place('NL', 'Far', 41.6, 4.9, 50266, '198.51.100.77'), {
          userAgent: script,
        }),
      ],
    ],
  ])('is %s', (_, attack) => {
    expect(typesOf([...home, ...attack])).toEqual(['impossible-travel']);
  });

  const wander = (n: number): Place =>
    place(
      n % 2 ? 'BE' : 'NL',
      n % 2 ? 'Antwerp' : 'Groningen',
      n % 2 ? 51.2 : 53.2,
      n % 2 ? 4.4 : 6.6,
      31615,
      `198.51.100.${20 + (n % 60)}`,
    );
  it.each<[string, ApiCall[]]>([
    [
      'a phone whose carrier comes out now here, now there',
      Array.from({ length: 240 }, (_, n) => call(n * hourMs, wander(n))),
    ],
    [
      'the home and the mobile network in turn, every minute',
      [
        ...home,
        ...Array.from({ length: 60 }, (_, n) =>
          call(noon + n * minuteMs, n % 2 ? amsterdam : amsterdamMobile),
        ),
      ],
    ],
    [
      'a VPN that goes on and off all the time',
      days(14, [amsterdam, place('US', 'Dallas', 32.78, -96.8, 9009, '203.0.113.50')]),
    ],
    [
      'a move that has no city on one side',
      [
        ...home,
        call(noon, amsterdam),
        call(noon + 5 * minuteMs, place('NL', undefined, 0, 0, 50266, '198.51.100.90')),
      ],
    ],
    [
      'a flight, 5,900 km in 8 h',
      [
        ...home,
        call(noon, amsterdam),
        ...[0, 1, 2].map((n) => call(noon + 8 * hourMs + n * hourMs, newYork)),
      ],
    ],
    [
      'the first calls of a consumer',
      [call(0, amsterdam), call(5 * minuteMs, newYork, { userAgent: laptop }), call(9 * minuteMs, tokyo)],
    ],
    [
      'servers in many regions of a cloud',
      Array.from({ length: 400 }, (_, n) =>
        call(
          n * hourMs * 0.6,
          place(
            ['US', 'DE', 'JP', 'BR', 'IN', 'AU'][n % 6]!,
            `c${n % 6}`,
            [39, 50, 35, -23, 19, -33][n % 6]!,
            [-77, 8, 139, -46, 72, 151][n % 6]!,
            16509,
            `203.0.113.${n % 200}`,
          ),
          { userAgent: script },
        ),
      ),
    ],
    [
      'two prefixes of one device',
      [
        ...home,
        ...Array.from({ length: 40 }, (_, n) =>
          call(
            noon + n * 20_000,
            n % 2 ? amsterdam : { ...place('NL', 'Maastricht', 50.85, 5.69, 1136, '2001:db8::1') },
          ),
        ),
      ],
    ],
    ['calls without a database', days(12, [{ ip: amsterdam.ip }])],
  ])('is not %s', (_, calls) => {
    expect(typesOf(calls)).toEqual([]);
  });
});

describe('credential sharing', () => {
  const worldwide = (n: number): Place => {
    const spots = [
      amsterdam,
      newYork,
      tokyo,
      place('BR', 'São Paulo', -23.5, -46.6, 28573, '192.0.2.3'),
      place('IN', 'Mumbai', 19, 72.8, 9498, '192.0.2.4'),
      place('DE', 'Berlin', 52.5, 13.4, 3320, '192.0.2.5'),
    ];
    return spots[n % spots.length]!;
  };

  it.each<[string, ApiCall[]]>([
    [
      'use from five networks in three countries at once, for days',
      Array.from({ length: 1_200 }, (_, n) =>
        call(10 * dayMs + n * 2 * minuteMs, worldwide(n), { userAgent: n % 6 ? laptop : phone }),
      ),
    ],
    [
      'a leak: dozens of networks within a day, with many clients',
      Array.from({ length: 200 }, (_, n) =>
        call(
          10 * dayMs + n * 6 * minuteMs,
          n % 4
            ? place(
                ['US', 'BR', 'VN', 'ID', 'PL'][n % 5]!,
                `c${n % 5}`,
                10 + (n % 5) * 8,
                -60 + (n % 5) * 40,
                60_000 + (n % 50),
                `192.0.2.${n}`,
              )
            : amsterdam,
          { userAgent: [laptop, script, 'curl/8.5.0', 'okhttp/4.12.0', phone][n % 5]! },
        ),
      ),
    ],
  ])('is %s: one alert', (_, attack) => {
    const alerts = alertsOf([...home, ...attack]);
    expect(alerts.map(({ type }) => type)).toEqual(['credential-sharing']);
    expect(alerts[0]!.evidence['signs']).toBeDefined();
  });

  it('stays the alert that began as travel', () => {
    const attack = Array.from({ length: 900 }, (_, n) =>
      call(noon + n * 2 * minuteMs, worldwide(n), { userAgent: laptop }),
    );
    const revisions = detectorRevisions(detectorOf(), [...home, ...attack]);
    expect(new Set(revisions.map(({ id }) => id)).size).toBe(1);
    expect(revisions[0]!.type).toBe('impossible-travel');
    expect(revisions.at(-1)).toMatchObject({
      type: 'credential-sharing',
      evidence: { beganAs: 'impossible-travel' },
    });
    expect(revisions.map(({ revision }) => revision)).toEqual(revisions.map((_, n) => n + 1));
  });

  it.each<[string, ApiCall[]]>([
    [
      'one person with a phone, a laptop and an office',
      days(20, [amsterdam, amsterdamMobile, place('NL', 'Utrecht', 52.09, 5.12, 60781, '198.51.100.3')]).map(
        (one, n) => ({ ...one, userAgent: n % 2 ? phone : laptop }),
      ),
    ],
    [
      'runners of one cloud with 200 addresses a day',
      Array.from({ length: 2_000 }, (_, n) =>
        call(n * 7 * minuteMs, { ...cloud, ip: `203.0.${n % 100}.${n % 250}` }, { userAgent: script }),
      ),
    ],
    [
      'a carrier that gives 20 addresses a day',
      Array.from({ length: 1_000 }, (_, n) =>
        call(n * 15 * minuteMs, { ...amsterdamMobile, ip: `198.51.100.${n % 20}` }),
      ),
    ],
    [
      'a sales person who travels, one country after the other',
      Array.from({ length: 20 * 24 }, (_, n) =>
        call(
          n * hourMs,
          n < 240
            ? amsterdam
            : [newYork, tokyo, place('DE', 'Berlin', 52.5, 13.4, 3320, '192.0.2.5')][
                Math.floor((n - 240) / 80)
              ]!,
        ),
      ).filter(
        (one) => new Date(one.startedAt).getUTCHours() > 7 && new Date(one.startedAt).getUTCHours() < 20,
      ),
    ],
  ])('is not %s', (_, calls) => {
    expect(typesOf(calls).filter((type) => type === 'credential-sharing')).toEqual([]);
  });
});
