import fc from 'fast-check';
import type { Alert, ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { callsOf, phaseSchema, type PhaseInput } from '../../test-support/program.ts';
import { detectorRevisions, driven } from '../../test-support/run-detector.ts';
import type { WhereaboutsState } from './whereabouts-state.ts';
import { whereabouts } from './whereabouts.ts';

const startMs = Date.parse('2026-03-02T00:00:00Z');
const dayMs = 86_400_000;

const detectorOf = (config: object = {}) => driven(whereabouts, config);
const detector = detectorOf();

type Origin = NonNullable<PhaseInput['origins']>[number];
const browser = 'Mozilla/5.0 (Windows NT 10.0) Firefox/130.0';
const oslo: Origin = {
  net: '192.0.2',
  asn: 64_516,
  country: 'NO',
  city: 'Oslo',
  at: [59.9, 10.8],
  userAgent: browser,
};
const newYork: Origin = {
  net: '198.51.100',
  asn: 64_540,
  country: 'US',
  city: 'New York',
  at: [40.7, -74],
  userAgent: 'curl/8.5.0',
};
const countries = ['US', 'FR', 'IN', 'BR', 'JP', 'VN', 'NG', 'ZA'];
/** Networks of which the database knows the country only: no travel between them can be told. */
const networks = (count: number, userAgent = browser): Origin[] =>
  Array.from({ length: count }, (_, at) => ({
    net: `10.${at >> 8}.${at & 255}`,
    asn: 65_000 + at,
    country: countries[at % countries.length]!,
    userAgent,
  }));

const phase = (
  from: string,
  until: string,
  origins: Origin[],
  perMinute = 0.1,
  rest: Partial<PhaseInput> = {},
): PhaseInput => ({
  consumer: 'ana',
  from,
  until,
  rate: { kind: 'poisson', perMinute },
  origins,
  ...rest,
});
const callsFrom = (...phases: PhaseInput[]): ApiCall[] => [
  ...callsOf(
    phases.map((one) => phaseSchema.parse(one)),
    startMs,
    1,
  ),
];
const lastOf = (alerts: readonly Alert[]): Alert[] => [
  ...new Map(alerts.map((alert) => [alert.id, alert])).values(),
];
const typesOf = (calls: readonly ApiCall[], config: object = {}): string[] =>
  lastOf(detectorRevisions(detectorOf(config), calls)).map(({ type }) => type);
const stateOf = (calls: readonly ApiCall[]): WhereaboutsState => {
  const state = detector.create(calls[0]!)!;
  for (const call of calls) detector.fold(state, call);
  return state;
};

const home = phase('0d', '5d9h', [oslo]);
const travelCalls = callsFrom(home, phase('5d9h10m', '5d9h20m', [newYork], 5));
const sharingCalls = callsFrom(phase('0d', '7d', [oslo]), phase('5d9h', '6d', networks(6), 1));
const off = { enabled: false };
const announced = {
  exceptions: [
    {
      consumers: ['ana'],
      from: '2026-03-07T00:00:00Z',
      until: '2026-03-09T00:00:00Z',
      owner: 'Ops',
      comment: 'A trip.',
    },
  ],
};

describe('impossible travel and credential sharing', () => {
  it('says from where to where, how fast, what tips it and which calls are the stranger’s', () => {
    const [alert, ...rest] = lastOf(detectorRevisions(detector, travelCalls));
    expect(rest).toEqual([]);
    const strangers = travelCalls.filter(({ country }) => country === 'US');
    expect(alert).toMatchObject({
      type: 'impossible-travel',
      status: 'closed',
      actor: { kind: 'consumer', id: 'ana' },
      service: 'orders',
      endpoint: 'GET /orders/{id}',
      startedAt: strangers[0]!.startedAt,
      lastSeenAt: strangers.at(-1)!.startedAt,
      count: strangers.length,
      observed: { unit: 'km/h' },
      expected: { high: 1_000, unit: 'km/h' },
      sources: [{ count: strangers.length, country: 'US', asn: 64_540 }],
      references: ['OWASP API2:2023', 'MITRE ATT&CK T1078'],
      evidence: {
        learning: 'settled',
        learntDays: 6,
        facts: ['newClient', 'otherNetwork'],
        strange: { asn: 64_540, country: 'US', city: 'New York' },
        usual: { asn: 64_516, country: 'NO' },
        ownNetworks: [{ asn: 64_516, country: 'NO' }],
      },
    });
    expect(alert!.evidence['distanceKm']).toBeGreaterThan(5_800);
    expect(alert!.evidence['distanceKm']).toBeLessThan(6_000);
    expect(alert!.summary).toMatch(/^ana was used from New York, US \(AS64540\), 5,9\d\d km from NO/);
    expect(alert!.sampleCallIds).toHaveLength(20);
    expect(strangers.map(({ id }) => id)).toEqual(expect.arrayContaining(alert!.sampleCallIds));
  });

  it('leaves travel to nobody when it is switched off or announced, and sharing as it was', () => {
    expect(typesOf(travelCalls)).toEqual(['impossible-travel']);
    for (const impossibleTravel of [off, announced]) {
      expect(typesOf(travelCalls, { impossibleTravel })).toEqual([]);
      expect(typesOf(sharingCalls, { impossibleTravel })).toEqual(['credential-sharing']);
    }
  });

  it('leaves sharing to nobody when it is switched off or announced, and travel as it was', () => {
    expect(typesOf(sharingCalls)).toEqual(['credential-sharing']);
    for (const credentialSharing of [off, announced]) {
      expect(typesOf(sharingCalls, { credentialSharing })).toEqual([]);
      expect(typesOf(travelCalls, { credentialSharing })).toEqual(['impossible-travel']);
    }
  });

  it('learns nothing from calls that are announced to both', () => {
    const config = { impossibleTravel: announced, credentialSharing: announced };
    expect(typesOf(travelCalls, config)).toEqual([]);
    const again = [...travelCalls, ...callsFrom(phase('7d1h', '7d2h', [oslo, newYork], 0.5))];
    expect(typesOf(again, config)).toEqual(['impossible-travel']);
  });

  it('ends an episode after a day without a strange call, and begins a new one after that', () => {
    const revisions = detectorRevisions(
      detector,
      callsFrom(
        phase('0d', '9d', [oslo]),
        phase('5d', '5d1h', [newYork], 0.5),
        phase('5d20h', '5d21h', [newYork], 0.5),
        phase('8d', '8d1h', [newYork], 0.5),
      ),
    );
    const alerts = lastOf(revisions);
    expect(alerts.map(({ startedAt }) => Math.floor((startedAt - startMs) / dayMs))).toEqual([5, 8]);
    expect(alerts[0]!.lastSeenAt).toBeGreaterThan(startMs + 5 * dayMs + 20 * 3_600_000);
  });

  it('does not learn from what is under alert, however long it goes on, until two weeks have passed', () => {
    const thief = (until: string): Alert[] =>
      lastOf(
        detectorRevisions(detector, callsFrom(phase('0d', '30d', [oslo]), phase('5d', until, [newYork]))),
      );
    expect(thief('18d')).toHaveLength(1);
    expect(thief('18d')[0]!.evidence['adopted']).toBeUndefined();
    const [alert, ...more] = thief('30d');
    expect(more).toEqual([]);
    expect(alert!.evidence['adopted']).toBe(true);
  });

  it('takes a network for the actor’s own after four days of use, if nothing speaks against it', () => {
    // The same client on a second network of the same town, then a new client on that network alone.
    const second: Origin = { ...oslo, net: '203.0.113', asn: 64_517 };
    const calls = callsFrom(
      phase('0d', '20d', [oslo]),
      phase('5d', '14d', [second], 0.02),
      phase('15d', '15d1h', [{ ...second, userAgent: 'curl/8.5.0' }], 1),
    );
    expect(typesOf(calls)).toEqual([]);
    expect(stateOf(calls).places.networks.filter(({ own }) => own)).toHaveLength(2);
  });

  it('learns nothing from calls that failed, and does not judge them', () => {
    const failing = callsFrom(home, phase('5d9h', '5d10h', [newYork], 2, { status: { '404': 1 } }));
    expect(typesOf(failing)).toEqual([]);
    expect(stateOf(failing).places.networks).toHaveLength(1);
  });

  it('judges nothing in the first 24 h, nor before ten calls', () => {
    const young = callsFrom(phase('0d', '20h', [oslo]), phase('20h10m', '21h', [newYork], 2));
    expect(typesOf(young)).toEqual([]);
    const rare = callsFrom(
      phase('0d', '5d', [oslo], 0.001),
      phase('5d', '5d5m', [oslo], 0.6),
      phase('5d6m', '5d9m', [newYork], 0.5),
    );
    expect(rare.length).toBeLessThan(10);
    expect(typesOf(rare)).toEqual([]);
  });

  it('keeps no state for addresses, nor for calls that no database has located', () => {
    const [call] = travelCalls;
    expect(detector.create({ ...call!, actorKind: 'address' })).toBeUndefined();
    const { country, asn, ...nowhere } = call!;
    expect([country, asn]).toEqual(['NO', 64_516]);
    expect(detector.create(nowhere)).toBeUndefined();
  });

  it('does not count more networks than it can tell apart', () => {
    const calls = callsFrom(phase('0d', '7d', [oslo]), phase('5d', '6d', networks(400, 'curl/8'), 3));
    const [alert, ...rest] = lastOf(detectorRevisions(detector, calls));
    expect(rest).toEqual([]);
    expect(JSON.stringify(alert!.evidence['signs'])).toContain('{"sign":"manyNewNetworks","value":32,');
    expect(alert!.summary).toContain('32 or more networks in a day');
  });

  it('gives the same alerts wherever the state is encoded and decoded in between', () => {
    const places = [oslo, newYork, ...networks(40), ...networks(12, 'okhttp/4')];
    const stay = fc.record({
      day: fc.integer({ min: 3, max: 12 }),
      hours: fc.integer({ min: 1, max: 40 }),
      first: fc.nat(places.length - 1),
      count: fc.integer({ min: 1, max: 20 }),
      perMinute: fc.constantFrom(0.05, 0.5),
      lateSeconds: fc.constantFrom(0, 590),
      status: fc.constantFrom({}, { '401': 0.5 }),
    });
    let raised = 0;
    fc.assert(
      fc.property(
        fc.array(stay, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 50 }),
        (stays, every) => {
          const calls = callsFrom(
            phase('0d', '14d', [oslo], 0.03),
            ...stays.map(({ day, hours, first, count, perMinute, lateSeconds, status }) =>
              phase(`${day}d`, `${day}d${hours}h`, places.slice(first, first + count), perMinute, {
                lateSeconds,
                status,
              }),
            ),
          );
          const straight = detectorRevisions(detector, calls);
          raised += lastOf(straight).length;
          expect(detectorRevisions(detector, calls, (index) => index % every === 0)).toEqual(straight);
        },
      ),
      { numRuns: 60, seed: 1 },
    );
    expect(raised, 'the traffic must raise alerts for this to prove anything').toBeGreaterThan(20);
  });

  it('needs at most 200 B for somebody with two networks, and stays below 8 KB whatever comes', () => {
    const size = (calls: readonly ApiCall[]): number => detector.encode(stateOf(calls)).length;
    const mobile: Origin = { ...oslo, net: '203.0.113', asn: 64_530 };
    expect(size(callsFrom(phase('0d', '21d', [oslo, mobile])))).toBeLessThanOrEqual(200);
    const strange = networks(400).map((one, at) => ({ ...one, userAgent: `client-${'x'.repeat(at % 40)}` }));
    expect(size(callsFrom(phase('0d', '7d', [oslo]), phase('5d', '7d', strange, 3)))).toBeLessThan(8_192);
  });
});
