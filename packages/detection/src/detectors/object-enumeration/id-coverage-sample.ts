import { sourceOf, type ApiCall } from '@tripline/model';
import { readOrigin, writeOrigin, type Origin } from '../../across-actors/origin.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { readSample, writeSample } from '../../sketches/sample-codec.ts';
import { Sample } from '../../sketches/sample.ts';
import { shorten } from '../../sketches/shorten.ts';
import type { Asked } from './asked.ts';

/** Consecutive ids that make a range. Ranges are sampled and judged as a whole. */
export const RANGE_IDS = 64;
/** Ids kept per endpoint and minute. Where there are more, whole ranges chosen by hash are kept. */
const IDS_KEPT = 64;
/** One id in so many is kept with the id of its call, as evidence. */
const SAMPLED_EVERY = 4;
const ACTOR_LENGTH_MOST = 64;

/** Who asked for an id. If several did within the minute, the first in order. */
export interface Asker extends Origin {
  actor: string;
  ip: string;
  /** Empty for most ids, see SAMPLED_EVERY. */
  callId: string;
}

/** Numeric ids that an endpoint was asked for within a minute, whether they exist or not. By the id in decimal digits. */
export type AskedIds = Sample<Asker>;

export const newAskedIds = (): AskedIds => new Sample(IDS_KEPT);

/** Adds the numeric ids that a call asked for, unless it failed for another reason than that there is no such object. */
export function addAskedIds(
  ids: AskedIds | undefined,
  call: ApiCall,
  { numbers }: Asked,
): AskedIds | undefined {
  const { status, source } = call;
  const isMissed = (status === 404 || status === 403 || status === 410) && source === 'upstream';
  const isFound = (status >= 200 && status < 300) || status === 304;
  // A created object has the next id, which is no walk.
  if (status === 201 || (!isMissed && !isFound)) return ids;
  for (const number of numbers) {
    if (Number.isNaN(number)) continue;
    ids ??= newAskedIds();
    const hash = idHashOf(number);
    if (!ids.takes(hash)) continue;
    const { country = null, asn = null } = call;
    const ip = sourceOf(call) ?? '';
    const actor = shorten(call.actorName, ACTOR_LENGTH_MOST);
    const callId = number % SAMPLED_EVERY === 0 ? call.id : '';
    keepFirst(ids, String(number), hash, { actor, ip, country, asn, callId });
  }
  return ids;
}

/** Adds `other` to `ids`; `other` stays as it is. */
export function mergeAskedIds(ids: AskedIds, other: AskedIds): void {
  for (const [number, { hash, value }] of other.entries()) keepFirst(ids, number, hash, value);
}

/** Ids of a range have neighbouring hashes, so that a sample has whole ranges. 32 bits are those of the range, mixed as in `objectHash`. */
function idHashOf(number: number): number {
  const range = Math.floor(number / RANGE_IDS);
  let hash = (range ^ Math.floor(range / 2 ** 32)) | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) * 2 ** 21 + (number % RANGE_IDS);
}

function keepFirst(ids: AskedIds, number: string, hash: number, asker: Asker): void {
  const kept = ids.pick(number, hash, () => ({ ...asker }));
  if (kept && isBefore(asker, kept)) Object.assign(kept, asker);
}

function isBefore(a: Asker, b: Asker): boolean {
  if (a.actor !== b.actor) return a.actor < b.actor;
  return a.ip === b.ip ? a.callId < b.callId : a.ip < b.ip;
}

export function writeAskedIds(writer: ByteWriter, ids: AskedIds): void {
  writeSample(writer, ids, (number, asker) => {
    writer.uint(Number(number));
    // Empty if it is the address, as for most.
    writer.text(asker.actor === asker.ip ? '' : asker.actor);
    writer.text(asker.ip);
    writeOrigin(writer, asker);
    writer.text(asker.callId);
  });
}

export function readAskedIds(reader: ByteReader): AskedIds {
  const ids = newAskedIds();
  readSample(reader, () => {
    const number = reader.uint();
    const actor = reader.text();
    const ip = reader.text();
    const origin = readOrigin(reader);
    const callId = reader.text();
    keepFirst(ids, String(number), idHashOf(number), {
      actor: actor === '' ? ip : actor,
      ip,
      ...origin,
      callId,
    });
  });
  return ids;
}
