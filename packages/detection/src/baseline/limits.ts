/**
 * Every number of the request-spike detector, with its reason. None is a knob: what suits one consumer is learnt from
 * its own traffic; what is left here holds for all.
 */

export const SECOND_MS = 1_000;
export const MINUTE_MS = 60_000;
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

/**
 * Tumbling windows: 10 s to be quick, 60 s as the measure of the baseline, 600 s for what is too slow for both. Each
 * divides the next and the hour, so that a window lies in exactly one hour.
 */
export const WINDOW_MS = [10 * SECOND_MS, 60 * SECOND_MS, 600 * SECOND_MS] as const;
export const WINDOW_UNITS = ['requests/10s', 'requests/min', 'requests/10min'] as const;
export const WINDOW_WORDS = ['10 s', '1 min', '10 min'] as const;

/**
 * A call may come this much later than the actor's newest call and still count in its own window; beyond that it is
 * only counted as late. Kong logs at the end of a request, and a long request takes minutes.
 */
export const LATENESS_MS = 10 * MINUTE_MS;
/** For 10 s windows less: an alert about ten seconds that are ten minutes old helps nobody. Six windows back. */
export const SHORT_LATENESS_WINDOWS = 6;
/** Windows kept per size: the newest, and those that a late call may still fall into. */
export const WINDOWS_KEPT = [SHORT_LATENESS_WINDOWS + 1, LATENESS_MS / WINDOW_MS[1] + 1, 2] as const;

/** A call weighs 64; integers keep the counts exact. */
export const CALL_WEIGHT = 64;
/**
 * A call that the server failed weighs 1: clients repeat such calls 4 to 64 times after an outage of ours, which is no
 * attack of theirs.
 */
export const FAILED_CALL_WEIGHT = 1;

/** Below these counts per window nothing is ever a spike: 0 -> 5 requests is "infinitely more" and means nothing. */
const FLOORS = [50, 100, 300] as const;
/**
 * What an actor without history may do: 40 per second for ten seconds, 20 for a minute, 10 for ten minutes. 50 requests
 * per second fill one whole 10 s window with 500 at the latest 18 s after their beginning, whatever the alignment.
 */
const COLD_FLOORS = [400, 1_200, 6_000] as const;
/**
 * Active hours until the actor's own baseline counts. From there the cold floors sink with (24/hours)^1.5 towards FLOORS,
 * which they reach after a week: a few hours say little about what is a one-in-1,000-days hour.
 */
export const COLD_HOURS = 24;
export const COLD_DECAY = 1.5;

/** Natural logarithms times 1,000, as integers: what is stored is what is computed with. */
export const LOG_SCALE = 1_000;
/** Least factor above the expected hourly maximum: a campaign (+30 %) or a busy Monday (x2) is business, x5 is not. */
export const LEAST_FACTOR_LOG = Math.round(Math.log(2.5) * LOG_SCALE);
/**
 * Margin in mean absolute deviations of the logarithm of the hourly maximum. 4 of them are about 3.2 standard deviations
 * where the logarithm is normal, of an hour's largest of three windows, on top of the highest of three slots. Measured with
 * `test-support/population.ts`: no false alert in 15,625 consumer-days with 4.
 */
export const MARGIN_DEVIATIONS = 4;
export const REQUEST_FLOORS = {
  least: FLOORS,
  cold: COLD_FLOORS,
  factorLog: LEAST_FACTOR_LOG,
  deviations: MARGIN_DEVIATIONS,
  marginMost: Infinity,
};
/**
 * The threshold of 60 s is at least this many times that of 10 s, and that of 600 s that of 60 s: whose minutes vary by a
 * factor of ten will one day string a few of them together. For even traffic the learnt thresholds are above this anyway.
 */
export const MINUTE_PER_SHORT = 1.5;
export const LONG_PER_MINUTE = 3;
/** Slots per hour of day (UTC) and kind of day (weekday, weekend). */
export const SLOTS = 48;
/** Days a slot must have seen before it is believed. */
export const SLOT_TRUSTED_COUNT = 3;
/** Slowest learning rate of a slot, 1/14: two weeks of working days weigh as much as all before. */
export const SLOT_MEMORY = 14;
/** A slot's own deviation is worth its count of days against this many days of the deviation over all slots. */
export const DEVIATION_PRIOR = 7;
/** Slowest learning rate of what is learnt over all hours: a week of hours. */
export const OVERALL_MEMORY = 168;
/**
 * A much quieter hour moves the baseline as if it were e^-0.7 (half) of it: ten days of holiday must not make the return
 * to work look like a spike (10/14 x 0.7 = a factor of 1.6, well below 3).
 */
export const DROP_LIMIT_LOG = 700;
/** The highest hour so far fades towards the mean with this half-life. */
export const TOP_HALF_LIFE_HOURS = 30 * 24;

/** Hours of peers on a service before a newcomer borrows from them, and the memory of their average. */
export const PEERS_TRUSTED_HOURS = 100;
export const PEERS_MEMORY = 500;

/** An episode is over when nothing exceeded for twice as long as it lasted, within these bounds. */
export const QUIET_LEAST_MS = HOUR_MS;
export const QUIET_MOST_MS = 24 * HOUR_MS;
/** A level that was kept this long, in at least so many hours, is the new normal: one alert, then the baseline follows. */
export const STEP_MS = 24 * HOUR_MS;
export const STEP_HOURS = 6;
/** It is kept if the later half of those hours is at most 1.3 times the earlier one; else it is still growing. */
export const STEP_GROWTH_LOG = Math.round(Math.log(1.3) * LOG_SCALE);
/** Hours remembered under an alert for that purpose. */
export const SHADOW_HOURS = 48;

/** Whoever reads alerts counts on these, too. */
export { REVISION_LEAST_MS, REVISION_SHARE } from '@tripline/model';

/** Peaks remembered per scope, so that what comes every week or on the first of each month is known the next time. */
export const PEAKS_KEPT = 8;
/**
 * How far a peak that comes again may surpass the last one: twice, as the same job may fill one window this time and have
 * been cut in two halves by the windows' border the last time.
 */
export const PEAK_ALLOWANCE_LOG = Math.round(Math.log(2) * LOG_SCALE);

/** Service scopes per actor; the least recently used goes. */
export const SERVICES_KEPT = 8;
/** Distinct values counted per kind of evidence; the rest is counted together. */
export const TALLY_KEYS = 64;
/** Share of the calls from which an alert names a service, route or endpoint. */
export const DOMINANT_SHARE = 0.8;
export const SOURCES_MOST = 20;
export const SAMPLES_MOST = 20;
export const ENDPOINTS_MOST = 5;
