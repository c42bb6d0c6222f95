/** An entry of a `RecencyList`: its neighbours, both itself while it is in no list. */
export abstract class Recent {
  older: Recent = this;
  newer: Recent = this;
}

/**
 * The order in which entries were last used. Moving an entry to the end costs a few assignments, where deleting it from a `Map` and
 * setting it again would hash its key three times.
 */
export class RecencyList<Entry extends Recent> {
  readonly #ends = new (class extends Recent {})();

  /** Makes the entry the newest one. */
  use(entry: Entry): void {
    this.remove(entry);
    const newest = this.#ends.older;
    entry.older = newest;
    entry.newer = this.#ends;
    newest.newer = this.#ends.older = entry;
  }

  remove(entry: Entry): void {
    entry.older.newer = entry.newer;
    entry.newer.older = entry.older;
    entry.older = entry.newer = entry;
  }

  /** The entry that was used longest ago; undefined if there is none. */
  get oldest(): Entry | undefined {
    return this.#ends.newer === this.#ends ? undefined : (this.#ends.newer as Entry);
  }

  /** All entries, oldest first. */
  entries(): Entry[] {
    const entries: Entry[] = [];
    for (let entry = this.#ends.newer; entry !== this.#ends; entry = entry.newer)
      entries.push(entry as Entry);
    return entries;
  }
}
