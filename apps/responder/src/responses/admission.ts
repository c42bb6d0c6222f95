import type { RoleContext } from '@tripline/runtime';
import type { ResponseBook } from './book.ts';

export interface ControllerLimits {
  /** Responses in force or on their way, at most. */
  liveMax: number;
  /** New responses per minute, at most. */
  newPerMinuteMax: number;
  /** An alert whose last call is older than this (ms) starts nothing. */
  alertAgeMaxMs: number;
}

export const defaultLimits: ControllerLimits = {
  liveMax: 1_000,
  newPerMinuteMax: 60,
  alertAgeMaxMs: 3_600_000,
};

const minuteMs = 60_000;

/** The circuit breakers: a flood of alerts, or a policy that matches everybody, must not block everybody. */
export class Admission {
  readonly #book: ResponseBook;
  readonly #limits: ControllerLimits;
  readonly #dryRunsMax: number;
  readonly #logger: RoleContext['logger'];
  /** When responses were decided, within the last minute. */
  #decidedAt: number[];
  #lastRefusal: { text: string; at: number } | undefined;
  /** Refusals since the last one was logged. */
  #unlogged = 0;
  #loggedAt = -Infinity;

  constructor(
    book: ResponseBook,
    limits: ControllerLimits,
    dryRunsMax: number,
    logger: RoleContext['logger'],
  ) {
    this.#book = book;
    this.#limits = limits;
    this.#dryRunsMax = dryRunsMax;
    this.#logger = logger;
    this.#decidedAt = book
      .responses()
      .filter(({ status }) => status !== 'dry-run')
      .map(({ decidedAt }) => decidedAt);
  }

  /** True if one more response may be put in force beside `added` others of this batch. A refusal is counted and logged. */
  mayAdd(added: number, nowMs: number): boolean {
    this.#decidedAt = this.#decidedAt.filter((at) => at > nowMs - minuteMs);
    const { liveMax, newPerMinuteMax } = this.#limits;
    const live = this.#book.liveCount + added;
    if (live >= liveMax) {
      this.#refuse(
        'live',
        `${live} responses are in force, the most allowed: no further consumer is blocked or limited until some end. Lift what is not needed, and check the policies`,
        nowMs,
      );
      return false;
    }
    if (this.#decidedAt.length + added >= newPerMinuteMax) {
      this.#refuse(
        'per-minute',
        `${newPerMinuteMax} responses were started within a minute, the most allowed: the next ones wait for the next revision of their alerts. Check the policies`,
        nowMs,
      );
      return false;
    }
    return true;
  }

  /** Dry runs have no limit; but while they cannot be published they cannot be forgotten either. */
  mayAddDryRun(added: number): boolean {
    if (this.#book.dirtyCount + added < this.#dryRunsMax) return true;
    this.#book.metrics.refused.inc({ reason: 'unpublished' });
    return false;
  }

  /** Counts a response that was put in force. */
  added(decidedAt: number): void {
    this.#decidedAt.push(decidedAt);
  }

  /** Which limit refused a response within the last minute, in words; null if none did. */
  notice(nowMs: number): string | null {
    const last = this.#lastRefusal;
    return last && nowMs - last.at < minuteMs ? last.text : null;
  }

  #refuse(reason: string, text: string, nowMs: number): void {
    this.#book.metrics.refused.inc({ reason });
    this.#lastRefusal = { text, at: nowMs };
    this.#unlogged++;
    if (nowMs - this.#loggedAt < minuteMs) return;
    this.#logger.error({ reason, refused: this.#unlogged }, text);
    this.#unlogged = 0;
    this.#loggedAt = nowMs;
  }
}
