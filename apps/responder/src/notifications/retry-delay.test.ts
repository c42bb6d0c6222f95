import { describe, expect, test } from 'vitest';
import { retryDelayMs } from './retry-delay.ts';

describe('the wait before another attempt', () => {
  test('doubles up to a bound, of which at least half is waited', () => {
    const waits = (transient: boolean, random: number): number[] =>
      [1, 2, 3, 9, 10, 1_000].map((attempts) => retryDelayMs(attempts, { transient }, () => random));
    expect(waits(true, 1)).toEqual([1_000, 2_000, 4_000, 256_000, 300_000, 300_000]);
    expect(waits(true, 0)).toEqual([500, 1_000, 2_000, 128_000, 150_000, 150_000]);
    expect(waits(false, 1)).toEqual([60_000, 120_000, 240_000, 3_600_000, 3_600_000, 3_600_000]);
  });

  test('is never shorter than what the receiver asked for', () => {
    expect(retryDelayMs(1, { transient: true, retryAfterMs: 90_000 }, () => 0)).toBe(90_000);
  });
});
