import { expect, it } from 'vitest';
import { alertsSinceOf, responseIdOf, riskFilterOf } from './query.ts';

const nowMs = 1_800_000_000_000;
const filterOf = (query: string) => riskFilterOf(new URLSearchParams(query), nowMs);

it('asks for the last 24 hours, any risk and 100 rows where nothing else is said', () => {
  expect(filterOf('')).toEqual({ fromMs: nowMs - 86_400_000, untilMs: nowMs, riskAtLeast: 0, limit: 100 });
});

it('takes time, actor, least risk and limit; an address may hold colons', () => {
  expect(filterOf('since=5&until=9&risk=50&limit=7&actor=address:2001:db8::1')).toEqual({
    fromMs: 5,
    untilMs: 9,
    riskAtLeast: 50,
    limit: 7,
    actor: { kind: 'address', id: '2001:db8::1' },
  });
});

it.each([
  ['since=yesterday', "since is 'yesterday': allowed are whole numbers, ms since the epoch."],
  ['until=1.5', "until is '1.5': allowed are whole numbers, ms since the epoch."],
  ['since=9&until=9', 'since is 9: allowed are times before until (9).'],
  [`since=${nowMs}`, `since is ${nowMs}: allowed are times before until (${nowMs}, which is now).`],
  ['risk=200', "risk is '200': allowed are numbers from 0 to 100."],
  ['risk=-1', "risk is '-1': allowed are numbers from 0 to 100."],
  ['limit=', "limit is '': allowed are whole numbers from 1 to 10000."],
  ['limit=0', "limit is '0': allowed are whole numbers from 1 to 10000."],
  ['limit=10001', "limit is '10001': allowed are whole numbers from 1 to 10000."],
  ['actor=ann', "actor is 'ann': allowed are consumer:ID, credential:TOKEN and address:IP."],
  ['actor=consumer:', "actor is 'consumer:': allowed are consumer:ID, credential:TOKEN and address:IP."],
  ['riks=50', "there is no parameter 'riks': allowed are since, until, actor, risk, limit."],
])(
  'refuses %s of sessions and calls in the words of the query, and says what is allowed',
  (query, message) => {
    expect(() => filterOf(query)).toThrow(new RangeError(message));
  },
);

it('takes the same time for alerts, and the id of a response, and refuses what it cannot read', () => {
  expect(alertsSinceOf(new URLSearchParams('since=7'))).toBe(7);
  expect(alertsSinceOf(new URLSearchParams(''))).toBe(0);
  expect(() => alertsSinceOf(new URLSearchParams('since=24h'))).toThrow(
    /^since is '24h': .*ms since the epoch/,
  );
  expect(() => alertsSinceOf(new URLSearchParams('risk=5'))).toThrow(/^there is no parameter 'risk'/);
  expect(responseIdOf(new URLSearchParams('id=a'))).toBe('a');
  expect(() => responseIdOf(new URLSearchParams(''))).toThrow(/^id is missing/);
});
