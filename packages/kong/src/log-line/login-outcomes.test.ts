import { describe, expect, it } from 'vitest';
import { LoginOutcomes, type LoginAnswer } from './login-outcomes.ts';

const beganMs = Date.parse('2026-03-02T09:00:00Z');
const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const failed = 812;
const passed = 1_340;

type Outcomes = (string | undefined)[];

interface Visits {
  fromMs?: number;
  prefix?: string;
  /** Size of the answer to the one who gets in. */
  success?: (one: number) => number;
}

function answerOf(
  source: string,
  responseBytes: number,
  atMs: number,
  more: Partial<LoginAnswer> = {},
): LoginAnswer {
  return { endpoint: 'POST /login', source, status: 200, responseBytes, atMs: beganMs + atMs, ...more };
}

/** `people` log in, one a minute, every third after two failures; returns what was said of failures and of successes. */
function logins(
  outcomes: LoginOutcomes,
  people: number,
  { fromMs = 0, prefix = '10.0', success = () => passed }: Visits = {},
): { failures: Outcomes; successes: Outcomes } {
  const failures: Outcomes = [];
  const successes: Outcomes = [];
  for (let one = 0; one < people; one++) {
    const source = `${prefix}.${one >> 8}.${one & 255}`;
    const atMs = fromMs + one * minuteMs;
    if (one % 3 === 0)
      for (const againMs of [0, 8_000])
        failures.push(outcomes.note(answerOf(source, failed, atMs + againMs)));
    successes.push(outcomes.note(answerOf(source, success(one), atMs + 20_000)));
  }
  return { failures, successes };
}

describe('outcomes of a login that answers 200 whatever happens', () => {
  it('are known by their size once enough people failed and got in, and not before', () => {
    const outcomes = new LoginOutcomes();
    const first = logins(outcomes, 50);
    expect(new Set([...first.failures, ...first.successes])).toEqual(new Set([undefined]));
    logins(outcomes, 100, { fromMs: hourMs, prefix: '10.1' });
    const later = logins(outcomes, 30, { fromMs: 4 * hourMs, prefix: '10.2' });
    expect(new Set(later.failures)).toEqual(new Set(['failure']));
    expect(new Set(later.successes)).toEqual(new Set(['success']));
    expect(outcomes.note(answerOf('10.3.0.1', 999, 5 * hourMs)), 'another size').toBeUndefined();
  });

  it('are known by the redirect target where the sizes are equal', () => {
    const outcomes = new LoginOutcomes();
    const visit = (one: number, redirect: string, atMs: number) =>
      outcomes.note(answerOf(`10.4.0.${one}`, 300, one * minuteMs + atMs, { status: 302, redirect }));
    for (let one = 0; one < 120; one++) {
      if (one % 3 === 0) visit(one, '/login', 0);
      visit(one, '/home', 10_000);
    }
    expect(visit(130, '/login', 0)).toBe('failure');
    expect(visit(131, '/home', 0)).toBe('success');
  });

  it('are found where those who get in get answers of all sizes', () => {
    const outcomes = new LoginOutcomes();
    logins(outcomes, 150, { success: (one) => 2_000 + one });
    expect(outcomes.note(answerOf('10.9.0.1', failed, 4 * hourMs))).toBe('failure');
  });

  it('are not taught by one address, however often it tries, nor by one IPv6 network', () => {
    for (const source of [() => '192.0.2.1', (n: number) => `2001:db8:77:${(n % 5_000).toString(16)}::/64`]) {
      const outcomes = new LoginOutcomes();
      // Others get in, so that only failures are missing.
      logins(outcomes, 60);
      for (let n = 0; n < 20_000; n++) {
        const said = outcomes.note(answerOf(source(n), 555, 2 * hourMs + n * 1_000));
        expect(said).toBeUndefined();
      }
    }
  });

  it('stay as they were learnt when an attack of many addresses tries each once', () => {
    const outcomes = new LoginOutcomes();
    logins(outcomes, 150);
    for (let n = 0; n < 5_000; n++) {
      const source = `172.16.${n >> 8}.${n & 255}`;
      expect(outcomes.note(answerOf(source, failed, 4 * hourMs + n * 100))).toBe('failure');
    }
    expect(outcomes.note(answerOf('10.9.0.2', failed, 6 * hourMs))).toBe('failure');
    expect(outcomes.note(answerOf('10.9.0.3', passed, 6 * hourMs))).toBe('success');
  });

  it('are unknown where everybody comes again whatever the answer, as on an endpoint that is polled', () => {
    const outcomes = new LoginOutcomes();
    for (let n = 0; n < 20_000; n++) {
      const said = outcomes.note(answerOf(`10.5.0.${n % 100}`, n % 7 === 0 ? 500 : 400, n * 1_000));
      expect(said).toBeUndefined();
    }
  });

  it('are unknown where nobody fails', () => {
    const outcomes = new LoginOutcomes();
    for (let n = 0; n < 500; n++)
      expect(outcomes.note(answerOf(`10.6.${n >> 8}.${n & 255}`, passed, n * minuteMs))).toBeUndefined();
  });

  it('are learnt for each endpoint by itself', () => {
    const outcomes = new LoginOutcomes();
    logins(outcomes, 150);
    expect(
      outcomes.note(answerOf('10.9.0.1', failed, 4 * hourMs, { endpoint: 'POST /token' })),
    ).toBeUndefined();
  });

  it('are learnt anew after a month', () => {
    const outcomes = new LoginOutcomes();
    logins(outcomes, 150);
    const laterMs = 31 * 24 * hourMs;
    // The release in between swapped the sizes.
    for (let one = 0; one < 400; one++) {
      const source = `10.7.${one >> 8}.${one & 255}`;
      if (one % 2 === 0) outcomes.note(answerOf(source, passed, laterMs + one * minuteMs));
      outcomes.note(answerOf(source, failed, laterMs + one * minuteMs + 9_000));
    }
    expect(outcomes.note(answerOf('10.9.0.1', passed, laterMs + 8 * hourMs))).toBe('failure');
    expect(outcomes.note(answerOf('10.9.0.2', failed, laterMs + 8 * hourMs))).toBe('success');
  });

  it('take bounded memory, and what was decided stays through a flood of endpoints, sizes and addresses', () => {
    const outcomes = new LoginOutcomes();
    logins(outcomes, 150);
    for (let n = 0; n < 50_000; n++)
      outcomes.note(
        answerOf(`172.${n >> 16}.${(n >> 8) & 255}.${n & 255}`, n % 4_001, 4 * hourMs + n, {
          endpoint: n % 2 === 0 ? 'POST /login' : `POST /${n}/login`,
        }),
      );
    const { endpoints, answers, waiting } = outcomes.sizes;
    expect(endpoints).toBeLessThanOrEqual(256);
    expect(answers).toBeLessThanOrEqual(256 * 32);
    expect(waiting).toBeLessThanOrEqual(20_000);
    expect(outcomes.note(answerOf('10.9.0.1', failed, 5 * hourMs))).toBe('failure');
  });

  it('do not depend on small disorder of the calls', () => {
    const outcomes = new LoginOutcomes();
    const calls: LoginAnswer[] = [];
    for (let one = 0; one < 150; one++) {
      const source = `10.8.0.${one}`;
      if (one % 3 === 0) calls.push(answerOf(source, failed, one * minuteMs));
      calls.push(answerOf(source, passed, one * minuteMs + 9_000));
    }
    calls.sort(
      (a, b) => a.atMs + ((a.responseBytes * 7) % 3) * 1_500 - b.atMs - ((b.responseBytes * 7) % 3) * 1_500,
    );
    for (const call of calls) outcomes.note(call);
    expect(outcomes.note(answerOf('10.9.0.1', failed, 4 * hourMs))).toBe('failure');
  });
});
