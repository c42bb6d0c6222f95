import { backoffMs } from '@tripline/runtime';

/**
 * How long to wait before the next attempt, ms: twice as long each time, from 1 s to 5 min where the failure may pass by
 * itself (`transient`), from 1 min to 1 h where somebody has to act. A longer `retryAfterMs` of the receiver is honoured.
 */
export function retryDelayMs(
  failedAttempts: number,
  failure: { transient: boolean; retryAfterMs?: number | undefined },
  random: () => number,
): number {
  const limits = failure.transient
    ? { firstMs: 1_000, maxMs: 300_000, random }
    : { firstMs: 60_000, maxMs: 3_600_000, random };
  return Math.max(backoffMs(failedAttempts, limits), failure.retryAfterMs ?? 0);
}
