export {
  parsePolicies,
  policiesJsonSchema,
  positionOf,
  type ParsedPolicies,
  type PolicyProblem,
} from './parse.ts';
export { isLiteral, matches, matchesGlob } from './match.ts';
export {
  actionIds,
  decide,
  defaultActionId,
  responseId,
  responseIdByIndex,
  type Decision,
} from './decide.ts';
export {
  copiesMax,
  copiesPerConsumerMax,
  foretell,
  occupiedBy,
  operatorPlugins,
  planPlugins,
  type OperatorPlugins,
  type PluginGroup,
} from './plan.ts';
export {
  findHolders,
  isAsDesired,
  isOurs,
  isWanted,
  pluginId,
  reconcile,
  responsePluginNames,
  responseTag,
  responseTagPrefix,
  triplineTag,
  type ActualPlugin,
  type DesiredPlugin,
  type Operation,
  type ResponsePluginName,
} from './plugins.ts';
