/** The windows of Kong's rate-limiting, shortest first. */
export const limitWindows = ['second', 'minute', 'hour', 'day', 'month', 'year'] as const;
export type LimitWindow = (typeof limitWindows)[number];
/** Calls allowed per window. */
export type Limits = { [window in LimitWindow]?: number | undefined };

/** Returns the smallest limit of each window. */
export function smallestLimits(settings: readonly Limits[]): Limits {
  const limits: Limits = {};
  for (const given of settings) {
    for (const window of ['second', 'minute', 'hour'] as const) {
      const limit = Math.min(given[window] ?? Infinity, limits[window] ?? Infinity);
      if (Number.isFinite(limit)) limits[window] = limit;
    }
  }
  return limits;
}

/** Builds the configuration of a rate-limiting plugin that replaces none of the operator's. */
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
    // Each Kong node counts for itself, so that no other service is needed; and requests pass if counting fails.
    policy: 'local',
    limit_by: 'consumer',
    fault_tolerant: true,
  };
}

/** Values of `limit_by` with which a counter belongs to one client, so that a lower limit applies to nobody else's calls. */
const countersOfOneClient: readonly unknown[] = ['consumer', 'credential', 'ip', 'header', undefined, null];

/**
 * True if the operator's plugin counts the calls of several clients together (by service, path or anything unknown). A
 * limit for one consumer cannot be compared with such a count: lowered, it would be used up by the calls of others.
 */
export function countsManyClients(config: Record<string, unknown>): boolean {
  return !countersOfOneClient.includes(config['limit_by']);
}

/**
 * Returns the operator's configuration with the lower limit of each window. Everything else stays as the operator has it,
 * above all what is counted and where (`limit_by`, `policy`, Redis): with the same route and service Kong then uses the
 * same counter, and calls already counted stay counted when the copy comes and goes. A window of ours that a longer one
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

/** The limit of this window in a plugin's configuration; Infinity if there is none. */
export function limitIn(config: Record<string, unknown>, window: LimitWindow): number {
  const limit = config[window];
  return typeof limit === 'number' ? limit : Infinity;
}

/** Leaves out `redis_host` and the like: Kong shows older names of `redis.host`, and logs a warning if they are written. */
function withoutShorthands(config: Record<string, unknown>): Record<string, unknown> {
  if (typeof config['redis'] !== 'object' || config['redis'] === null) return { ...config };
  return Object.fromEntries(Object.entries(config).filter(([key]) => !key.startsWith('redis_')));
}
