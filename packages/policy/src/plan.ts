import { indexPlugins, rankOf, scopeOf, type PluginIndex, type PluginScope } from '@tripline/kong/precedence';
import type { BlockAction, RateLimitAction, Response } from '@tripline/model';
import {
  countsManyClients,
  isLowered,
  ownLimitConfig,
  smallestLimits,
  stricterConfig,
  type Limits,
} from './limits.ts';
import {
  isOurs,
  isWanted,
  pluginId,
  responseTag,
  triplineTag,
  type ActualPlugin,
  type DesiredPlugin,
  type ResponsePluginName,
} from './plugins.ts';

/** Copies of the operator's rate limits for one consumer, at most. */
export const copiesPerConsumerMax = 50;
/** Copies for all consumers together, at most. The responses that were decided first come first. */
export const copiesMax = 2_000;
/** So many plugins are named in a remark; the others are counted. */
const namedMax = 3;

/** What the live responses of one kind on one consumer come to. */
export interface PluginGroup {
  name: ResponsePluginName;
  consumerId: string;
  responseIds: string[];
  /** In the order in which they must be written: the most specific first. */
  plugins: DesiredPlugin[];
  /** Why nothing may be attached, in words; null if something is. */
  refusal: string | null;
  /** Where Kong applies something else than the policies say, in words; null: nowhere. */
  remark: string | null;
}

/** The operator's plugins of one of the kinds that carry out responses, as planning needs them. */
interface OperatorIndex extends PluginIndex<ActualPlugin> {
  /** Those for one consumer on a route, a service or both, ordered by id: nothing of ours takes their place. */
  ofConsumer: ReadonlyMap<string, readonly ActualPlugin[]>;
  /** Those for all consumers that Kong applies to one who has none of his own, ordered by id. */
  ofAll: readonly ActualPlugin[];
  /** What was planned for consumers who have none of their own, by limits: the same for all of them. */
  plannedForAll: Map<string, Copies>;
}

export type OperatorPlugins = Record<ResponsePluginName, OperatorIndex>;

/** Indexes what of these plugins is the operator's; done once for each reading of Kong. */
export function operatorPlugins(plugins: readonly ActualPlugin[]): OperatorPlugins {
  const theirs = plugins
    .filter((plugin) => !isOurs(plugin))
    .sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
  const indexOf = (name: ResponsePluginName): OperatorIndex => {
    const index = indexPlugins(theirs, name);
    const ofConsumer = new Map<string, ActualPlugin[]>();
    for (const plugin of index.active) {
      if (!plugin.consumer || rankOf(scopeOf(plugin)) > 3) continue;
      ofConsumer.set(plugin.consumer.id, [...(ofConsumer.get(plugin.consumer.id) ?? []), plugin]);
    }
    const ofAll = index.active.filter(
      (plugin) => !plugin.consumer && index.winner(scopeOf(plugin)) === plugin,
    );
    return { ...index, ofConsumer, ofAll, plannedForAll: new Map() };
  };
  return {
    'request-termination': indexOf('request-termination'),
    'rate-limiting': indexOf('rate-limiting'),
  };
}

/**
 * What the wanted responses come to in a Kong with these plugins of the operator, one group per consumer and plugin name,
 * those decided first before the others. Of several blocks the one that lasts longest gives status and message; of several
 * rate limits the smallest counts, each window for itself.
 *
 * Kong applies one configuration of a plugin to a request, the most specific one. So that a rate limit on the consumer does
 * not lift the operator's own on routes, services or everywhere, each of those that it would replace is copied to the same
 * place for this consumer alone, with the lower limit of each window. What the operator has for route and service
 * together, or for this consumer, wins anyway and is left alone (`remark`). Where a limit cannot be attached without
 * lifting one of the operator's, nothing is attached (`refusal`).
 */
export function planPlugins(
  responses: Iterable<Response>,
  nowMs: number,
  operators: OperatorPlugins,
): PluginGroup[] {
  const byConsumer = new Map<string, Response[]>();
  for (const response of responses) {
    if (!isWanted(response, nowMs)) continue;
    const key = pluginId(response.consumer.id, pluginNameOf(response.action));
    const group = byConsumer.get(key);
    if (group) group.push(response);
    else byConsumer.set(key, [response]);
  }
  const oldestFirst = [...byConsumer]
    .map(([id, group]) => ({ id, group, decidedAt: Math.min(...group.map((one) => one.decidedAt)) }))
    .sort((a, b) => a.decidedAt - b.decidedAt || (a.id < b.id ? -1 : 1));
  let copies = 0;
  return oldestFirst.map(({ group }) => {
    const planned = planGroup(group, operators, copiesMax - copies);
    copies += Math.max(0, planned.plugins.length - 1);
    return planned;
  });
}

/**
 * What people should know about an action on a consumer before it is taken, in words; null if it would have its effect
 * everywhere.
 */
export function foretell(
  action: BlockAction | RateLimitAction,
  consumerId: string,
  operators: OperatorPlugins,
): string | null {
  const { refusal, remark } = planActions(consumerId, [action], [], operators, copiesMax);
  const name = pluginNameOf(action);
  // A block is tried without asking first, and Kong refuses it then.
  const occupied = operators[name].at(everywhere(consumerId)) ? occupiedBy(name) : null;
  const why = refusal ?? occupied;
  return why === null ? remark : `without effect: ${why}`;
}

function planGroup(group: Response[], operators: OperatorPlugins, copiesLeft: number): PluginGroup {
  // The order in which responses came must not show in the plugin.
  group.sort((a, b) => lasts(b) - lasts(a) || (a.id < b.id ? -1 : 1));
  const [{ action, consumer }] = group as [Response];
  const tags = [triplineTag, ...group.map((response) => responseTag(response.id)).sort()];
  const actions = group.map((response) => response.action);
  return {
    name: pluginNameOf(action),
    consumerId: consumer.id,
    responseIds: group.map((response) => response.id),
    ...planActions(consumer.id, actions, tags, operators, copiesLeft),
  };
}

type Plan = Pick<PluginGroup, 'plugins' | 'refusal' | 'remark'>;
type PluginFor = (scope: PluginScope, config: Record<string, unknown>) => DesiredPlugin;

/** The actions are of one kind; the first one lasts longest. */
function planActions(
  consumerId: string,
  actions: readonly (BlockAction | RateLimitAction)[],
  tags: string[],
  operators: OperatorPlugins,
  copiesLeft: number,
): Plan {
  const longest = actions[0]!;
  const name = pluginNameOf(longest);
  const plugin: PluginFor = (scope, config) => ({
    id: pluginId(consumerId, name, scope),
    name,
    consumer: { id: consumerId },
    ...(scope.route !== null && { route: { id: scope.route } }),
    ...(scope.service !== null && { service: { id: scope.service } }),
    enabled: true,
    config,
    tags,
  });
  if (longest.type === 'block') return planBlock(consumerId, longest, operators[name], plugin);
  const limits = smallestLimits(actions.filter(isRateLimit));
  return planLimits(consumerId, limits, operators[name], copiesLeft, plugin);
}

/** Why nothing is attached to a consumer that has a plugin of the operator's. */
export function occupiedBy(name: ResponsePluginName): string {
  return `the consumer has a ${name} plugin that is not Tripline's; it is left alone`;
}

const refused = (refusal: string): Plan => ({ plugins: [], refusal, remark: null });
const everywhere = (consumer: string): PluginScope => ({ route: null, service: null, consumer });

/** A block loses only to what the operator has for this consumer on a route or service, or for route and service. */
function planBlock(
  consumerId: string,
  { status, message }: BlockAction,
  index: OperatorIndex,
  plugin: PluginFor,
): Plan {
  const masking = [
    ...(index.ofConsumer.get(consumerId) ?? []),
    ...replaceable(index, consumerId).filter((one) => one.route && one.service),
  ];
  return {
    plugins: [plugin(everywhere(consumerId), { status_code: status, message })],
    refusal: null,
    remark: remark([
      ['masked by', masking],
      ['may be masked by', index.onConsumerGroups],
    ]),
  };
}

function planLimits(
  consumerId: string,
  limits: Limits,
  index: OperatorIndex,
  copiesLeft: number,
  plugin: PluginFor,
): Plan {
  const here = everywhere(consumerId);
  if (index.at(here)) {
    return refused(occupiedBy('rate-limiting'));
  }
  const [ofGroup] = index.onConsumerGroups;
  if (ofGroup) {
    return refused(
      `whether ${describe(ofGroup)} limits this consumer cannot be seen, and a limit on the consumer would take its place; nothing was attached`,
    );
  }
  const { needed, onConsumer, remark } = copiesOf(consumerId, limits, index);
  if (needed.length === 0 && !onConsumer) return refused(`nothing was attached: ${remark ?? ''}`);
  const why = whyUnsafe(needed, consumerId, index);
  if (why !== null) return refused(`${why}; nothing was attached`);
  if (needed.length > copiesLeft) {
    return refused(
      `${copiesMax} copies of your rate-limiting plugins are in force for consumers with a limit, the most allowed: no further consumer is limited until some end`,
    );
  }
  const global = index.winner(here);
  const config = global ? stricterConfig(global.config, limits) : ownLimitConfig(limits);
  const plugins = needed.map((copy) =>
    plugin({ ...scopeOf(copy.operator), consumer: consumerId }, copy.config),
  );
  if (onConsumer) plugins.push(plugin(here, config));
  return { plugins, refusal: null, remark };
}

/** A limit of the operator with the configuration that its copy gets. */
interface Copy {
  operator: ActualPlugin;
  config: Record<string, unknown>;
  lowers: boolean;
}

interface Copies {
  /** Most specific first. */
  needed: Copy[];
  /** True if a plugin on the consumer is needed too: for what no limit of the operator covers, or instead of the global one. */
  onConsumer: boolean;
  remark: string | null;
}

/** Which of the operator's limits must be copied for the consumer, and what becomes of each of them. */
function copiesOf(consumerId: string, limits: Limits, index: OperatorIndex): Copies {
  if (index.ofConsumer.has(consumerId)) return planCopies(consumerId, limits, index);
  const key = JSON.stringify(limits);
  const known = index.plannedForAll.get(key);
  if (known) return known;
  const planned = planCopies(consumerId, limits, index);
  // Bounded by the limits of the policies in force, and gone with the next reading of Kong.
  index.plannedForAll.set(key, planned);
  return planned;
}

function planCopies(consumerId: string, limits: Limits, index: OperatorIndex): Copies {
  const byRank = new Map<number, Copy[]>([4, 6, 7, 8].map((rank) => [rank, []]));
  for (const operator of replaceable(index, consumerId)) {
    const config = stricterConfig(operator.config, limits);
    const copy = { operator, config, lowers: isLowered(operator.config, config) };
    byRank.get(rankOf(scopeOf(operator)))!.push(copy);
  }
  const [ofBoth, ofRoute, ofService, global] = [4, 6, 7, 8].map((rank) => byRank.get(rank)!) as [
    Copy[],
    Copy[],
    Copy[],
    Copy[],
  ];
  // A copy is needed where it lowers the limit, and where a less specific plugin of ours would else win.
  const onConsumer = global.length === 0 || global.some((one) => one.lowers);
  const services = ofService.filter((one) => one.lowers || onConsumer);
  const routes = ofRoute.filter((one) => one.lowers || onConsumer || services.length > 0);
  const copied = new Set([
    ...routes.map(({ operator }) => operator.route!.id),
    ...services.map(({ operator }) => operator.service!.id),
  ]);
  const winsOver = ({ operator }: Copy): boolean =>
    copied.has(operator.route!.id) || copied.has(operator.service!.id);
  const both = ofBoth.filter(winsOver);
  const masked = ofBoth.filter((one) => !winsOver(one));

  const concerned = [...both, ...ofRoute, ...ofService, ...global];
  const isShared = ({ operator }: Copy): boolean => countsManyClients(operator.config);
  const unchanged = concerned.filter((one) => !one.lowers);
  const pluginsOf = (copies: readonly Copy[]): ActualPlugin[] => copies.map(({ operator }) => operator);
  return {
    needed: [...both, ...routes, ...services],
    onConsumer,
    remark: remark([
      ['the lower of both limits holds in the place of', pluginsOf(concerned.filter((one) => one.lowers))],
      ['as strict already and left as it is:', pluginsOf(unchanged.filter((one) => !isShared(one)))],
      ['not lowered, since others share the count:', pluginsOf(unchanged.filter(isShared))],
      ['masked by', [...(index.ofConsumer.get(consumerId) ?? []), ...pluginsOf(masked)]],
    ]),
  };
}

/** Why these copies would lift one of the operator's limits or cannot be made; null if neither is so. */
function whyUnsafe(copies: readonly Copy[], consumerId: string, index: OperatorIndex): string | null {
  if (copies.length > copiesPerConsumerMax) {
    return `it would take copies of ${copies.length} rate-limiting plugins of yours for this consumer so that none of them is lifted, and at most ${copiesPerConsumerMax} are made`;
  }
  for (const { operator } of copies) {
    const occupant = index.at({ ...scopeOf(operator), consumer: consumerId });
    if (!occupant) continue;
    return `${describe(occupant)} is disabled, but holds the place in which ${describe(operator)} would have to be copied for this consumer (enable or delete it)`;
  }
  // A copy on route and consumer would win over the operator's own on service and consumer, if the route is of that service.
  const ofService = index.ofConsumer.get(consumerId)?.find((one) => !one.route);
  const ofRoute = copies.find(({ operator }) => !operator.service);
  if (!ofService || !ofRoute) return null;
  return `${describe(ofRoute.operator)} would have to be copied for this consumer, and the copy could take the place of ${describe(ofService)}`;
}

/** The operator's plugins for all consumers that Kong applies to this one on some route of some service. */
function replaceable(index: OperatorIndex, consumerId: string): readonly ActualPlugin[] {
  if (!index.ofConsumer.has(consumerId)) return index.ofAll;
  return index.ofAll.filter((one) => index.winner({ ...scopeOf(one), consumer: consumerId }) === one);
}

function remark(parts: readonly (readonly [string, readonly ActualPlugin[]])[]): string | null {
  const texts = parts
    .filter(([, plugins]) => plugins.length > 0)
    .map(([what, plugins]) => {
      const named = plugins.slice(0, namedMax).map(describe).join(', ');
      const more = plugins.length - namedMax;
      return `${what} ${named}${more > 0 ? ` and ${more} more` : ''}`;
    });
  return texts.length === 0 ? null : texts.join('; ');
}

/** `your rate-limiting 3e1f… on route 77ab… and the consumer, counting by ip`. */
function describe(plugin: ActualPlugin): string {
  const { route, service, consumer } = scopeOf(plugin);
  const where = [
    route === null ? '' : `route ${route}`,
    service === null ? '' : `service ${service}`,
    consumer === null ? '' : 'the consumer',
    plugin.consumer_group ? `consumer group ${plugin.consumer_group.id}` : '',
  ].filter((text) => text !== '');
  const scope = where.length === 0 ? '(global)' : `on ${where.join(' and ')}`;
  const limitBy = plugin.config['limit_by'];
  const counting = typeof limitBy === 'string' && limitBy !== 'consumer' ? `, counting by ${limitBy}` : '';
  return `your ${plugin.name} ${plugin.id} ${scope}${counting}`;
}

function pluginNameOf(action: BlockAction | RateLimitAction): ResponsePluginName {
  return action.type === 'block' ? 'request-termination' : 'rate-limiting';
}

function isRateLimit(action: BlockAction | RateLimitAction): action is RateLimitAction {
  return action.type === 'rate-limit';
}

function lasts(response: Response): number {
  return response.expiresAt ?? Number.MAX_SAFE_INTEGER;
}
