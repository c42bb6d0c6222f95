import { DAY_MS, HOUR_MS, MINUTE_MS } from '../constants.ts';

/** Every number of the brute-force detector, with its reason. */

/**
 * Failures are counted over the last 30 to 60 minutes: when the window is an hour old, its older half is dropped. So it
 * begins with the first failure, and no border of an hour cuts an attack in two.
 */
export const WINDOW_MS = HOUR_MS;
export const WINDOW_KEPT_MS = HOUR_MS / 2;

/**
 * More than so many per window are brute force, whoever it is:
 * - `guesses`: different credentials for one account. People mistype 3 to 8 times.
 * - `accounts`: different accounts that fail from one source. An office of 500 in which one login in ten fails has 50 in its
 *   first hour, and 50 sources that spray 5,000 accounts an hour have 100 each.
 * - `keys`: different keys that nobody knows. Keys are not typed; a roll-out that went wrong brings one, or a few.
 * - `failures`: if the calls do not tell account nor key. A device with an old password makes 120 every 30 s, the smallest
 *   attack of the catalogue 300.
 */
export const FLOORS = { guesses: 30, accounts: 150, keys: 25, failures: 150 } as const;
/** At no sensitivity fewer than so many, for the same reasons. */
export const FLOORS_LEAST = { guesses: 10, accounts: 60, keys: 10, failures: 125 } as const;
/** And more than so many times the source's own usual: on the day of a password rotation four times as many fail. */
export const USUAL_FACTOR = 5;
/** Rates at which the usual follows what a window had: quickly up, slowly down, as the busy hours are what matters. */
export const USUAL_UP = 1 / 4;
export const USUAL_DOWN = 1 / 64;
/** Windows with failures until the usual is called learnt. */
export const TRUSTED_WINDOWS = 24;
/**
 * Failures per success of the same source on the endpoints where it fails, as far as they are seen: guessed lists succeed in
 * at most 2 of 100, a broken script of a legitimate host in 47 of 204.
 */
export const FAILURES_PER_SUCCESS = 5;

/** A credential that is refused again and again, the same each time, for so long: nobody is guessing, somebody forgot it. */
export const STALE_CALLS = 200;
export const STALE_MS = HOUR_MS;
/** A repeated credential is given up for another after a pause of this length. */
export const STALE_PAUSE_MS = 10 * MINUTE_MS;
/** Of a hundred; low. */
export const STALE_SCORE = 25;
/** The same old credential is not told again within this time after its alert. */
export const STALE_SILENCE_MS = 7 * DAY_MS;

/** Kept per source; from there on the number of accounts, and of keys, is estimated from the failures that lie beyond. */
export const ACCOUNTS_KEPT = 192;
export const KEYS_KEPT = 64;
/** Endpoints on which the source fails: its successes there count. */
export const ENDPOINTS_KEPT = 8;
/** In the evidence. */
export const ACCOUNTS_NAMED = 20;
