import { expect, it } from 'vitest';
import { riskFilterOf } from './risk-filter.ts';

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
  ['since=yesterday', /since is 'yesterday'.*whole numbers/],
  ['limit=', /limit is ''.*whole numbers/],
  ['actor=ann', /actor is 'ann'.*consumer:ID/],
])('refuses %s, and says what is allowed', (query, message) => {
  expect(() => filterOf(query)).toThrow(message);
  expect(() => filterOf(query)).toThrow(RangeError);
});
