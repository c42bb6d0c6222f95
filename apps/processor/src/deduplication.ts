import { idHash, RecentIds } from '@tripline/detection';
import type { StateChanges } from '@tripline/state';

/** A chunk of ids in the store: its number, and how many ids it has. */
export type IdChunk = [number: number, ids: number];

/** At least so many ids are known again after a restart or a hand-over: a line that is sent twice comes again soon. */
const savedIds = 20_000;
/** A chunk takes ids until it has so many. With few calls between checkpoints there would be thousands of chunks otherwise. */
const idsPerChunk = 1_000;
const bytesPerHash = 8;

/**
 * Recognises calls that were seen before by the hashes of their ids. The newest of them are saved in chunks (`ids:<number>`), so
 * that a checkpoint writes the ids since the last one and few others.
 */
export class Deduplication {
  readonly #recent: RecentIds;
  /** Hashes that no checkpoint has yet. */
  #unsaved: number[] = [];
  /** In the store, oldest first. */
  #chunks: readonly IdChunk[] = [];
  /** Hashes of the newest chunk. */
  #newest: readonly number[] = [];
  /** What `save` gave, in force once the checkpoint was made. */
  #next: { chunks: readonly IdChunk[]; newest: readonly number[] } | undefined;

  /** `rememberedIds`: so many different ids are remembered at least, 32 to 64 bytes each. */
  constructor(rememberedIds: number) {
    this.#recent = new RecentIds(rememberedIds);
  }

  /** Whether an id was seen before, as far as remembered; it is from now on. */
  isRepeated(id: string): boolean {
    const hash = idHash(id);
    if (this.#recent.seen(hash)) return true;
    this.#unsaved.push(hash);
    return false;
  }

  /** Adds to a checkpoint the chunks that are new or dropped; gives all that the store then has, for `restore`. */
  save(changes: StateChanges): readonly IdChunk[] {
    const chunks = [...this.#chunks];
    let newest = this.#newest;
    if (this.#unsaved.length > 0) {
      const isFull = newest.length === 0 || newest.length >= idsPerChunk;
      const number = (chunks.at(-1)?.[0] ?? 0) + (isFull ? 1 : 0);
      newest = isFull ? this.#unsaved : [...newest, ...this.#unsaved];
      if (!isFull) chunks.pop();
      chunks.push([number, newest.length]);
      changes.set(chunkKey(number), encodeHashes(newest));
    }
    let kept = chunks.reduce((sum, [, ids]) => sum + ids, 0);
    while (chunks.length > 1 && kept - chunks[0]![1] >= savedIds) {
      const [number, ids] = chunks.shift()!;
      kept -= ids;
      changes.set(chunkKey(number), null);
    }
    this.#next = { chunks, newest };
    return chunks;
  }

  /** The checkpoint was made. */
  saved(): void {
    if (!this.#next) return;
    this.#chunks = this.#next.chunks;
    this.#newest = this.#next.newest;
    this.#next = undefined;
    this.#unsaved = [];
  }

  /** Takes up the chunks that `save` gave; `values` is what the store has under `chunkKeys`. */
  restore(chunks: readonly IdChunk[], values: ReadonlyMap<string, Buffer>): void {
    this.#chunks = chunks;
    for (const [number] of chunks) {
      this.#newest = decodeHashes(values.get(chunkKey(number)));
      for (const hash of this.#newest) this.#recent.seen(hash);
    }
  }
}

export function chunkKeys(chunks: readonly IdChunk[]): string[] {
  return chunks.map(([number]) => chunkKey(number));
}

function chunkKey(number: number): string {
  return `ids:${number}`;
}

function encodeHashes(hashes: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(hashes.length * bytesPerHash);
  for (const [at, hash] of hashes.entries()) bytes.writeDoubleLE(hash, at * bytesPerHash);
  return bytes;
}

/** What is no hash (a damaged store) is left out: its calls may be counted twice. */
function decodeHashes(bytes: Buffer | undefined): number[] {
  const hashes: number[] = [];
  for (let at = 0; at + bytesPerHash <= (bytes?.length ?? 0); at += bytesPerHash) {
    const hash = bytes!.readDoubleLE(at);
    if (Number.isSafeInteger(hash) && hash > 0) hashes.push(hash);
  }
  return hashes;
}
