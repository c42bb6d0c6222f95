import { decodeActorEpisode, encodeActorEpisode, type ActorEpisode } from '../alerts/episode.ts';
import { decodeTally, encodeTally, type Tally } from '../alerts/tally.ts';
import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';
import type { SharingCounts } from '../detectors/credential-sharing/sharing.ts';
import { decodeSharingCounts, encodeSharingCounts } from '../detectors/credential-sharing/sharing-codec.ts';
import type { Turns } from '../detectors/impossible-travel/travel.ts';
import { decodePlaces, encodePlaces } from './places-codec.ts';
import type { PlacesFinding } from './places-finding.ts';
import { newPlaces, type Places } from './places.ts';

export type PlacesAlertType = 'impossible-travel' | 'credential-sharing';

export interface Episode extends ActorEpisode {
  type: PlacesAlertType;
  /** What it was taken for at first. */
  beganAs: PlacesAlertType;
  worst: PlacesFinding;
}

/** Calls by strange networks or clients: those of the episode, else of the last while, in case they lead to one. */
interface Strange {
  sinceMs: number;
  lastMs: number;
  tally: Tally;
}

/** What is known of one actor. One episode at a time: travel that turns out to be sharing stays the same alert. */
export interface WhereaboutsState {
  places: Places;
  turns: Turns;
  counts: SharingCounts | null;
  strange: Strange | null;
  episode: Episode | null;
}

export function newWhereabouts(atMs: number): WhereaboutsState {
  return { places: newPlaces(atMs), turns: null, counts: null, strange: null, episode: null };
}

const types: readonly PlacesAlertType[] = ['impossible-travel', 'credential-sharing'];

export function encodeWhereabouts(state: WhereaboutsState, writer: ByteWriter): void {
  const { turns, counts, strange, episode } = state;
  encodePlaces(state.places, writer);
  writer.flags(turns !== null, counts !== null, strange !== null, episode !== null);
  if (turns) {
    writer.uint(turns.sinceMs);
    writer.uint(turns.count);
  }
  if (counts) encodeSharingCounts(counts, writer);
  if (strange) {
    writer.uint(strange.sinceMs);
    writer.int(strange.lastMs - strange.sinceMs);
    encodeTally(strange.tally, writer);
  }
  if (!episode) return;
  encodeActorEpisode(episode, writer);
  writer.uint(types.indexOf(episode.type));
  writer.uint(types.indexOf(episode.beganAs));
  // Words and evidence have many forms, and few actors have an episode.
  writer.text(JSON.stringify(episode.worst));
}

export function decodeWhereabouts(reader: ByteReader): WhereaboutsState {
  const state: WhereaboutsState = { ...newWhereabouts(0), places: decodePlaces(reader) };
  const [hasTurns, hasCounts, hasStrange, isOpen] = reader.flags(4);
  if (hasTurns) state.turns = { sinceMs: reader.uint(), count: reader.uint() };
  if (hasCounts) state.counts = decodeSharingCounts(reader);
  if (hasStrange) {
    const sinceMs = reader.uint();
    state.strange = { sinceMs, lastMs: sinceMs + reader.int(), tally: decodeTally(reader) };
  }
  if (!isOpen) return state;
  state.episode = {
    ...decodeActorEpisode(reader),
    type: types[reader.uint()] ?? 'impossible-travel',
    beganAs: types[reader.uint()] ?? 'impossible-travel',
    worst: JSON.parse(reader.text()) as PlacesFinding,
  };
  return state;
}
