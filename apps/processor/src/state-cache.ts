import type { StateKind } from '@tripline/detection';
import type { StateChanges } from '@tripline/state';

/** A state in memory. */
export interface CachedState<State> {
  readonly key: string;
  /** Undefined before it was loaded, and while the cache keeps only its bytes. */
  state: State | undefined;
  /** null: encoded to nothing. */
  bytes: Buffer | null | undefined;
  /** Differs from what the store has. */
  isChanged: boolean;
}

export interface StateCacheOptions<State> {
  kind: StateKind<State>;
  /** How many states stay in memory between checkpoints. Asked at each checkpoint. */
  maxStates: () => number;
  /**
   * Among a million keys, most do not come again soon. Where this is true, a state is encoded again at the end of the batch that
   * loaded it: one buffer outlives the batch instead of a hundred objects, which the garbage collector would copy and follow. From
   * its second batch on it stays decoded.
   */
  encodesAfterFirstBatch?: boolean;
  /** The state that takes the place of one that cannot be used; by default that of a key never seen. */
  beginAnew?: (broken: State) => State;
  /** The state under a key could not be read, changed or saved, and was begun anew. */
  onRelearn: (key: string, problem: string) => void;
}

/**
 * States of one kind in memory, between a store that holds all of them and a batch that needs some.
 *
 * They are kept in two generations: a state that is used moves to the newer one. When that holds half of `maxStates` at a checkpoint,
 * the older one is dropped. So memory holds at most `maxStates` and those of the batches since the last checkpoint, and what was used
 * lately stays. Nothing is dropped before a checkpoint has saved it.
 */
export class StateCache<State> {
  readonly #options: StateCacheOptions<State>;
  #newer = new Map<string, CachedState<State>>();
  #older = new Map<string, CachedState<State>>();
  /** What the next checkpoint saves: few, while the states in memory are many. */
  #changed: CachedState<State>[] = [];
  readonly #missing = new Set<CachedState<State>>();
  /** Loaded in the present batch. */
  #firstBatch: CachedState<State>[] = [];

  constructor(options: StateCacheOptions<State>) {
    this.#options = options;
  }

  /** States in memory. */
  get size(): number {
    return this.#newer.size + this.#older.size;
  }

  /** States that the next checkpoint saves. */
  get changedStates(): number {
    return this.#changed.length;
  }

  /** The state under a key. Its `state` is there at once if memory has it, else after the next `loadMissing`. */
  want(key: string): CachedState<State> {
    let cached = this.#newer.get(key);
    if (cached === undefined) {
      cached = this.#older.get(key) ?? { key, state: undefined, bytes: undefined, isChanged: false };
      this.#older.delete(key);
      this.#newer.set(key, cached);
    }
    if (cached.state !== undefined) return cached;
    if (cached.bytes === undefined) this.#missing.add(cached);
    else {
      cached.state = this.#decode(key, cached.bytes ?? undefined);
      cached.bytes = undefined;
    }
    return cached;
  }

  /** Keys of the states that were wanted and are not in memory. */
  get missingKeys(): string[] {
    return Array.from(this.#missing, ({ key }) => key);
  }

  /** Takes in what the store has under `missingKeys`. */
  fill(values: ReadonlyMap<string, Buffer>): void {
    for (const cached of this.#missing) cached.state = this.#decode(cached.key, values.get(cached.key));
    if (this.#options.encodesAfterFirstBatch === true) this.#firstBatch.push(...this.#missing);
    this.#missing.clear();
  }

  /** To be called before a state is changed: a change that fails half-way must be saved as well, or be begun anew. */
  willChange(cached: CachedState<State>): void {
    if (cached.isChanged) return;
    cached.isChanged = true;
    this.#changed.push(cached);
  }

  /** The state may be half changed, or cannot be read or written: it is begun anew, which must not stop the stream. */
  relearn(cached: CachedState<State>, error: unknown): void {
    const { kind, beginAnew, onRelearn } = this.#options;
    cached.state = beginAnew && cached.state !== undefined ? beginAnew(cached.state) : kind.decode(undefined);
    cached.bytes = undefined;
    this.willChange(cached);
    onRelearn(cached.key, (error as Error).message);
  }

  /** No state of the present batch is used any more. */
  endBatch(): void {
    for (const cached of this.#firstBatch) {
      cached.bytes = this.#encode(cached);
      cached.state = undefined;
    }
    this.#firstBatch = [];
  }

  /** Adds what changed to a checkpoint. */
  save(changes: StateChanges): void {
    for (const cached of this.#changed) {
      const bytes = cached.state === undefined ? (cached.bytes ?? null) : this.#encode(cached);
      changes.set(cached.key, bytes);
    }
  }

  /** The checkpoint was made: nothing in memory is ahead of the store, so that what was not used lately may go. */
  saved(): void {
    for (const cached of this.#changed) cached.isChanged = false;
    this.#changed = [];
    if (this.#newer.size < this.#options.maxStates() / 2) return;
    this.#older = this.#newer;
    this.#newer = new Map();
  }

  #encode(cached: CachedState<State>): Buffer | null {
    const { kind } = this.#options;
    try {
      return kind.encode(cached.state as State);
    } catch (error) {
      this.relearn(cached, error);
    }
    try {
      return kind.encode(cached.state as State);
    } catch {
      // Reported with the first error. Without a value the key is begun anew when it comes again.
      return null;
    }
  }

  #decode(key: string, bytes: Buffer | undefined): State {
    const { kind, onRelearn } = this.#options;
    try {
      return kind.decode(bytes);
    } catch (error) {
      onRelearn(key, (error as Error).message);
      return kind.decode(undefined);
    }
  }
}

/** Loads the states that were wanted from several caches, in one round trip. */
export async function loadMissing(
  caches: readonly Pick<StateCache<unknown>, 'missingKeys' | 'fill'>[],
  load: (keys: readonly string[]) => Promise<Map<string, Buffer>>,
): Promise<void> {
  const keys = caches.flatMap((cache) => cache.missingKeys);
  if (keys.length === 0) return;
  const values = await load(keys);
  for (const cache of caches) cache.fill(values);
}
