import { MINUTE_MS } from '../baseline/limits.ts';

/** The numbers of the way from calls on all partitions to whole minutes of endpoints, with their reasons. */

/** Tumbling windows of event time. */
export const ENDPOINT_WINDOW_MS = MINUTE_MS;
/**
 * A window is sent on when a call came that began so long after its end: Kong logs a call when it ends, and calls of several
 * workers and collectors are not in order. Later calls are sent with the next window.
 */
export const GRACE_MS = 10_000;

/** Open windows of endpoints per partition; further endpoints are counted together, per service. */
export const OPEN_MINUTES_MOST = 1_024;
/** Services of which endpoints are counted together; further services are counted as one. */
export const POOLED_SERVICES_MOST = 64;
/** Windows per record: 900 KB at most, as brokers refuse records above 1 MB. */
export const PARTS_PER_EMISSION = 16;
/**
 * Windows held per partition of `aggregates` until every source has come so far: a day of a busy endpoint and two quiet ones.
 * Beyond that the oldest are judged without the missing source.
 */
export const HELD_MINUTES_MOST = 4_096;
