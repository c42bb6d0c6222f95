/** What of a plugin decides whether Kong applies it to a request. */
export interface ScopedPlugin {
  id: string;
  name: string;
  enabled: boolean;
  consumer: { id: string } | null;
  service: { id: string } | null;
  route: { id: string } | null;
  /** Kong Enterprise only; the open-source edition has no such field. */
  consumer_group?: { id: string } | null;
  protocols?: readonly string[] | null;
}

/** Ids of what a plugin is attached to, or of what a request concerns; null: none. */
export interface PluginScope {
  route: string | null;
  service: string | null;
  consumer: string | null;
}

type ScopeField = keyof PluginScope;

/** Kong's order: the first of these scopes that has an enabled plugin of the name is the one that Kong applies. */
const scopesByRank: readonly (readonly ScopeField[])[] = [
  ['route', 'service', 'consumer'],
  ['route', 'consumer'],
  ['service', 'consumer'],
  ['route', 'service'],
  ['consumer'],
  ['route'],
  ['service'],
  [],
];

/** The protocols of HTTP traffic; a plugin with none of them takes part in TCP and TLS sessions only. */
const httpProtocols = ['http', 'https', 'grpc', 'grpcs', 'ws', 'wss'];

export function scopeOf(plugin: Partial<Pick<ScopedPlugin, ScopeField>>): PluginScope {
  return {
    route: plugin.route?.id ?? null,
    service: plugin.service?.id ?? null,
    consumer: plugin.consumer?.id ?? null,
  };
}

/** 1 (route, service and consumer) to 8 (global): of two plugins that apply to a request, the lower rank wins. */
export function rankOf(scope: PluginScope): number {
  const given = (['route', 'service', 'consumer'] as const).filter((field) => scope[field] !== null);
  return 1 + scopesByRank.findIndex((fields) => fields.join() === given.join());
}

/** A scope as one text, to look it up by. */
export function scopeKey(scope: PluginScope): string {
  return `${scope.route ?? ''}/${scope.service ?? ''}/${scope.consumer ?? ''}`;
}

/** The plugins of one name, looked up by scope. */
export interface PluginIndex<P extends ScopedPlugin> {
  /** The one plugin that Kong applies to a request of this consumer on this route of this service; undefined: none. */
  winner(request: PluginScope): P | undefined;
  /** What is attached to exactly this scope, also if it is disabled: Kong takes no second one there. */
  at(scope: PluginScope): P | undefined;
  /** Those that take part: enabled, for HTTP, on no consumer group. */
  active: readonly P[];
  /**
   * Enabled plugins on consumer groups. Which consumers are in a group is not known here, so `winner` leaves them out:
   * each of them may apply to any consumer, and a plugin on the consumer itself takes its place.
   */
  onConsumerGroups: readonly P[];
}

/**
 * Indexes the plugins of a name as Kong chooses among them: exactly one configuration of a plugin applies to a request,
 * that of the most specific scope; configurations are never merged, and a disabled plugin does not count.
 *
 * Method: the order was measured on Kong Gateway 3.9.3 with request-termination and rate-limiting, by removing the most
 * specific plugin one after the other; the recording is replayed in the tests of the Kong stand-in.
 */
export function indexPlugins<P extends ScopedPlugin>(plugins: Iterable<P>, name: string): PluginIndex<P> {
  const places = new Map<string, P>();
  const winners = new Map<string, P>();
  const active: P[] = [];
  const onConsumerGroups: P[] = [];
  for (const plugin of plugins) {
    if (plugin.name !== name) continue;
    const counts = plugin.enabled && handlesHttp(plugin);
    if (plugin.consumer_group) {
      if (counts) onConsumerGroups.push(plugin);
      continue;
    }
    const key = scopeKey(scopeOf(plugin));
    places.set(key, plugin);
    if (!counts) continue;
    winners.set(key, plugin);
    active.push(plugin);
  }
  return {
    winner(request) {
      for (const fields of scopesByRank) {
        if (fields.some((field) => request[field] === null)) continue;
        const scope: PluginScope = { route: null, service: null, consumer: null };
        for (const field of fields) scope[field] = request[field];
        const plugin = winners.get(scopeKey(scope));
        if (plugin) return plugin;
      }
      return undefined;
    },
    at: (scope) => places.get(scopeKey(scope)),
    active,
    onConsumerGroups,
  };
}

function handlesHttp(plugin: ScopedPlugin): boolean {
  return plugin.protocols?.some((protocol) => httpProtocols.includes(protocol)) ?? true;
}
