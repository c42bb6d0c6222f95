/** Entries in both generations together. */
const maxEntries = 50_000;
/** Characters of keys and values in both generations together; two bytes each at most, so 8 MiB. */
const maxChars = 4 * 1024 * 1024;
/** Keys longer than this are rarely seen twice and would push out many short ones. */
const maxKeyChars = 300;

/** A bounded memory of results: at most 50,000 entries and 8 MiB of characters, least recently used out first. */
export interface Cache<Value> {
  get(key: string): Value | undefined;
  /** For a key that is not there. Keys longer than 300 characters are not kept. `valueChars` is what the value counts towards the bound. */
  set(key: string, value: Value, valueChars: number): void;
  /** Entries kept. */
  readonly size: number;
}

interface Entry<Value> {
  value: Value;
  /** Of key and value. */
  chars: number;
}

/**
 * Two generations: new and reused entries go into the young one; when it is half of the bound, it becomes the old one and
 * the old one is forgotten. Nearly as good as a least-recently-used list, without moving anything on a hit.
 */
export function createCache<Value>(): Cache<Value> {
  let young = new Map<string, Entry<Value>>();
  let old = new Map<string, Entry<Value>>();
  let youngChars = 0;

  function add(key: string, entry: Entry<Value>): void {
    if (young.size >= maxEntries / 2 || youngChars + entry.chars > maxChars / 2) {
      old = young;
      young = new Map();
      youngChars = 0;
    }
    youngChars += entry.chars;
    young.set(key, entry);
  }

  return {
    get(key) {
      const found = young.get(key);
      if (found !== undefined) return found.value;
      const older = old.get(key);
      if (older === undefined) return undefined;
      old.delete(key);
      add(key, older);
      return older.value;
    },
    set(key, value, valueChars) {
      if (key.length > maxKeyChars) return;
      // V8 cuts a substring out by pointing into its parent, which a kept key would keep alive as well: a 30-character
      // path could hold a line of a megabyte. Joining and cutting again leaves a parent of the key's own size.
      // A value that is its key, as of all harmless text, likewise.
      const kept = ` ${key}`.slice(1);
      const same = (value as unknown) === key;
      add(kept, { value: same ? (kept as unknown as Value) : value, chars: key.length + valueChars });
    },
    get size() {
      return young.size + old.size;
    },
  };
}
