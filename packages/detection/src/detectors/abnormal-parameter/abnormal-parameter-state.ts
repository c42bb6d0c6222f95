import type { ApiCall } from '@tripline/model';
import { decodeActorEpisode, encodeActorEpisode, type ActorEpisode } from '../../alerts/episode.ts';
import { decodeTally, encodeTally, type Tally } from '../../alerts/tally.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import {
  decodeEndpointProfile,
  encodeEndpointProfile,
  newEndpointProfile,
  type EndpointProfile,
} from './parameters.ts';

/** Calls of one actor with abnormal parameters, on whatever endpoints: one alert that grows in place. Times are ms of event time. */
export interface Episode extends ActorEpisode {
  /** Of the first call, see `endpointOf`. */
  endpoint: string;
  /** When the last call was seen: later than its own time if it came very late. */
  quietFromMs: number;
  score: number;
  /** The score that was accepted when it began, of 100. */
  high: number;
  reasons: string[];
  weaknesses: string[];
  /** Of the endpoint of the first call: how many calls were learnt since when, and was that enough for what is merely unusual? */
  learntCalls: number;
  learntSince: number;
  mature: boolean;
  tally: Tally;
}

/** What is under way, for all endpoints of a partition. */
export interface ParameterEpisodes {
  newestMs: number;
  /** By actor, or endpoint of many: at most 256, of which the oldest ends early for the next. */
  open: Map<string, Episode>;
}

/** What is known of the parameters of one endpoint, and what waits there. Bounded: about 100 KB at the very most. */
export interface AbnormalParameterState {
  newestMs: number;
  /** Event time of the first call that was learnt; 0 before it. */
  sinceMs: number;
  /** Who was learnt from: hashes of actors, until they are `MATURE_ACTORS`. */
  actors: number[];
  /** Usual calls since the last one that was learnt. */
  unlearnt: number;
  profile: EndpointProfile;
  /** Calls with something new, until others bring the same or their time is over; oldest first. */
  held: { dueMs: number; news: string[]; call: ApiCall }[];
  /** What is new: when it first came, and who brought it since when (hashes of actors). */
  news: Map<string, { firstMs: number; sinceMs: number; actors: number[] }>;
}

export function newAbnormalParameterState(): AbnormalParameterState {
  return {
    newestMs: 0,
    sinceMs: 0,
    actors: [],
    unlearnt: 0,
    profile: newEndpointProfile(),
    held: [],
    news: new Map(),
  };
}

/** False if there is nothing to keep. */
export function encodeAbnormalParameter(state: AbnormalParameterState, writer: ByteWriter): boolean {
  if (state.profile.calls === 0) return false;
  writer.uint(state.newestMs);
  writer.uint(state.sinceMs);
  writer.hashes32(state.actors);
  writer.uint(state.unlearnt);
  encodeEndpointProfile(state.profile, writer);
  writer.uint(state.held.length);
  for (const { dueMs, news, call } of state.held) {
    writer.uint(dueMs);
    writer.texts(news);
    // The whole call, in the form that it came in.
    writer.text(JSON.stringify(call));
  }
  writer.uint(state.news.size);
  for (const [key, { firstMs, sinceMs, actors }] of state.news) {
    writer.text(key);
    writer.uint(firstMs);
    writer.uint(sinceMs);
    writer.hashes32(actors);
  }
  return true;
}

export function decodeAbnormalParameter(reader: ByteReader): AbnormalParameterState {
  const state = newAbnormalParameterState();
  state.newestMs = reader.uint();
  state.sinceMs = reader.uint();
  state.actors = reader.hashes32();
  state.unlearnt = reader.uint();
  state.profile = decodeEndpointProfile(reader);
  for (let left = reader.count(3); left > 0; left--)
    state.held.push({
      dueMs: reader.uint(),
      news: reader.texts(),
      call: JSON.parse(reader.text()) as ApiCall,
    });
  for (let left = reader.count(4); left > 0; left--)
    state.news.set(reader.text(), {
      firstMs: reader.uint(),
      sinceMs: reader.uint(),
      actors: reader.hashes32(),
    });
  return state;
}

export function newParameterEpisodes(): ParameterEpisodes {
  return { newestMs: 0, open: new Map() };
}

export function encodeParameterEpisodes({ newestMs, open }: ParameterEpisodes, writer: ByteWriter): void {
  writer.uint(newestMs);
  writer.uint(open.size);
  for (const [key, episode] of open) {
    writer.text(key);
    encodeActorEpisode(episode, writer);
    writer.text(episode.endpoint);
    writer.uint(episode.quietFromMs);
    writer.number(episode.score);
    writer.number(episode.high);
    writer.texts(episode.reasons);
    writer.texts(episode.weaknesses);
    writer.uint(episode.learntCalls);
    writer.uint(episode.learntSince);
    writer.boolean(episode.mature);
    encodeTally(episode.tally, writer);
  }
}

export function decodeParameterEpisodes(reader: ByteReader): ParameterEpisodes {
  const episodes = newParameterEpisodes();
  episodes.newestMs = reader.uint();
  for (let left = reader.count(20); left > 0; left--) {
    const key = reader.text();
    episodes.open.set(key, {
      ...decodeActorEpisode(reader),
      endpoint: reader.text(),
      quietFromMs: reader.uint(),
      score: reader.number(),
      high: reader.number(),
      reasons: reader.texts(),
      weaknesses: reader.texts(),
      learntCalls: reader.uint(),
      learntSince: reader.uint(),
      mature: reader.boolean(),
      tally: decodeTally(reader),
    });
  }
  return episodes;
}
