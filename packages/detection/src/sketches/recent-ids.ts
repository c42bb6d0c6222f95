/**
 * Remembers the ids seen lately, in bounded memory, to drop duplicated calls. It keeps 53-bit hashes in two generations
 * of open-addressing tables: when the newer has taken `capacity` ids, the older is forgotten. So an id is remembered for
 * at least the next `capacity` different ids, and at most for twice as many.
 *
 * An id that was never seen is taken for a duplicate with odds of at most 2 x capacity / 2^53 per call: 1 in 4.5 billion
 * at a capacity of 1,000,000, that is one call lost in 4.5 billion.
 *
 * Memory: 2 tables of 16 to 32 bytes per id of `capacity`, taken at once.
 */
export class RecentIds {
  readonly #capacity: number;
  readonly #mask: number;
  #newer: Float64Array;
  #older: Float64Array;
  #count = 0;

  /** `capacity`: ids per generation, 1 to 2^26. */
  constructor(capacity: number) {
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > 2 ** 26) {
      throw new RangeError(`RecentIds: capacity is ${capacity}, allowed is an integer from 1 to ${2 ** 26}`);
    }
    this.#capacity = capacity;
    // At most half full, so that a probe ends soon.
    const size = 2 ** Math.ceil(Math.log2(capacity * 2));
    this.#mask = size - 1;
    this.#newer = new Float64Array(size);
    this.#older = new Float64Array(size);
  }

  /** Was this id (by its `idHash`) seen before, as far as remembered? It is now. */
  seen(hash: number): boolean {
    if (this.#has(this.#newer, hash)) return true;
    const known = this.#has(this.#older, hash);
    if (this.#count >= this.#capacity) {
      const forgotten = this.#older;
      this.#older = this.#newer;
      this.#newer = forgotten.fill(0);
      this.#count = 0;
    }
    // An id of the older generation moves to the newer: what keeps coming stays remembered.
    let at = hash & this.#mask;
    while (this.#newer[at] !== 0) at = (at + 1) & this.#mask;
    this.#newer[at] = hash;
    this.#count++;
    return known;
  }

  #has(table: Float64Array, hash: number): boolean {
    let at = hash & this.#mask;
    for (;;) {
      const found = table[at]!;
      if (found === hash) return true;
      if (found === 0) return false;
      at = (at + 1) & this.#mask;
    }
  }
}

/** 53-bit hash, never 0 (0 marks an empty place): two multiplicative hashes with the finishing mix of MurmurHash3. */
export function idHash(text: string): number {
  let a = 0xdeadbeef;
  let b = 0x41c6ce57;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 0x9e3779b1);
    b = Math.imul(b ^ code, 0x5f356495);
  }
  a = Math.imul(a ^ (a >>> 16), 0x85ebca6b) ^ Math.imul(b ^ (b >>> 13), 0xc2b2ae35);
  b = Math.imul(b ^ (b >>> 16), 0x85ebca6b) ^ Math.imul(a ^ (a >>> 13), 0xc2b2ae35);
  return (a >>> 11) * 4_294_967_296 + (b >>> 0) || 1;
}
