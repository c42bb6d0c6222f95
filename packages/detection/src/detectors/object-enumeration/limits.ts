import { DAY_MS, HOUR_MS } from '../../baseline/limits.ts';

/** Every number of the objects detector, with its reason. */

/** What is counted of an actor, as positions in lists. */
export const HOUR = 0;
export const DAY = 1;
export const FIVE_DAYS = 2;
export const MISSED = 3;
export const PAGES = 4;
export const UNITS = ['objects/h', 'objects/day', 'objects/5 days', 'guesses/h', 'KB of pages/day'] as const;
export const WORDS = ['an hour', 'a day', '5 days', 'an hour', 'a day'] as const;

/**
 * Never an alert below: new objects in an hour, a day, five days (one call a minute gives 1,440 a day, one in ten minutes
 * 144); new objects in an hour that were refused or not there; KB of pages of lists that it never read before in a day.
 */
export const FLOORS = [100, 200, 400, 40, 5_000] as const;
/**
 * Without history: everything is new in the first days. Divided by the days known, down to FLOORS, which an actor reaches
 * within a week: a partner's first nightly synchronisation of 500 objects is no alert.
 */
export const COLD = [600, 1_000, 2_500, 100, 25_000] as const;
/** Days until `evidence.learning` says that the actor's own past counts. */
export const COLD_DAYS = 7;
/** Allowed are so many times the most that the actor had lately. */
export const FACTOR = 2.5;
/** Where one object in `weight` is looked at, so many standard deviations of chance are allowed besides. */
export const CHANCE_DEVIATIONS = 3;
/** The most so far fades with a half-life of 30 days. */
export const TOP_PER_DAY = 0.5 ** (1 / 30);
/** Guessing: at least half of the new objects are refused or not there. */
export const MISSED_SHARE = 0.5;
/** Calls for so many objects each, on average, are volume rather than walking. */
export const BATCH = 5;

/**
 * An episode ends when nothing exceeded for 26 h: what comes every night is one alert, and so is a walk that pauses at
 * night.
 */
export const QUIET_MS = 26 * HOUR_MS;
/** What goes on for so long is the new normal: one alert, then the allowance follows. */
export const STAYS_MS = 7 * DAY_MS;
