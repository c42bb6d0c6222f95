import type { ByteReader } from './codec/byte-reader.ts';
import type { ByteWriter } from './codec/byte-writer.ts';
import { noPeers, type PeersState as PeerLevels } from './baseline/profile.ts';
import { decodeOnePlace, encodeOnePlace, newOnePlace, type OnePlace } from './places/one-place.ts';

/** What the actors of a service share. Opaque to the caller of `Detection`; mutated by its `fold`. */
export interface PeersState extends PeerLevels {
  onePlace: OnePlace;
}

export function newPeersState(): PeersState {
  return { ...noPeers(), onePlace: newOnePlace() };
}

export function encodePeers({ hours, mean, deviation, onePlace }: PeersState, writer: ByteWriter): void {
  writer.uint(hours);
  writer.number(mean);
  writer.number(deviation);
  // Without location databases it stays as it began.
  writer.boolean(onePlace.lastActor !== 0);
  if (onePlace.lastActor !== 0) encodeOnePlace(onePlace, writer);
}

export function decodePeers(reader: ByteReader): PeersState {
  return {
    hours: reader.uint(),
    mean: reader.number(),
    deviation: reader.number(),
    onePlace: reader.boolean() ? decodeOnePlace(reader) : newOnePlace(),
  };
}
