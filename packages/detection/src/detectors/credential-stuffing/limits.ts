import { HOUR_MS, LEAST_FACTOR_LOG, MARGIN_DEVIATIONS } from '../../baseline/limits.ts';

/** Every number of the credential-stuffing detector, with its reason. */

/** Entries kept per minute of failed attempts, of addresses that failed and of accounts: the estimates have a standard error of 13 %. */
export const ATTEMPTS_KEPT = 64;
export const SOURCES_KEPT = 64;
/** Entries kept of addresses that succeeded: half as many, because every endpoint has them. */
export const SUCCEEDED_KEPT = 32;
/** Accounts kept per address that succeeded. */
export const NAMES_KEPT = 4;
/** Sample of failed calls: shares are exact to 9 percentage points. */
export const FAILED_CALLS_KEPT = 32;
export const USER_AGENT_LENGTH_MOST = 100;
/** Failures that one success of the same address explains: people try a password three times. */
export const TRIES_PER_SUCCESS = 3;
/** An address or an account with so many of the ATTEMPTS_KEPT (an eighth, if there are more) is judged by itself. */
export const MANY_ATTEMPTS = 8;

/**
 * Unexplained attempts per 60 s and 600 s that are never stuffing, with history and without any. The baseline is fed once a
 * minute, so its 10 s windows count the same as those of 60 s; theirs is the lower threshold and therefore the one that decides.
 */
export const ATTEMPT_FLOORS = {
  least: [5, 8, 24],
  cold: [30, 45, 135],
  factorLog: LEAST_FACTOR_LOG,
  deviations: MARGIN_DEVIATIONS,
  // Where a few an hour are usual, none and three differ by a factor that would allow hundreds.
  marginMost: Math.round(1_000 * Math.log(5)),
} as const;
/**
 * Attempts that are too slow for a window of 10 min are judged once an hour over the last 24 h, once two days of hours are learnt:
 * an alert needs at least so many unexplained ones, and so many times the usual number of a day.
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
/** The usual ratio is never taken to be less than ODDS_LEAST, in the first day never less than ODDS_COLD: one login in ten fails. */
export const ODDS_LEAST = 0.02;
export const ODDS_COLD = 0.12;
/** Slowest learning rate of the usual ratios, in hours: a week. */
export const USUAL_MEMORY_HOURS = 168;
/** Of the attempts near or over the threshold at least this share must be unexplained. */
export const SHARE_LEAST = 0.4;
/**
 * An endpoint gets a state from its first minute with so many failures on, or with one failure and a success: that is a login,
 * however quiet. Paths that somebody makes up have no successes.
 */
export const FAILURES_OF_NOTE = 5;
/** Accounts that were opened: the most valuable part of an alert, so it lists more of them than of anything else. */
export const OPENED_MOST = 200;
/** An episode is over after so long without excess: who tries a list comes back the next day. */
export const QUIET_MS = 26 * HOUR_MS;
/**
 * An excess after a pause of PAUSE_MS that reaches, within an hour, so many times the highest rate of the open episode is another
 * incident. Without a pause it is the next phase of the same one: a list is often tried slowly, then in a burst.
 */
export const PAUSE_MS = 6 * HOUR_MS;
export const SUCCESSOR_TIMES = 10;

/** Entries kept per minute of accounts that were tried, and of the origins from which each was tried. */
export const ACCOUNTS_TRIED_KEPT = 48;
export const TRIES_KEPT = 2;
/** Accounts remembered per endpoint, about 20 bytes each. Of more accounts they are a sample. */
export const ACCOUNTS_KEPT = 8_192;
/** Countries, networks and clients remembered per account. */
export const FEATURES_KEPT = 8;
/** An account that nobody used for so many days is forgotten. */
export const ACCOUNT_DAYS_MOST = 60;
/** A feature is rare if less than RARE_SHARE of the accounts have it; judged once so many accounts are known. */
export const ACCOUNTS_JUDGED_LEAST = 50;
export const RARE_SHARE = 0.01;
/** On the first day all accounts are new, on the second many have a second device; from then on strangers are judged. */
export const STRANGERS_DAYS_LEARNT = 3;
/** Accounts tried by strangers per hour, and per day, that are never an alert; and how many times the most so far are none. */
export const STRANGERS_PER_HOUR_LEAST = 12;
export const STRANGERS_PER_DAY_LEAST = 20;
export const STRANGERS_TIMES = 2.5;
export const STRANGERS_HALF_LIFE_DAYS = 30;
/** Accounts remembered as tried by strangers within a day. */
export const STRANGERS_KEPT = 512;
