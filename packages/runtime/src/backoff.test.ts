import { expect, it } from 'vitest';
import { Backoff, backoffMs } from './backoff.ts';

it('doubles the wait with each failure, up to the longest', () => {
  const backoff = new Backoff({ firstMs: 200, maxMs: 1_000 });
  expect([1, 2, 3, 4, 5].map(() => backoff.failed())).toEqual([200, 400, 800, 1_000, 1_000]);
  expect(backoff.failures).toBe(5);
});

it('begins with the first wait again after a success', () => {
  const backoff = new Backoff({ firstMs: 200, maxMs: 1_000 });
  backoff.failed();
  backoff.failed();
  backoff.succeeded();
  expect(backoff.failures).toBe(0);
  expect(backoff.failed()).toBe(200);
});

it('draws the wait from its upper half where it is given randomness', () => {
  const limits = { firstMs: 1_000, maxMs: 300_000 };
  expect(backoffMs(3, { ...limits, random: () => 0 })).toBe(2_000);
  expect(backoffMs(3, { ...limits, random: () => 1 })).toBe(4_000);
});

it('stays at the longest wait after any number of failures', () => {
  expect(backoffMs(5_000, { firstMs: 1, maxMs: 30_000 })).toBe(30_000);
});
