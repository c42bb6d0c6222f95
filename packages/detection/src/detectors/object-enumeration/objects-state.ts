import { decodeActorEpisode, encodeActorEpisode, type ActorEpisode } from '../../alerts/episode.ts';
import { decodeTally, encodeTally, type Tally } from '../../alerts/tally.ts';
import { HOUR_MS } from '../../baseline/limits.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { decodeSeen, encodeSeen, newSeen, type Seen } from '../../sketches/seen.ts';
import { decodeOrder, encodeOrder, type Order } from './order.ts';
import { decodeOwn, encodeOwn, newOwn, type Own } from './own.ts';

export const objectAlertTypes = ['object-enumeration', 'data-scraping'] as const;
export type ObjectAlertType = (typeof objectAlertTypes)[number];

/** Days that `days` counts. */
export const DAYS_KEPT = 5;

/** What exceeded: which count, how much, and what was allowed. */
export interface Excess {
  what: number;
  value: number;
  high: number;
  top: number;
  factor: number;
  /** One object in so many was looked at. */
  weight: number;
}

/** What an alert shows of its calls, from half of what is allowed on. */
export interface Examined {
  tally: Tally;
  order: Order;
  /** Objects that the calls asked for. */
  objects: number;
  /** The largest size of a page that was asked for. */
  limit: number;
}

export interface Episode extends ActorEpisode {
  type: ObjectAlertType;
  worst: Excess;
}

/** What is known of the objects that one actor asks for. */
export interface ObjectsState {
  newestMs: number;
  late: number;
  /** Hours since the epoch of what `found` and `missed` count. */
  hour: number;
  /** New objects of the hour: there, or refused or not there. */
  found: number;
  missed: number;
  /** New objects that were there, by day: today, yesterday, … */
  days: number[];
  /** KB of new pages today. */
  pagesKb: number;
  /** Days with calls that concern the detector. */
  knownDays: number;
  /** The most so far of each count, fading. */
  tops: number[];
  own: Own;
  seen: Seen;
  examined: Examined | null;
  episode: Episode | null;
}

export function newObjects(): ObjectsState {
  return {
    newestMs: 0,
    late: 0,
    hour: 0,
    found: 0,
    missed: 0,
    days: [0, 0, 0, 0, 0],
    pagesKb: 0,
    knownDays: 0,
    tops: [0, 0, 0, 0, 0],
    own: newOwn(),
    seen: newSeen(),
    examined: null,
    episode: null,
  };
}

export function encodeObjects(state: ObjectsState, writer: ByteWriter): void {
  const { examined, episode } = state;
  writer.uint(state.newestMs);
  writer.uint(state.late);
  writer.uint(state.found);
  writer.uint(state.missed);
  writer.uint(state.pagesKb);
  writer.uint(state.knownDays);
  for (const day of state.days) writer.uint(day);
  for (const top of state.tops) writer.uint(top);
  encodeSeen(state.seen, writer);
  encodeOwn(state.own, writer);
  writer.flags(examined !== null, episode !== null);
  if (examined) {
    encodeTally(examined.tally, writer);
    encodeOrder(examined.order, writer);
    writer.uint(examined.objects);
    writer.number(examined.limit);
  }
  if (!episode) return;
  encodeActorEpisode(episode, writer);
  writer.uint(objectAlertTypes.indexOf(episode.type));
  const { what, value, high, top, factor, weight } = episode.worst;
  writer.uint(what);
  writer.uint(value);
  writer.uint(high);
  writer.uint(top);
  writer.double(factor);
  writer.uint(weight);
}

export function decodeObjects(reader: ByteReader): ObjectsState {
  const state = newObjects();
  state.newestMs = reader.uint();
  state.hour = Math.floor(state.newestMs / HOUR_MS);
  state.late = reader.uint();
  state.found = reader.uint();
  state.missed = reader.uint();
  state.pagesKb = reader.uint();
  state.knownDays = reader.uint();
  state.days = state.days.map(() => reader.uint());
  state.tops = state.tops.map(() => reader.uint());
  state.seen = decodeSeen(reader);
  state.own = decodeOwn(reader);
  const [isExamined, isOpen] = reader.flags(2);
  if (isExamined)
    state.examined = {
      tally: decodeTally(reader),
      order: decodeOrder(reader),
      objects: reader.uint(),
      limit: reader.number(),
    };
  if (isOpen) state.episode = decodeEpisode(reader);
  return state;
}

function decodeEpisode(reader: ByteReader): Episode {
  return {
    ...decodeActorEpisode(reader),
    type: objectAlertTypes[reader.uint()] ?? 'object-enumeration',
    worst: {
      what: reader.uint(),
      value: reader.uint(),
      high: reader.uint(),
      top: reader.uint(),
      factor: reader.double(),
      weight: reader.uint(),
    },
  };
}
