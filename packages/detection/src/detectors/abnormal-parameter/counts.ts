import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';

/** Extremes kept on each side, so that a few attacks among what was learnt do not become the bound. */
const EXTREMES_KEPT = 4;
/** One learnt value in so many is taken for a stray when the bound is looked up. */
const STRAY_SHARE = 1 / 250;
/** From so many values on, the outermost two may be strays if they are ten times as large as the next. */
const STRAY_COUNT = 20;
const STRAYS_MOST = 2;
/** From so many on, what came once is as good as never seen: it may have been an attack. */
export const SINGLE_IS_STRAY = 300;

/** Counts of distinct things in bounded memory, and from them the probability that the next one is new (Good-Turing). */
export interface Variety<Thing> {
  counts: Map<Thing, number>;
  /** Things seen once that made room for others. */
  evicted: number;
}

/** Mean and spread of a magnitude, and its extremes. */
export interface Magnitude {
  count: number;
  mean: number;
  squares: number;
  /** Smallest and largest, at most EXTREMES_KEPT of each, from the outside in. */
  lows: number[];
  highs: number[];
  /** How often a value was larger than all before. */
  rises: number;
}

export function newVariety<Thing>(): Variety<Thing> {
  return { counts: new Map(), evicted: 0 };
}

export function newMagnitude(): Magnitude {
  return { count: 0, mean: 0, squares: 0, lows: [], highs: [], rises: 0 };
}

export function addVariety<Thing>(variety: Variety<Thing>, what: Thing, kept: number): void {
  const count = variety.counts.get(what);
  if (count !== undefined || variety.counts.size < kept) {
    variety.counts.set(what, (count ?? 0) + 1);
    return;
  }
  for (const [old, times] of variety.counts) {
    if (times > 1) continue;
    variety.counts.delete(old);
    variety.evicted++;
    variety.counts.set(what, 1);
    return;
  }
  variety.evicted++;
}

export function isUnknown<Thing>(variety: Variety<Thing>, what: Thing, total: number): boolean {
  const count = variety.counts.get(what) ?? 0;
  return count === 0 || (count === 1 && total >= SINGLE_IS_STRAY);
}

/** Things seen exactly once: what Good and Turing estimate the share of unseen ones by. */
export function singles(variety: Variety<unknown>): number {
  let once = variety.evicted;
  for (const count of variety.counts.values()) if (count === 1) once++;
  return once;
}

export function addMagnitude(magnitude: Magnitude, value: number, log: number): void {
  magnitude.count++;
  const delta = log - magnitude.mean;
  magnitude.mean += delta / magnitude.count;
  magnitude.squares += delta * (log - magnitude.mean);
  if (magnitude.highs.length > 0 && value > magnitude.highs[0]!) magnitude.rises++;
  insert(magnitude.highs, value, (a, b) => a > b);
  insert(magnitude.lows, value, (a, b) => a < b);
}

export function insert(extremes: number[], value: number, beyond: (a: number, b: number) => boolean): void {
  let at = extremes.length;
  while (at > 0 && beyond(value, extremes[at - 1]!)) at--;
  if (at >= EXTREMES_KEPT) return;
  extremes.splice(at, 0, value);
  if (extremes.length > EXTREMES_KEPT) extremes.pop();
}

/** The bound on one side, strays left out: one in 250, and what lies a decade beyond the rest. */
export function boundOf(extremes: readonly number[], count: number): number {
  let at = Math.min(extremes.length - 1, Math.floor(count * STRAY_SHARE));
  for (let gap = at; count >= STRAY_COUNT && gap < Math.min(STRAYS_MOST, extremes.length - 1); gap++) {
    const times = Math.abs(extremes[gap]!) / (Math.abs(extremes[gap + 1]!) + SMALL);
    if (times > 10) at = gap + 1;
  }
  return extremes[at]!;
}

export function deviationOf(magnitude: Magnitude): number {
  return magnitude.count < 2 ? 0 : Math.sqrt(magnitude.squares / (magnitude.count - 1));
}

/** How far the bound of few values is to be trusted: half of the surprise at 7 values, nearly all of it at 100. */
export function confidence(count: number): number {
  return Math.sqrt(count / (count + 20));
}

/** Below this, a number of integers or characters counts as about the same size: 2 pages are not twice as much as 1. */
export const SMALL = 5;

export function logOf(value: number): number {
  return Math.log10(Math.abs(value) + 1e-6);
}

export function halveVariety<Thing>(variety: Variety<Thing>): void {
  variety.evicted >>= 1;
  for (const [what, count] of variety.counts) {
    // What was seen once lately stays a single one: forgetting it would make it new.
    if (count > 1) variety.counts.set(what, count >> 1);
  }
}

export function encodeVariety<Thing>(
  { evicted, counts }: Variety<Thing>,
  writer: ByteWriter,
  encodeThing: (thing: Thing) => void,
): void {
  writer.uint(evicted);
  writer.uint(counts.size);
  for (const [thing, count] of counts) {
    encodeThing(thing);
    writer.uint(count);
  }
}

export function decodeVariety<Thing>(reader: ByteReader, decodeThing: () => Thing): Variety<Thing> {
  const variety: Variety<Thing> = { counts: new Map(), evicted: reader.uint() };
  for (let left = reader.count(2); left > 0; left--) {
    const thing = decodeThing();
    variety.counts.set(thing, reader.uint());
  }
  return variety;
}

export function encodeMagnitude(magnitude: Magnitude, writer: ByteWriter): void {
  writer.uint(magnitude.count);
  writer.number(magnitude.mean);
  writer.number(magnitude.squares);
  writer.numbers(magnitude.lows);
  writer.numbers(magnitude.highs);
  writer.uint(magnitude.rises);
}

export function decodeMagnitude(reader: ByteReader): Magnitude {
  return {
    count: reader.uint(),
    mean: reader.number(),
    squares: reader.number(),
    lows: reader.numbers(),
    highs: reader.numbers(),
    rises: reader.uint(),
  };
}
