import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { objectHash } from '../../sketches/seen.ts';
import { RANGE_IDS } from './id-coverage-sample.ts';

/** Ranges of one endpoint that are being filled. */
const RANGES_KEPT = 64;
const ACTORS_PER_RANGE = 8;
/** Stands for all actors of a range beyond ACTORS_PER_RANGE. */
const OTHER_ACTORS = 0;

/** The ids of one range that were asked for, and by whom first. */
export interface Range {
  asked: IdSet;
  /** Those that were asked for in more than one minute. */
  again: IdSet;
  /** Number of ids that were asked for in one minute only. */
  once: number;
  /** It was gone through and is counted as such. */
  isCounted: boolean;
  /** Number of ids by the hash of the actor, at most ACTORS_PER_RANGE; those of other actors under OTHER_ACTORS. */
  actors: Map<number, number>;
}

/** One bit per id of a range, in words of 32 bits. */
type IdSet = [number, number];

/** Ranges by their number, in the order in which they last got a new id. At most RANGES_KEPT. */
export type Ranges = Map<number, Range>;

export function rangeOf(number: number): number {
  return Math.floor(number / RANGE_IDS);
}

/**
 * Notes that an id was asked for in this minute. Returns its range if the id is new in it, else undefined. Makes room for a range that
 * is new.
 */
export function addId(ranges: Ranges, number: number, actor: string): Range | undefined {
  const at = rangeOf(number);
  let range = ranges.get(at);
  if (!range) {
    if (ranges.size >= RANGES_KEPT) forgetPoorest(ranges);
    range = newRange();
  }
  const id = number % RANGE_IDS;
  if (has(range.asked, id)) {
    if (!has(range.again, id)) range.once--;
    add(range.again, id);
    return undefined;
  }
  add(range.asked, id);
  range.once++;
  ranges.delete(at);
  ranges.set(at, range);
  const hash = objectHash(actor, 0);
  const { actors } = range;
  const key = actors.has(hash) || actors.size < ACTORS_PER_RANGE ? hash : OTHER_ACTORS;
  actors.set(key, (actors.get(key) ?? 0) + 1);
  return range;
}

/** The most ids of a range that one actor asked for. */
export function mostOfOneActor({ actors }: Range): number {
  let most = 0;
  for (const [actor, ids] of actors) if (actor !== OTHER_ACTORS) most = Math.max(most, ids);
  return most;
}

const newRange = (): Range => ({
  asked: [0, 0],
  again: [0, 0],
  once: 0,
  isCounted: false,
  actors: new Map(),
});

function has(ids: IdSet, id: number): boolean {
  return ((ids[id >> 5]! >>> (id & 31)) & 1) === 1;
}

function add(ids: IdSet, id: number): void {
  ids[id >> 5] = (ids[id >> 5]! | (1 << (id & 31))) >>> 0;
}

/**
 * Of the half that got no new id for longest, forgets the range with the fewest ids that were asked for once: neither popular objects
 * nor walks that are over keep other ranges out.
 */
function forgetPoorest(ranges: Ranges): void {
  let poorest: number | undefined;
  let least = Infinity;
  let left = RANGES_KEPT / 2;
  for (const [at, { once, isCounted }] of ranges) {
    if (left-- === 0) break;
    const kept = isCounted ? 0 : once;
    if (kept >= least) continue;
    least = kept;
    poorest = at;
  }
  if (poorest !== undefined) ranges.delete(poorest);
}

export function writeRanges(writer: ByteWriter, ranges: Ranges): void {
  writer.uint(ranges.size);
  for (const [at, { asked, again, isCounted, actors }] of ranges) {
    writer.uint(at);
    const isAnyAgain = again.some((word) => word !== 0);
    writer.flags(isCounted, isAnyAgain);
    for (const word of asked) writer.hash32(word);
    if (isAnyAgain) for (const word of again) writer.hash32(word);
    writer.uint(actors.size);
    for (const [actor, ids] of actors) {
      writer.uint(actor);
      writer.uint(ids);
    }
  }
}

export function readRanges(reader: ByteReader): Ranges {
  const ranges: Ranges = new Map();
  for (let left = reader.count(11); left > 0; left--) {
    const at = reader.uint();
    const [isCounted, isAnyAgain] = reader.flags(2);
    const range = { ...newRange(), isCounted: isCounted === true };
    range.asked = [reader.hash32(), reader.hash32()];
    if (isAnyAgain === true) range.again = [reader.hash32(), reader.hash32()];
    for (let id = 0; id < RANGE_IDS; id++) if (has(range.asked, id) && !has(range.again, id)) range.once++;
    for (let actors = reader.count(2); actors > 0; actors--) range.actors.set(reader.uint(), reader.uint());
    ranges.set(at, range);
  }
  return ranges;
}
