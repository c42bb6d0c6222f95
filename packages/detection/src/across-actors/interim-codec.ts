import { decodeGrowing, encodeGrowing, type EncodedGrowing, type Growing } from '../alerts/episode.ts';
import type { Floors } from '../baseline/profile.ts';
import { decodeScope, encodeScope, type EncodedScope, type Scope } from '../baseline/window-counts.ts';
import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';
import { decodeSeen, encodeSeen, type EncodedSeen, type Seen } from '../sketches/seen.ts';

/** Bytes of shared parts that still have a text form only. */

export function writeGrowing(writer: ByteWriter, episode: Growing): void {
  writer.text(JSON.stringify(encodeGrowing(episode)));
}

export function readGrowing(reader: ByteReader): Growing {
  return decodeGrowing(JSON.parse(reader.text()) as EncodedGrowing);
}

export function writeScope(writer: ByteWriter, scope: Scope): void {
  writer.text(JSON.stringify(encodeScope(scope)));
}

export function readScope(reader: ByteReader, floors: Floors): Scope {
  return decodeScope(JSON.parse(reader.text()) as EncodedScope, floors);
}

export function writeSeen(writer: ByteWriter, seen: Seen): void {
  writer.text(JSON.stringify(encodeSeen(seen)));
}

export function readSeen(reader: ByteReader, kept: number): Seen {
  return decodeSeen(JSON.parse(reader.text()) as EncodedSeen, kept);
}
