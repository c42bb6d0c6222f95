/**
 * All surprises are decades: -log10 of the probability of something at least as unusual under the profile. They are capped
 * where what is unusual is harmless.
 */
export interface Surprise {
  decades: number;
  /** In plain words, without the value. */
  reason: string;
  /** What would be known if several actors brought the same: a new value, a new name. Undefined: nothing that is rolled out. */
  news: string | undefined;
  /** Evidence of another kind, which adds in full to a surprise but never stands for itself. */
  supports?: true;
  /** What any client does now and then (an empty or missing value, a tracker): never enough by itself, nor with others of its kind. */
  mild?: true;
  /** Number in the Common Weakness Enumeration, where it points to one. */
  weakness?: string;
}

/** -log10 of the share of `count` in `total`, smoothed by `prior` pseudo-observations of either outcome. */
export function rarity(count: number, total: number, prior: number): number {
  return Math.max(0, -Math.log10((count + prior) / (total + 2 * prior)));
}

/** The largest surprise, half of the next (both are about the same value, so not independent), and what supports them. */
export function total(surprises: readonly Surprise[]): number {
  let first = 0;
  let second = 0;
  let support = 0;
  for (const { decades, supports } of surprises) {
    if (supports) support += decades;
    else if (decades > first) {
      second = first;
      first = decades;
    } else if (decades > second) second = decades;
  }
  return first + second / 2 + support;
}
