import type { Operation } from '@tripline/policy';

/**
 * Sorts operations so that groups that failed most often come last, and one call that always fails does not hold up the
 * others. Within a group the order stays.
 */
export function inOrderOfTrial(
  operations: readonly Operation[],
  failures: ReadonlyMap<string, number>,
): Operation[] {
  const failuresOf = ({ group }: Operation): number => failures.get(group) ?? 0;
  return [...operations].sort((a, b) => failuresOf(a) - failuresOf(b));
}
