import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../baseline/limits.ts';

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
 * - `failures`: that show no new account, password or key, retry loops apart. A device with an old password that comes
 *   unevenly makes 120 every 30 s, the smallest attack of the catalogue 300.
 * - `daily`: failures of any kind within a day (UTC), retry loops apart: 140 an hour for days are found within five hours. A
 *   broken script of a legitimate host makes 157.
 */
export const FLOORS = { guesses: 30, accounts: 150, keys: 25, failures: 150, daily: 600 } as const;
/** At no sensitivity fewer than so many, for the same reasons. */
export const FLOORS_LEAST = { guesses: 10, accounts: 60, keys: 10, failures: 125, daily: 300 } as const;
/** And more than so many times the source's own usual: on the day of a password rotation four times as many fail. */
export const USUAL_FACTOR = 5;
/** Rates at which the usual follows what a window had: quickly up, slowly down, as the busy hours are what matters. */
export const USUAL_UP = 1 / 4;
export const USUAL_DOWN = 1 / 64;
/** Windows with failures until the usual is called learnt. */
export const TRUSTED_WINDOWS = 24;
/**
 * Failures per success of the same source on the endpoints where it fails, as far as they are seen: guessed lists succeed in
 * at most 2 of 100, a broken script of a legitimate host in 47 of 204. From so many times the threshold on, one failure per
 * success is enough: whoever guesses much faster than a broken script, and logs in to an account of his own in between.
 */
export const FAILURES_PER_SUCCESS = 5;
export const CERTAIN_FACTOR = 3;
/** Accounts whose success counted; one that goes on succeeding explains no further failures. */
export const SUCCEEDED_KEPT = 32;
/**
 * Failures by Kong that successes of consumers at the same address explain, per success: two where nothing tells whether
 * anything was presented (each call of a challenge-response client is refused once or twice before), else one, of which no
 * client may have more than this share: an office is many people, an attacker with a key of his own is one program.
 */
export const UNKNOWN_PER_SUCCESS = 2;
export const CLIENT_SHARE_MOST = 1 / 4;
export const CLIENTS_KEPT = 16;

/**
 * A retry loop (see `RetryLoop`) of so many calls over so long a time is reported as a stale credential, once: a device that
 * asks every 4 s has made 450 calls by then, one that asks every 30 s reaches 200 after 100 minutes.
 */
export const STALE_CALLS = 200;
export const STALE_MS = HOUR_MS / 2;
/** Alert score (0 to 100) of a stale credential: low. */
export const STALE_SCORE = 25;
/** The same client with the same stale credential is not reported again within this time after its last call. */
export const STALE_SILENCE_MS = 7 * DAY_MS;
/** Stale credentials of one source that are remembered as reported; of more, the newest. */
export const REPORTED_KEPT = 16;

/** Clients of a source whose refused calls are compared; of more, those that came last. */
export const LOOPS_KEPT = 16;
/** A client that paused for longer begins a new loop. */
export const LOOP_PAUSE_MS = 10 * MINUTE_MS;
/**
 * Programs that repeat what failed wait a few seconds (3 to 30 are common). Whoever sends the same wrong thing faster is
 * brute force, as nobody waits for the answer of a human or of a timer.
 */
export const LOOP_GAP_LEAST_MS = 2_500;
/** All loops of a source together: two of the fastest, or twelve requests of one page that are repeated every 15 s. */
export const LOOPS_PER_MINUTE_MOST = 48;
/**
 * Evenness is measured over blocks of 16 calls, so that three quick tries a minute count as even. Their durations deviate from
 * their mean by 20 % on average if calls come at random (Poisson), by 6 % if each pause varies by half, by 8 % with three
 * tries a minute. Four blocks, 65 calls, are needed to say so: that is less than any threshold of failures.
 */
export const BLOCK_CALLS = 16;
export const BLOCKS_LEAST = 4;
export const BLOCKS_MEMORY = 8;
export const LOOP_DEVIATION_MOST = 0.12;
/** A gap of so many times the usual one is a pause, and begins a new block. */
export const BLOCK_PAUSE_FACTOR = 4;
/** Of a client's refused calls at most this share may show something else: somebody who tries out words varies nearly each. */
export const VARIED_SHARE = 1 / 8;

/** Kept per source; from there on the number of accounts, and of keys, is estimated from the failures that lie beyond. */
export const ACCOUNTS_KEPT = 192;
export const KEYS_KEPT = 64;
/** Endpoints on which the source fails: its successes there count. */
export const ENDPOINTS_KEPT = 8;
/** In the evidence. */
export const ACCOUNTS_NAMED = 20;
