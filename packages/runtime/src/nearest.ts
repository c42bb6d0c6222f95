/** The candidate that `word` was most likely meant to be; undefined if there are none. Case and punctuation do not count. */
export function nearestOf(word: string, candidates: readonly string[]): string | undefined {
  const given = lettersOf(word);
  let nearest: string | undefined;
  let least = Infinity;
  for (const candidate of candidates) {
    const cost = costOf(given, lettersOf(candidate));
    if (cost < least) {
      least = cost;
      nearest = candidate;
    }
  }
  return nearest;
}

function lettersOf(text: string): string {
  return text.toLowerCase().replace(/[^a-z0-9]/g, '');
}

/**
 * Edit distance in which adding a letter costs 1, taking one away or replacing one 2: a name without its section
 * (`ADMIN_URL`) is nearer to the whole name than to any name of its length.
 */
function costOf(given: string, wanted: string): number {
  let row = Array.from({ length: wanted.length + 1 }, (_, at) => at);
  for (const letter of given) {
    const next = [row[0]! + 2];
    for (let at = 1; at <= wanted.length; at++) {
      const same = row[at - 1]! + (letter === wanted[at - 1] ? 0 : 2);
      next.push(Math.min(same, row[at]! + 2, next[at - 1]! + 1));
    }
    row = next;
  }
  return row[wanted.length]!;
}
