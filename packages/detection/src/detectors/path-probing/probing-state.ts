import { decodeActorEpisode, encodeActorEpisode, type ActorEpisode } from '../../alerts/episode.ts';
import { decodeOptionalTally, encodeOptionalTally, type Tally } from '../../alerts/tally.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';

/** A tumbling window of an actor, from its first call on for a path that nobody was served. */
export interface Window {
  /** Windows since the epoch. */
  index: number;
  calls: number;
  failures: number;
  /** Hashes of the distinct paths that nobody was served. */
  paths: number[];
}

export interface Episode extends ActorEpisode {
  paths: number;
  /** So many were allowed when it began. */
  high: number;
  /** Position in WINDOWS. */
  window: number;
  score: number;
}

export interface ProbingState {
  /** Event time of the newest such call. */
  newestMs: number;
  late: number;
  /** As WINDOWS. */
  windows: [Window, Window];
  /** Hashes of distinct pages that were there today. */
  pages: number[];
  /** Since the epoch, and the missing paths in it. */
  minute: number;
  perMinute: number;
  /** It did today what crawlers do not do. */
  isNoCrawler: boolean;
  tally: Tally | null;
  episode: Episode | null;
}

export const newWindow = (index = 0): Window => ({ index, calls: 0, failures: 0, paths: [] });

export function newProbing(): ProbingState {
  return {
    newestMs: 0,
    late: 0,
    windows: [newWindow(), newWindow()],
    pages: [],
    minute: 0,
    perMinute: 0,
    isNoCrawler: false,
    tally: null,
    episode: null,
  };
}

export function encodeProbing(state: ProbingState, writer: ByteWriter): void {
  const { windows, episode } = state;
  writer.uint(state.newestMs);
  writer.uint(state.late);
  for (const { index, calls, failures, paths } of windows) {
    writer.uint(index);
    writer.uint(calls);
    writer.uint(failures);
    writer.hashes24(paths);
  }
  writer.hashes24(state.pages);
  writer.uint(state.minute);
  writer.uint(state.perMinute);
  writer.flags(state.isNoCrawler, episode !== null);
  encodeOptionalTally(state.tally, writer);
  if (!episode) return;
  encodeActorEpisode(episode, writer);
  writer.uint(episode.paths);
  writer.uint(episode.high);
  writer.uint(episode.window);
  writer.uint(episode.score);
}

export function decodeProbing(reader: ByteReader): ProbingState {
  const newestMs = reader.uint();
  const late = reader.uint();
  const windows: ProbingState['windows'] = [decodeWindow(reader), decodeWindow(reader)];
  const pages = reader.hashes24();
  const minute = reader.uint();
  const perMinute = reader.uint();
  const [isNoCrawler = false, isOpen] = reader.flags(2);
  const tally = decodeOptionalTally(reader);
  const episode = isOpen ? decodeEpisode(reader) : null;
  return { newestMs, late, windows, pages, minute, perMinute, isNoCrawler, tally, episode };
}

function decodeWindow(reader: ByteReader): Window {
  return {
    index: reader.uint(),
    calls: reader.uint(),
    failures: reader.uint(),
    paths: reader.hashes24(),
  };
}

function decodeEpisode(reader: ByteReader): Episode {
  return {
    ...decodeActorEpisode(reader),
    paths: reader.uint(),
    high: reader.uint(),
    window: reader.uint(),
    score: reader.uint(),
  };
}
