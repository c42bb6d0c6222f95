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

/** The operator's plugins of the kinds that carry out responses. */
export type OperatorPlugins = Record<ResponsePluginName, PluginIndex<ActualPlugin>>;

export function operatorPlugins(plugins: readonly ActualPlugin[]): OperatorPlugins {
  const theirs = plugins.filter((plugin) => !isOurs(plugin));
  return {
    'request-termination': indexPlugins(theirs, 'request-termination'),
    'rate-limiting': indexPlugins(theirs, 'rate-limiting'),
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
    const planned = planGroup(group, operators);
    const more = Math.max(0, planned.plugins.length - 1);
    if (copies + more > copiesMax) {
      const text = `${copiesMax} copies of your rate-limiting plugins are in force for consumers with a limit, the most allowed: no further consumer is limited until some end`;
      return { ...planned, plugins: [], refusal: text, remark: null };
    }
    copies += more;
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
  const { refusal, remark } = planActions(consumerId, [action], [], operators);
  const name = pluginNameOf(action);
  // A block is tried without asking first, and Kong refuses it then.
  const occupied = operators[name].at(everywhere(consumerId)) ? occupiedBy(name) : null;
  const why = refusal ?? occupied;
  return why === null ? remark : `without effect: ${why}`;
}

function planGroup(group: Response[], operators: OperatorPlugins): PluginGroup {
  // The order in which responses came must not show in the plugin.
  group.sort((a, b) => lasts(b) - lasts(a) || (a.id < b.id ? -1 : 1));
  const [{ action, consumer }] = group as [Response];
  const tags = [triplineTag, ...group.map((response) => responseTag(response.id)).sort()];
  const actions = group.map((response) => response.action);
  return {
    name: pluginNameOf(action),
    consumerId: consumer.id,
    responseIds: group.map((response) => response.id),
    ...planActions(consumer.id, actions, tags, operators),
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
  return longest.type === 'block'
    ? planBlock(consumerId, longest, operators[name], plugin)
    : planLimits(consumerId, smallestLimits(actions.filter(isRateLimit)), operators[name], plugin);
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
  index: PluginIndex<ActualPlugin>,
  plugin: PluginFor,
): Plan {
  const masking = [
    ...ofConsumer(index, consumerId),
    ...replaceable(index, consumerId).filter((one) => rankOf(scopeOf(one)) === 4),
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
  index: PluginIndex<ActualPlugin>,
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
  const copies = copiesOf(consumerId, limits, index);
  const global = index.winner(here);
  const config = global ? stricterConfig(global.config, limits) : ownLimitConfig(limits);
  const plugins = copies.needed
    .map(({ operator, config }) => plugin({ ...scopeOf(operator), consumer: consumerId }, config))
    .sort((a, b) => rankOf(scopeOf(a)) - rankOf(scopeOf(b)) || (a.id < b.id ? -1 : 1));
  if (copies.onConsumer) plugins.push(plugin(here, config));
  const { lowered, kept, shared, masked } = copies;
  const text = remark([
    ['the lower of both limits holds in the place of', lowered],
    ['as strict already and left as it is:', kept],
    ['not lowered, since others share the count:', shared],
    ['masked by', masked],
  ]);
  if (plugins.length === 0) return refused(`nothing was attached: ${text ?? ''}`);
  return unsafe(copies.needed, consumerId, index) ?? { plugins, refusal: null, remark: text };
}

interface Copy {
  operator: ActualPlugin;
  config: Record<string, unknown>;
}

/** Which of the operator's limits must be copied for the consumer, and what becomes of each of them. */
function copiesOf(consumerId: string, limits: Limits, index: PluginIndex<ActualPlugin>) {
  const replaced = replaceable(index, consumerId).map((operator) => {
    const config = stricterConfig(operator.config, limits);
    return { operator, config, rank: rankOf(scopeOf(operator)), lowers: isLowered(operator.config, config) };
  });
  const ofRank = (rank: number): typeof replaced => replaced.filter((one) => one.rank === rank);
  const global = ofRank(8);
  // A copy is needed where it lowers the limit, and where a less specific plugin of ours would else win.
  const onConsumer = global.length === 0 || global.some((one) => one.lowers);
  const ofServices = ofRank(7).filter((one) => one.lowers || onConsumer);
  const ofRoutes = ofRank(6).filter((one) => one.lowers || onConsumer || ofServices.length > 0);
  const routes = new Set(ofRoutes.map(({ operator }) => operator.route!.id));
  const services = new Set(ofServices.map(({ operator }) => operator.service!.id));
  const ofBoth = ofRank(4).filter(
    ({ operator }) => routes.has(operator.route!.id) || services.has(operator.service!.id),
  );
  const masked = ofRank(4).filter((one) => !ofBoth.includes(one));
  const used: Copy[] = [...ofBoth, ...ofRoutes, ...ofServices];
  const considered = replaced.filter((one) => !masked.includes(one));
  const lowered = considered.filter((one) => one.lowers);
  const shared = considered.filter((one) => !one.lowers && countsManyClients(one.operator.config));
  const kept = considered.filter((one) => !lowered.includes(one) && !shared.includes(one));
  return {
    needed: used,
    onConsumer,
    lowered: lowered.map((one) => one.operator),
    kept: kept.map((one) => one.operator),
    shared: shared.map((one) => one.operator),
    masked: [...ofConsumer(index, consumerId), ...masked.map((one) => one.operator)],
  };
}

/** Why these copies would lift one of the operator's limits or cannot be made; undefined if neither is so. */
function unsafe(
  copies: readonly Copy[],
  consumerId: string,
  index: PluginIndex<ActualPlugin>,
): Plan | undefined {
  if (copies.length > copiesPerConsumerMax) {
    return refused(
      `it would take copies of ${copies.length} rate-limiting plugins of yours for this consumer so that none of them is lifted, and at most ${copiesPerConsumerMax} are made; nothing was attached`,
    );
  }
  for (const { operator } of copies) {
    const occupant = index.at({ ...scopeOf(operator), consumer: consumerId });
    if (!occupant) continue;
    return refused(
      `${describe(occupant)} is disabled, but holds the place in which ${describe(operator)} would have to be copied for this consumer; nothing was attached. Enable or delete it`,
    );
  }
  // A copy on route and consumer would win over the operator's own on service and consumer, if the route is of that service.
  const ofService = ofConsumer(index, consumerId).find((one) => rankOf(scopeOf(one)) === 3);
  const ofRoute = copies.find(({ operator }) => rankOf(scopeOf(operator)) === 6);
  if (!ofService || !ofRoute) return undefined;
  return refused(
    `${describe(ofRoute.operator)} would have to be copied for this consumer, and the copy could take the place of ${describe(ofService)}; nothing was attached`,
  );
}

/** The operator's plugins for this consumer on a route, a service or both: nothing of ours takes their place. */
function ofConsumer(index: PluginIndex<ActualPlugin>, consumerId: string): ActualPlugin[] {
  return byId(index.active.filter((one) => one.consumer?.id === consumerId && rankOf(scopeOf(one)) < 4));
}

/** The operator's plugins for all consumers that Kong applies to this one on some route of some service. */
function replaceable(index: PluginIndex<ActualPlugin>, consumerId: string): ActualPlugin[] {
  return byId(
    index.active.filter(
      (one) => !one.consumer && index.winner({ ...scopeOf(one), consumer: consumerId }) === one,
    ),
  );
}

function byId(plugins: ActualPlugin[]): ActualPlugin[] {
  return plugins.sort((a, b) => (a.id < b.id ? -1 : 1));
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
