/**
 * How long to wait before the next attempt, ms: twice as long each time, from 1 s to 5 min where the failure may pass by
 * itself (`transient`), from 1 min to 1 h where somebody has to act. The upper half is random, so that many waiting
 * messages do not return at once. A longer `retryAfterMs` of the receiver is honoured.
 */
export function retryDelayMs(
  failedAttempts: number,
  failure: { transient: boolean; retryAfterMs?: number | undefined },
  random: () => number,
): number {
  const [firstMs, longestMs] = failure.transient ? [1_000, 300_000] : [60_000, 3_600_000];
  const delayMs = Math.min(firstMs * 2 ** Math.min(failedAttempts - 1, 30), longestMs);
  return Math.max(Math.round(delayMs * (0.5 + random() / 2)), failure.retryAfterMs ?? 0);
}
