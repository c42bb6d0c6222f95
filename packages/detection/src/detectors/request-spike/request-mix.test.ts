import fc from 'fast-check';
import type { Alert, ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { callsOf, phaseSchema, type PhaseInput } from '../../../test-support/program.ts';
import { driven } from '../../../test-support/run-detector.ts';
import { requestMix } from './request-mix.ts';
import type { MixState } from './request-mix-state.ts';

const startMs = Date.parse('2026-03-02T00:00:00Z');
const detector = driven(requestMix);

/** A day of calls to two endpoints, then an hour in which they gather on the second one, or are large, then three hours more. */
function trafficOf(seed: number, attack: Partial<PhaseInput>): ApiCall[] {
  return callsFrom([...usual('0d', '20h'), { ...hour, ...attack }, ...usual('21h', '24h')], seed);
}

const usual = (from: string, until: string): PhaseInput[] => [
  { consumer: 'acme', from, until, rate: { kind: 'poisson', perMinute: 18 } },
  {
    consumer: 'acme',
    from,
    until,
    rate: { kind: 'poisson', perMinute: 2 },
    endpoint: 'POST /payments/transfers',
  },
];
const hour: PhaseInput = {
  consumer: 'acme',
  from: '20h',
  until: '21h',
  rate: { kind: 'poisson', perMinute: 20 },
};

function callsFrom(phases: readonly PhaseInput[], seed = 1): ApiCall[] {
  return [
    ...callsOf(
      phases.map((phase) => phaseSchema.parse(phase)),
      startMs,
      seed,
    ),
  ];
}

const gathered = { endpoint: 'POST /payments/transfers' };
const large = { responseBytes: 90_000 };

/** Folds all calls; after each call of which `renew` says so, the state goes through its text; before it, it is closed if `tick`. */
function alertsOf(
  calls: readonly ApiCall[],
  renew: (index: number) => boolean = () => false,
  tick: (index: number) => boolean = () => false,
  inSpike = false,
): Alert[] {
  let state = detector.create(calls[0]!)!;
  const alerts: Alert[] = [];
  calls.forEach((call, index) => {
    if (tick(index)) alerts.push(...detector.close(state, call.startedAt));
    if (renew(index)) state = throughText(state);
    alerts.push(...detector.fold(state, call, inSpike));
  });
  alerts.push(...detector.close(state, Infinity));
  return alerts;
}

function throughText(state: MixState): MixState {
  return detector.decode(detector.encode(state));
}

describe('the mix of calls', () => {
  it('tells which kind of change it saw, from what, and with which calls', () => {
    const [alert] = alertsOf(trafficOf(1, gathered));
    expect(alert).toMatchObject({
      type: 'request-spike',
      endpoint: 'POST /payments/transfers',
      evidence: { kind: 'endpoint', sharePercent: 100, learning: 'overall' },
      observed: { unit: 'requests/10min' },
    });
    expect(alert!.summary).toContain('POST /payments/transfers, 100 % of its calls; normal is up to 100 and');
    expect(alert!.raisedAt).toBe(startMs + 20 * 3_600_000 + 600_000);
    const [other] = alertsOf(trafficOf(1, large));
    expect(other!.evidence['kind']).toBe('bytes');
    // A hundred times, less what the level has followed meanwhile.
    expect(other!.observed.value).toBeGreaterThan(75);
    expect(other!.summary).toContain(`${other!.observed.value} times as many bytes per call as usual`);
  });

  it('raises one alert per episode and closes it', () => {
    for (const attack of [gathered, large]) {
      const alerts = alertsOf(trafficOf(2, attack));
      expect(new Set(alerts.map(({ id }) => id)).size).toBe(1);
      expect(alerts.at(-1)!.status).toBe('closed');
    }
  });

  it('finds what began late in a window, too: the part in that window is not how high the endpoint may go', () => {
    for (const minutes of ['6m', '7m', '8m']) {
      const alerts = alertsOf(
        callsFrom([
          ...usual('0d', `20h${minutes}`),
          { ...hour, from: `20h${minutes}`, until: '20h20m', ...gathered },
          ...usual('20h20m', '24h'),
        ]),
      );
      expect(alerts[0], `${minutes} after a window's beginning`).toMatchObject({
        evidence: { kind: 'endpoint' },
        raisedAt: startMs + 20 * 3_600_000 + 1_200_000,
        expected: { high: 100 },
      });
    }
  });

  it('leaves to the request spike what happens while one is open', () => {
    expect(alertsOf(trafficOf(1, gathered), undefined, undefined, true)).toEqual([]);
  });

  it('is not changed by repeating what the server failed', () => {
    for (const status of ['503', '499'])
      expect(alertsOf(trafficOf(1, { ...gathered, status: { [status]: 0.8 } }))).toEqual([]);
  });

  it('is not judged for addresses', () => {
    expect(
      detector.create({ ...trafficOf(1, gathered)[0]!, actorKind: 'address', actorId: '192.0.2.1' }),
    ).toBeUndefined();
  });

  it('gives the same alerts wherever the state is encoded, and however often it is closed', () => {
    let raised = 0;
    fc.assert(
      fc.property(
        fc.nat(1_000),
        fc.integer({ min: 1, max: 300 }),
        fc.constantFrom(gathered, large),
        (seed, every, attack) => {
          const calls = trafficOf(seed, attack);
          const straight = alertsOf(calls);
          raised += straight.length;
          const often = (index: number): boolean => index % every === 0;
          expect(alertsOf(calls, often)).toEqual(straight);
          expect(alertsOf(calls, undefined, often)).toEqual(straight);
        },
      ),
      { numRuns: 10, seed: 1 },
    );
    expect(raised, 'the traffic must raise alerts for this to prove anything').toBeGreaterThan(10);
  });

  it('needs at most 240 bytes for an idle actor, however many endpoints it uses', () => {
    const phases = Array.from({ length: 20 }, (_, at) =>
      phaseSchema.parse({
        consumer: 'acme',
        from: '0d',
        until: '2d',
        rate: { kind: 'poisson', perMinute: 1 + at / 4 },
        endpoint: `GET /thing-${at}`,
        responseBytes: 10 ** (at % 7),
      }),
    );
    const calls = [...callsOf(phases, startMs, 1)];
    const state = detector.create(calls[0]!)!;
    for (const call of calls) expect(detector.fold(state, call)).toEqual([]);
    expect(detector.encode(state).length).toBeLessThanOrEqual(240);
  });
});
