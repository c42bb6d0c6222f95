import { HOUR_MS, LEAST_FACTOR_LOG, MARGIN_DEVIATIONS, MINUTE_MS } from '../baseline/limits.ts';

/** Every number of what is judged per endpoint, with its reason. */

/** Tumbling windows of event time. */
export const ENDPOINT_WINDOW_MS = MINUTE_MS;
/**
 * A window is sent on when a call came that began so long after its end: Kong logs a call when it ends, and calls of several
 * workers and collectors are not in order. What is later counts with the next window sent.
 */
export const GRACE_MS = 10_000;

/** Open windows of endpoints per partition; further endpoints are counted together, per service. */
export const OPEN_MINUTES_MOST = 1_024;
/** Services of which endpoints are counted together; further ones are counted as one. */
export const POOLED_SERVICES_MOST = 64;
/** So many windows per record: 900 KB at most, as brokers refuse records above 1 MB. */
export const PARTS_PER_EMISSION = 16;
/**
 * Windows held per partition of `aggregates` until every source has come so far: a day of a busy endpoint and two quiet ones.
 * Beyond that the oldest are judged without the missing source.
 */
export const HELD_MINUTES_MOST = 4_096;

/** Kept of failed attempts, of addresses that failed, of accounts: 13 % standard error of the estimates. */
export const ATTEMPTS_KEPT = 64;
export const SOURCES_KEPT = 64;
/** Kept of addresses that succeeded, which every endpoint has: half as many. */
export const SUCCEEDED_KEPT = 32;
/** Accounts per address that succeeded. */
export const NAMES_KEPT = 4;
/** Sample of failed calls: shares to 9 percentage points. */
export const FAILED_CALLS_KEPT = 32;
export const AGENT_LENGTH_MOST = 100;
/** Failures that one success of the same address explains: people try a password three times. */
export const TRIES_PER_SUCCESS = 3;
/** Of the ATTEMPTS_KEPT: an address, or an account, with so many of them (an eighth, if there are more) is looked at alone. */
export const MANY_ATTEMPTS = 8;

/**
 * Unexplained attempts per 60 s and 600 s that are never stuffing, with history and without any. The baseline is fed once a
 * minute, so its 10 s windows count the same as those of 60 s; theirs is the lower threshold and the one that decides.
 */
export const ATTEMPT_FLOORS = {
  least: [5, 8, 24],
  cold: [30, 45, 135],
  factorLog: LEAST_FACTOR_LOG,
  deviations: MARGIN_DEVIATIONS,
  // Where a few an hour are usual, none and three differ by a factor that would forgive hundreds.
  marginMost: Math.round(1_000 * Math.log(5)),
} as const;
/**
 * What is too slow for a window of 10 min is judged once an hour over the last 24: unexplained attempts, at least so many, and
 * so many times what a day usually has, once two days of hours are learnt.
 */
export const DAY_ATTEMPTS_LEAST = 100;
export const DAY_TIMES = 5;
export const DAY_LEARNT_HOURS = 48;
export const DAY_HOURS = 24;
/**
 * Unexplained attempts per success must be so many times the usual: traffic that grows as a whole keeps its ratio, attacks
 * of four times the usual failures shift it by four.
 */
export const ODDS_SHIFT = 2.5;
/** The usual is never taken to be less than this, nor less than `cold` in the first day: one login in ten fails. */
export const ODDS_LEAST = 0.02;
export const ODDS_COLD = 0.12;
/** Slowest learning rate of the usual ratios: a week of hours. */
export const USUAL_MEMORY = 168;
/** Of everything near or over the threshold at least this share of the attempts must be unexplained. */
export const SHARE_LEAST = 0.4;
/**
 * An endpoint is remembered from its first minute with so many failures on, or with one and a success: that is a login, however
 * quiet. Paths that somebody makes up have no successes.
 */
export const FAILURES_OF_NOTE = 5;
/** Evidence: networks, countries and user agents by their share. */
export const SHARES_MOST = 5;
/** Accounts that were opened: the most valuable that an alert tells, so many more than of anything else. */
export const OPENED_MOST = 200;
/** An episode is over after so long without excess: who tries a list comes back the next day. */
export const STUFFING_QUIET_MS = 26 * HOUR_MS;
/**
 * An open episode that was without excess for so long does not take up what, within an hour, is so many times its highest rate so far:
 * that is another incident. Without such a pause it is the next phase of the same one: a list is often tried slowly, then in a burst.
 */
export const STUFFING_PAUSE_MS = 6 * HOUR_MS;
export const SUCCESSOR_TIMES = 10;

/** Kept per minute of accounts that were tried, and of the places from which each was. */
export const ACCOUNTS_TRIED_KEPT = 48;
export const TRIES_KEPT = 2;
/** Accounts remembered per endpoint: 26 bytes each, 210 KB at most. Of more accounts it is a sample. */
export const ACCOUNTS_KEPT = 8_192;
/** Countries, networks and clients per account. */
export const FEATURES_KEPT = 8;
/** An account that nobody used for so long is forgotten. */
export const ACCOUNT_DAYS_MOST = 60;
/** From so many accounts on it is known what is rare: what less than RARE_SHARE of them have. */
export const ACCOUNTS_JUDGED_LEAST = 50;
export const RARE_SHARE = 0.01;
/** The first day all are new, the second many have a second device; from then on it is judged. */
export const STRANGERS_DAYS_LEARNT = 3;
/** Never suspicious: so many accounts per hour, and per day, tried from elsewhere; nor so many times the most so far. */
export const STRANGERS_LEAST = [12, 20] as const;
export const STRANGERS_TIMES = 2.5;
export const STRANGERS_HALF_LIFE_DAYS = 30;
/** Accounts remembered as tried from elsewhere, within a day. */
export const STRANGERS_KEPT = 512;
/** Alerts about single addresses per endpoint and minute: 2 KB each. What is left out comes again as it grows. */
export const REPORTS_MOST = 8;
/** Addresses that are told apart in one alert about several of them. */
export const ADDRESSES_MOST = 64;
