import { idHash } from './recent-ids.ts';

/** Hashes lie between 0 and this. */
const HASH_RANGE = 2 ** 53;

export interface Picked<Value> {
  hash: number;
  value: Value;
}

/**
 * The `most` keys with the smallest hashes of all that were added, each with a value that is exact: which keys are kept
 * does not depend on their order, nor on how often they come, and two samples of parts of a stream merge to the sample of
 * the whole (bottom-k sketch). A key is either in the sample with everything that was ever added to it, or not at all.
 *
 * The number of distinct keys follows from the largest hash kept (k minimum values: Bar-Yossef et al., "Counting distinct
 * elements in a data stream", RANDOM 2002; the unbiased estimator is that of Beyer et al., "On synopses for distinct-value
 * estimation under multiset operations", SIGMOD 2007): exact below `most`, from there on with a standard error of
 * 1/sqrt(most - 2), 13 % for 64.
 */
export class Sample<Value> {
  readonly most: number;
  readonly #picked = new Map<string, Picked<Value>>();
  /** Key and hash of the entry with the largest hash, once the sample is full. */
  #lastKey = '';
  #lastHash = Infinity;

  constructor(most: number) {
    this.most = most;
  }

  get size(): number {
    return this.#picked.size;
  }

  /** Every key ever added whose hash is at most this is in the sample; Infinity while that is every key. */
  get completeTo(): number {
    return this.#lastHash;
  }

  /** Share of all keys, of any number, whose hash is at most `completeTo`: 1 while every key is in the sample. */
  get rate(): number {
    return Math.min(1, this.#lastHash / HASH_RANGE);
  }

  /** Would a key with this hash be in the sample? Cheap: to be asked before a key is made. */
  takes(hash: number): boolean {
    return hash <= this.#lastHash;
  }

  /** The value of the key, to add to; made by `fresh` if the key is new; undefined if the key is not in the sample. */
  pick(key: string, hash: number, fresh: () => Value): Value | undefined {
    if (hash > this.#lastHash) return undefined;
    const known = this.#picked.get(key);
    if (known) return known.value;
    const full = this.#picked.size >= this.most;
    if (full && !(hash < this.#lastHash || key < this.#lastKey)) return undefined;
    const value = fresh();
    if (full) this.#picked.delete(this.#lastKey);
    this.#picked.set(key, { hash, value });
    if (this.#picked.size >= this.most) this.#findLast();
    return value;
  }

  get(key: string): Value | undefined {
    return this.#picked.get(key)?.value;
  }

  /** Number of distinct keys that were added. */
  distinct(): number {
    if (this.#picked.size < this.most) return this.#picked.size;
    return Math.round((this.most - 1) / (this.#lastHash / HASH_RANGE));
  }

  /** In no particular order. */
  entries(): IterableIterator<[string, Picked<Value>]> {
    return this.#picked.entries();
  }

  /** By hash: the same for equal samples, however they came about. */
  sorted(): [string, Picked<Value>][] {
    return [...this.#picked].sort((a, b) => a[1].hash - b[1].hash || (a[0] < b[0] ? -1 : 1));
  }

  #findLast(): void {
    let lastKey = '';
    let lastHash = -1;
    for (const [key, { hash }] of this.#picked) {
      if (hash > lastHash || (hash === lastHash && key > lastKey)) {
        lastKey = key;
        lastHash = hash;
      }
    }
    this.#lastKey = lastKey;
    this.#lastHash = lastHash;
  }
}

/** Hash of a key of a sample. */
export const sampleHash = idHash;
