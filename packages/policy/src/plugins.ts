import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { rankOf, scopeKey, scopeOf, type PluginScope, type ScopedPlugin } from '@tripline/kong/precedence';
import type { Response } from '@tripline/model';

/** Everything that Tripline makes in Kong carries this tag. */
export const triplineTag = 'tripline';
/** Plugins that carry out responses also carry this with each response's id; Tripline's tcp-log plugin does not. */
export const responseTagPrefix = 'tripline-response:';

export const responsePluginNames = ['request-termination', 'rate-limiting'] as const;
export type ResponsePluginName = (typeof responsePluginNames)[number];

/** A plugin as it should be in Kong: always on a consumer, for some only on one route or service. */
export interface DesiredPlugin {
  /** See `pluginId`. */
  id: string;
  name: ResponsePluginName;
  consumer: { id: string };
  route?: { id: string };
  service?: { id: string };
  enabled: true;
  config: Record<string, unknown>;
  tags: string[];
}

/** What of a plugin in Kong is read. */
export interface ActualPlugin extends ScopedPlugin {
  config: Record<string, unknown>;
  tags: string[] | null;
}

export type Operation =
  | { kind: 'put'; id: string; plugin: Omit<DesiredPlugin, 'id'> }
  | { kind: 'delete'; id: string; plugin: ActualPlugin };

const namespace = Buffer.from('6f1c3d7d2f7a4b0d9a0be3c1a7c95d42', 'hex');

/**
 * The uuid of our plugin on a consumer, and there perhaps on one route, one service or both: always the same one (RFC
 * 9562 version 5), so that writing twice makes one.
 */
export function pluginId(
  consumerId: string,
  name: string,
  { route = null, service = null }: Partial<PluginScope> = {},
): string {
  const where = route === null && service === null ? '' : `/${route ?? ''}/${service ?? ''}`;
  const hash = createHash('sha1')
    .update(namespace)
    .update(`${consumerId}/${name}${where}`)
    .digest()
    .subarray(0, 16);
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
    responsePluginNames.some((name) => name === plugin.name) &&
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
    Object.entries(desired.config).every(([key, value]) => isDeepStrictEqual(actual.config[key], value)) &&
    leftUnset[desired.name].every((key) => key in desired.config || (actual.config[key] ?? false) === false)
  );
}

/** A name and a scope: Kong takes one plugin there. */
function placeOf(plugin: { name: string } & Partial<Pick<ScopedPlugin, keyof PluginScope>>): string {
  return `${plugin.name}/${scopeKey(scopeOf(plugin))}`;
}

function holdsPlaceOf(desired: DesiredPlugin, actual: ActualPlugin): boolean {
  return placeOf(desired) === placeOf(actual) && !actual.consumer_group;
}

/**
 * Finds the plugin in Kong that holds a desired plugin's place and is ours: also under another id, as a declarative sync
 * makes it, but not one that sits on the id of another desired plugin, since that one's own write replaces it.
 */
export function findHolders(
  desired: readonly DesiredPlugin[],
  actual: Iterable<ActualPlugin>,
): (plugin: DesiredPlugin) => ActualPlugin | undefined {
  const ownIds = new Set(desired.map((plugin) => plugin.id));
  const holders = new Map<string, ActualPlugin>();
  for (const plugin of actual) {
    if (isOurs(plugin) && !plugin.consumer_group) holders.set(placeOf(plugin), plugin);
  }
  return (plugin) => {
    const holder = holders.get(placeOf(plugin));
    return holder && (holder.id === plugin.id || !ownIds.has(holder.id)) ? holder : undefined;
  };
}

/**
 * What to do in Kong so that it has the desired plugins. Concerns only plugins that are ours (`isOurs`); all others are
 * left alone. Ours that nobody wants any more, or nobody knows, are removed.
 *
 * The order keeps what the operator allows while the operations are under way: desired plugins are written in their own
 * order (see `planPlugins`: most specific first), then the others removed, least specific first.
 */
export function reconcile(desired: readonly DesiredPlugin[], actual: readonly ActualPlugin[]): Operation[] {
  const holderOf = findHolders(desired, actual);
  const kept = new Set<string>();
  const puts: Operation[] = [];
  for (const wanted of desired) {
    const { id: ownId, ...plugin } = wanted;
    const holder = holderOf(wanted);
    const id = holder?.id ?? ownId;
    kept.add(id);
    if (!holder || !isAsDesired(wanted, holder)) puts.push({ kind: 'put', id, plugin });
  }
  const deletes = actual
    .filter((plugin) => isOurs(plugin) && !kept.has(plugin.id))
    .sort((a, b) => rankOf(scopeOf(b)) - rankOf(scopeOf(a)))
    .map((plugin): Operation => ({ kind: 'delete', id: plugin.id, plugin }));
  return [...puts, ...deletes];
}
