/** What one edit costs; each 1 if left out. */
export interface EditCosts {
  insert?: number;
  remove?: number;
  replace?: number;
}

/** Least cost of the edits that turn `given` into `wanted`: the Levenshtein distance, unless the costs say otherwise. */
export function editDistance(given: string, wanted: string, costs: EditCosts = {}): number {
  const { insert = 1, remove = 1, replace = 1 } = costs;
  let row = Array.from({ length: wanted.length + 1 }, (_, at) => at * insert);
  for (const letter of given) {
    const next = [row[0]! + remove];
    for (let at = 1; at <= wanted.length; at++) {
      const same = row[at - 1]! + (letter === wanted[at - 1] ? 0 : replace);
      next.push(Math.min(same, row[at]! + remove, next[at - 1]! + insert));
    }
    row = next;
  }
  return row.at(-1)!;
}

/**
 * The candidate that `word` was most likely meant to be; undefined if there are none. Case and punctuation do not count.
 * Adding a letter is cheap, so a name without its section (`ADMIN_URL`) is nearer to the whole name than to another name of
 * its length.
 */
export function nearestOf(word: string, candidates: readonly string[]): string | undefined {
  const given = lettersOf(word);
  let nearest: string | undefined;
  let least = Infinity;
  for (const candidate of candidates) {
    const distance = editDistance(given, lettersOf(candidate), { remove: 2, replace: 2 });
    if (distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

function lettersOf(text: string): string {
  return text.toLowerCase().replace(/[^a-z0-9]/g, '');
}
