import { rankOf, scopeOf } from '@tripline/kong/precedence';
import type { OperatorIndex } from '../../operator-plugins.ts';
import type { ActualPlugin } from '../../plugins.ts';
import { describePlugin, describePlugins } from '../words.ts';
import { countsManyClients, isLowered, stricterConfig, type Limits } from './limits.ts';

/** Copies of the operator's rate limits for one consumer, at most. */
export const copiesPerConsumerMax = 50;

/** A limit of the operator and the configuration of its copy. */
export interface Copy {
  operator: ActualPlugin;
  config: Record<string, unknown>;
  /** The copy allows less than the original in some window. */
  lowers: boolean;
}

export interface Copies {
  /** Most specific first. */
  needed: Copy[];
  /** A plugin on the consumer is needed too: for what no limit of the operator covers, or instead of the global one. */
  onConsumer: boolean;
  remark: string | null;
}

/**
 * Plans for consumers without plugins of their own, which are the same for all of them, by limits. Bounded by the limits
 * of the policies in force, and gone with the next reading of Kong.
 */
const plansForAll = new WeakMap<OperatorIndex, Map<string, Copies>>();

/** Finds which of the operator's limits must be copied for the consumer. */
export function copiesFor(consumerId: string, limits: Limits, operators: OperatorIndex): Copies {
  if (operators.ofConsumer.has(consumerId)) return planCopies(consumerId, limits, operators);
  const plans = plansForAll.get(operators) ?? new Map<string, Copies>();
  plansForAll.set(operators, plans);
  const key = JSON.stringify(limits);
  const planned = plans.get(key) ?? planCopies(consumerId, limits, operators);
  plans.set(key, planned);
  return planned;
}

function planCopies(consumerId: string, limits: Limits, operators: OperatorIndex): Copies {
  const copies = operators.replaceable(consumerId).map((operator): Copy => {
    const config = stricterConfig(operator.config, limits);
    return { operator, config, lowers: isLowered(operator.config, config) };
  });
  const ofRank = (rank: number): Copy[] => copies.filter((one) => rankOf(scopeOf(one.operator)) === rank);
  const [onBoth, onRoute, onService, global] = [ofRank(4), ofRank(6), ofRank(7), ofRank(8)];
  // A copy is needed where it lowers the limit, and where a less specific plugin of ours would else win.
  const onConsumer = global.length === 0 || global.some((one) => one.lowers);
  const services = onService.filter((one) => one.lowers || onConsumer);
  const routes = onRoute.filter((one) => one.lowers || onConsumer || services.length > 0);
  const copied = new Set([
    ...routes.map(({ operator }) => operator.route!.id),
    ...services.map(({ operator }) => operator.service!.id),
  ]);
  const isReplaced = ({ operator }: Copy): boolean =>
    copied.has(operator.route!.id) || copied.has(operator.service!.id);
  const both = onBoth.filter(isReplaced);
  const masking = onBoth.filter((one) => !isReplaced(one)).map(({ operator }) => operator);
  return {
    needed: [...both, ...routes, ...services],
    onConsumer,
    remark: remarkOn(
      [...both, ...onRoute, ...onService, ...global],
      [...(operators.ofConsumer.get(consumerId) ?? []), ...masking],
    ),
  };
}

function remarkOn(concerned: readonly Copy[], masking: readonly ActualPlugin[]): string | null {
  const operatorsOf = (filter: (copy: Copy) => boolean): ActualPlugin[] =>
    concerned.filter(filter).map(({ operator }) => operator);
  const isShared = ({ operator }: Copy): boolean => countsManyClients(operator.config);
  return describePlugins([
    ['the lower of both limits holds in the place of', operatorsOf((one) => one.lowers)],
    ['as strict already and left as it is:', operatorsOf((one) => !one.lowers && !isShared(one))],
    ['not lowered, since others share the count:', operatorsOf((one) => !one.lowers && isShared(one))],
    ['masked by', masking],
  ]);
}

/** Why these copies would lift one of the operator's limits or cannot be made; null if neither is the case. */
export function whyUnsafe(
  copies: readonly Copy[],
  consumerId: string,
  operators: OperatorIndex,
): string | null {
  if (copies.length > copiesPerConsumerMax) {
    return `it would take copies of ${copies.length} rate-limiting plugins of yours for this consumer so that none of them is lifted, and at most ${copiesPerConsumerMax} are made`;
  }
  for (const { operator } of copies) {
    const occupant = operators.at({ ...scopeOf(operator), consumer: consumerId });
    if (!occupant) continue;
    return `${describePlugin(occupant)} is disabled, but holds the place in which ${describePlugin(operator)} would have to be copied for this consumer (enable or delete it)`;
  }
  // A copy on route and consumer would win over the operator's own on service and consumer, if the route is of that service.
  const onService = operators.ofConsumer.get(consumerId)?.find((one) => !one.route);
  const onRoute = copies.find(({ operator }) => !operator.service);
  if (!onService || !onRoute) return null;
  return `${describePlugin(onRoute.operator)} would have to be copied for this consumer, and the copy could take the place of ${describePlugin(onService)}`;
}
