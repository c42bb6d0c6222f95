import { ByteReader } from './codec/byte-reader.ts';
import { ByteWriter } from './codec/byte-writer.ts';
import type { Growing } from './alerts/episode.ts';
import { decodeTally as readTally, encodeTally as writeTally, type Tally } from './alerts/tally.ts';
import type { Floors } from './baseline/profile.ts';
import { decodeWindowCounts, encodeWindowCounts } from './baseline/window-counts-codec.ts';
import { decodeSeen as readSeen, encodeSeen as writeSeen, type Seen } from './sketches/seen.ts';
import type { WindowCounts } from './baseline/window-counts.ts';

export type EncodedGrowing = [number, number, number, number, number, number, number, number];
export type EncodedScope = string;
export type Scope = WindowCounts;
export { markHourNormal as excuse, newWindowCounts as newScope } from './baseline/window-counts.ts';

const writer = new ByteWriter();

/** Until the detectors across actors are converted. */
export function encodeGrowing(e: Growing): EncodedGrowing {
  return [
    e.startedAt,
    e.raisedAt,
    e.lastSeenAt,
    e.count,
    e.revision,
    e.publishedAt,
    e.publishedCount,
    e.publishedRank,
  ];
}

export function decodeGrowing(numbers: readonly [...EncodedGrowing, ...unknown[]]): Growing {
  const [startedAt, raisedAt, lastSeenAt, count, revision, publishedAt, publishedCount, publishedRank] =
    numbers;
  return { startedAt, raisedAt, lastSeenAt, count, revision, publishedAt, publishedCount, publishedRank };
}

export function encodeScope(scope: WindowCounts): string {
  encodeWindowCounts(scope, writer);
  return writer.take().toString('base64');
}

export function decodeScope(text: string, floors: Floors): WindowCounts {
  return decodeWindowCounts(new ByteReader(Buffer.from(text, 'base64')), floors);
}

export type EncodedSeen = string;
export function encodeSeen(seen: Seen): string {
  writeSeen(seen, writer);
  return writer.take().toString('base64');
}
export function decodeSeen(text: string, kept?: number): Seen {
  return readSeen(new ByteReader(Buffer.from(text, 'base64')), kept);
}

export type EncodedTally = string;
export function encodeTallyText(tally: Tally): string {
  writeTally(tally, writer);
  return writer.take().toString('base64');
}
export function decodeTallyText(text: string): Tally {
  return readTally(new ByteReader(Buffer.from(text, 'base64')));
}
