import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';

/** Hashes kept per generation of an actor: at most 144 bytes, about 105 on average for actors with many objects. */
const KEPT = 48;
/** 24 bits of hash leave 11 of them at this level: one new object in 43 is then taken for a known one. */
const LEVEL_MOST = 13;

/** A fair sample of a set: the hashes of which the lowest `level` bits are 0. */
interface Generation {
  level: number;
  hashes: number[];
}

/**
 * The objects that an actor asked for in this week and the one before, of any number of them: a sample, chosen by hash, so
 * that the same object is always in it or never. Exact up to `kept` objects a week; of more, one in 2, 4, 8, …, 8,192 is
 * looked at and stands for so many.
 */
export interface Seen {
  readonly kept: number;
  /** Since the epoch. */
  week: number;
  newer: Generation;
  older: Generation;
}

export const KNOWN = -1;
/** Not one of those that are looked at: it may be known or not. */
export const UNKNOWN = 0;

const empty = (): Generation => ({ level: 0, hashes: [] });

export function newSeen(kept = KEPT): Seen {
  return { kept, week: 0, newer: empty(), older: empty() };
}

/** Forgets what was not asked for since the beginning of the week before `week`. */
export function rotate(seen: Seen, week: number): void {
  if (week <= seen.week) return;
  seen.older = week === seen.week + 1 ? seen.newer : empty();
  seen.newer = empty();
  seen.week = week;
}

/** For how many objects stands one that is looked at? */
export function weightOf(seen: Seen): number {
  return 2 ** Math.max(seen.newer.level, seen.older.level);
}

/** KNOWN, UNKNOWN, or, for an object that is looked at and new, for how many it stands. It is known from now on. */
export function look(seen: Seen, hash: number): number {
  const { newer, older, kept } = seen;
  const weight = weightOf(seen);
  const looked = (hash & (weight - 1)) === 0;
  if ((hash & ((1 << newer.level) - 1)) === 0) {
    if (newer.hashes.includes(hash)) return KNOWN;
    const at = older.hashes.indexOf(hash);
    // What keeps being asked for needs its place once only.
    if (at >= 0) older.hashes.splice(at, 1);
    newer.hashes.push(hash);
    while (newer.hashes.length > kept) {
      if (newer.level >= LEVEL_MOST) {
        seen.older = newer;
        seen.newer = { level: LEVEL_MOST, hashes: [] };
        break;
      }
      newer.level++;
      const mask = (1 << newer.level) - 1;
      newer.hashes = newer.hashes.filter((one) => (one & mask) === 0);
    }
    if (at >= 0) return KNOWN;
  }
  return looked ? weight : UNKNOWN;
}

/** Was it looked at before? */
export function isKnown({ newer, older }: Seen, hash: number): boolean {
  return newer.hashes.includes(hash) || older.hashes.includes(hash);
}

/** 24 bits. `seed` is another text's hash, to hash both as one, or any number. */
export function objectHash(text: string, seed: number, from = 0, to = text.length): number {
  let hash = seed ^ 0x5bd1_e995;
  for (let at = from; at < to; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x0100_0193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return (hash ^ (hash >>> 16)) >>> 8;
}

export function encodeSeen({ week, newer, older }: Seen, writer: ByteWriter): void {
  writer.uint(week);
  writer.uint(newer.level);
  writer.uint(older.level);
  writer.hashes24(newer.hashes);
  writer.hashes24(older.hashes);
}

/** `kept` as when it was made. */
export function decodeSeen(reader: ByteReader, kept = KEPT): Seen {
  const week = reader.uint();
  const newerLevel = reader.uint();
  const olderLevel = reader.uint();
  return {
    kept,
    week,
    newer: { level: newerLevel, hashes: reader.hashes24() },
    older: { level: olderLevel, hashes: reader.hashes24() },
  };
}
