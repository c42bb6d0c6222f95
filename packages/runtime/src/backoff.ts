export interface BackoffLimits {
  /** Wait after the first failure, in ms. It doubles with each further failure. */
  firstMs: number;
  /** Longest wait, in ms. */
  maxMs: number;
  /** Gives numbers from 0 to 1. The wait is then drawn from its upper half, so that many waiting do not return at once. */
  random?: (() => number) | undefined;
}

/** How long to wait after so many failures in a row (at least 1) before the next attempt, in ms. */
export function backoffMs(failures: number, { firstMs, maxMs, random }: BackoffLimits): number {
  const waitMs = Math.min(firstMs * 2 ** Math.min(failures - 1, 30), maxMs);
  return random ? Math.round(waitMs * (0.5 + random() / 2)) : waitMs;
}

/** Counts failures in a row and says how long to wait after each. */
export class Backoff {
  readonly #limits: BackoffLimits;
  #failures = 0;

  constructor(limits: BackoffLimits) {
    this.#limits = limits;
  }

  /** Failures since the last success. */
  get failures(): number {
    return this.#failures;
  }

  /** Counts a failure; returns how long to wait before the next attempt, in ms. */
  failed(): number {
    return backoffMs(++this.#failures, this.#limits);
  }

  succeeded(): void {
    this.#failures = 0;
  }
}
