import type { ApiCall } from '@tripline/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { callsOf, phaseSchema, type PhaseInput } from '../../../test-support/program.ts';
import { detectorRevisions, driven } from '../../../test-support/run-detector.ts';
import { unservedPaths } from './unserved-paths.ts';

const startMs = Date.parse('2026-03-02T00:00:00Z');
const detector = driven(unservedPaths);

const scan = (from: string, until: string, rest: Partial<PhaseInput> = {}): PhaseInput => ({
  consumer: 'nobody',
  anonymous: true,
  from,
  until,
  rate: { kind: 'constant', perMinute: 60 },
  routed: false,
  endpoint: 'GET /old/x.php',
  status: { '404': 1 },
  asks: { path: '/old/{n}.php' },
  ...rest,
});
const callsFrom = (phases: PhaseInput[], seed = 1) => [
  ...callsOf(
    phases.map((one) => phaseSchema.parse(one)),
    startMs,
    seed,
  ),
];

describe('path probing', () => {
  it('says how many paths were tried, and from where', () => {
    const last = detectorRevisions(detector, callsFrom([scan('1h', '1h5m')])).at(-1)!;
    expect(last).toMatchObject({
      type: 'path-probing',
      status: 'closed',
      observed: { unit: 'unknown paths/h' },
      evidence: { learning: 'fixed', statuses: { '4xx': last.evidence['examinedCalls'] } },
      sources: [{ ip: '192.0.2.1' }],
    });
    expect(last.observed.value).toBe(200);
    expect(last.sampleCallIds).toHaveLength(20);
  });

  it('is one alert for a scan over midnight, and a new one on another day', () => {
    const alerts = detectorRevisions(detector, callsFrom([scan('23h50m', '24h10m'), scan('3d', '3d5m')]));
    expect(new Set(alerts.map(({ id }) => id)).size).toBe(2);
  });

  it('does not count ids of objects that are not there, which is another detector’s', () => {
    const calls = callsFrom([
      scan('1h', '1h10m', { routed: true, endpoint: 'GET /orders/{id}', asks: { path: '/orders/{n}' } }),
    ]);
    expect(detector.create(calls[0]!)).toBeUndefined();
    expect(detectorRevisions(detector, calls)).toEqual([]);
  });

  const pages = (perMinute: number, rest: Partial<PhaseInput> = {}): PhaseInput => ({
    ...scan('1h', '1h30m', { rate: { kind: 'constant', perMinute } }),
    ...{ routed: true, status: {}, endpoint: 'GET /pages', asks: { path: '/pages/p{n}' } },
    ...rest,
  });
  const severities = (phases: PhaseInput[]): string[] =>
    detectorRevisions(detector, callsFrom(phases)).map(({ severity }) => severity);

  it('does not count 25 paths, nor more of them among many other calls', () => {
    const few = callsFrom([scan('1h', '2h', { asks: { path: '/old/{n}.php', of: 25 } })]);
    expect(detectorRevisions(detector, few)).toEqual([]);
    const beside = scan('1h5m', '1h30m', { rate: { kind: 'constant', perMinute: 1.6 } });
    expect(severities([beside, pages(4)])).toEqual([]);
  });

  it('counts many of them, though the client does other things besides', () => {
    const beside = scan('1h5m', '1h30m', { rate: { kind: 'constant', perMinute: 6 } });
    const posts = pages(15, { endpoint: 'POST /comments' });
    expect(severities([beside, posts]).at(-1)).toBe('critical');
  });

  it('finds who tries 100 paths in a day, a few an hour', () => {
    const slow = scan('1h', '24h', { rate: { kind: 'constant', perMinute: 0.1 } });
    const last = detectorRevisions(detector, callsFrom([slow])).at(-1)!;
    expect(last).toMatchObject({ severity: 'medium', observed: { unit: 'unknown paths/day' } });
    const half = scan('1h', '24h', { rate: { kind: 'constant', perMinute: 0.05 } });
    expect(severities([half])).toEqual([]);
  });

  it('does not count paths that are gone', () => {
    const calls = callsFrom([scan('1h', '1h5m')]);
    expect(
      detectorRevisions(
        detector,
        calls.map((call) => ({ ...call, pathGone: true })),
      ),
    ).toEqual([]);
  });

  it('takes a line without route and service for one that the operator wants so, unless Kong says that there is no route', () => {
    const found = (change: Partial<ApiCall>): number =>
      detectorRevisions(
        detector,
        callsFrom([scan('1h', '1h5m')]).map((call) => ({ ...call, ...change })),
      ).length;
    expect(found({ source: 'upstream', endpoint: 'GET /orders/{id}' })).toBe(0);
    expect(found({ source: 'kong', status: 403 })).toBe(0);
    expect(found({ source: 'upstream' })).toBeGreaterThan(0);
    expect(found({ source: 'kong', endpoint: 'GET /orders/{id}' })).toBeGreaterThan(0);
  });

  describe('of a crawler with old links', () => {
    const dead = (rest: Partial<PhaseInput> = {}): PhaseInput =>
      scan('1h', '1h30m', { rate: { kind: 'constant', perMinute: 3 }, ...rest });

    it('is low', () => {
      expect(new Set(severities([dead(), pages(1)]))).toEqual(new Set(['low']));
    });

    it.each<[string, PhaseInput[]]>([
      ['meets hardly any page', [dead(), pages(1, { until: '1h3m' })]],
      ['meets the same page again and again', [dead(), pages(1, { asks: { path: '/pages' } })]],
      ['posts', [dead(), pages(1), pages(0.1, { endpoint: 'POST /comments' })]],
      ['asks for hidden files', [dead(), dead({ asks: { path: '/.backup/{n}' } }), pages(1)]],
      ['is in a hurry', [dead({ rate: { kind: 'constant', perMinute: 40 } }), pages(4)]],
    ])('is not low if it %s', (_what, phases) => {
      expect(severities(phases).at(-1)).not.toBe('low');
    });
  });

  it('gives the same alerts wherever the state is encoded and decoded in between', () => {
    let raised = 0;
    fc.assert(
      fc.property(
        fc.nat(1_000_000),
        fc.integer({ min: 1, max: 59 }),
        fc.constantFrom(0, 60, 900),
        fc.integer({ min: 1, max: 30 }),
        (seed, minute, lateSeconds, every) => {
          const calls = callsFrom(
            [
              scan(`1h${minute}m`, `2h${minute}m`, {
                rate: { kind: 'poisson', perMinute: 10 },
                lateSeconds,
              }),
              scan('0h', '4h', { rate: { kind: 'poisson', perMinute: 1 }, routed: true, status: {} }),
            ],
            seed,
          );
          const straight = detectorRevisions(detector, calls);
          raised += straight.length;
          expect(detectorRevisions(detector, calls, (index) => index % every === 0)).toEqual(straight);
        },
      ),
      { numRuns: 12, seed: 1 },
    );
    expect(raised, 'the traffic must raise alerts for this to prove anything').toBeGreaterThan(10);
  });
});
