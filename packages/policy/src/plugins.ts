import { isDeepStrictEqual } from 'node:util';
import { v5 as uuidOfName } from 'uuid';
import { rankOf, scopeKey, scopeOf, type PluginScope, type ScopedPlugin } from '@tripline/kong/precedence';
import type { Response } from '@tripline/model';

/** Tag of everything that Tripline makes in Kong. */
export const triplineTag = 'tripline';
/** Begins the tag, one per response, of plugins that carry out responses. Tripline's tcp-log plugin has none. */
export const responseTagPrefix = 'tripline-response:';

/** A plugin as it should be in Kong. */
export interface DesiredPlugin {
  /** See `pluginId`. */
  id: string;
  /** Plugins of one group carry out the same responses; if one cannot be written, the rest of its group waits. */
  group: string;
  name: string;
  consumer?: { id: string };
  route?: { id: string };
  service?: { id: string };
  enabled: true;
  config: Record<string, unknown>;
  tags: string[];
  /** Settings that must be unset unless `config` gives them. */
  unsetFields: readonly string[];
}

/** What of a plugin in Kong is read. */
export interface ActualPlugin extends ScopedPlugin {
  config: Record<string, unknown>;
  tags: string[] | null;
}

/** What is written to Kong of a desired plugin. */
export type PluginToWrite = Omit<DesiredPlugin, 'id' | 'group' | 'unsetFields'>;

export type Operation =
  | { kind: 'put'; id: string; group: string; plugin: PluginToWrite }
  | { kind: 'delete'; id: string; group: string; plugin: ActualPlugin };

export function pluginToWrite(desired: DesiredPlugin): PluginToWrite {
  const { name, consumer, route, service, enabled, config, tags } = desired;
  return {
    name,
    ...(consumer && { consumer }),
    ...(route && { route }),
    ...(service && { service }),
    ...{ enabled, config, tags },
  };
}

const namespace = '6f1c3d7d-2f7a-4b0d-9a0b-e3c1a7c95d42';

/**
 * The uuid of Tripline's plugin of this name for a target (see `targetKey`), and there perhaps on one route, one service
 * or both. It is always the same one (RFC 9562 version 5), so that writing twice makes one plugin.
 */
export function pluginId(
  targetKey: string,
  name: string,
  { route = null, service = null }: Partial<PluginScope> = {},
): string {
  const where = route === null && service === null ? '' : `/${route ?? ''}/${service ?? ''}`;
  // As bytes, since a text with half of a surrogate pair would be refused.
  return uuidOfName(Buffer.from(`${targetKey}/${name}${where}`), namespace);
}

/** The tag that names a response. */
export function responseTag(responseId: string): string {
  return responseTagPrefix + responseId;
}

/** True if Tripline made this plugin to carry out responses, and nobody took the tags off. */
export function isOurs({ tags }: Pick<ActualPlugin, 'tags'>): boolean {
  return tags !== null && tags.includes(triplineTag) && tags.some((tag) => tag.startsWith(responseTagPrefix));
}

/** True if the response is to be in force at this time: decided, and neither expired nor ended. */
export function isWanted(response: Response, nowMs: number): boolean {
  return (
    (response.status === 'pending' ||
      response.status === 'active' ||
      response.status === 'blocked-by-operator') &&
    (response.expiresAt === null || response.expiresAt > nowMs) &&
    // A plugin without a target would apply to everybody.
    response.target.id !== ''
  );
}

/** True if the plugin in Kong does what is desired. Kong's own defaults and further tags of the operator do not count. */
export function isAsDesired(desired: DesiredPlugin, actual: ActualPlugin): boolean {
  const ourTags = (actual.tags ?? []).filter(
    (tag) => tag === triplineTag || tag.startsWith(responseTagPrefix),
  );
  return (
    placeOf(desired) === placeOf(actual) &&
    !actual.consumer_group &&
    actual.enabled &&
    isDeepStrictEqual(new Set(ourTags), new Set(desired.tags)) &&
    Object.entries(desired.config).every(([key, value]) => isDeepStrictEqual(actual.config[key], value)) &&
    desired.unsetFields.every((key) => key in desired.config || (actual.config[key] ?? false) === false)
  );
}

/** A name and a scope: Kong takes one plugin there. */
function placeOf(plugin: { name: string } & Partial<Pick<ScopedPlugin, keyof PluginScope>>): string {
  return `${plugin.name}/${scopeKey(scopeOf(plugin))}`;
}

/**
 * Returns a function that finds the plugin of ours in Kong at the place of a desired one. It may have another id, as after
 * a declarative sync, but not the id of another desired plugin, which replaces it when it is written.
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
 * Lists the operations that give Kong the desired plugins. They concern only plugins that are ours (`isOurs`); ours that
 * are not desired, or belong to unknown responses, are removed.
 *
 * The order keeps the operator's limits in force meanwhile: desired plugins are written in their own order (see
 * `planPlugins`: most specific first), then the others are removed, least specific first.
 */
export function reconcile(desired: readonly DesiredPlugin[], actual: readonly ActualPlugin[]): Operation[] {
  const holderOf = findHolders(desired, actual);
  const kept = new Set<string>();
  const puts: Operation[] = [];
  for (const wanted of desired) {
    const holder = holderOf(wanted);
    const id = holder?.id ?? wanted.id;
    kept.add(id);
    if (!holder || !isAsDesired(wanted, holder))
      puts.push({ kind: 'put', id, group: wanted.group, plugin: pluginToWrite(wanted) });
  }
  const deletes = actual
    .filter((plugin) => isOurs(plugin) && !kept.has(plugin.id))
    .sort((a, b) => rankOf(scopeOf(b)) - rankOf(scopeOf(a)))
    .map((plugin): Operation => {
      const group = plugin.consumer ? pluginId(plugin.consumer.id, plugin.name) : plugin.id;
      return { kind: 'delete', id: plugin.id, group, plugin };
    });
  return [...puts, ...deletes];
}
