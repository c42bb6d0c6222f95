import type { Alert, ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { detectorRevisions, driven } from '../../../test-support/run-detector.ts';
import { randomFrom } from '../../../test-support/program.ts';
import { refusals } from '../brute-force/refusals.ts';

const secondMs = 1_000;
const minuteMs = 60 * secondMs;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;
const beganMs = Date.parse('2026-03-02T00:00:00Z');
const detectorOf = (settings: unknown) => driven(refusals, settings);

/** A token that was refused by the service; one device. */
function refused(atMs: number, more: Partial<ApiCall> = {}): ApiCall {
  return {
    id: `${atMs}`.padStart(8, '0'),
    startedAt: beganMs + atMs,
    actorKind: 'address',
    actorId: '203.0.113.99',
    actorName: '203.0.113.99',
    auth: 'failure',
    ip: '203.0.113.99',
    method: 'POST',
    path: '/auth/refresh',
    endpoint: 'POST /auth/refresh',
    service: 'accounts',
    userAgent: 'ExampleApp/6.9.0 (Android 12)',
    status: 401,
    source: 'upstream',
    requestBytes: 313,
    responseBytes: 200,
    latencyMs: 20,
    ...more,
  };
}

/** One call each `everyMs`, up to `forMs`. */
function every(
  everyMs: number,
  forMs: number,
  more: (n: number) => Partial<ApiCall> = () => ({}),
): ApiCall[] {
  return Array.from({ length: Math.ceil(forMs / everyMs) }, (_, n) => refused(n * everyMs, more(n)));
}

/** The last revision of each alert, as type and severity. */
function found(calls: readonly ApiCall[], settings: unknown = {}): string[] {
  return alertsOf(calls, settings).map(({ type, severity }) => `${type} ${severity}`);
}

function alertsOf(calls: readonly ApiCall[], settings: unknown = {}): Alert[] {
  const revisions = detectorRevisions(detectorOf(settings), calls);
  return [...new Map(revisions.map((alert) => [alert.id, alert])).values()];
}

const merged = (...parts: ApiCall[][]): ApiCall[] =>
  parts.flat().toSorted((a, b) => a.startedAt - b.startedAt);

const stale = ['stale-credential low'];
const refreshLoop = every(4 * secondMs, hourMs);
/** Lengths of the words of a list, as they come. */
const sizes = (seed: number): ((n: number) => Partial<ApiCall>) => {
  const random = randomFrom(seed);
  return () => ({ requestBytes: 300 + Math.floor(random() * 8) });
};

describe('a stale credential', () => {
  it('is one low alert for a device that asks for a new token every 4 s, without account or credential in the lines', () => {
    const [alert, ...more] = alertsOf(refreshLoop);
    expect(more).toEqual([]);
    expect(alert).toMatchObject({
      type: 'stale-credential',
      severity: 'low',
      endpoint: 'POST /auth/refresh',
      status: 'closed',
      evidence: { everyMs: 4_000, clients: 1 },
    });
  });

  it('is one low alert for an expired password that a device sends every 30 s for three days', () => {
    const device = every(30 * secondMs, 3 * dayMs, () => ({ user: '~user~anna', credential: '~secret~old' }));
    expect(found(device)).toEqual(stale);
  });

  it('is one low alert for a monitor with a wrong key every minute', () => {
    const monitor = every(minuteMs, dayMs, () => ({ credential: '~secret~probe', source: 'kong' }));
    expect(found(monitor)).toEqual(stale);
  });

  it('is one low alert for a client with a skewed clock, whose signature differs from call to call', () => {
    const skewed = every(15 * secondMs, hourMs, (n) => ({
      endpoint: 'POST /payments/batches',
      source: 'kong',
      authScheme: 'hmac',
      presented: 'something',
      credential: `~secret~${n}`,
    }));
    expect(found(skewed)).toEqual(stale);
  });

  it('is what Kong calls expired, and never brute force, however many clients of one address it happens to', () => {
    expect(found(every(15 * secondMs, hourMs, () => ({ auth: 'expired' })))).toEqual(stale);
    const clients = every(secondMs, hourMs, (n) => ({
      auth: 'expired',
      credential: `~secret~${n}`,
      userAgent: `client ${n % 500}`,
    }));
    expect(found(clients)).toEqual([]);
  });

  it('is no brute force where pauses vary by half, where three tries come at a time, or where the device was off', () => {
    const random = randomFrom(3);
    let atMs = 0;
    const varying = Array.from({ length: 900 }, () => refused((atMs += 4_000 * (0.5 + random()))));
    const bursts = every(minuteMs, 4 * hourMs).flatMap((call) =>
      [0, 1, 2].map((at) => ({ ...call, startedAt: call.startedAt + at * secondMs, id: `${call.id}-${at}` })),
    );
    const off = refreshLoop.filter(({ startedAt }) => (startedAt - beganMs) % (20 * minuteMs) > 2 * minuteMs);
    for (const calls of [varying, bursts, off]) expect(found(calls)).toEqual(stale);
  });

  it('is one alert for a page that polls twelve endpoints with a session that ended', () => {
    const page = every(30 * secondMs, 3 * hourMs).flatMap((call) =>
      Array.from({ length: 12 }, (_, at) => ({
        ...call,
        id: `${call.id}-${at}`,
        endpoint: `GET /widgets/${at}`,
        startedAt: call.startedAt + at * 50,
      })),
    );
    expect(found(page)).toEqual(stale);
  });

  it('is reported for what an endpoint of a known consumer logs in with, too', () => {
    const consumer = {
      actorKind: 'consumer',
      actorId: 'c-1',
      actorName: 'partner',
      consumerId: 'c-1',
    } as const;
    expect(found(every(10 * secondMs, 2 * hourMs, () => consumer))).toEqual(stale);
  });

  it('is switched by its own setting, and brute force by its own', () => {
    const guesses = every(4 * secondMs, hourMs, sizes(1));
    const off = { enabled: false };
    expect(found(refreshLoop, { staleCredential: off })).toEqual([]);
    expect(found(refreshLoop, { bruteForce: off })).toEqual(stale);
    expect(found(guesses, { staleCredential: off })).toEqual([expect.stringMatching(/^brute-force/)]);
    expect(found(guesses, { bruteForce: off })).toEqual([]);
  });

  it('gives way to brute force when the same address begins to guess', () => {
    const later = every(4 * secondMs, hourMs, sizes(2)).map((call) => ({
      ...call,
      id: `g${call.id}`,
      startedAt: call.startedAt + hourMs,
      userAgent: 'python-requests/2.31.0',
    }));
    expect(found(merged(every(4 * secondMs, 2 * hourMs), later))).toEqual([
      'stale-credential low',
      expect.stringMatching(/^brute-force/),
    ]);
  });

  it('gives the same alerts wherever the state is encoded and decoded in between', () => {
    const calls = merged(
      refreshLoop,
      every(7 * secondMs, hourMs, () => ({ userAgent: 'b', requestBytes: 400 })),
    );
    const detector = detectorOf({});
    const straight = detectorRevisions(detector, calls);
    expect(straight.length).toBeGreaterThan(1);
    expect(detectorRevisions(detector, calls, (index) => index % 7 === 0)).toEqual(straight);
  });
});

describe('what is no stale credential but brute force', () => {
  const guessing = (calls: readonly ApiCall[]): void => {
    const types = alertsOf(calls).map(({ type }) => type);
    expect(types).toEqual(['brute-force']);
  };

  it('is a client that repeats the same wrong thing faster than programs wait', () => {
    guessing(every(secondMs, hourMs));
    guessing(every(secondMs, hourMs, () => ({ credential: '~secret~one', source: 'kong' })));
  });

  it('is a list of words, however slow and even, as their lengths differ', () => {
    guessing(every(6 * secondMs, 2 * hourMs, sizes(3)));
  });

  it('is 140 guesses an hour for a day', () => {
    const slow = every(hourMs / 140, dayMs, sizes(4));
    const [alert] = alertsOf(slow);
    expect(alert).toMatchObject({ type: 'brute-force', evidence: { pattern: 'daily' } });
    expect(alert!.raisedAt - beganMs).toBeLessThan(5 * hourMs);
  });

  it('is one code after the other, which are all of one length, fast or slow', () => {
    for (const endpoint of [
      'POST /auth/verify-otp',
      'POST /acme.Auth/CheckCode',
      'POST /2fa',
      'POST /login/verify',
    ])
      for (const everyMs of [minuteMs / 45, 4 * secondMs])
        guessing(every(everyMs, hourMs, () => ({ endpoint })));
  });

  it('is a code or a password that is refused by 400, 422 or 200', () => {
    for (const status of [400, 422, 200])
      guessing(every(minuteMs / 45, 2 * hourMs, () => ({ endpoint: 'POST /auth/verify-otp', status })));
  });

  it('is guessing spread over made-up clients, each slow and even', () => {
    guessing(every(secondMs, hourMs, (n) => ({ userAgent: `client-${n % 12}` })));
    guessing(every(secondMs, hourMs, (n) => ({ userAgent: `client-${n}` })));
  });

  it('is guessing in the body beside a made-up header that is always the same, or never', () => {
    const login = { endpoint: 'POST /login', status: 401 } as const;
    const length = sizes(5);
    guessing(
      every(5 * secondMs, hourMs, (n) => ({
        ...login,
        ...length(n),
        credential: '~secret~one',
        authScheme: 'bearer',
      })),
    );
    guessing(
      every(5 * secondMs, hourMs, (n) => ({
        ...login,
        ...length(n),
        credential: `~secret~${n}`,
        authScheme: 'bearer',
      })),
    );
  });
});

describe('successes at the same address', () => {
  const basic = { source: 'kong', endpoint: 'GET /documents', authScheme: 'basic' } as const;

  it('explain calls that are refused once before each success, where the lines hide whether anything was presented', () => {
    const legs = every(10 * secondMs, 2 * hourMs, (n) => ({ ...basic, addressSuccesses: n + 1 }));
    expect(found(legs)).toEqual([]);
  });

  it('explain an office in which one login in ten fails', () => {
    const random = randomFrom(6);
    const office = every(10 * secondMs, 3 * hourMs, () => ({
      ...basic,
      presented: 'something',
      userAgent: `browser-${Math.floor(random() * 12)}`,
      requestBytes: 300 + Math.floor(random() * 30),
      addressSuccesses: 3_240,
    }));
    expect(found(office)).toEqual([]);
  });

  it('explain nothing for one program that presents one thing after another, or for what the service itself refuses', () => {
    const own = { addressSuccesses: 3_000 };
    const length = sizes(7);
    const guesses: ((n: number) => Partial<ApiCall>)[] = [
      (n) => ({ ...own, ...basic, ...length(n), presented: 'something' }),
      (n) => ({ ...own, ...length(n), source: 'kong', authScheme: 'key', credential: `~secret~${n}` }),
      (n) => ({ ...own, ...length(n), endpoint: 'POST /login' }),
      (n) => ({ ...own, ...length(n), ...basic, user: `~user~${n}` }),
    ];
    for (const guess of guesses)
      expect(found(every(3 * secondMs, hourMs, guess)).join()).toMatch(/^brute-force/);
  });

  it('explain no more than two failures each', () => {
    const few = every(3 * secondMs, hourMs, (n) => ({ ...basic, ...sizes(n)(0), addressSuccesses: 50 }));
    expect(found(few)).toEqual([expect.stringMatching(/^brute-force/)]);
  });

  it('on the endpoint itself explain nothing if they are of one account that somebody has, or too few', () => {
    const login = { endpoint: 'POST /login', status: 200, auth: 'success' } as const;
    const named = merged(
      every(6 * secondMs, hourMs, (n) => ({ endpoint: 'POST /login', user: `~user~${n}`, ...sizes(n)(0) })),
      every(20 * secondMs, hourMs, (n) => ({ ...login, id: `own-${n}`.padStart(8, '0'), user: '~user~own' })),
    );
    expect(found(named)).toEqual([expect.stringMatching(/^brute-force/)]);
    const unnamed = merged(
      every(4 * secondMs, hourMs, (n) => ({ endpoint: 'POST /login', ...sizes(n)(0) })),
      every(12 * secondMs, hourMs, (n) => ({ ...login, id: `own-${n}`.padStart(8, '0') })),
    );
    expect(found(unnamed)).toEqual([expect.stringMatching(/^brute-force/)]);
  });
});

describe('a challenge', () => {
  it('is neither a failure nor a success, of one client or of many', () => {
    const legs = every(10 * secondMs, 2 * hourMs, () => ({ auth: 'challenge', source: 'kong' }));
    expect(found(legs)).toEqual([]);
    const detector = detectorOf({});
    expect(detector.create(legs[0]!)).toBeUndefined();
    const guesses = every(4 * secondMs, hourMs, sizes(8));
    const beside = merged(
      guesses,
      every(secondMs, hourMs, () => ({ auth: 'challenge', status: 200 })),
    );
    expect(found(beside)).toEqual(found(guesses));
  });
});

it('names the /64 of IPv6 calls as their source', () => {
  const network = '2001:db8:77:1::/64';
  const keys = every(secondMs, 10 * minuteMs, (n) => ({
    actorId: network,
    actorName: network,
    ip: `2001:db8:77:1::${(n + 1).toString(16)}`,
    network,
    credential: `~secret~${n}`,
    source: 'kong',
  }));
  const [alert] = alertsOf(keys);
  expect(alert!.sources).toEqual([{ ip: network, count: expect.any(Number) as number }]);
});

it('raises one alert for an address that invents thousands of keys, not one for each', () => {
  const keys = every(100, 10 * minuteMs, (n) => ({
    source: 'kong',
    endpoint: 'GET /orders',
    credential: `~secret~${Math.floor(n / 26)}`,
  }));
  expect(keys).toHaveLength(6_000);
  expect(found(keys)).toEqual([expect.stringMatching(/^brute-force/)]);
});
