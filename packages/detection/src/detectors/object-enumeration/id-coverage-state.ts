import { decodeGrowing, encodeGrowing, type Growing } from '../../alerts/episode.ts';
import { DAY_MS, HOUR_MS, SAMPLES_MOST, TALLY_KEYS } from '../../baseline/limits.ts';
import { finite, readOrigin, writeOrigin, type Origin } from '../../across-actors/origin.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { decodeSeen, encodeSeen, newSeen, type Seen } from '../../sketches/seen.ts';
import { readRanges, writeRanges, type Ranges } from './id-coverage-ranges.ts';
import type { Asker } from './id-coverage-sample.ts';

/** Raise it when bytes of states that were written before can no longer be read. */
export const COVERAGE_STATE_VERSION = 1;

/** Ranges that were gone through, remembered per week. Of more, a sample is kept. */
const COUNTED_KEPT = 256;

/** What is judged: the ranges that were gone through in the hour, and in the day, under way. */
export const spans = ['hour', 'day'] as const;
export type Span = (typeof spans)[number];

interface SpanFacts {
  spanMs: number;
  unit: string;
  /** The span in the words of a summary. */
  words: string;
  /** Ranges that are never an alert: 256 ids in an hour, 512 in a day. */
  floor: number;
  /**
   * Hours since the first call until the span is judged: the new objects of a busy endpoint have consecutive ids, too, and how many
   * there are is not known before. Two days contain a whole one.
   */
  learntHours: number;
}

export const SPANS: Record<Span, SpanFacts> = {
  hour: { spanMs: HOUR_MS, unit: 'ranges of 64 ids/h', words: 'an hour', floor: 4, learntHours: 24 },
  day: { spanMs: DAY_MS, unit: 'ranges of 64 ids/day', words: 'a day', floor: 8, learntHours: 48 },
};

/** What is known of the ids that one endpoint is asked for. */
export interface CoverageState {
  /** Start of the newest minute, ms. */
  newestMs: number;
  /** The hour under way, and the hour of the first call, since the epoch; 0 before it. */
  hour: number;
  firstHour: number;
  spans: Record<Span, SpanCounts>;
  ranges: Ranges;
  /** Ranges that were counted in this week and in the one before. */
  seen: Seen;
  /** Who went through ranges: in the episode, else in the hour under way. */
  pool: CoveragePool | null;
  episode: CoverageEpisode | null;
}

export interface SpanCounts {
  /** Ranges gone through in the span under way. */
  ranges: number;
  /** Calls in the span under way, of minutes with numeric ids. */
  calls: number;
  /** The most ranges in a span so far, fading. */
  top: number;
  /** Calls of that span which did not go through ranges. */
  usualCalls: number;
}

/** Bounded: at most TALLY_KEYS actors and sources. */
export interface CoveragePool {
  ids: number;
  least: number;
  most: number;
  actors: Map<string, number>;
  sources: Map<string, Origin & { count: number }>;
  callIds: string[];
}

export interface CoverageEpisode extends Growing {
  id: string;
  worst: CoverageExcess;
}

/** Ranges in a span, above what is allowed. */
export interface CoverageExcess {
  span: Span;
  value: number;
  high: number;
  /** The most ranges in a span before. */
  top: number;
}

const noCounts = (): SpanCounts => ({ ranges: 0, calls: 0, top: 0, usualCalls: 0 });

export function newCoverageState(): CoverageState {
  return {
    newestMs: 0,
    hour: 0,
    firstHour: 0,
    spans: { hour: noCounts(), day: noCounts() },
    ranges: new Map(),
    seen: newSeen(COUNTED_KEPT),
    pool: null,
    episode: null,
  };
}

export function learntHours({ hour, firstHour }: CoverageState): number {
  return hour - firstHour;
}

export const newCoveragePool = (): CoveragePool => ({
  ids: 0,
  least: Infinity,
  most: 0,
  actors: new Map(),
  sources: new Map(),
  callIds: [],
});

export function addToPool(
  pool: CoveragePool,
  number: number,
  { actor, ip, country, asn, callId }: Asker,
): void {
  pool.ids++;
  pool.least = Math.min(pool.least, number);
  pool.most = Math.max(pool.most, number);
  const { actors, sources, callIds } = pool;
  if (actors.has(actor) || actors.size < TALLY_KEYS) actors.set(actor, (actors.get(actor) ?? 0) + 1);
  const source = sources.get(ip);
  if (source) source.count++;
  else if (ip !== '' && sources.size < TALLY_KEYS) sources.set(ip, { count: 1, country, asn });
  if (callId !== '' && callIds.length < SAMPLES_MOST) callIds.push(callId);
}

/** Share of the ids that the most active actor asked for. */
export function topShare({ actors, ids }: CoveragePool): number {
  return Math.max(0, ...actors.values()) / ids;
}

export function writeCoverage(writer: ByteWriter, state: CoverageState): void {
  writer.uint(state.newestMs);
  writer.uint(state.hour);
  writer.uint(state.firstHour);
  for (const span of spans) {
    const { ranges, calls, top, usualCalls } = state.spans[span];
    writer.number(ranges);
    writer.number(calls);
    writer.number(top);
    writer.number(usualCalls);
  }
  encodeSeen(state.seen, writer);
  writeRanges(writer, state.ranges);
  writer.flags(state.pool !== null, state.episode !== null);
  if (state.pool) writePool(writer, state.pool);
  if (state.episode) writeEpisode(writer, state.episode);
}

export function readCoverage(reader: ByteReader): CoverageState {
  const state = newCoverageState();
  state.newestMs = reader.uint();
  state.hour = reader.uint();
  state.firstHour = reader.uint();
  for (const span of spans)
    state.spans[span] = {
      ranges: finite(reader.number()),
      calls: finite(reader.number()),
      top: finite(reader.number()),
      usualCalls: finite(reader.number()),
    };
  state.seen = decodeSeen(reader, COUNTED_KEPT);
  state.ranges = readRanges(reader);
  const [hasPool, hasEpisode] = reader.flags(2);
  if (hasPool === true) state.pool = readPool(reader);
  if (hasEpisode === true) state.episode = readEpisode(reader);
  return state;
}

function writePool(writer: ByteWriter, pool: CoveragePool): void {
  writer.uint(pool.ids);
  writer.uint(pool.least);
  writer.uint(pool.most);
  writer.uint(pool.actors.size);
  for (const [actor, count] of pool.actors) {
    writer.text(actor);
    writer.uint(count);
  }
  writer.uint(pool.sources.size);
  for (const [ip, source] of pool.sources) {
    writer.text(ip);
    writer.uint(source.count);
    writeOrigin(writer, source);
  }
  writer.texts(pool.callIds);
}

function readPool(reader: ByteReader): CoveragePool {
  const pool = newCoveragePool();
  pool.ids = reader.uint();
  pool.least = reader.uint();
  pool.most = reader.uint();
  for (let left = reader.count(2); left > 0; left--) pool.actors.set(reader.text(), reader.uint());
  for (let left = reader.count(3); left > 0; left--)
    pool.sources.set(reader.text(), { count: reader.uint(), ...readOrigin(reader) });
  pool.callIds = reader.texts();
  return pool;
}

function writeEpisode(writer: ByteWriter, episode: CoverageEpisode): void {
  writer.text(episode.id);
  encodeGrowing(episode, writer);
  const { span, value, high, top } = episode.worst;
  writer.uint(spans.indexOf(span));
  writer.number(value);
  writer.number(high);
  writer.number(top);
}

function readEpisode(reader: ByteReader): CoverageEpisode {
  const id = reader.text();
  const growing = decodeGrowing(reader);
  const span = reader.boolean() ? 'day' : 'hour';
  const value = finite(reader.number());
  const high = finite(reader.number());
  return { ...growing, id, worst: { span, value, high, top: finite(reader.number()) } };
}
