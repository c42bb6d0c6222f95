import { ENDPOINT_WINDOW_MS } from '../../across-actors/limits.ts';
import { finite } from '../../across-actors/origin.ts';
import { decodeGrowing, encodeGrowing, type Growing } from '../../alerts/episode.ts';
import { WINDOW_MS } from '../../baseline/limits.ts';
import type { Floors } from '../../baseline/profile.ts';
import {
  decodeExcess,
  decodeWindowCounts,
  encodeExcess,
  encodeWindowCounts,
} from '../../baseline/window-counts-codec.ts';
import { newWindowCounts, type Excess, type WindowCounts } from '../../baseline/window-counts.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { readCallers, writeCallers, type Callers } from './crowd-callers.ts';
import type { CrowdNetwork, UsualNetworks } from './crowd-networks.ts';

/** Raise it when bytes of states that were written before can no longer be read. */
export const CROWD_STATE_VERSION = 1;

/** What is known of the crowd that uses one endpoint. */
export interface CrowdState {
  /** Start of the newest minute, ms. */
  newestMs: number;
  /** Windows and baseline of the calls of all actors, of each at most CALLS_PER_ACTOR a minute. */
  windows: WindowCounts;
  networks: UsualNetworks;
  episode: CrowdEpisode | null;
  /** The callers of the minutes near or over a threshold: of the episode, else of the newest 600 s. */
  pool: Callers | null;
}

export interface CrowdEpisode extends Growing {
  id: string;
  /** Calls of the crowd since startedAt, whether their window exceeded or not. */
  seen: number;
  worst: Excess;
  network: CrowdNetwork;
}

/** `floors` are those of the detector's sensitivity. */
export function newCrowdState(floors: Floors): CrowdState {
  return { newestMs: 0, windows: newWindowCounts(floors), networks: new Map(), episode: null, pool: null };
}

const MINUTE = { spanMs: ENDPOINT_WINDOW_MS, unit: 'requests/min', words: '1 min' };
const TEN_MINUTES = { spanMs: WINDOW_MS[2], unit: 'requests/10min', words: '10 min' };

/** The window that exceeded. Those of 10 s and of 60 s are the same here, see CROWD_FLOORS. */
export function crowdSpan({ size }: Excess): { spanMs: number; unit: string; words: string } {
  return size === 2 ? TEN_MINUTES : MINUTE;
}

export function writeCrowd(
  writer: ByteWriter,
  { newestMs, windows, networks, pool, episode }: CrowdState,
): void {
  writer.uint(newestMs);
  encodeWindowCounts(windows, writer);
  writer.uint(networks.size);
  for (const [asn, calls] of networks) {
    writer.number(asn);
    writer.uint(calls);
  }
  writer.flags(pool !== null, episode !== null);
  if (pool) writeCallers(writer, pool);
  if (episode) writeEpisode(writer, episode);
}

/** `floors` as for a new state. */
export function readCrowd(reader: ByteReader, floors: Floors): CrowdState {
  const newestMs = reader.uint();
  const windows = decodeWindowCounts(reader, floors);
  const networks: UsualNetworks = new Map();
  for (let left = reader.count(2); left > 0; left--) networks.set(finite(reader.number()), reader.uint());
  const [hasPool, hasEpisode] = reader.flags(2);
  const pool = hasPool === true ? readCallers(reader) : null;
  const episode = hasEpisode === true ? readEpisode(reader) : null;
  return { newestMs, windows, networks, pool, episode };
}

function writeEpisode(writer: ByteWriter, episode: CrowdEpisode): void {
  const { worst, network } = episode;
  writer.text(episode.id);
  encodeGrowing(episode, writer);
  writer.uint(episode.seen);
  encodeExcess(worst, writer);
  writer.number(network.asn);
  writer.number(network.share);
  writer.number(network.usualShare);
}

function readEpisode(reader: ByteReader): CrowdEpisode {
  const id = reader.text();
  const growing = decodeGrowing(reader);
  const seen = reader.uint();
  const worst = decodeExcess(reader);
  const network: CrowdNetwork = {
    asn: finite(reader.number()),
    share: finite(reader.number()),
    usualShare: finite(reader.number()),
  };
  return { ...growing, id, seen, worst, network };
}
