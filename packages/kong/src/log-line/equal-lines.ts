/** Different lines that are remembered at least. Equal lines are of the same millisecond, so they come close together. */
const remembered = 20_000;

/**
 * Numbers lines that are equal byte for byte, so that each can be a call of its own: Kong before 3.5 writes no request id,
 * and calls of one client within a millisecond give equal lines there. The numbers depend on nothing but the lines and
 * their order, so the same input has the same numbers each time. Remembers the last 20,000 to 40,000 different lines.
 */
export class EqualLines {
  #recent = new Map<string, number>();
  #older = new Map<string, number>();

  /** How many lines with this hash came before: 0 for the first. */
  next(hash: string): number {
    const count = this.#recent.get(hash) ?? this.#older.get(hash) ?? 0;
    if (this.#recent.size >= remembered && !this.#recent.has(hash)) {
      this.#older = this.#recent;
      this.#recent = new Map();
    }
    this.#recent.set(hash, count + 1);
    return count;
  }
}
