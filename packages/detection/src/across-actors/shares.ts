/** Networks, countries and user agents that an alert lists with their share. */
const SHARES_MOST = 5;

/**
 * The values with the largest share of a total, largest first; equal ones in order of their value, so that the list does not depend on
 * the order in which they came. `weighted` has a value and its weight per item; items without a value (null or empty) count in the
 * total only.
 */
export function largestShares<Value extends string | number>(
  weighted: Iterable<readonly [value: Value | null, weight: number]>,
): { value: Value; share: number }[] {
  const weights = new Map<Value, number>();
  let total = 0;
  for (const [value, weight] of weighted) {
    total += weight;
    if (value !== null && value !== '') weights.set(value, (weights.get(value) ?? 0) + weight);
  }
  return [...weights]
    .sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
    .slice(0, SHARES_MOST)
    .map(([value, weight]) => ({ value, share: toHundredths(weight / total) }));
}

export function toHundredths(value: number): number {
  return Math.round(value * 100) / 100;
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
