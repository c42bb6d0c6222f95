import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { SERVICES_KEPT } from '../../baseline/limits.ts';
import type { Floors } from '../../baseline/profile.ts';
import { decodeSixHours, encodeSixHours, newSixHours, type SixHours } from '../../baseline/six-hours.ts';
import {
  copyWindowCounts,
  newWindowCounts,
  type Excess,
  type WindowCounts,
} from '../../baseline/window-counts.ts';
import {
  decodeExcess,
  decodeWindowCounts,
  encodeExcess,
  encodeWindowCounts,
} from '../../baseline/window-counts-codec.ts';
import { decodeActorEpisode, encodeActorEpisode, type ActorEpisode } from '../../alerts/episode.ts';
import { decodeOptionalTally, encodeOptionalTally, type Tally } from '../../alerts/tally.ts';

export interface Episode extends ActorEpisode {
  /** The service whose traffic raised it; null if the actor's whole traffic did. */
  service: string | null;
  /** Calls of that traffic since startedAt, whether they exceeded or not. */
  seen: number;
  /** Late calls of the actor when the latest call exceeded. */
  late: number;
  worst: Excess;
}

/** What is known of one actor's traffic: at most SERVICES_KEPT services, one episode, one tally. */
export interface OwnTrafficState {
  /** Event time of the newest call that was counted; 0 if there was none. */
  newestMs: number;
  /** Calls that came too late to be counted. */
  late: number;
  whole: WindowCounts;
  /** The only service used so far; its counts would be the same as `whole`. Null before the first call. */
  firstService: string | null;
  /** From the second service on: the counts of each; the least recently used goes. Before, the same empty map for all actors. */
  services: Map<string, WindowCounts>;
  /** Of the whole traffic. */
  sixHours: SixHours;
  episode: Episode | null;
  /** About the calls near or over a threshold: those of the episode, else of the newest 600 s window. */
  tally: Tally | null;
}

/** Most actors have one service, and an empty map is a tenth of what is kept of them. */
const NO_SERVICES = new Map<string, WindowCounts>();

/** `floors` are those of the detector's sensitivity. */
export function newOwnTraffic(floors: Floors): OwnTrafficState {
  return {
    newestMs: 0,
    late: 0,
    whole: newWindowCounts(floors),
    firstService: null,
    services: NO_SERVICES,
    sixHours: newSixHours(),
    episode: null,
    tally: null,
  };
}

/** The counts of this service; undefined as long as the actor has used no other. */
export function countsOfService(state: OwnTrafficState, service: string): WindowCounts | undefined {
  if (state.services.size === 0) {
    state.firstService ??= service;
    if (state.firstService === service) return undefined;
    // Until now the first service's traffic was the whole traffic.
    state.services = new Map([[state.firstService, copyWindowCounts(state.whole)]]);
  }
  const { services } = state;
  let counts = services.get(service);
  if (!counts) {
    if (services.size >= SERVICES_KEPT) services.delete(leastRecentlyUsed(services));
    counts = newWindowCounts(state.whole.floors);
    services.set(service, counts);
  }
  return counts;
}

function leastRecentlyUsed(services: Map<string, WindowCounts>): string {
  let oldest = '';
  let oldestWindow = Infinity;
  for (const [service, counts] of services) {
    if (counts.newest < oldestWindow) {
      oldestWindow = counts.newest;
      oldest = service;
    }
  }
  return oldest;
}

export function encodeOwnTraffic(state: OwnTrafficState, writer: ByteWriter): void {
  const { services, episode } = state;
  writer.uint(state.newestMs);
  writer.uint(state.late);
  writer.optionalText(state.firstService ?? undefined);
  encodeWindowCounts(state.whole, writer);
  encodeSixHours(state.sixHours, writer);
  writer.uint(services.size);
  for (const [service, counts] of services) {
    writer.text(service);
    encodeWindowCounts(counts, writer);
  }
  encodeOptionalTally(state.tally, writer);
  writer.boolean(episode !== null);
  if (!episode) return;
  encodeActorEpisode(episode, writer);
  writer.optionalText(episode.service ?? undefined);
  writer.uint(episode.seen);
  writer.uint(episode.late);
  encodeExcess(episode.worst, writer);
}

/** `floors` as for a new state. */
export function decodeOwnTraffic(reader: ByteReader, floors: Floors): OwnTrafficState {
  const newestMs = reader.uint();
  const late = reader.uint();
  const firstService = reader.optionalText() ?? null;
  const whole = decodeWindowCounts(reader, floors);
  const sixHours = decodeSixHours(reader);
  let services = NO_SERVICES;
  const count = reader.count(2);
  if (count > 0) {
    services = new Map();
    for (let left = count; left > 0; left--) services.set(reader.text(), decodeWindowCounts(reader, floors));
  }
  const tally = decodeOptionalTally(reader);
  const episode = reader.boolean() ? decodeEpisode(reader) : null;
  return { newestMs, late, whole, firstService, services, sixHours, episode, tally };
}

function decodeEpisode(reader: ByteReader): Episode {
  return {
    ...decodeActorEpisode(reader),
    service: reader.optionalText() ?? null,
    seen: reader.uint(),
    late: reader.uint(),
    worst: decodeExcess(reader),
  };
}
