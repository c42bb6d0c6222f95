import type { ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { loginCall } from '../../../test-support/login-call.ts';
import { addLogin, attemptKey, newLogins, type Logins } from './logins.ts';
import { unexplainedAmong, unexplainedOf } from './unexplained.ts';

function loginsOf(calls: readonly ApiCall[]): Logins {
  let logins = newLogins();
  for (const call of calls) logins = addLogin(logins, call) ?? logins;
  return logins;
}

describe('the logins of a minute', () => {
  it('leave unexplained one address with many accounts, or many addresses with many', () => {
    const oneAddress = loginsOf(Array.from({ length: 50 }, (_, n) => loginCall({ user: `~user~${n}` })));
    expect(unexplainedOf(oneAddress).attempts).toBe(50);
    const many = Array.from({ length: 50 }, (_, n) => loginCall({ ip: `10.0.0.${n}`, user: `~user~${n}` }));
    expect(unexplainedOf(loginsOf(many)).attempts).toBe(50);
  });

  it('count as explained: a client that repeats itself, one account from many addresses, who gets in after all', () => {
    const client = Array.from({ length: 500 }, (_, n) => loginCall({ id: `call-${n}`, user: '~user~1' }));
    expect(unexplainedOf(loginsOf(client)).attempts).toBe(1);
    const fleet = Array.from({ length: 50 }, (_, n) => loginCall({ ip: `10.0.0.${n}`, user: '~user~1' }));
    expect(unexplainedOf(loginsOf(fleet)).attempts).toBe(0);
    const mistyped = Array.from({ length: 30 }, (_, n) => [
      loginCall({ ip: `10.0.0.${n}`, user: `~user~${n}` }),
      loginCall({ ip: `10.0.0.${n}`, user: `~user~${n}`, id: `again-${n}-0000`, status: 200 }),
    ]).flat();
    expect(unexplainedOf(loginsOf(mistyped)).attempts).toBe(0);
  });

  it('do not hold a device that fails for ever against those who mistype in the same minute', () => {
    const stale = loginCall({ ip: '10.0.0.1', user: '~user~1' });
    const mistyped = { ip: '10.0.0.2', user: '~user~2' };
    const minute = loginsOf([
      stale,
      loginCall(mistyped),
      loginCall({ ...mistyped, id: 'again-000', status: 200 }),
    ]);
    expect(unexplainedOf(minute).share).toBe(0.5);
    expect(unexplainedAmong(minute, new Set(), () => true)).toBe(1);
    const staleKey = attemptKey('10.0.0.1', '~user~1');
    expect(unexplainedAmong(minute, new Set(), (pair) => pair !== staleKey)).toBe(0);
    expect(unexplainedAmong(minute, new Set(['10.0.0.1']), () => true)).toBe(0);
  });

  it('give an estimate of the selected unexplained attempts where not all who got in are kept', () => {
    // Of 60 addresses that fail every second gets in, and 200 others do.
    let sum = 0;
    for (let run = 0; run < 40; run++) {
      const calls = Array.from({ length: 60 }, (_, n) =>
        loginCall({ ip: `10.${run}.0.${n}`, user: `~user~${n}` }),
      );
      for (let n = 0; n < 260; n++)
        if (n >= 60 || n % 2 === 0)
          calls.push(loginCall({ ip: `10.${run}.${n >> 8}.${n & 255}`, user: `~user~${n}`, status: 200 }));
      const asked = new Set(
        Array.from({ length: 40 }, (_, n) => attemptKey(`10.${run}.0.${n}`, `~user~${n}`)),
      );
      sum += unexplainedAmong(loginsOf(calls), new Set(), (pair) => asked.has(pair));
    }
    expect(Math.abs(sum / 40 / 20 - 1)).toBeLessThan(0.2);
  });

  it('count as failures what was refused for its credentials, whatever the status, and a challenge as nothing', () => {
    const minute = loginsOf([
      loginCall({ status: 503 }),
      loginCall({ status: 499 }),
      loginCall({ status: 403 }),
      loginCall({ status: 403, auth: 'failure' }),
      loginCall({ status: 400, auth: 'failure' }),
      loginCall({ status: 200, auth: 'failure' }),
      loginCall({ status: 302, auth: 'success' }),
      loginCall({ status: 401, auth: 'challenge' }),
      loginCall({ status: 200, auth: 'challenge' }),
    ]);
    expect(minute).toMatchObject({ failures: 3, serverErrors: 2, successes: 1 });
    expect(loginsOf([loginCall({ auth: 'challenge' })])).toEqual(newLogins());
  });

  it('count the addresses of one /64 as one source', () => {
    const scan = (status: number): ApiCall[] =>
      Array.from({ length: 600 }, (_, n) =>
        loginCall({
          id: `scan-${status}-${n}`,
          ip: `2001:db8:77:1::${(n + 1).toString(16)}`,
          network: '2001:db8:77:1::/64',
          user: `~user~${n}`,
          status,
        }),
      );
    const minute = loginsOf([...scan(401), ...scan(200)]);
    expect(minute.failing!.sources.sorted().map(([source]) => source)).toEqual(['2001:db8:77:1::/64']);
    expect(minute.succeeded!.sorted().map(([source]) => source)).toEqual(['2001:db8:77:1::/64']);
    for (const [, { value }] of minute.tried!.entries())
      for (const { ip } of value.values()) expect(ip).toBe('2001:db8:77:1::/64');
  });
});
