import { DAY_MS, HOUR_MS } from '../../baseline/limits.ts';

/** Paths counted one by one; more say nothing more. */
export const PATHS_MOST = 200;
/** Distinct paths that nobody was served, within an hour: a renamed API of a client's is 1 or 10 of them, a scanner's list 1,000. */
export const PATHS_HIGH = 25;
/** And within a day, for who takes his time. */
export const PATHS_HIGH_DAY = 75;
/**
 * Share of the actor's calls in the window, from its first such path on, that failed so, at the paths that are allowed; at n
 * times as many paths an n-th of it. Crawlers and offices behind one address follow some dead links, too; scanners meet
 * little else, and one that does other things besides still collects many paths.
 */
export const SHARE_LEAST = 0.6;
/**
 * A crawler after a relaunch asks for old addresses by the hundred, and there is nothing to do about it: its alert is low. It only
 * reads, meets a page that is there for at most so many that are not, asks for no hidden files, as nobody links to them, …
 */
export const CRAWLER_PATHS_PER_PAGE = 10;
/** Pages counted one by one: more are not needed. */
export const PAGES_MOST = PATHS_MOST / CRAWLER_PATHS_PER_PAGE;
/** … and for at most so many missing paths within a minute. */
export const CRAWLER_PER_MINUTE = 30;
export const CRAWLER_SCORE = 30;

export const WINDOWS = [
  { lengthMs: HOUR_MS, high: PATHS_HIGH, unit: 'unknown paths/h', word: 'an hour' },
  { lengthMs: DAY_MS, high: PATHS_HIGH_DAY, unit: 'unknown paths/day', word: 'a day' },
] as const;
