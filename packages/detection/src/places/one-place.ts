import type { ApiCall } from '@tripline/model';
import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';
import {
  ONE_PLACE_ACTORS,
  ONE_PLACE_ELSEWHERE,
  ONE_PLACE_ENTERS,
  ONE_PLACE_LEAVES,
  ONE_PLACE_MOST,
} from './limits.ts';
import { isLocated } from './places.ts';

/**
 * Whether nearly all clients of a service are seen at one place. Then Kong shows a proxy's address for theirs, or they do sit at
 * one place; either way, where a call comes from tells nobody apart, and what shows another address is a way around the proxy.
 */
export interface OnePlace {
  /** ASN (0 if unknown), country and coordinates as the database gives them. */
  asn: number;
  country: string;
  latitude: number;
  longitude: number;
  /** Rises with each call at the place and falls by far more with each one elsewhere: high only if nearly all are there. */
  level: number;
  /** Which of 32 lots the actors there have drawn. */
  actors: number;
  /** Hash of the last actor: who calls many times in a row counts once. */
  lastActor: number;
  isResting: boolean;
}

export const newOnePlace = (): OnePlace => ({
  asn: 0,
  country: '',
  latitude: 0,
  longitude: 0,
  level: 0,
  actors: 0,
  lastActor: 0,
  isResting: false,
});

/** Takes note of a call of the service; tells whether the detectors of places have to rest. */
export function restsAtOnePlace(state: OnePlace, call: ApiCall): boolean {
  if (!isLocated(call)) return state.isResting;
  const actor = hashOf(call.actorId);
  if (actor === state.lastActor) return state.isResting;
  state.lastActor = actor;
  const { asn = 0, country = '', latitude = 0, longitude = 0 } = call;
  if (
    state.asn === asn &&
    state.country === country &&
    state.latitude === latitude &&
    state.longitude === longitude
  ) {
    if (state.level < ONE_PLACE_MOST) state.level++;
    state.actors |= 1 << (actor & 31);
  } else {
    state.level -= ONE_PLACE_ELSEWHERE;
    if (state.level < 0) {
      Object.assign(state, { asn, country, latitude, longitude, level: 1, actors: 1 << (actor & 31) });
    }
  }
  state.isResting =
    state.level >= (state.isResting ? ONE_PLACE_LEAVES : ONE_PLACE_ENTERS) &&
    bitsOf(state.actors) >= ONE_PLACE_ACTORS;
  return state.isResting;
}

/** Of the end, where the ids of actors differ; never 0. */
function hashOf(actorId: string): number {
  let hash = 0x811c9dc5;
  for (let at = Math.max(0, actorId.length - 12); at < actorId.length; at++)
    hash = Math.imul(hash ^ actorId.charCodeAt(at), 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0 || 1;
}

function bitsOf(bits: number): number {
  let count = 0;
  for (let rest = bits; rest !== 0; rest &= rest - 1) count++;
  return count;
}

export function encodeOnePlace(state: OnePlace, writer: ByteWriter): void {
  writer.number(state.asn);
  writer.text(state.country);
  writer.number(state.latitude);
  writer.number(state.longitude);
  writer.uint(state.level);
  writer.hash32(state.actors >>> 0);
  writer.hash32(state.lastActor);
  writer.boolean(state.isResting);
}

export function decodeOnePlace(reader: ByteReader): OnePlace {
  return {
    asn: reader.number(),
    country: reader.text(),
    latitude: reader.number(),
    longitude: reader.number(),
    level: reader.uint(),
    actors: reader.hash32() | 0,
    lastActor: reader.hash32(),
    isResting: reader.boolean(),
  };
}
