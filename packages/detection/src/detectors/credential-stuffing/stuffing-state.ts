import type { AlertOutput, JudgedMinute } from '../../across-actors/minute-part.ts';
import type { Growing } from '../../alerts/episode.ts';
import type { Floors } from '../../baseline/profile.ts';
import type { Tolerance } from '../../baseline/sensitivity.ts';
import { newWindowCounts, type WindowCounts } from '../../baseline/window-counts.ts';
import { newAccountMemory, type AccountMemory } from './accounts.ts';
import type { LoginOutcomes, Logins } from './logins.ts';
import type { StuffingExcess } from './measures.ts';

/** What the credential-stuffing detector knows of one endpoint. */
export interface StuffingState {
  /** Start of the newest minute, ms. */
  newestMs: number;
  /** Failures that came too late to be judged. */
  late: number;
  /** Windows and baseline of unexplained attempts. */
  windows: WindowCounts;
  usual: Usual;
  hour: HourUnderWay;
  /** The latest hours without a burst, at most DAY_HOURS, by their number since the epoch. */
  hours: Map<number, Counts>;
  /** The latest minutes, as many as late parts may still reach, by their start in ms. */
  minutes: Map<number, Counts>;
  episode: StuffingEpisode | null;
  /** The logins of the minutes near or over a threshold: of the episode, else of the newest 600 s. */
  pool: LoginOutcomes | null;
  /** The logins of all minutes with failures: of the episode, else of the day under way. */
  dayPool: LoginOutcomes | null;
  memory: AccountMemory;
}

/** Counts of a minute, or of several. */
export interface Counts {
  /** Attempts that nothing harmless explains. */
  unexplained: number;
  /** Estimate of those of them that were not made before on the same day. */
  fresh: number;
  failures: number;
  successes: number;
}

/**
 * Sums over past hours, of which older ones weigh less and less. `fresh` is learnt a day later than the other counts, so that a day
 * is judged by the days before it.
 */
export interface Usual extends Counts {
  hours: number;
  freshHours: number;
}

export interface HourUnderWay extends Counts {
  /** Since the epoch. */
  number: number;
  /** Why the hour must not be learnt: a burst in it, or an open episode. */
  suspect: 'no' | 'burst' | 'open';
}

export interface StuffingEpisode extends Growing {
  id: string;
  /** Failures since startedAt, whether their window exceeded or not, and successes of strangers. */
  seen: number;
  /** Late failures of the endpoint when the latest window exceeded. */
  late: number;
  worst: StuffingExcess;
  /** Share of failures among failures and successes in the worst window, and what it usually was; null if not known. */
  ratio: number;
  usualRatio: number | null;
  /** The highest rate per hour of all windows that exceeded. */
  mostPerHour: number;
  /** Event time of the excess that ended the latest pause of PAUSE_MS; 0 if there was none. */
  resumedAt: number;
}

/** A minute under judgement, with all that each step of judging needs. */
export interface Judgement {
  minute: JudgedMinute;
  logins: Logins;
  /** Addresses that have an alert of their own: their attempts count as explained. */
  covered: ReadonlySet<string>;
  tolerance: Tolerance;
  out: AlertOutput;
}

export const noCounts = (): Counts => ({ unexplained: 0, fresh: 0, failures: 0, successes: 0 });

export function addCounts(counts: Counts, more: Counts): void {
  counts.unexplained += more.unexplained;
  counts.fresh += more.fresh;
  counts.failures += more.failures;
  counts.successes += more.successes;
}

/** `floors`: see `attemptFloors`. */
export function newStuffingState(floors: Floors): StuffingState {
  return {
    newestMs: 0,
    late: 0,
    windows: newWindowCounts(floors),
    usual: { hours: 0, freshHours: 0, ...noCounts() },
    hour: { number: 0, suspect: 'no', ...noCounts() },
    hours: new Map(),
    minutes: new Map(),
    episode: null,
    pool: null,
    dayPool: null,
    memory: newAccountMemory(),
  };
}
