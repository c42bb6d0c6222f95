/**
 * Every number of the series baseline. Those marked (tuned) were chosen on one half of the labelled files and reported on
 * the other, see README; all of them lie where neighbouring values do about as well.
 */

export const HOUR_MS = 3_600_000;
export const DAY_SLOTS = 24;
export const WEEK_SLOTS = 168;

/** Rows before anything is said: a median of fewer says nothing. */
export const WARM_UP_ROWS = 12;
/** The unit of comparison in typical values (tuned): below it deviations count by difference, above it by factor. */
export const TYPICAL_TIMES = 2;
/** Step of the running median of sizes, as a logarithm. */
export const TYPICAL_RATE = 0.03;
/** The unit is changed when it is off by this factor; not oftener, as every change loses a little. */
export const RESCALE_FACTOR = 3;
export const RESCALE_EVERY_ROWS = 32;

/** Rates of the short and the medium mean, and the rows of the long one (tuned). */
export const FAST_RATE = 0.25;
export const MEDIUM_RATE = 0.06;
export const SLOW_ROWS = 500;
/** Days that a slot of the day or the week remembers. */
export const SLOT_DAYS = 5;
/** Days on which a slot learns from what is under alert, too, and up to which difference: about a factor of four. */
export const YOUNG_DAYS = 3;
export const YOUNG_MOST = 0.5;
/** Memory of how well the predictions do, and how much better ones are preferred (tuned). */
export const ERROR_ROWS = 300;
export const ERROR_POWER = 3;

/** Memory of the deviation, of all rows and of an hour of the day (tuned). */
export const DEVIATION_ROWS = 400;
export const SLOT_DEVIATION_ROWS = 100;
/** One deviation counts at most as so many usual ones (tuned). */
export const DEVIATION_CLIP = 2.5;
/** Hours of its own that a slot's deviation is weighed against. */
export const SLOT_TRUST_HOURS = 12;
/**
 * Least deviation: 6 % of the level, for a flat series must not be judged by its noise; and 26 % of a typical value
 * around 0, where a series that is silent begins to speak (tuned).
 */
export const FLOOR = 0.06;
export const FLOOR_AT_ZERO = 0.2;
export const FLOOR_WIDTH = 0.2;

/** What a deviation from the lasting predictions counts of one from all (tuned). */
export const LASTING_SHARE = 0.7;
/** Rate and bound of the mean of the last few deviations (tuned): what is mildly unusual for long counts, too. */
export const MEAN_RATE = 0.35;
export const Z_MOST = 9;
/** The prior of the tail: so many rows of a t-distribution with so many degrees of freedom (tuned). Heavy tails are usual. */
export const PRIOR_ROWS = 100;
export const PRIOR_FREEDOM = 6;
export const TAIL_ROWS = 1_000;

/** Decades at which an alert begins, for a series with one row an hour, and what is asked for per decade of rows an hour (tuned). */
export const ALERT_DECADES = 2.4;
export const RATE_DECADES = 0.4;
/**
 * Alerts of the last days, fading with this half-life, that cost nothing; each doubling beyond asks for a decade more (tuned).
 * What departs from the usual several times a day is, for the reader of its alerts, a series that does so.
 */
export const ALERTS_FREE = 4;
export const ALERTS_HALF_LIFE_MS = 72 * HOUR_MS;
/** Share of the threshold below which a row counts as quiet: what hovers around the threshold is one episode. */
export const CALM_SHARE = 0.7;
/** Quiet rows that end an episode (tuned). */
export const QUIET_ROWS = 3;
/** What an episode's largest deviations count in the tail, in rows (tuned): once is news, every day is usual in the end. */
export const ANOMALY_WEIGHT = 0.15;
/** Rates while a row is over the threshold, and in the rest of an episode, as a share of the usual ones (tuned). */
export const GATE_OVER = 0.02;
export const GATE_EPISODE = 0.3;
/** An episode that lasts a day (at least 96 rows, at most 300) is the new level (tuned). */
export const ADOPT_LEAST_ROWS = 96;
export const ADOPT_DAY_ROWS = 300;

/**
 * An episode is foreseen, and no alert, when episodes of at least 1/1.5 of its size began one, two and three periods ago: a cron
 * job is news three times. So many beginnings are remembered.
 */
export const PERIODS_MS = [HOUR_MS, 24 * HOUR_MS, 168 * HOUR_MS];
export const COMES_AGAIN_TIMES = 1.5;
export const EPISODES_KEPT = 64;
