import type { RateLimitAction } from '@tripline/model';

/** The windows of Kong's rate-limiting, shortest first. */
export const limitWindows = ['second', 'minute', 'hour', 'day', 'month', 'year'] as const;
export type LimitWindow = (typeof limitWindows)[number];
/** Calls allowed per window. */
export type Limits = Partial<Record<LimitWindow, number>>;

/** Of several limits the smallest of each window. */
export function smallestLimits(actions: readonly RateLimitAction[]): Limits {
  const limits: Limits = {};
  for (const action of actions) {
    for (const window of ['second', 'minute', 'hour'] as const) {
      const limit = Math.min(action[window] ?? Infinity, limits[window] ?? Infinity);
      if (Number.isFinite(limit)) limits[window] = limit;
    }
  }
  return limits;
}

/** Configuration of a rate-limiting plugin that takes the place of none of the operator's. */
export function ownLimitConfig(limits: Limits): Record<string, unknown> {
  const given: Limits = {};
  // Kong refuses a limit that is lower than the one of a shorter window. What is allowed per hour is so per minute.
  let longer = Infinity;
  for (const window of limitWindows.toReversed()) {
    longer = Math.min(limits[window] ?? Infinity, longer);
    if (limits[window] !== undefined) given[window] = longer;
  }
  return {
    ...Object.fromEntries(
      limitWindows.filter((window) => window in given).map((window) => [window, given[window]]),
    ),
    // Counters of each Kong node, no other service needed; and requests pass if counting fails.
    policy: 'local',
    limit_by: 'consumer',
    fault_tolerant: true,
  };
}

/** What a counter counts that belongs to one client, so that a lower limit falls on nobody else's calls. */
const countersOfOneClient: readonly unknown[] = ['consumer', 'credential', 'ip', 'header', undefined, null];

/**
 * True if the operator's plugin counts the calls of several clients together (by service, path or anything unknown). A
 * limit for one consumer cannot be compared with such a count: lowered, it would be used up by the calls of others.
 */
export function countsManyClients(config: Record<string, unknown>): boolean {
  return !countersOfOneClient.includes(config['limit_by']);
}

/**
 * The operator's configuration with the lower limit of each window. Everything else stays as the operator has it, above
 * all what is counted and where (`limit_by`, `policy`, Redis): together with the same route and service that makes Kong
 * use the same counter, so that calls already counted count on, before and after. A window of ours that a longer one
 * implies is left out.
 */
export function stricterConfig(operators: Record<string, unknown>, ours: Limits): Record<string, unknown> {
  const config = withoutShorthands(operators);
  if (countsManyClients(operators)) return config;
  let longer = Infinity;
  for (const window of limitWindows.toReversed()) {
    const operator = limitIn(operators, window);
    const limit = Math.min(operator, ours[window] ?? Infinity);
    if (operator === Infinity && limit >= longer) continue;
    longer = Math.min(limit, longer);
    if (Number.isFinite(longer)) config[window] = longer;
  }
  return config;
}

/** True if the second configuration allows less than the first in some window. */
export function isLowered(before: Record<string, unknown>, after: Record<string, unknown>): boolean {
  return limitWindows.some((window) => limitIn(after, window) < limitIn(before, window));
}

/** Infinity: no limit. */
export function limitIn(config: Record<string, unknown>, window: LimitWindow): number {
  const limit = config[window];
  return typeof limit === 'number' ? limit : Infinity;
}

/** Kong shows `redis.host` also as `redis_host`, its older name, and warns of who writes that. */
function withoutShorthands(config: Record<string, unknown>): Record<string, unknown> {
  if (typeof config['redis'] !== 'object' || config['redis'] === null) return { ...config };
  return Object.fromEntries(Object.entries(config).filter(([key]) => !key.startsWith('redis_')));
}
