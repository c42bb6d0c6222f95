export {
  parsePolicies,
  policiesJsonSchema,
  positionOf,
  type ParsedPolicies,
  type PolicyFileOptions,
  type PolicyProblem,
} from './parse.ts';
export type { Policies, Policy } from './policy.ts';
export type { PolicyMatch } from './policy-match.ts';
export { actions, type PolicyAction } from './actions/index.ts';
export {
  consumerScope,
  type ActionKind,
  type NotificationKind,
  type ResponseKind,
} from './actions/action.ts';
export { ActionRegistry } from './actions/registry.ts';
export { occupiedBy } from './actions/words.ts';
export { matches } from './match.ts';
export {
  actionIds,
  decide,
  defaultActionId,
  responseId,
  responseIdByIndex,
  type Decision,
} from './decide.ts';
export { operatorPlugins, planPlugins, predictEffect, type PluginGroup } from './plan.ts';
export type { OperatorPlugins } from './operator-plugins.ts';
export {
  findHolders,
  isAsDesired,
  isOurs,
  isWanted,
  pluginId,
  pluginToWrite,
  reconcile,
  responseTag,
  responseTagPrefix,
  triplineTag,
  type ActualPlugin,
  type DesiredPlugin,
  type Operation,
  type PluginToWrite,
} from './plugins.ts';
