import { alertsFrom } from '../../test-support/collect.ts';
import type { Alert } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { goldenCases, runGolden, type GoldenCase } from '../../test-support/golden.ts';
import { loginsSchema, type LoginsInput } from '../../test-support/logins.ts';
import { callsOf, offsetMs, phaseSchema, type Phase, type PhaseInput } from '../../test-support/program.ts';
import { createDetection, detectionConfigSchema, type Detection } from '../index.ts';
import { sensitivities, toleranceOf, type Sensitivity } from './sensitivity.ts';

const cases = goldenCases();
const attackOf = ({ type, actor }: Alert): string => `${type} ${actor.id}`;

const goldenCase = (name: string): GoldenCase => cases.find((one) => one.name === name)!;
const of = (part: { traffic?: PhaseInput[]; logins?: LoginsInput[] }): GoldenCase => ({
  ...goldenCase('spike-not-a-handful'),
  traffic: (part.traffic ?? []).map((phase) => phaseSchema.parse(phase)),
  logins: (part.logins ?? []).map((logins) => loginsSchema.parse(logins)),
});

/** At which sensitivities there is such an alert. */
function alertingAt(golden: GoldenCase, type: Alert['type']): Sensitivity[] {
  return sensitivities.filter((sensitivity) =>
    runGolden(golden, 1, sensitivity).alerts.some((alert) => alert.type === type),
  );
}

const detectionAt = (sensitivity: Sensitivity): Detection =>
  createDetection(
    detectionConfigSchema.parse({
      requestSpike: { sensitivity },
      pathProbing: { sensitivity },
      abnormalParameter: { enabled: false },
    }),
  );

/** Revisions about the only actor of the case, where the setting is changed at an offset, and the state goes on. */
function changedAt(
  { traffic, startMs }: GoldenCase,
  at: string,
  before: Sensitivity,
  after: Sensitivity,
): Alert[] {
  let detection = detectionAt(before);
  let actor = detection.actors.decode(undefined);
  const peers = detection.peers.decode(undefined);
  const alerts: Alert[] = [];
  let isChanged = false;
  for (const call of callsOf(traffic, startMs, 1)) {
    if (!isChanged && call.startedAt >= startMs + offsetMs(at)) {
      isChanged = true;
      const text = detection.actors.encode(actor);
      detection = detectionAt(after);
      actor = detection.actors.decode(text);
    }
    alerts.push(...alertsFrom((out) => detection.fold(actor, peers, call, out)));
  }
  return [...alerts, ...alertsFrom((out) => detection.close(actor, Number.MAX_SAFE_INTEGER, out))];
}

const scanOf = (paths: number): GoldenCase =>
  of({
    traffic: [
      {
        consumer: 'scanner',
        anonymous: true,
        from: '1h',
        until: '1h10m',
        rate: { kind: 'constant', perMinute: 30 },
        routed: false,
        endpoint: 'GET /old/x.php',
        status: { '404': 1 },
        asks: { path: '/old/{n}.php', of: paths },
      },
    ],
  });

const newcomerWith = (perMinute: number): GoldenCase =>
  of({ traffic: [{ consumer: 'new', from: '1h', until: '1h2m', rate: { kind: 'constant', perMinute } }] });

const guessesOf = (perMinute: number): GoldenCase =>
  of({
    logins: [{ from: '0h', until: '1h', perMinute, addresses: 1, accounts: 5_000, failing: 1, tries: 1 }],
  });

const stuffingOf = (perMinute: number): GoldenCase =>
  of({
    logins: [
      { from: '1h', until: '1h3m', perMinute, addresses: 3_000, accounts: 3_000, failing: 1, tries: 1 },
    ],
  });

/** The keys of a golden case, each slower. */
function keysWith(name: string, key: string, perMinute: number, until: string): GoldenCase {
  const golden = goldenCase(name);
  return {
    ...golden,
    traffic: golden.traffic.map((phase) =>
      phase.consumer.startsWith(key) && phase.from !== '0d'
        ? { ...phase, until, rate: { ...phase.rate, perMinute } }
        : phase,
    ),
  };
}

const injectionAfter = (calls: number): GoldenCase =>
  of({
    traffic: [
      {
        consumer: 'client',
        from: '0m',
        until: `${calls}m`,
        rate: { kind: 'constant', perMinute: 1 },
        endpoint: 'GET /orders',
        asks: { query: { page: ['1', '2', '3', '4'] } },
      },
      {
        consumer: 'attacker',
        from: `${calls}m`,
        until: `${calls + 3}m`,
        rate: { kind: 'constant', perMinute: 1 },
        endpoint: 'GET /orders',
        asks: { query: { page: '1 UNION SELECT password FROM users' } },
      },
    ],
  });

/** With `off-the-enum` asking for something else. */
const asking = (query: Record<string, string>): GoldenCase => {
  const golden = goldenCase('parameter-12-off-the-enum');
  const [orders, , opened] = golden.traffic as [Phase, Phase, Phase];
  return { ...golden, traffic: [orders, { ...opened, asks: { ...opened.asks!, query } }] };
};

/** A few cases of two weeks, or of a busy login endpoint, take as long as all the others together. */
const isLong = ({ traffic, logins }: GoldenCase): boolean =>
  traffic.some(({ until }) => offsetMs(until) > offsetMs('10d')) ||
  logins.some(
    ({ perMinute, from, until }) => perMinute * (offsetMs(until) - offsetMs(from)) > 5 * offsetMs('1d'),
  );

describe('sensitivity', () => {
  it('is normal unless it is set, and set for each detector', () => {
    const config = detectionConfigSchema.parse({ pathProbing: { sensitivity: 'low' } });
    const { pathProbing, ...others } = config;
    expect(pathProbing.sensitivity).toBe('low');
    expect(Object.values(others).map(({ sensitivity }) => sensitivity)).toEqual(
      Object.values(others).map(() => 'normal'),
    );
    expect(detectionConfigSchema.safeParse({ pathProbing: { sensitivity: 2 } }).success).toBe(false);
  });

  it('changes no limit at normal', () => {
    const normal = toleranceOf('normal');
    expect([normal.count(25), normal.count(25, 20)]).toEqual([25, 25]);
    expect([normal.factor(2.5), normal.factorLog(916)]).toEqual([2.5, 916]);
    expect([normal.deviations(4), normal.decades(2)]).toEqual([4, 2]);
    expect(normal.factorLog(Infinity)).toBe(Infinity);
  });

  for (const golden of cases) {
    if (golden.expected.length === 0 || isLong(golden)) continue;
    it(`finds at low no more, and at high no less, than at normal: ${golden.name}`, () => {
      const [seed] = golden.seeds as [number];
      const attacks = (sensitivity: Sensitivity): Set<string> =>
        new Set(runGolden(golden, seed, sensitivity).alerts.map(attackOf));
      // Which are found at normal says the case itself.
      const atNormal = new Set(golden.expected.map(({ type, actor }) => `${type} ${actor}`));
      expect([...atNormal]).toEqual(expect.arrayContaining([...attacks('low')]));
      expect([...attacks('high')]).toEqual(expect.arrayContaining([...atNormal]));
    });
  }

  const both: Sensitivity[] = ['normal', 'high'];
  const differing: [what: string, golden: GoldenCase, type: Alert['type'], at: Sensitivity[]][] = [
    ['a newcomer with 1,800 calls a minute', newcomerWith(1_800), 'request-spike', both],
    ['a newcomer with 1,000 calls a minute', newcomerWith(1_000), 'request-spike', ['high']],
    [
      '1.6 times as many calls to one endpoint',
      goldenCase('spike-3-one-endpoint-only'),
      'request-spike',
      both,
    ],
    [
      '120 calls a minute by 60 keys',
      keysWith('spike-6-over-keys', 'tenant-key', 2, '3d12h20m'),
      'request-spike',
      both,
    ],
    ['attempts of 45 addresses a minute', stuffingOf(45), 'credential-stuffing', both],
    ['attempts of 20 addresses a minute', stuffingOf(20), 'credential-stuffing', ['high']],
    ['one address that fails with 240 accounts in an hour', guessesOf(4), 'brute-force', both],
    ['one address that fails with 100 accounts in an hour', guessesOf(1.7), 'brute-force', ['high']],
    ['new objects by a newcomer', goldenCase('enumeration-cold'), 'object-enumeration', both],
    [
      'ids shared out among keys',
      keysWith('enumeration-6-over-keys', 'key-', 0.15, '2d11h30m'),
      'object-enumeration',
      both,
    ],
    ['240 calls of a client with a wrong clock', goldenCase('stale-clock-skew'), 'stale-credential', both],
    ['40 paths that nobody serves', scanOf(40), 'path-probing', both],
    ['20 paths that nobody serves', scanOf(20), 'path-probing', ['high']],
    ['9,000 km in six hours', goldenCase('travel-3-slow-9000-km-in-six-hours'), 'impossible-travel', both],
    ['a new network a day', goldenCase('sharing-5-slow-leak'), 'credential-sharing', both],
    ['SQL after 40 calls', injectionAfter(40), 'abnormal-parameter', both],
    ['SQL after 20 calls', injectionAfter(20), 'abnormal-parameter', ['high']],
    ['a page that is rather far on', asking({ page: '50', limit: '20' }), 'abnormal-parameter', both],
  ];
  for (const [what, golden, type, at] of differing)
    it(`tells of ${what} at ${at.join(' and ')} only`, () => {
      expect(alertingAt(golden, type)).toEqual(at);
    });

  it('judges states of another sensitivity by its own from the next hour on', () => {
    const newcomer = newcomerWith(1_000);
    const [burst] = newcomer.traffic as [Phase];
    const calm: Phase = {
      ...burst,
      from: '20m',
      until: '40m',
      rate: { kind: 'constant', perMinute: 1, jitter: 0 },
    };
    const golden = { ...newcomer, traffic: [calm, burst] };
    expect(changedAt(golden, '30m', 'normal', 'normal')).toEqual([]);
    expect(changedAt(golden, '30m', 'normal', 'high').length).toBeGreaterThan(0);
    expect(changedAt(golden, '30m', 'high', 'normal')).toEqual([]);
  });

  it('ends what is open under another sensitivity by what was allowed when it began', () => {
    const alerts = changedAt(scanOf(40), '1h1m', 'normal', 'low');
    expect(new Set(alerts.map(({ id }) => id)).size).toBe(1);
    expect(alerts.at(-1)).toMatchObject({ status: 'closed', expected: { high: 25 } });
    for (const { observed, expected } of alerts) expect(observed.value).toBeGreaterThan(expected.high);
  });

  it('learns at high what would be no alert at normal: a new nightly job is one alert', () => {
    const { alerts } = runGolden(goldenCase('spike-not-b-cron-and-nightly-export'), 1, 'high');
    expect(alerts).toHaveLength(1);
  });
});
