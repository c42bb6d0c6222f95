import { MINUTE_MS } from '../constants.ts';

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
/** So many windows per record: about 500 KB at most, as brokers refuse records above 1 MB. */
export const PARTS_PER_EMISSION = 32;
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
