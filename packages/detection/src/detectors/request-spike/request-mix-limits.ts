import { LEAST_FACTOR_LOG, LOG_SCALE, MINUTE_MS } from '../../baseline/limits.ts';

/** Tumbling windows, judged when they are over: a share needs some calls to be one. Divides the hour. */
export const MIX_WINDOW_MS = 10 * MINUTE_MS;
/** Windows with fewer calls than this are neither judged nor learnt from: three calls have no shares. */
export const CALLS_LEAST = 10;
/** Endpoints kept per actor. Who uses more has those that came first, less the ones that turned out to be rare. */
export const ENDPOINTS_KEPT = 8;
/** Shares are integers, in ten-thousandths. */
export const SHARE_SCALE = 10_000;
/** An endpoint with a smaller share and no call in the window makes room for another one. */
export const RARE_SHARE = 0.01 * SHARE_SCALE;
/** Windows learnt before anything is judged: half a day of activity. */
export const WINDOWS_LEAST = 72;
/** Windows in which an endpoint must have been used before it is judged: new ones are releases. */
export const SEEN_LEAST = 12;
/** Largest numbers of one and of three digits to the base of 36. */
export const SEEN_MOST = 35;
export const CALLS_MOST = 46_655;

/** Slowest learning rate of shares, a day of windows. */
export const SHARE_MEMORY = 144;
/** Slowest learning rate of a call's size and duration, and the most that one call counts (factor e^0.1): most calls decide. */
export const LEVEL_MEMORY = 64;
export const LEVEL_STEP_LOG = 100;
/** The highest count of an endpoint so far fades by 0.1 % once in this many windows: a quarter in a busy week. */
export const TOP_FADE_WINDOWS = 4;

/** Below this many calls of an endpoint in 10 min a shift is none. */
export const ENDPOINT_CALLS_LEAST = 100;
/** How far above its highest count so far, and above its usual share, an endpoint must be. */
export const ENDPOINT_FACTOR_LOG = LEAST_FACTOR_LOG;
/** And how large its share must be: more than all the rest. */
export const SHARE_HIGH = 0.5 * SHARE_SCALE;
/** An endpoint whose calls take this many times as long as the actor's usual ones is an expensive one. */
export const EXPENSIVE_FACTOR = 3;

/** Successful calls in the window below which their size says nothing. */
export const SIZED_LEAST = 30;
/** Least factor of the bytes per call over what is usual on the same endpoints, and the margin in mean absolute deviations. */
export const BYTES_FACTOR_LOG = Math.round(Math.log(5) * LOG_SCALE);
export const BYTES_DEVIATIONS = 4;
