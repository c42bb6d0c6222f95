import { decodeActorEpisode, encodeActorEpisode, type ActorEpisode } from '../../alerts/episode.ts';
import { decodeOptionalTally, encodeOptionalTally, type Tally } from '../../alerts/tally.ts';
import { DAY_MS } from '../../baseline/limits.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { decodeLoops, encodeLoops, type RetryLoop } from './retry-loops.ts';

/** What is counted, each against a floor of its own: per window, and `daily` per day. */
export const measures = ['guesses', 'accounts', 'keys', 'failures', 'daily'] as const;
export type Measure = (typeof measures)[number];
export type Pattern = Measure | 'stale';

/** An account that failed: how often, with how many credentials (a change of credential counts), and with which last. */
export interface Account {
  tries: number;
  guesses: number;
  credential: number;
}

export interface Episode extends ActorEpisode {
  pattern: Pattern;
  value: number;
  high: number;
  usual: number;
  factor: number;
  /** Of a stale credential: mean time between two calls. */
  everyMs: number;
  /** Largest figures while it lasts. */
  most: Record<Measure, number>;
  successes: number;
  /** Tokens of accounts that failed, in order; at most ACCOUNTS_NAMED. */
  accounts: string[];
  /** Those of them that then succeeded. */
  opened: string[];
}

/**
 * What is known of a source whose credentials were refused. Accounts, credentials and endpoints are hashes of 32 bits: two
 * that are taken for one make a count smaller by one.
 */
export interface RefusalsState {
  newestMs: number;
  /** Where the window begins. */
  sinceMs: number;
  failures: number;
  /** Failures that show no new account, password or key, those of retry loops among them. */
  others: number;
  /** Failures of a kind that successes at the address may explain, those that they do explain among them. */
  explainable: number;
  /** Of those that presented something, the number per user agent, by hash; at most CLIENTS_KEPT. */
  clients: Map<number, number>;
  /** On the endpoints of `endpoints`. */
  successes: number;
  /** Accounts that succeeded, by hash, oldest first. */
  succeeded: number[];
  /** Oldest first, as are `keys`. */
  accounts: Map<number, Account>;
  /** Tries on accounts that had no place in `accounts`. */
  beyond: number;
  keys: Set<number>;
  endpoints: number[];
  /** Largest number of credentials for one account. */
  guesses: number;
  windows: number;
  usual: Record<Measure, number>;
  /** Number of the day (UTC) under way, and what failed and succeeded in it. */
  day: number;
  /** Event time of its first failure. */
  daySinceMs: number;
  dayFailures: number;
  daySuccesses: number;
  loops: RetryLoop[];
  /** Stale credentials that were reported, by `RetryLoop.identity`, and until when that is enough; oldest first. */
  reported: Map<number, number>;
  episode: Episode | null;
  /** Of the failures since the window is near its thresholds. */
  tally: Tally | null;
}

export function newRefusals(atMs: number): RefusalsState {
  return {
    newestMs: atMs,
    sinceMs: atMs,
    failures: 0,
    others: 0,
    explainable: 0,
    clients: new Map(),
    successes: 0,
    succeeded: [],
    accounts: new Map(),
    beyond: 0,
    keys: new Set(),
    endpoints: [],
    guesses: 0,
    windows: 0,
    usual: { guesses: 0, accounts: 0, keys: 0, failures: 0, daily: 0 },
    day: dayOf(atMs),
    daySinceMs: atMs,
    dayFailures: 0,
    daySuccesses: 0,
    loops: [],
    reported: new Map(),
    episode: null,
    tally: null,
  };
}

export const dayOf = (atMs: number): number => Math.floor(atMs / DAY_MS);

const patterns: readonly Pattern[] = [...measures, 'stale'];

export function encodeRefusals(state: RefusalsState, writer: ByteWriter): void {
  writer.uint(state.newestMs);
  writer.uint(state.newestMs - state.sinceMs);
  writer.uint(state.failures);
  writer.uint(state.others);
  writer.uint(state.explainable);
  writer.uint(state.successes);
  writer.uint(state.beyond);
  writer.uint(state.windows);
  writer.uint(state.day);
  writer.uint(state.newestMs - state.daySinceMs);
  writer.uint(state.dayFailures);
  writer.uint(state.daySuccesses);
  // The usual has one decimal.
  for (const measure of measures) writer.uint(Math.round(10 * state.usual[measure]));
  writer.uint(state.accounts.size);
  for (const [user, { tries, guesses, credential }] of state.accounts) {
    writer.hash32(user);
    writer.uint(tries);
    writer.uint(guesses);
    writer.hash32(credential);
  }
  writer.hashes32([...state.keys]);
  writer.hashes32(state.endpoints);
  writer.hashes32(state.succeeded);
  encodeCounts(state.clients, writer);
  encodeCounts(state.reported, writer);
  encodeLoops(state.loops, writer);
  encodeOptionalTally(state.tally, writer);
  writer.boolean(state.episode !== null);
  if (state.episode) encodeEpisode(state.episode, writer);
}

export function decodeRefusals(reader: ByteReader): RefusalsState {
  const state = newRefusals(reader.uint());
  state.sinceMs = state.newestMs - reader.uint();
  state.failures = reader.uint();
  state.others = reader.uint();
  state.explainable = reader.uint();
  state.successes = reader.uint();
  state.beyond = reader.uint();
  state.windows = reader.uint();
  state.day = reader.uint();
  state.daySinceMs = state.newestMs - reader.uint();
  state.dayFailures = reader.uint();
  state.daySuccesses = reader.uint();
  for (const measure of measures) state.usual[measure] = reader.uint() / 10;
  for (let left = reader.count(10); left > 0; left--) {
    const user = reader.hash32();
    const account = { tries: reader.uint(), guesses: reader.uint(), credential: reader.hash32() };
    state.accounts.set(user, account);
    state.guesses = Math.max(state.guesses, account.guesses);
  }
  state.keys = new Set(reader.hashes32());
  state.endpoints = reader.hashes32();
  state.succeeded = reader.hashes32();
  state.clients = decodeCounts(reader);
  state.reported = decodeCounts(reader);
  state.loops = decodeLoops(reader);
  state.tally = decodeOptionalTally(reader);
  state.episode = reader.boolean() ? decodeEpisode(reader) : null;
  return state;
}

function encodeCounts(counts: ReadonlyMap<number, number>, writer: ByteWriter): void {
  writer.uint(counts.size);
  for (const [hash, count] of counts) {
    writer.hash32(hash);
    writer.uint(count);
  }
}

function decodeCounts(reader: ByteReader): Map<number, number> {
  const counts = new Map<number, number>();
  for (let left = reader.count(5); left > 0; left--) counts.set(reader.hash32(), reader.uint());
  return counts;
}

function encodeEpisode(episode: Episode, writer: ByteWriter): void {
  encodeActorEpisode(episode, writer);
  writer.uint(patterns.indexOf(episode.pattern));
  writer.uint(episode.value);
  writer.uint(episode.high);
  writer.number(episode.usual);
  writer.double(episode.factor);
  writer.uint(episode.everyMs);
  writer.uint(episode.successes);
  for (const measure of measures) writer.uint(episode.most[measure]);
  writer.texts(episode.accounts);
  writer.texts(episode.opened);
}

function decodeEpisode(reader: ByteReader): Episode {
  const begun = decodeActorEpisode(reader);
  const pattern = patterns[reader.uint()];
  if (pattern === undefined) throw new Error('the state has an unknown pattern of refusals');
  const value = reader.uint();
  const high = reader.uint();
  const usual = reader.number();
  const factor = reader.double();
  const everyMs = reader.uint();
  const successes = reader.uint();
  const most = { guesses: 0, accounts: 0, keys: 0, failures: 0, daily: 0 };
  for (const measure of measures) most[measure] = reader.uint();
  return {
    ...begun,
    pattern,
    value,
    high,
    usual,
    factor,
    everyMs,
    successes,
    most,
    accounts: reader.texts(),
    opened: reader.texts(),
  };
}
