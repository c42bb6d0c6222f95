interface Entry {
  key: string;
  dueMs: number;
  /** Index in the heap. */
  place: number;
}

/**
 * Keys by the time at which each is due, the earliest first, and keys of the same time by their text. A binary heap: adding,
 * moving and removing a key take O(log n), finding out that nothing is due takes O(1).
 */
export class DueQueue {
  readonly #entries = new Map<string, Entry>();
  readonly #heap: Entry[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** When the first key is due; Infinity if there is none. */
  get nextMs(): number {
    return this.#heap[0]?.dueMs ?? Infinity;
  }

  dueMs(key: string): number | undefined {
    return this.#entries.get(key)?.dueMs;
  }

  set(key: string, dueMs: number): void {
    const known = this.#entries.get(key);
    if (known?.dueMs === dueMs) return;
    const entry = known ?? { key, dueMs, place: this.#heap.length };
    entry.dueMs = dueMs;
    if (!known) {
      this.#entries.set(key, entry);
      this.#heap.push(entry);
    }
    this.#settle(entry);
  }

  /** False if the key was not there. */
  delete(key: string): boolean {
    const entry = this.#entries.get(key);
    if (!entry) return false;
    this.#entries.delete(key);
    const last = this.#heap.pop()!;
    if (last !== entry) {
      this.#put(last, entry.place);
      this.#settle(last);
    }
    return true;
  }

  /** Removes the first `count` keys; gives them in order. */
  takeFirst(count: number): string[] {
    const keys: string[] = [];
    while (keys.length < count && this.#heap.length > 0) {
      const { key } = this.#heap[0]!;
      keys.push(key);
      this.delete(key);
    }
    return keys;
  }

  /** The keys that are due at `nowMs`, in order; they stay. O(k log k) for k of them, however many others there are. */
  dueBy(nowMs: number): string[] {
    const due: Entry[] = [];
    const visit = (place: number): void => {
      const entry = this.#heap[place];
      if (!entry || entry.dueMs > nowMs) return;
      due.push(entry);
      visit(2 * place + 1);
      visit(2 * place + 2);
    };
    visit(0);
    return due.sort((a, b) => (isBefore(a, b) ? -1 : 1)).map(({ key }) => key);
  }

  /** Moves an entry up or down to where it belongs. */
  #settle(entry: Entry): void {
    this.#rise(entry);
    this.#sink(entry);
  }

  #rise(entry: Entry): void {
    while (entry.place > 0) {
      const parent = this.#heap[(entry.place - 1) >> 1]!;
      if (!isBefore(entry, parent)) return;
      const { place } = parent;
      this.#put(parent, entry.place);
      this.#put(entry, place);
    }
  }

  #sink(entry: Entry): void {
    for (;;) {
      const left = this.#heap[2 * entry.place + 1];
      const right = this.#heap[2 * entry.place + 2];
      const child = left && right && isBefore(right, left) ? right : left;
      if (!child || !isBefore(child, entry)) return;
      const { place } = child;
      this.#put(child, entry.place);
      this.#put(entry, place);
    }
  }

  #put(entry: Entry, place: number): void {
    this.#heap[place] = entry;
    entry.place = place;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.key < b.key);
}
