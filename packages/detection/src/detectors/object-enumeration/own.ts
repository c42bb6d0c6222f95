import type { ApiCall } from '@tripline/model';
import { MINUTE_MS } from '../../baseline/limits.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';

/** Objects that were not there, remembered until the actor writes them: so many, and until so long a pause. */
const MISSING_MOST = 128;
const PAUSE_MS = 10 * MINUTE_MS;
/** Collections in which the actor created objects that it has not read yet, and such objects, all together. */
const COLLECTIONS_MOST = 8;
const CREATED_MOST = 200;
/**
 * Objects that a created one stands for may be others' all the same: lines do not tell the id of what was created. So many an
 * hour, which nobody is allowed less of without a past.
 */
const FREED_PER_HOUR = 600;
/** Who wrote so many objects lately that it had missed first is importing: … */
const IMPORTED_LEAST = 10;
const IMPORTED_MOST = 1_000;
/** … so many misses are not counted as long as it may still write them. */
const HELD_MOST = 200;

/** What an actor creates, or asks for before it creates it. Bounded: at most 1 KB. */
export interface Own {
  /** Objects of the hour that were not there, or that the actor deleted, newest last: twice the hash, 1 more if deleted. */
  missing: number[];
  /** Of each of them, the hash of its collection. */
  collections: number[];
  /** Event time of the newest of them. */
  newestMs: number;
  /** Created objects that were not read yet, by hash of the collection. */
  created: Map<number, number>;
  /** Objects of the hour that were taken for created ones. */
  freed: number;
  /** Objects that were missed first and written then; half of them each day. */
  imported: number;
}

export const newOwn = (): Own => ({
  missing: [],
  collections: [],
  newestMs: 0,
  created: new Map(),
  freed: 0,
  imported: 0,
});

/** Was an object written, which refused and failed calls do not do? */
export function isWritten({ method, status }: ApiCall): boolean {
  if (method !== 'PUT' && method !== 'PATCH' && method !== 'POST') return false;
  return status === 200 || status === 201 || status === 202 || status === 204;
}

/** Remembers an object that was not there, or was `deleted`. */
export function noteMissing(
  own: Own,
  hash: number,
  collection: number,
  atMs: number,
  weight: number,
  deleted: boolean,
): void {
  if (atMs > own.newestMs + PAUSE_MS) forgetMissing(own);
  own.newestMs = Math.max(own.newestMs, atMs);
  own.missing.push(hash * 2 + (deleted ? 1 : 0));
  own.collections.push(collection);
  // Of many objects one in `weight` is counted, and stands for `weight` of them.
  const most = Math.max(2, Math.min(MISSING_MOST, Math.floor((2 * HELD_MOST) / weight)));
  while (own.missing.length > most) {
    own.missing.shift();
    own.collections.shift();
  }
}

export function forgetMissing(own: Own): void {
  own.missing = [];
  own.collections = [];
}

/** Takes an object that was written out of the missing ones: how it had been counted; undefined if it was not there. */
export function takeWritten(
  own: Own,
  hash: number,
  atMs: number,
  weight: number,
): 'missed' | 'deleted' | undefined {
  if (atMs > own.newestMs + PAUSE_MS) return undefined;
  const at = own.missing.findIndex((one) => one >>> 1 === hash);
  return at < 0 ? undefined : take(own, at, weight);
}

/**
 * An object was created in the collection; its id is not in the line. Of those that were missed there as many as were created are
 * returned: how many missed objects were taken back.
 */
export function noteCreated(own: Own, collection: number, atMs: number, weight: number): number {
  const { created, missing, collections } = own;
  let total = 0;
  for (const count of created.values()) total += count;
  const known = created.get(collection);
  if (known === undefined && created.size >= COLLECTIONS_MOST) created.delete(created.keys().next().value!);
  if (total < CREATED_MOST || known === undefined) created.set(collection, (known ?? 0) + 1);
  if (atMs > own.newestMs + PAUSE_MS || created.get(collection)! < weight) return 0;
  const at = missing.findIndex((one, index) => one % 2 === 0 && collections[index] === collection);
  if (at < 0) return 0;
  take(own, at, weight);
  spend(own, collection, weight);
  return weight;
}

/** For how many of `weight` objects of the collection, read for the first time, does a created one stand? */
export function takeCreated(own: Own, collection: number, weight: number): number {
  const count = Math.min(own.created.get(collection) ?? 0, weight, FREED_PER_HOUR - own.freed);
  if (count <= 0) return 0;
  own.freed += count;
  spend(own, collection, count);
  return count;
}

/** How many of the missed objects need not count yet, as the actor is about to write them? */
export function heldBy({ missing, imported }: Own, weight: number): number {
  if (imported < IMPORTED_LEAST) return 0;
  return Math.min(HELD_MOST, missing.filter((one) => one % 2 === 0).length * weight);
}

export function endHour(own: Own): void {
  forgetMissing(own);
  own.freed = 0;
}

export function endDays(own: Own, days: number): void {
  own.imported = Math.floor(own.imported / 2 ** days);
}

function take(own: Own, at: number, weight: number): 'missed' | 'deleted' {
  const [one] = own.missing.splice(at, 1);
  own.collections.splice(at, 1);
  own.imported = Math.min(IMPORTED_MOST, own.imported + weight);
  return one! % 2 === 1 ? 'deleted' : 'missed';
}

function spend({ created }: Own, collection: number, count: number): void {
  const left = created.get(collection)! - count;
  if (left > 0) created.set(collection, left);
  else created.delete(collection);
}

export function encodeOwn(own: Own, writer: ByteWriter): void {
  const { missing, collections, created, freed, imported } = own;
  const isEmpty = missing.length + created.size + freed + imported === 0;
  writer.boolean(!isEmpty);
  if (isEmpty) return;
  writer.uint(own.newestMs);
  writer.uint(freed);
  writer.uint(imported);
  writer.uint(missing.length);
  for (const [at, one] of missing.entries()) {
    writer.uint(one);
    writer.hash24(collections[at]!);
  }
  writer.uint(created.size);
  for (const [collection, count] of created) {
    writer.hash24(collection);
    writer.uint(count);
  }
}

export function decodeOwn(reader: ByteReader): Own {
  const own = newOwn();
  if (!reader.boolean()) return own;
  own.newestMs = reader.uint();
  own.freed = reader.uint();
  own.imported = reader.uint();
  for (let left = reader.count(4); left > 0; left--) {
    own.missing.push(reader.uint());
    own.collections.push(reader.hash24());
  }
  for (let left = reader.count(4); left > 0; left--) own.created.set(reader.hash24(), reader.uint());
  return own;
}
