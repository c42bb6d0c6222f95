import { pluginId, type Operation } from '@tripline/policy';

/**
 * Names the operations that depend on one another: those of one consumer and plugin name. If one of them cannot be carried
 * out, the rest of its group must wait, since the next one could take the place of an operator's limit.
 */
export function groupOf({ id, plugin }: Operation): string {
  return plugin.consumer ? pluginId(plugin.consumer.id, plugin.name) : id;
}

/**
 * The order in which to try the operations: groups that failed most often go last, so that one call that always fails
 * does not hold up the others. Within a group the order stays.
 */
export function inOrderOfTrial(
  operations: readonly Operation[],
  failures: ReadonlyMap<string, number>,
): Operation[] {
  const failed = (operation: Operation): number => failures.get(groupOf(operation)) ?? 0;
  return [...operations].sort((a, b) => failed(a) - failed(b));
}
