import type { ApiCall } from '@tripline/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { callsOf, phaseSchema, type PhaseInput } from '../../../test-support/program.ts';
import { detectorRevisions, driven } from '../../../test-support/run-detector.ts';
import { requestedObjects } from './requested-objects.ts';

const startMs = Date.parse('2026-03-02T00:00:00Z');
const detector = driven(requestedObjects);

const phase = (until: string, rest: Partial<PhaseInput>): PhaseInput => ({
  consumer: 'acme',
  from: '0d',
  until,
  rate: { kind: 'poisson', perMinute: 0.02 },
  asks: { path: '/orders/{n}', first: 700_000 },
  ...rest,
});
const callsFrom = (phases: PhaseInput[], seed = 1) => [
  ...callsOf(
    phases.map((one) => phaseSchema.parse(one)),
    startMs,
    seed,
  ),
];
const walk = (from: string, until: string, rest: Partial<PhaseInput> = {}): PhaseInput =>
  phase(until, {
    from,
    rate: { kind: 'constant', perMinute: 60 },
    asks: { path: '/orders/{n}', first: 1_001 },
    ...rest,
  });

/** An hour of `count` objects after nine quiet days, a step of several calls for each; `each` gives method, path and status. */
function steps(
  count: number,
  each: (id: number) => [method: string, path: string, status: number][],
): ApiCall[] {
  const calls = callsFrom([phase('9d', {})]);
  for (let index = 0; index < count; index++) {
    for (const [at, [method, path, status]] of each(30_000 + index).entries()) {
      const startedAt = startMs + 9 * 86_400_000 + index * 1_700 + at * 300;
      const endpoint = `${method} ${path.replace(/[0-9]+/g, '{id}')}`;
      calls.push({ ...calls[0]!, id: `step-${index}-${at}`, startedAt, method, path, endpoint, status });
    }
  }
  return calls;
}

describe('what an actor creates is its own', () => {
  it.each<[string, (id: number) => [string, string, number][]]>([
    [
      'looked for and put',
      (id) => [
        ['GET', `/c/${id}`, 404],
        ['PUT', `/c/${id}`, 201],
      ],
    ],
    [
      'looked for and upserted',
      (id) => [
        ['HEAD', `/c/${id}`, 404],
        ['PUT', `/c/${id}`, 200],
      ],
    ],
    [
      'looked for and patched',
      (id) => [
        ['GET', `/c/${id}`, 410],
        ['PATCH', `/c/${id}`, 204],
      ],
    ],
    [
      'looked for and posted',
      (id) => [
        ['GET', `/c/${id}`, 404],
        ['POST', '/c', 201],
      ],
    ],
    [
      'posted and read',
      (id) => [
        ['POST', '/c', 201],
        ['GET', `/c/${id}`, 200],
      ],
    ],
    [
      'posted, to be done later, and read',
      (id) => [
        ['POST', '/c/', 202],
        ['GET', `/c/${id}`, 200],
      ],
    ],
    [
      'put and read',
      (id) => [
        ['PUT', `/c/${id}`, 201],
        ['GET', `/c/${id}`, 200],
      ],
    ],
    [
      'deleted and put again',
      (id) => [
        ['DELETE', `/c/${id}`, 204],
        ['PUT', `/c/${id}`, 201],
      ],
    ],
    [
      'deleted in vain and put',
      (id) => [
        ['DELETE', `/c/${id}`, 404],
        ['PUT', `/c/${id}`, 201],
      ],
    ],
  ])('600 objects, each %s', (_what, each) => {
    expect(detectorRevisions(detector, steps(600, each))).toEqual([]);
  });

  it('also if an importer first looks for 100 and then writes them', () => {
    const batch = (first: number): ApiCall[] =>
      steps(100, (id) => [['HEAD', `/c/${id + first}`, 404]]).concat(
        steps(100, (id) => [['PUT', `/c/${id + first}`, 201]]).map((call) => ({
          ...call,
          id: `put-${call.id}`,
          startedAt: call.startedAt + 180_000,
        })),
      );
    const known = steps(20, (id) => [
      ['GET', `/c/${id}`, 404],
      ['PUT', `/c/${id}`, 201],
    ]);
    const later = batch(1_000)
      .filter(({ id }) => id.includes('step-'))
      .map((call) => ({ ...call, startedAt: call.startedAt + 3_600_000 }));
    expect(detectorRevisions(detector, [...known, ...later])).toEqual([]);
    expect(
      detectorRevisions(detector, [...callsFrom([phase('9d', {})]), ...later]).length,
      'without having imported',
    ).toBeGreaterThan(0);
  });

  it.each<[string, (id: number) => [string, string, number][]]>([
    [
      'puts that are refused',
      (id) => [
        ['GET', `/c/${id}`, 404],
        ['PUT', `/c/${id}`, 403],
      ],
    ],
    [
      'puts of another object',
      (id) => [
        ['GET', `/c/${id}`, 404],
        ['PUT', '/c/7', 200],
      ],
    ],
    [
      'objects created elsewhere',
      (id) => [
        ['GET', `/c/${id}`, 200],
        ['POST', '/notes', 201],
      ],
    ],
    [
      'an object created for each tenth',
      (id) => [
        ['GET', `/c/${id}`, 200],
        ...(id % 10 ? [] : [['POST', '/c', 201] as [string, string, number]]),
      ],
    ],
    [
      'an object created for each',
      (id) => [
        ['GET', `/c/${id}`, 200],
        ['POST', '/c', 201],
      ],
    ],
    [
      'searches by POST',
      (id) => [
        ['POST', '/c/search', 200],
        ['GET', `/c/${id}`, 200],
      ],
    ],
    [
      'puts of objects that were there',
      (id) => [
        ['GET', `/c/${id}`, 200],
        ['PUT', `/c/${id}`, 200],
      ],
    ],
  ])('but not a walk through 2,000 that interleaves %s', (_what, each) => {
    expect(detectorRevisions(detector, steps(2_000, each)).length).toBeGreaterThan(0);
  });
});

describe('pictures', () => {
  const look = (path: string, count: number): number =>
    detectorRevisions(
      detector,
      steps(count, (id) => [['GET', path.replace('7', String(id)), 200]]),
    ).length;

  it.each(['/image/preview/7', '/photos/7/thumbnail', '/tiles/12/7.png'])(
    'count an eighth, so that 700 within an hour are somebody who looks at them: %s',
    (path) => {
      expect(look(path, 700)).toBe(0);
      expect(look(path, 2_000)).toBeGreaterThan(0);
    },
  );

  it('are told by the names of the service, not by what a client adds', () => {
    expect(look('/photos/7', 700)).toBeGreaterThan(0);
    expect(look('/accounts/7/statement', 700)).toBeGreaterThan(0);
  });
});

describe('object enumeration', () => {
  it('says what was asked for, in which order, and what is usual', () => {
    const alerts = detectorRevisions(detector, callsFrom([phase('9d', {}), walk('8d10h', '8d10h10m')]));
    const last = alerts.at(-1)!;
    expect(last).toMatchObject({
      type: 'object-enumeration',
      status: 'closed',
      observed: { unit: 'objects/h' },
      evidence: {
        learning: 'overall',
        learntDays: 8,
        order: 'sequential',
        objectsPerCall: 1,
        failedShare: 0,
      },
      endpoint: 'GET /orders/{id}',
      service: 'orders',
      references: ['OWASP API1:2023', 'MITRE ATT&CK T1213'],
    });
    expect(last.observed.value).toBeGreaterThan(last.expected.high);
    expect(last.summary).toMatch(
      /^acme asked for \d+ objects .*in an hour, ids in sequential order; normal is/,
    );
    expect(last.sampleCallIds).toHaveLength(20);
  });

  it('does not learn from a walk: the same a week later is another alert', () => {
    const alerts = detectorRevisions(
      detector,
      callsFrom([
        phase('17d', {}),
        walk('8d10h', '8d10h10m'),
        walk('15d10h', '15d10h10m', { asks: { path: '/orders/{n}', first: 50_000 } }),
      ]),
    );
    expect(new Set(alerts.map(({ id }) => id)).size).toBe(2);
  });

  it('takes over what stays for a week: one alert, then it is usual', () => {
    const alerts = detectorRevisions(
      detector,
      callsFrom([
        phase('6d', {}),
        phase('24d', {
          from: '6d',
          rate: { kind: 'poisson', perMinute: 0.4 },
          asks: { path: '/orders/{n}', first: 800_000 },
        }),
      ]),
    );
    expect(new Set(alerts.map(({ id }) => id)).size).toBe(1);
  });

  it('keeps no state for an actor that asks for no objects', () => {
    const [call] = callsFrom([phase('1d', { endpoint: 'GET /status', asks: { path: '/status' } })]);
    expect(detector.create(call!)).toBeUndefined();
  });

  it('neither judges nor learns what Kong answered itself, nor calls that failed', () => {
    const failing = callsFrom([walk('0d', '20m', { status: { '500': 1 } })]);
    expect(detectorRevisions(detector, failing)).toEqual([]);
    expect(detector.create(failing[0]!)).toBeUndefined();
  });

  it('needs at most 200 bytes for an ordinary idle actor, 600 whatever it did', () => {
    const bytesAfter = (calls: ReturnType<typeof callsFrom>): number => {
      const state = detector.create(calls[0]!)!;
      for (const call of calls) detector.fold(state, call);
      detector.close(state, Infinity);
      return detector.encode(state).length;
    };
    expect(
      bytesAfter(callsFrom([phase('3d', { rate: { kind: 'poisson', perMinute: 0.005 } })])),
    ).toBeLessThan(200);
    expect(bytesAfter(callsFrom([phase('15d', {}), walk('8d', '8d2h')]))).toBeLessThan(600);
  });

  it('gives the same alerts wherever the state is encoded and decoded in between', () => {
    let raised = 0;
    const traffic = fc.record({
      seed: fc.nat(1_000_000),
      hour: fc.integer({ min: 0, max: 23 }),
      perMinute: fc.integer({ min: 10, max: 60 }),
      random: fc.boolean(),
      missing: fc.constantFrom(0, 0.7),
      batch: fc.constantFrom(1, 20),
      lateSeconds: fc.constantFrom(0, 60, 900),
    });
    fc.assert(
      fc.property(traffic, fc.integer({ min: 1, max: 50 }), (of, every) => {
        const { seed, hour, perMinute, random, missing, batch, lateSeconds } = of;
        const calls = callsFrom(
          [
            phase('3d', { lateSeconds }),
            walk(`2d${hour}h`, `2d${hour}h20m`, {
              rate: { kind: 'poisson', perMinute },
              status: { '404': missing },
              lateSeconds,
              endpoint: batch > 1 ? 'GET /orders' : 'GET /orders/{id}',
              asks:
                batch > 1
                  ? { path: '/orders', query: { ids: '{n}' }, perCall: batch, random }
                  : { path: '/orders/{n}', random },
            }),
          ],
          seed,
        );
        const straight = detectorRevisions(detector, calls);
        raised += straight.length;
        expect(detectorRevisions(detector, calls, (index) => index % every === 0)).toEqual(straight);
      }),
      { numRuns: 12, seed: 1 },
    );
    expect(raised, 'the traffic must raise alerts for this to prove anything').toBeGreaterThan(10);
  });
});
