import { alertsFrom } from '../test-support/collect.ts';
import fc from 'fast-check';
import type { Alert, ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { callsOf, phaseSchema, randomFrom, type PhaseInput } from '../test-support/program.ts';
import { run } from '../test-support/run.ts';
import { createDetection, detectionConfigSchema, type ActorState, type PeersState } from './index.ts';
import { REQUEST_FLOORS } from './baseline/limits.ts';
import { countCall, countsAt, newWindowCounts } from './baseline/window-counts.ts';

const startMs = Date.parse('2026-03-02T00:00:00Z');
const detection = createDetection(detectionConfigSchema.parse({ abnormalParameter: { enabled: false } }));

/** A day of ordinary traffic of one consumer on one to three services, with one to three spikes, late and failing calls. */
const traffic = fc
  .record({
    seed: fc.nat(1_000_000),
    services: fc.integer({ min: 1, max: 3 }),
    basePerMinute: fc.integer({ min: 1, max: 4 }),
    lateSeconds: fc.constantFrom(0, 30, 590, 1_500),
    spikes: fc.array(
      fc.record({
        hour: fc.integer({ min: 0, max: 23 }),
        perMinute: fc.integer({ min: 500, max: 3_000 }),
        minutes: fc.integer({ min: 1, max: 3 }),
      }),
      { minLength: 1, maxLength: 3 },
    ),
  })
  .map(({ seed, services, basePerMinute, lateSeconds, spikes }) => {
    const phases: PhaseInput[] = [];
    for (let i = 0; i < services; i++) {
      phases.push({
        consumer: 'acme',
        from: '0d',
        until: '1d',
        service: `s${i}`,
        rate: { kind: 'poisson', perMinute: basePerMinute },
        status: { '503': 0.1, '404': 0.1 },
        lateSeconds,
      });
    }
    for (const { hour, perMinute, minutes } of spikes) {
      phases.push({
        consumer: 'acme',
        from: `${hour}h`,
        until: `${hour}h${minutes}m`,
        service: 's0',
        rate: { kind: 'poisson', perMinute },
        addresses: 200,
        lateSeconds: Math.min(lateSeconds, 60),
      });
    }
    return [
      ...callsOf(
        phases.map((phase) => phaseSchema.parse(phase)),
        startMs,
        seed,
      ),
    ];
  });

/** Folds all calls; after each call of which `renew` says so, the states go through their text. */
function alertsOf(calls: readonly ApiCall[], renew: (index: number) => boolean): Alert[] {
  let actor: ActorState = detection.actors.decode(undefined);
  const peers = new Map<string, PeersState>();
  const alerts: Alert[] = [];
  calls.forEach((call, index) => {
    const key = detection.keysOf(call).peers;
    let ofService = peers.get(key) ?? detection.peers.decode(undefined);
    if (renew(index)) {
      actor = detection.actors.decode(detection.actors.encode(actor));
      ofService = detection.peers.decode(detection.peers.encode(ofService));
    }
    peers.set(key, ofService);
    alerts.push(...alertsFrom((out) => detection.fold(actor, ofService, call, out)));
  });
  alerts.push(...alertsFrom((out) => detection.close(actor, Infinity, out)));
  return alerts;
}

describe('request spike, properties', () => {
  it('gives the same alerts wherever the states are encoded and decoded in between', () => {
    let raised = 0;
    fc.assert(
      fc.property(traffic, fc.integer({ min: 2, max: 400 }), (calls, every) => {
        const straight = alertsOf(calls, () => false);
        raised += straight.length;
        expect(alertsOf(calls, (index) => index % every === 0)).toEqual(straight);
      }),
      { numRuns: 12, seed: 1 },
    );
    expect(raised, 'the traffic must raise alerts for this to prove anything').toBeGreaterThan(5);
  });

  it('gives the same alerts when the states are encoded and decoded after every call', () => {
    fc.assert(
      fc.property(traffic, (calls) => {
        // The spikes are what matters; coming from a decoded state after each call is slow.
        const some = calls.slice(0, 3_000);
        expect(alertsOf(some, () => true)).toEqual(alertsOf(some, () => false));
      }),
      { numRuns: 6, seed: 2 },
    );
  });

  it('gives the same alerts for any split into batches, however late an episode is closed', () => {
    fc.assert(
      fc.property(traffic, fc.integer({ min: 1, max: 5_000 }), (calls, batch) => {
        const inBatches = (size: number): Alert[] => {
          const actor = detection.actors.decode(undefined);
          const peers = new Map<string, PeersState>();
          const alerts: Alert[] = [];
          let watermarkMs = 0;
          calls.forEach((call, index) => {
            const key = detection.keysOf(call).peers;
            const ofService = peers.get(key) ?? detection.peers.decode(undefined);
            peers.set(key, ofService);
            alerts.push(...alertsFrom((out) => detection.fold(actor, ofService, call, out)));
            watermarkMs = Math.max(watermarkMs, call.startedAt);
            // As far behind as a call of this traffic may be late.
            if (index % size === size - 1)
              alerts.push(...alertsFrom((out) => detection.close(actor, watermarkMs - 1_500_000, out)));
          });
          alerts.push(...alertsFrom((out) => detection.close(actor, Infinity, out)));
          return alerts;
        };
        expect(inBatches(batch)).toEqual(inBatches(calls.length + 1));
      }),
      { numRuns: 12, seed: 3 },
    );
  });

  it('counts the same per window in whatever order calls within the lateness bound arrive', () => {
    const peers = { hours: 0, mean: 0, deviation: 0 };
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.constantFrom(55_000, 590_000), (seed, latenessMs) => {
        const random = randomFrom(seed);
        const times = Array.from(
          { length: 400 },
          () => startMs + 3_000_000 + Math.floor(random() * 1_150_000),
        ).sort((a, b) => a - b);
        const newest = times.at(-1)!;
        const arrivals = times
          .map((at) => ({ at, arrivesAt: at + (at === newest ? 0 : random() * latenessMs) }))
          .sort((a, b) => a.arrivesAt - b.arrivesAt);
        const windows = newWindowCounts(REQUEST_FLOORS);
        for (const { at } of arrivals) countCall(windows, peers, at, 64);

        const inWindow = (at: number, ms: number): number =>
          times.filter((other) => Math.floor(other / ms) === Math.floor(at / ms)).length;
        for (let back = 0; back <= 600_000; back += 10_000) {
          const at = newest - back;
          const [short, minute, long] = countsAt(windows, at);
          // Windows of 10 s are kept for a minute, and exact if nothing is later than that.
          if (latenessMs < 60_000 && back < 60_000) expect(short).toBe(inWindow(at, 10_000));
          expect(minute).toBe(inWindow(at, 60_000));
          expect(long).toBe(inWindow(at, 600_000));
        }
      }),
      { numRuns: 40, seed: 4 },
    );
  });

  it('needs at most 560 bytes for an idle actor with one service, whatever its traffic was', () => {
    const rates: PhaseInput['rate'][] = [
      { kind: 'poisson', perMinute: 3 },
      { kind: 'constant', perMinute: 0.2 },
      { kind: 'sessions', perMinute: 50, onSeconds: 60, offSeconds: 3_600, alpha: 1.3 },
      { kind: 'poisson', perMinute: 8 },
    ];
    for (const rate of rates) {
      const phase = phaseSchema.parse({ consumer: 'acme', from: '0d', until: '21d', rate });
      const { actors } = run(detection, callsOf([phase], startMs, 1));
      const bytes = detection.actors.encode(actors.get('a:consumer:acme')!);
      expect(bytes.length, bytes.toString('hex')).toBeLessThanOrEqual(560);
    }
  });
});
