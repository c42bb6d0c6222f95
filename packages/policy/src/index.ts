export { parsePolicies, policiesJsonSchema, type ParsedPolicies, type PolicyProblem } from './parse.ts';
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
  desiredPlugins,
  isAsDesired,
  isOurs,
  isWanted,
  pluginId,
  reconcile,
  responseTag,
  responseTagPrefix,
  triplineTag,
  type ActualPlugin,
  type DesiredPlugin,
  type Operation,
  type ResponsePluginName,
} from './plugins.ts';
