import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { BlockAction, RateLimitAction, Response } from '@tripline/model';

/** Everything that Tripline makes in Kong carries this tag. */
export const triplineTag = 'tripline';
/** Plugins that carry out responses also carry this with each response's id; Tripline's tcp-log plugin does not. */
export const responseTagPrefix = 'tripline-response:';

export type ResponsePluginName = 'request-termination' | 'rate-limiting';

/** A plugin as it should be in Kong: what all live responses of one kind on one consumer come to. */
export interface DesiredPlugin {
  /** See `pluginId`. */
  id: string;
  name: ResponsePluginName;
  consumer: { id: string };
  enabled: true;
  config: Record<string, unknown>;
  tags: string[];
}

/** What of a plugin in Kong is looked at. */
export interface ActualPlugin {
  id: string;
  name: string;
  enabled: boolean;
  config: Record<string, unknown>;
  tags: string[] | null;
  consumer: { id: string } | null;
  service: { id: string } | null;
  route: { id: string } | null;
}

export type Operation =
  | { kind: 'put'; id: string; plugin: Omit<DesiredPlugin, 'id'> }
  | { kind: 'delete'; id: string; plugin: ActualPlugin };

const namespace = Buffer.from('6f1c3d7d2f7a4b0d9a0be3c1a7c95d42', 'hex');

/** The uuid of our plugin on a consumer: always the same one (RFC 9562 version 5), so that writing twice makes one. */
export function pluginId(consumerId: string, name: string): string {
  const hash = createHash('sha1').update(namespace).update(`${consumerId}/${name}`).digest().subarray(0, 16);
  hash[6] = (hash[6]! & 0x0f) | 0x50;
  hash[8] = (hash[8]! & 0x3f) | 0x80;
  return hash.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** The tag that names a response. */
export function responseTag(responseId: string): string {
  return responseTagPrefix + responseId;
}

/** True if Tripline made this plugin to carry out responses, and nobody took the tags off. */
export function isOurs(plugin: Pick<ActualPlugin, 'name' | 'tags'>): boolean {
  return (
    (plugin.name === 'request-termination' || plugin.name === 'rate-limiting') &&
    (plugin.tags ?? []).includes(triplineTag) &&
    (plugin.tags ?? []).some((tag) => tag.startsWith(responseTagPrefix))
  );
}

/** True if the response is to be in force at this time: decided, and neither run out nor at its end. */
export function isWanted(response: Response, nowMs: number): boolean {
  return (
    (response.status === 'pending' ||
      response.status === 'active' ||
      response.status === 'blocked-by-operator') &&
    (response.expiresAt === null || response.expiresAt > nowMs) &&
    response.consumer.id !== ''
  );
}

/**
 * The plugins that the wanted responses come to: one per consumer and plugin name, since Kong takes no second one. Of
 * several blocks the one that lasts longest gives status and message; of several rate limits the smallest counts, each
 * unit for itself. Ordered by id.
 */
export function desiredPlugins(responses: Iterable<Response>, nowMs: number): DesiredPlugin[] {
  const groups = new Map<string, Response[]>();
  for (const response of responses) {
    if (!isWanted(response, nowMs)) continue;
    const id = pluginId(response.consumer.id, pluginNameOf(response));
    const group = groups.get(id);
    if (group) group.push(response);
    else groups.set(id, [response]);
  }
  return [...groups]
    .map(([id, group]): DesiredPlugin => {
      // The order in which responses came must not show in the plugin.
      group.sort((a, b) => lasts(b) - lasts(a) || (a.id < b.id ? -1 : 1));
      const actions = group.map((response) => response.action);
      return {
        id,
        name: pluginNameOf(group[0]!),
        consumer: { id: group[0]!.consumer.id },
        enabled: true,
        config: blockConfig(actions) ?? rateLimitConfig(actions),
        tags: [triplineTag, ...group.map((response) => responseTag(response.id)).sort()],
      };
    })
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

function pluginNameOf(response: Response): ResponsePluginName {
  return response.action.type === 'block' ? 'request-termination' : 'rate-limiting';
}

function lasts(response: Response): number {
  return response.expiresAt ?? Number.MAX_SAFE_INTEGER;
}

function blockConfig(
  actions: readonly (BlockAction | RateLimitAction)[],
): Record<string, unknown> | undefined {
  const longest = actions[0];
  return longest?.type === 'block' ? { status_code: longest.status, message: longest.message } : undefined;
}

function rateLimitConfig(actions: readonly (BlockAction | RateLimitAction)[]): Record<string, unknown> {
  const smallest = (unit: 'second' | 'minute' | 'hour'): number =>
    Math.min(
      ...actions.map((action) => (action.type === 'rate-limit' ? action[unit] : undefined) ?? Infinity),
    );
  // Kong refuses a limit that is lower than the one of a shorter unit. What is allowed per hour is so per minute.
  const hour = smallest('hour');
  const minute = Math.min(smallest('minute'), hour);
  const second = Math.min(smallest('second'), minute);
  const given = (unit: 'second' | 'minute' | 'hour', limit: number): Record<string, number> =>
    Number.isFinite(smallest(unit)) ? { [unit]: limit } : {};
  return {
    ...given('second', second),
    ...given('minute', minute),
    ...given('hour', hour),
    // Counters of each Kong node, no other service needed; and requests pass if counting fails.
    policy: 'local',
    limit_by: 'consumer',
    fault_tolerant: true,
  };
}

/** Fields that change what the plugin does and that we leave unset: someone else's hand if they are not. */
const leftUnset: Record<ResponsePluginName, readonly string[]> = {
  'request-termination': ['body', 'content_type', 'trigger', 'echo'],
  'rate-limiting': ['second', 'minute', 'hour', 'day', 'month', 'year', 'path', 'header_name'],
};

/** True if the plugin in Kong does what is desired. Kong's own defaults and further tags of the operator do not count. */
export function isAsDesired(desired: DesiredPlugin, actual: ActualPlugin): boolean {
  const ourTags = (actual.tags ?? []).filter(
    (tag) => tag === triplineTag || tag.startsWith(responseTagPrefix),
  );
  return (
    holdsPlaceOf(desired, actual) &&
    actual.enabled &&
    isDeepStrictEqual(new Set(ourTags), new Set(desired.tags)) &&
    Object.entries(desired.config).every(([key, value]) => actual.config[key] === value) &&
    leftUnset[desired.name].every((key) => key in desired.config || (actual.config[key] ?? false) === false)
  );
}

function holdsPlaceOf(desired: DesiredPlugin, actual: ActualPlugin): boolean {
  return (
    actual.name === desired.name &&
    actual.consumer?.id === desired.consumer.id &&
    !actual.service &&
    !actual.route
  );
}

/**
 * What to do in Kong so that it has the desired plugins. Looks only at plugins that are ours (`isOurs`); all others are
 * left alone. Ours that nobody wants any more, or nobody knows, are removed. A plugin of ours that came back under
 * another id (as a declarative sync makes it) is taken as it is.
 */
export function reconcile(desired: readonly DesiredPlugin[], actual: readonly ActualPlugin[]): Operation[] {
  const ours = actual.filter(isOurs);
  const ownIds = new Set(desired.map((plugin) => plugin.id));
  const kept = new Set<string>();
  const puts: Operation[] = [];
  for (const { id: ownId, ...plugin } of desired) {
    const wanted = { id: ownId, ...plugin };
    // Not one that sits on the id of another desired plugin: that one's own write replaces it.
    const holder = ours.find(
      (candidate) => holdsPlaceOf(wanted, candidate) && (candidate.id === ownId || !ownIds.has(candidate.id)),
    );
    const id = holder?.id ?? ownId;
    kept.add(id);
    if (!holder || !isAsDesired(wanted, holder)) puts.push({ kind: 'put', id, plugin });
  }
  const deletes = ours
    .filter((plugin) => !kept.has(plugin.id))
    .map((plugin): Operation => ({ kind: 'delete', id: plugin.id, plugin }));
  return [...puts, ...deletes];
}
