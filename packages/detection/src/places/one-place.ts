import type { ApiCall } from '@tripline/model';
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

export type EncodedOnePlace = [
  asn: number,
  country: string,
  latitude: number,
  longitude: number,
  level: number,
  actors: number,
  lastActor: number,
  isResting: 0 | 1,
];

export function encodeOnePlace(state: OnePlace): EncodedOnePlace {
  const { asn, country, latitude, longitude, level, actors, lastActor, isResting } = state;
  return [asn, country, latitude, longitude, level, actors, lastActor, isResting ? 1 : 0];
}

export function decodeOnePlace(encoded: EncodedOnePlace): OnePlace {
  const [asn, country, latitude, longitude, level, actors, lastActor, resting] = encoded;
  return { asn, country, latitude, longitude, level, actors, lastActor, isResting: resting === 1 };
}
