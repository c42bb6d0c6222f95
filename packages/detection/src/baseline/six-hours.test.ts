import type { Alert, ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { callsOf, phaseSchema, type PhaseInput } from '../../test-support/program.ts';
import { driven } from '../../test-support/run-detector.ts';
import { ByteWriter } from '../codec/byte-writer.ts';
import type { OwnTrafficState } from '../detectors/request-spike/own-traffic-state.ts';
import { ownTraffic } from '../detectors/request-spike/own-traffic.ts';
import { encodeSixHours } from './six-hours.ts';

const startMs = Date.parse('2026-03-02T00:00:00Z');
const hourMs = 3_600_000;
const phase = (from: string, until: string, perMinute: number, growthPerHour = 1): PhaseInput => ({
  consumer: 'acme',
  from,
  until,
  rate: { kind: 'poisson', perMinute },
  growthPerHour,
});
const callsFrom = (...phases: PhaseInput[]): ApiCall[] => [
  ...callsOf(
    phases.map((one) => phaseSchema.parse(one)),
    startMs,
    1,
  ),
];
/** Four days of two calls a minute, then more and more. */
const ramp = callsFrom(phase('0h', '96h', 2), phase('96h', '144h', 2, 1.05));
const stays = callsFrom(phase('0h', '96h', 2), phase('96h', '144h', 8));

function alertsOf(
  calls: readonly ApiCall[],
  renewEvery = Infinity,
): { alerts: Alert[]; state: OwnTrafficState } {
  const detector = driven(ownTraffic);
  let state = detector.create(calls[0]!)!;
  const alerts: Alert[] = [];
  calls.forEach((call, index) => {
    if (index % renewEvery === 0) state = detector.decode(detector.encode(state));
    alerts.push(...detector.fold(state, call));
  });
  alerts.push(...detector.close(state, Number.MAX_SAFE_INTEGER));
  return { alerts, state };
}

describe('six hours of calls', () => {
  it('show a ramp that no shorter window shows, as one alert', () => {
    const { alerts } = alertsOf(ramp);
    expect(new Set(alerts.map(({ id }) => id)).size).toBe(1);
    expect(alerts[0]).toMatchObject({
      observed: { unit: 'requests/6h' },
      evidence: { windowMs: 6 * hourMs, learning: 'seasonal' },
    });
    expect(alerts[0]!.summary).toContain('requests in 6 h to orders; normal for this time of day is up to');
    // 720 calls are usual; the first day of the ramp, of up to three times as many, hardly moves that.
    expect(alerts[0]!.expected.high).toBeLessThan(2_200);
    expect(alerts[0]!.raisedAt).toBeLessThan(startMs + 125 * hourMs);
  });

  it('are the new normal when the level stays for a day', () => {
    const { alerts } = alertsOf(stays);
    expect(new Set(alerts.map(({ id }) => id)).size).toBe(1);
    expect(alerts.at(-1)!.status).toBe('closed');
    expect(alerts.at(-1)!.lastSeenAt).toBeLessThan(startMs + 127 * hourMs);
  });

  it('are one alert where the nights are ordinary', () => {
    const days = { ...phase('0h', '96h', 4), profile: { peakToTrough: 4 } };
    const alerts = alertsOf(
      callsFrom(
        days,
        { ...days, from: '96h', until: '168h' },
        { ...days, from: '105h', until: '168h', rate: { kind: 'poisson', perMinute: 11 } },
      ),
    ).alerts;
    expect(new Set(alerts.map(({ id }) => id)).size).toBe(1);
  });

  it('are none of note where four of them are as ever', () => {
    const busy = phase('98h', '100h', 25);
    const calls = callsFrom(phase('0h', '144h', 2), busy);
    expect(calls.length).toBeGreaterThan(144 * 120 + 2_500);
    expect(alertsOf(calls).alerts).toEqual([]);
  });

  it('give the same alerts wherever the state is encoded and decoded in between', () => {
    for (const calls of [ramp, stays]) {
      const straight = alertsOf(calls).alerts;
      expect(straight.length).toBeGreaterThan(0);
      expect(alertsOf(calls, 37).alerts).toEqual(straight);
    }
  });

  it('need at most 80 bytes of state', () => {
    const { state } = alertsOf(callsFrom(phase('0h', '240h', 2)));
    const writer = new ByteWriter();
    encodeSixHours(state.sixHours, writer);
    expect(writer.length).toBeLessThanOrEqual(80);
  });
});
