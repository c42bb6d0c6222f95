import type { RouteMatch } from './log-line.ts';

/** A service or route entity of a log line. */
export interface Entity {
  id: unknown;
  name: unknown;
  /** Empty for a service. */
  match: RouteMatch;
}

export function emptyEntity(): Entity {
  return {
    id: undefined,
    name: undefined,
    match: { paths: undefined, hosts: undefined, methods: undefined, headers: undefined, snis: undefined },
  };
}

interface KnownEntity {
  /** From brace to brace. */
  bytes: Buffer;
  entity: Entity;
}

const maxSlots = 2_000;
const maxPerSlot = 8;
const maxEntityChars = 8_192;

/**
 * Remembers the service or route entities of earlier lines by their text, as an entity is about a quarter of a line and to the
 * letter the same in many lines. At most 2,000 different keys are kept, with 8 entities of at most 8,192 characters each;
 * beyond, all are forgotten.
 */
export class KnownEntities {
  readonly #entities = new Map<number, KnownEntity[]>();
  /** Where `find` left off: `add` continues there. */
  #key = 0;

  /** The known entity whose text begins at `begin` and ends before `end`; undefined if there is none. */
  find(bytes: Buffer, view: DataView, begin: number, end: number): KnownEntity | undefined {
    this.#key = keyAt(view, begin, end);
    const candidates = this.#entities.get(this.#key);
    if (candidates === undefined) return undefined;
    for (const known of candidates) {
      const { length } = known.bytes;
      if (begin + length <= end && bytes.compare(known.bytes, 0, length, begin, begin + length) === 0)
        return known;
    }
    return undefined;
  }

  /** Remembers the entity that the last `find` did not know, with a copy of its bytes. */
  add(entity: Entity, bytes: Buffer, begin: number, end: number): void {
    if (end - begin > maxEntityChars) return;
    const known = { bytes: Buffer.from(bytes.subarray(begin, end)), entity };
    if (this.#entities.size >= maxSlots) this.#entities.clear();
    const candidates = this.#entities.get(this.#key);
    if (candidates && candidates.length < maxPerSlot) candidates.push(known);
    else this.#entities.set(this.#key, [known]);
  }
}

/** Some bytes from an entity's middle, where its id and name usually are, tell most entities apart. */
function keyAt(view: DataView, begin: number, end: number): number {
  let key = 0;
  const last = Math.min(begin + 220, end) - 4;
  for (let at = begin + 150; at <= last; at += 10) key = (Math.imul(key, 31) + view.getInt32(at, true)) | 0;
  return key;
}
