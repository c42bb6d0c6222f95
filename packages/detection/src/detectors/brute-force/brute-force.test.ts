import fc from 'fast-check';
import type { Alert, ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { randomFrom } from '../../../test-support/program.ts';
import { driven } from '../../../test-support/run-detector.ts';
import type { RefusalsState } from './refusals-state.ts';
import { refusals } from './refusals.ts';

const beganMs = Date.parse('2026-03-02T09:00:00Z');
const secondMs = 1_000;
const hourMs = 3_600 * secondMs;
const detector = driven(refusals);

/** A refused login of one address, `atMs` after the beginning; 401 with something presented, unless `more` says otherwise. */
function refused(atMs: number, more: Partial<ApiCall> = {}): ApiCall {
  return {
    id: `call-${atMs}-${more.user ?? ''}-${more.credential ?? ''}`,
    startedAt: beganMs + atMs,
    actorKind: 'address',
    actorId: '10.0.0.1',
    actorName: '10.0.0.1',
    ip: '10.0.0.1',
    method: 'POST',
    path: '/login',
    endpoint: 'POST /login',
    service: 'accounts',
    status: 401,
    source: 'upstream',
    requestBytes: 1,
    responseBytes: 1,
    latencyMs: 1,
    ...((more.status ?? 401) === 401 ? { auth: 'failure' as const } : {}),
    ...more,
  };
}

/** `count` calls, one every `everyMs`. */
function series(count: number, everyMs: number, more: (n: number) => Partial<ApiCall>): ApiCall[] {
  return Array.from({ length: count }, (_, n) => refused(n * everyMs, more(n)));
}

/** All revisions for the calls of one address; after each call of which `renew` says so, the state goes through its text. */
function revisionsOf(
  calls: readonly ApiCall[],
  renew: (index: number) => boolean = () => false,
  by = detector,
): Alert[] {
  let state: RefusalsState | undefined;
  const alerts: Alert[] = [];
  calls.forEach((call, index) => {
    state ??= by.create(call);
    if (!state) return;
    if (renew(index)) state = by.decode(by.encode(state));
    alerts.push(...by.fold(state, call));
  });
  if (state) alerts.push(...by.close(state, Infinity));
  return alerts;
}

/** The last revision of each alert. */
function alertsOf(calls: readonly ApiCall[], by = detector): Alert[] {
  return [...new Map(revisionsOf(calls, undefined, by).map((alert) => [alert.id, alert])).values()];
}

const guesses = series(300, 12 * secondMs, (n) => ({ user: '~user~anna', credential: `~secret~${n}` }));

describe('brute force of one source', () => {
  it('raises one alert for 300 guesses at one account within an hour', () => {
    const alerts = alertsOf(guesses);
    expect(alerts).toHaveLength(1);
    expect(alerts[0]!.evidence['pattern']).toBe('guesses');
    expect(alerts[0]!.evidence['accounts']).toEqual(['~user~anna']);
    expect(alerts[0]!.count).toBe(300);
  });

  it('raises one alert for 300 failures within an hour of which the lines tell nothing', () => {
    const alerts = alertsOf(series(300, 12 * secondMs, (n) => ({ requestBytes: 300 + ((n * 7) % 9) })));
    expect(alerts.map((alert) => alert.evidence['pattern'])).toEqual(['failures']);
  });

  it('raises one alert for 500 accounts with one or two tries each', () => {
    const alerts = alertsOf(
      series(750, 4 * secondMs, (n) => ({
        user: `~user~${Math.floor(n / 1.5)}`,
        credential: `~secret~${n}`,
      })),
    );
    expect(alerts.map((alert) => alert.evidence['pattern'])).toEqual(['accounts']);
  });

  it('raises one alert for 1,000 keys that nobody knows', () => {
    const alerts = alertsOf(
      series(1_000, 2 * secondMs, (n) => ({ credential: `~secret~${n}`, authScheme: 'key', source: 'kong' })),
    );
    expect(alerts.map((alert) => alert.evidence['pattern'])).toEqual(['keys']);
  });

  it('names an account that opens after it was tried', () => {
    const opening = refused(301 * 12 * secondMs, { user: '~user~anna', status: 200 });
    expect(alertsOf([...guesses, opening])[0]!.evidence['opened']).toEqual(['~user~anna']);
  });

  it('is silent when somebody mistypes 8 times and then gets in', () => {
    const typed = series(8, 5 * secondMs, (n) => ({ user: '~user~anna', credential: `~secret~${n}` }));
    expect(alertsOf([...typed, refused(50 * secondMs, { user: '~user~anna', status: 200 })])).toEqual([]);
  });

  it('is silent about an office of 500 users of whom one login in ten fails', () => {
    const office = series(500, 7 * secondMs, (n) => ({
      user: `~user~${n}`,
      credential: `~secret~${n}`,
      status: n % 10 === 0 ? 401 : 200,
    }));
    expect(alertsOf(office)).toEqual([]);
  });

  it('is silent about 500 tokens that expire behind one address whose clients get in again', () => {
    const expired = series(500, secondMs, (n) => ({
      credential: `~secret~${n}`,
      authScheme: 'bearer',
      presented: 'something',
      source: 'kong',
      addressSuccesses: 600 + n,
    }));
    expect(alertsOf(expired)).toEqual([]);
  });

  it('is silent about a host with 157 failures and 47 logins, whether within a day or an hour', () => {
    for (const lengthMs of [hourMs, 24 * hourMs]) {
      const host = series(204, Math.floor(lengthMs / 204), (n) => ({
        user: `~user~${n}`,
        status: n % 204 < 188 && n % 4 === 0 ? 200 : 401,
      }));
      expect(host.filter(({ status }) => status === 401)).toHaveLength(157);
      expect(alertsOf(host)).toEqual([]);
    }
  });

  it('leaves out what an exception announces, and only that', () => {
    const exceptions = (consumer: string) => ({
      bruteForce: {
        exceptions: [
          {
            consumers: [consumer],
            from: '2026-03-02T00:00:00Z',
            until: '2026-03-03T00:00:00Z',
            owner: 'qa',
            comment: 'negative tests',
          },
        ],
      },
    });
    expect(alertsOf(guesses, driven(refusals, exceptions('10.0.0.1')))).toEqual([]);
    expect(alertsOf(guesses, driven(refusals, exceptions('10.0.0.2')))).toHaveLength(1);
  });

  it('gives the same alerts wherever the state is encoded and decoded in between', () => {
    let raised = 0;
    const mixed = fc
      .record({ seed: fc.nat(1_000_000), users: fc.constantFrom(1, 20, 600), told: fc.boolean() })
      .map(({ seed, users, told }) => {
        const random = randomFrom(seed);
        return series(900, 5 * secondMs, (n) => ({
          ...(random() < 0.8 ? { user: `~user~${Math.floor(random() * users)}` } : {}),
          ...(told ? { credential: `~secret~${n}` } : {}),
          status: random() < 0.05 ? 200 : 401,
        }));
      });
    fc.assert(
      fc.property(mixed, fc.integer({ min: 1, max: 200 }), (calls, every) => {
        const straight = revisionsOf(calls);
        raised += straight.length;
        expect(revisionsOf(calls, (index) => index % every === 0)).toEqual(straight);
      }),
      { numRuns: 20, seed: 1 },
    );
    expect(raised, 'the traffic must raise alerts for this to prove anything').toBeGreaterThan(5);
  });

  it('needs at most 100 bytes for an address that mistyped, and none for one that never failed', () => {
    expect(detector.create(refused(0, { status: 200 }))).toBeUndefined();
    const calls = series(4, 5 * secondMs, (n) => ({ user: '~user~anna', credential: `~secret~${n}` }));
    const state = detector.create(calls[0]!)!;
    for (const call of calls) detector.fold(state, call);
    expect(detector.encode(state).length).toBeLessThanOrEqual(100);
  });
});
