import type { PluginScope } from '@tripline/kong/precedence';
import { targetKey, type Response, type ResponseAction, type Target } from '@tripline/model';
import { consumerScope, copiesMax, type Plan, type ResponseKind } from './actions/action.ts';
import { actions } from './actions/index.ts';
import type { ActionRegistry } from './actions/registry.ts';
import { occupiedBy } from './actions/words.ts';
import { indexOperatorPlugins, type OperatorIndex, type OperatorPlugins } from './operator-plugins.ts';
import {
  isWanted,
  pluginId,
  responseTag,
  triplineTag,
  type ActualPlugin,
  type DesiredPlugin,
} from './plugins.ts';

/** The desired plugins of the responses of one kind on one target. */
export interface PluginGroup extends Plan {
  /** The `group` of its plugins. */
  id: string;
  target: Target;
  responseIds: string[];
}

/** Indexes those of these plugins of Kong that are the operator's and can interfere with an action. */
export function operatorPlugins(
  plugins: readonly ActualPlugin[],
  registry: ActionRegistry = actions,
): OperatorPlugins {
  return indexOperatorPlugins(plugins, registry.pluginNames);
}

/**
 * Plans the plugins of the responses that are to be in force at this time, beside these plugins of the operator: one group
 * per target and kind of action, and those decided first before the others.
 */
export function planPlugins(
  responses: Iterable<Response>,
  nowMs: number,
  operators: OperatorPlugins,
  registry: ActionRegistry = actions,
): PluginGroup[] {
  const byGroup = new Map<string, { kind: ResponseKind; responses: Response[] }>();
  for (const response of responses) {
    const kind = registry.findResponse(response.action.type);
    if (!kind || !isWanted(response, nowMs)) continue;
    const id = pluginId(targetKey(response.target), kind.plugin.name);
    const group = byGroup.get(id);
    if (group) group.responses.push(response);
    else byGroup.set(id, { kind, responses: [response] });
  }
  const oldestFirst = [...byGroup]
    .map(([id, group]) => ({
      id,
      ...group,
      decidedAt: Math.min(...group.responses.map((one) => one.decidedAt)),
    }))
    .sort((a, b) => a.decidedAt - b.decidedAt || (a.id < b.id ? -1 : 1));
  let copies = 0;
  return oldestFirst.map(({ kind, responses }) => {
    const planned = planGroup(kind, responses, operators, copiesMax - copies);
    copies += Math.max(0, planned.plugins.length - 1);
    return planned;
  });
}

/**
 * Predicts what people should know about an action on a target before it is taken, in words. Returns null if it would have
 * its effect everywhere.
 */
export function predictEffect(
  action: ResponseAction,
  target: Target,
  operators: OperatorPlugins,
  registry: ActionRegistry = actions,
): string | null {
  const kind = registry.findResponse(action.type);
  if (!kind) return null;
  const { refusal, remark } = planActions(kind, target, [action], [], operators, copiesMax);
  // A block is tried without asking first, and Kong refuses it then.
  const isOccupied =
    target.kind === 'consumer' && indexFor(kind, operators).at(consumerScope(target.id)) !== undefined;
  const why = refusal ?? (isOccupied ? occupiedBy(kind.plugin.name) : null);
  return why === null ? remark : `without effect: ${why}`;
}

function planGroup(
  kind: ResponseKind,
  responses: Response[],
  operators: OperatorPlugins,
  copiesLeft: number,
): PluginGroup {
  // Longest first. The order in which responses came must not show in the plugin.
  responses.sort((a, b) => endOf(b) - endOf(a) || (a.id < b.id ? -1 : 1));
  const [{ target }] = responses as [Response];
  const tags = [triplineTag, ...responses.map((response) => responseTag(response.id)).sort()];
  const settings = responses.map((response) => response.action) as [ResponseAction];
  return {
    id: pluginId(targetKey(target), kind.plugin.name),
    target,
    responseIds: responses.map((response) => response.id),
    ...planActions(kind, target, settings, tags, operators, copiesLeft),
  };
}

function planActions(
  kind: ResponseKind,
  target: Target,
  settings: readonly [ResponseAction, ...ResponseAction[]],
  tags: string[],
  operators: OperatorPlugins,
  copiesLeft: number,
): Plan {
  const { name, unsetFields } = kind.plugin;
  const key = targetKey(target);
  const makePlugin = (scope: PluginScope, config: Record<string, unknown>): DesiredPlugin => ({
    id: pluginId(key, name, scope),
    group: pluginId(key, name),
    name,
    ...(scope.consumer !== null && { consumer: { id: scope.consumer } }),
    ...(scope.route !== null && { route: { id: scope.route } }),
    ...(scope.service !== null && { service: { id: scope.service } }),
    enabled: true,
    config,
    tags,
    unsetFields,
  });
  return kind.plan({ target, settings, operators: indexFor(kind, operators), copiesLeft, makePlugin });
}

function indexFor(kind: ResponseKind, operators: OperatorPlugins): OperatorIndex {
  return operators.get(kind.plugin.name)!;
}

function endOf(response: Response): number {
  return response.expiresAt ?? Number.MAX_SAFE_INTEGER;
}
