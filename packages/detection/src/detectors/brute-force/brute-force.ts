import { actorKey, severityOf, type Alert, type AlertActor, type ApiCall } from '@tripline/model';
import { alertActor } from '../../alerts/alert-actor.ts';
import type { ActorDetector } from '../../legacy.ts';
import { isAuthFailure, isAuthSuccess, isExpired } from '../../auth-outcome.ts';
import { asActorSettings, type ActorSettings } from '../../settings.ts';
import type { ActorProfileKind } from '../../detector.ts';
import { adapt } from '../../legacy.ts';
import { isOneOfMany } from './group.ts';
import { compileExceptions } from '../../exception.ts';
import { DAY_MS, LATENESS_MS } from '../../baseline/limits.ts';
import {
  alertId,
  closesAt,
  decodeGrowing,
  encodeGrowing,
  isNews,
  markPublished,
  scoreOf,
  type EncodedGrowing,
  type Growing,
} from '../../alerts/episode.ts';
import { idHash } from '../../sketches/recent-ids.ts';
import { toleranceOf, type Tolerance } from '../../baseline/sensitivity.ts';
import {
  decodeTally,
  dominant,
  encodeTally,
  newTally,
  tallyCall,
  topEndpoints,
  topSources,
  type EncodedTally,
  type Tally,
} from '../../alerts/tally.ts';
import {
  ACCOUNTS_KEPT,
  ACCOUNTS_NAMED,
  CERTAIN_FACTOR,
  CLIENT_SHARE_MOST,
  CLIENTS_KEPT,
  ENDPOINTS_KEPT,
  FAILURES_PER_SUCCESS,
  FLOORS,
  FLOORS_LEAST,
  KEYS_KEPT,
  REPORTED_KEPT,
  STALE_CALLS,
  STALE_MS,
  STALE_SCORE,
  STALE_SILENCE_MS,
  SUCCEEDED_KEPT,
  TRUSTED_WINDOWS,
  UNKNOWN_PER_SUCCESS,
  USUAL_DOWN,
  USUAL_FACTOR,
  USUAL_UP,
  WINDOW_KEPT_MS,
  WINDOW_MS,
} from './limits.ts';
import {
  addToLoops,
  decodeLoops,
  encodeLoops,
  gapMsOf,
  retryLoops,
  rollLoops,
  type RetryLoop,
} from './retry-loops.ts';
import { isLogin, signsEachCall } from './what-is-guessed.ts';

/** What is counted, each against a floor of its own: per window, and `daily` per day. */
const measures = ['guesses', 'accounts', 'keys', 'failures', 'daily'] as const;
type Measure = (typeof measures)[number];
type Pattern = Measure | 'stale';

const UNITS: Record<Pattern, string> = {
  guesses: 'guesses/h',
  accounts: 'accounts/h',
  keys: 'keys/h',
  failures: 'failures/h',
  daily: 'failures/day',
  stale: 'failures',
};
const REFERENCES: Record<Pattern, readonly string[]> = {
  guesses: ['OWASP API2:2023', 'MITRE ATT&CK T1110.001'],
  accounts: ['OWASP API2:2023', 'MITRE ATT&CK T1110.003', 'MITRE ATT&CK T1110.004'],
  keys: ['OWASP API2:2023', 'MITRE ATT&CK T1110'],
  failures: ['OWASP API2:2023', 'MITRE ATT&CK T1110'],
  daily: ['OWASP API2:2023', 'MITRE ATT&CK T1110'],
  stale: ['OWASP API2:2023'],
};

/** An account that failed: how often, with how many credentials (a change of credential counts), and with which last. */
interface Account {
  tries: number;
  guesses: number;
  credential: number;
}

interface Episode extends Growing {
  id: string;
  actor: AlertActor;
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
export interface BruteForceState {
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

/** How much is allowed, at the sensitivity that is set. */
interface Limits {
  floors: Record<Measure, number>;
  usualFactor: number;
  staleCalls: number;
}

function limitsAt(tolerance: Tolerance): Limits {
  const floorOf = (measure: Measure): number => tolerance.count(FLOORS[measure], FLOORS_LEAST[measure]);
  return {
    floors: ofMeasures(measures.map(floorOf)),
    usualFactor: tolerance.factor(USUAL_FACTOR),
    staleCalls: tolerance.count(STALE_CALLS),
  };
}

function newState(atMs: number): BruteForceState {
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

const dayOf = (atMs: number): number => Math.floor(atMs / DAY_MS);

/** Which of the two kinds of alert a call may raise. */
interface Judges {
  guesses: boolean;
  stale: boolean;
}

export const refusals: ActorProfileKind<BruteForceState> = {
  id: 2,
  version: 1,
  create: (settingsOf) =>
    adapt(
      createBruteForceDetector({
        bruteForce: asActorSettings(settingsOf('brute-force')),
        staleCredential: asActorSettings(settingsOf('stale-credential')),
      }),
      isOneOfMany,
    ),
};

/**
 * A source that tries credentials: one account with many, many accounts, many keys; or one that repeats a stale one. The source
 * is the address, as a refused credential is no actor; or a consumer that logs others in.
 */
export function createBruteForceDetector({
  bruteForce,
  staleCredential,
}: {
  bruteForce: ActorSettings;
  staleCredential: ActorSettings;
}): ActorDetector<BruteForceState> {
  const isExceptedFromGuesses = compileExceptions(bruteForce);
  const isExceptedFromStale = compileExceptions(staleCredential);
  const limits: Limits = {
    ...limitsAt(toleranceOf(bruteForce.sensitivity)),
    staleCalls: toleranceOf(staleCredential.sensitivity).count(STALE_CALLS),
  };
  return {
    create: (call) => (isFailure(call) || isExpired(call) ? newState(call.startedAt) : undefined),
    fold: (state, call) => {
      if (!isFailure(call) && !isExpired(call) && !isAuthSuccess(call)) return [];
      const judges: Judges = {
        guesses: bruteForce.enabled && !isExpired(call) && !isExceptedFromGuesses(call),
        stale: staleCredential.enabled && !isExceptedFromStale(call),
      };
      return judges.guesses || judges.stale ? fold(state, call, limits, judges) : [];
    },
    close: (state, nowMs) => (state.episode && nowMs >= closesAt(state.episode) ? [close(state)] : []),
    closesAt: (state) => (state.episode ? closesAt(state.episode) : undefined),
    encode,
    decode: (encoded) => decode(encoded as Encoded),
  };
}

/**
 * Of a known consumer only failed logins count: what else it is refused for is what it may do, or a token inside its calls that
 * ran out.
 */
function isFailure(call: ApiCall): boolean {
  return isAuthFailure(call) && (call.actorKind === 'address' || call.user !== undefined || isLogin(call));
}

const hash32 = (text: string): number => idHash(text) >>> 0;

function fold(state: BruteForceState, call: ApiCall, limits: Limits, judges: Judges): Alert[] {
  const atMs = call.startedAt;
  const alerts: Alert[] = [];
  if (atMs < state.newestMs - LATENESS_MS) return alerts;
  if (state.episode && atMs >= closesAt(state.episode)) alerts.push(close(state));
  state.newestMs = Math.max(state.newestMs, atMs);
  if (isAuthSuccess(call)) {
    succeed(state, call);
    return alerts;
  }
  if (dayOf(state.newestMs) !== state.day) beginDay(state);
  if (state.newestMs - state.sinceMs >= WINDOW_MS) roll(state);
  if (isExplained(state, call)) return alerts;
  const loop = addToLoops(state.loops, call);
  if (judges.guesses) count(state, call);
  else if (loop) {
    // What is not counted must not be taken off what is.
    loop.inWindow--;
    loop.inDay--;
  }

  const loops = retryLoops(state.loops);
  const repeated = loop !== undefined && loops.includes(loop) ? loop : undefined;
  const found = worst(state, loops, limits);
  const guessing = judges.guesses && found.factor > 1 && !isBusiness(state, loops, found);
  const stale =
    judges.stale &&
    repeated !== undefined &&
    repeated.count >= limits.staleCalls &&
    repeated.lastMs - repeated.sinceMs >= STALE_MS;
  const warm = found.factor > 0.5 || (loop !== undefined && loop.count * 2 > limits.staleCalls);
  if (!warm) {
    if (!state.episode) state.tally = null;
    return alerts;
  }
  // Somebody who guesses is more than somebody who forgot.
  if (state.episode?.pattern === 'stale' && guessing) alerts.push(close(state));
  tallyCall((state.tally ??= newTally()), call, false);
  let { episode } = state;
  if (!episode) {
    if (guessing) episode = raise(state, call, found);
    else if (stale && atMs >= (state.reported.get(repeated.identity) ?? 0))
      episode = raiseStale(state, call, repeated, limits);
    else return alerts;
    state.episode = episode;
  }
  if (episode.pattern === 'stale') {
    if (!stale) return alerts;
    noteReported(state, repeated);
    episode.value = Math.max(episode.value, repeated.count);
    episode.everyMs = Math.round(gapMsOf(repeated));
  } else if (repeated) return alerts;
  else if (guessing && found.factor > episode.factor) Object.assign(episode, found);
  grow(episode, state, call, loops);
  if (isNews(episode, scoreFor(episode), state.newestMs)) alerts.push(publish(state, 'open'));
  return alerts;
}

/**
 * Whether successes of consumers at the same address explain that Kong refused the call. A new account, password or key is never
 * explained so, nor is what an endpoint of the service itself refused: somebody with a key of his own could guess beside it. What
 * remains are tokens that ran out and are renewed, the first legs of a handshake, and an office in which some mistype.
 */
function isExplained(state: BruteForceState, call: ApiCall): boolean {
  const successes = call.addressSuccesses ?? 0;
  if (successes === 0) return false;
  if (call.authScheme === 'bearer' && call.user === undefined && (call.source === 'kong' || !isLogin(call)))
    return ++state.explainable <= successes;
  if (call.source !== 'kong' || (call.user ?? call.credential) !== undefined) return false;
  state.explainable++;
  if (call.presented === undefined) return state.explainable <= UNKNOWN_PER_SUCCESS * successes;

  const { clients } = state;
  const client = hash32(call.userAgent ?? '');
  const ofClient = (clients.get(client) ?? 0) + 1;
  if (ofClient > 1 || clients.size < CLIENTS_KEPT) clients.set(client, ofClient);
  return state.explainable <= successes && ofClient <= CLIENT_SHARE_MOST * state.explainable;
}

/** Whether the source gets in so often beside its failures that this is an office, or a script that is broken in part. */
function isBusiness(
  state: BruteForceState,
  loops: readonly RetryLoop[],
  { pattern, factor }: Found,
): boolean {
  const isDaily = pattern === 'daily';
  const successes = isDaily ? state.daySuccesses : state.successes;
  let failures = isDaily ? state.dayFailures : state.failures;
  for (const loop of loops) failures -= isDaily ? loop.inDay : loop.inWindow;
  return failures < (factor > CERTAIN_FACTOR ? 1 : FAILURES_PER_SUCCESS) * successes;
}

/** Adds a failure to the window and to the day. */
function count(state: BruteForceState, call: ApiCall): void {
  const { accounts, keys, endpoints } = state;
  state.failures++;
  state.dayFailures++;
  const endpoint = hash32(call.endpoint);
  if (!endpoints.includes(endpoint)) {
    endpoints.push(endpoint);
    if (endpoints.length > ENDPOINTS_KEPT) endpoints.shift();
  }
  const credential = call.credential === undefined || signsEachCall(call) ? 0 : hash32(call.credential);
  if (call.user === undefined) {
    if (credential === 0 || keys.has(credential)) state.others++;
    else if (keys.size < KEYS_KEPT) keys.add(credential);
    return;
  }
  const user = hash32(call.user);
  const known = accounts.get(user);
  // Whether one account is guessed at, or its old password repeated, is not known without the credential.
  if (credential === 0 || known?.credential === credential) state.others++;
  if (known) {
    known.tries++;
    if (credential !== 0 && known.credential !== credential) {
      known.credential = credential;
      state.guesses = Math.max(state.guesses, ++known.guesses);
    }
  } else if (accounts.size < ACCOUNTS_KEPT) {
    accounts.set(user, { tries: 1, guesses: 1, credential });
    state.guesses = Math.max(state.guesses, 1);
  } else state.beyond++;
}

/**
 * A success where the source fails: it counts against the failures, and opens the account if that was tried before. An account
 * that goes on succeeding counts once.
 */
function succeed(state: BruteForceState, call: ApiCall): void {
  if (!state.endpoints.includes(hash32(call.endpoint))) return;
  const user = call.user === undefined ? undefined : hash32(call.user);
  if (user === undefined || !state.succeeded.includes(user)) {
    state.successes++;
    state.daySuccesses++;
  }
  if (user === undefined) return;
  if (!state.succeeded.includes(user)) {
    state.succeeded.push(user);
    if (state.succeeded.length > SUCCEEDED_KEPT) state.succeeded.shift();
  }
  const { episode } = state;
  if (!episode || !state.accounts.has(user)) return;
  if (episode.opened.length < ACCOUNTS_NAMED && !episode.opened.includes(call.user!))
    episode.opened.push(call.user!);
}

/** Learns the day that is over, unless it was suspicious. */
function beginDay(state: BruteForceState): void {
  if (state.episode === null || state.episode.pattern === 'stale') learn(state, 'daily');
  state.day = dayOf(state.newestMs);
  state.daySinceMs = state.newestMs;
  state.dayFailures = state.daySuccesses = 0;
  for (const loop of state.loops) loop.inDay = 0;
}

function learn(state: BruteForceState, measure: Measure): void {
  const value = valueOf(state, measure, retryLoops(state.loops));
  const usual = state.usual[measure];
  const rate = value > usual ? USUAL_UP : USUAL_DOWN;
  state.usual[measure] = Math.round((usual + (value - usual) * rate) * 10) / 10;
}

/** Drops the older half of the window, or all of it if it is long past. Learns it before, unless it was suspicious. */
function roll(state: BruteForceState): void {
  if (state.episode === null || state.episode.pattern === 'stale') {
    state.windows++;
    for (const measure of measures) if (measure !== 'daily') learn(state, measure);
  }
  const past = state.newestMs - state.sinceMs >= WINDOW_MS + WINDOW_KEPT_MS;
  state.sinceMs = past ? state.newestMs : state.newestMs - WINDOW_KEPT_MS;
  const half = (number: number): number => (past ? 0 : number >> 1);
  state.failures = half(state.failures);
  state.others = half(state.others);
  state.explainable = half(state.explainable);
  for (const [client, calls] of state.clients)
    if (calls > 1 && !past) state.clients.set(client, calls >> 1);
    else state.clients.delete(client);
  rollLoops(state.loops, past);
  state.successes = half(state.successes);
  state.beyond = half(state.beyond);
  state.keys = new Set([...state.keys].slice(past ? state.keys.size : state.keys.size >> 1));
  // Of those that were tried once the older half goes; the others are halved.
  let once = 0;
  for (const account of state.accounts.values()) if (account.tries === 1) once++;
  let dropped = 0;
  state.guesses = 0;
  for (const [user, account] of state.accounts) {
    if (past || (account.tries === 1 && dropped++ < once >> 1)) {
      state.accounts.delete(user);
      continue;
    }
    account.tries = (account.tries + 1) >> 1;
    account.guesses = (account.guesses + 1) >> 1;
    state.guesses = Math.max(state.guesses, account.guesses);
  }
  state.succeeded = state.succeeded.slice(past ? state.succeeded.length : state.succeeded.length >> 1);
  if (past) state.endpoints = [];
}

/** `loops` are the retry loops of the source, which are no guesses. */
function valueOf(state: BruteForceState, measure: Measure, loops: readonly RetryLoop[]): number {
  switch (measure) {
    case 'guesses':
      return state.guesses;
    case 'keys':
      return state.keys.size;
    case 'failures':
      return Math.max(
        0,
        loops.reduce((rest, { inWindow }) => rest - inWindow, state.others),
      );
    case 'daily':
      return Math.max(
        0,
        loops.reduce((rest, { inDay }) => rest - inDay, state.dayFailures),
      );
    case 'accounts': {
      if (state.beyond === 0) return state.accounts.size;
      // Those that had no place are taken to be tried as often as those that had.
      let tries = 0;
      for (const account of state.accounts.values()) tries += account.tries;
      return state.accounts.size + Math.round((state.beyond * state.accounts.size) / tries);
    }
  }
}

interface Found {
  pattern: Measure;
  value: number;
  high: number;
  factor: number;
}

/**
 * Whether an open episode may be about this from here on. One that others may share is published by way of its endpoint, see
 * `isOneOfMany`, so that it stays one that others may share; and a day adds nothing to what an hour already showed.
 */
function mayBecome(episode: Episode | null, pattern: Measure): boolean {
  if (episode === null || episode.pattern === 'stale' || episode.pattern === pattern) return true;
  return pattern !== 'daily' && (pattern === 'guesses') === (episode.pattern === 'guesses');
}

/** What exceeds its threshold most; below 1 if nothing does. */
function worst(state: BruteForceState, loops: readonly RetryLoop[], { floors, usualFactor }: Limits): Found {
  let found: Found = { pattern: 'guesses', value: 0, high: 1, factor: 0 };
  for (const pattern of measures) {
    if (!mayBecome(state.episode, pattern)) continue;
    const value = valueOf(state, pattern, loops);
    if (value * 2 <= floors[pattern]) continue;
    const high = Math.max(floors[pattern], Math.floor(usualFactor * state.usual[pattern]));
    if (value / high > found.factor) found = { pattern, value, high, factor: value / high };
  }
  return found;
}

function raise(state: BruteForceState, call: ApiCall, found: Found): Episode {
  const startedAt = Math.min(found.pattern === 'daily' ? state.daySinceMs : state.sinceMs, call.startedAt);
  return {
    ...found,
    ...newEpisode(state, call, alertId('brute-force', actorKey(call), '', startedAt), startedAt),
    usual: state.usual[found.pattern],
    everyMs: 0,
    // The call itself is added by `grow`.
    count: Math.max(found.pattern === 'daily' ? state.dayFailures : state.failures, 1) - 1,
  };
}

function raiseStale(state: BruteForceState, call: ApiCall, loop: RetryLoop, limits: Limits): Episode {
  const { sinceMs: startedAt, count } = loop;
  return {
    pattern: 'stale',
    value: count,
    high: limits.staleCalls - 1,
    factor: 1,
    ...newEpisode(state, call, alertId('stale-credential', actorKey(call), '', startedAt), startedAt),
    usual: 0,
    everyMs: 0,
    count: count - 1,
  };
}

type Begun = Omit<Episode, 'pattern' | 'value' | 'high' | 'factor' | 'usual' | 'everyMs' | 'count'>;

function newEpisode(state: BruteForceState, call: ApiCall, id: string, startedAt: number): Begun {
  return {
    id,
    actor: alertActor(call),
    most: { guesses: 0, accounts: 0, keys: 0, failures: 0, daily: 0 },
    successes: 0,
    accounts: [],
    opened: [],
    startedAt,
    raisedAt: state.newestMs,
    lastSeenAt: call.startedAt,
    revision: 0,
    publishedAt: 0,
    publishedCount: 0,
    publishedRank: -1,
  };
}

function noteReported(state: BruteForceState, { identity, lastMs }: RetryLoop): void {
  state.reported.delete(identity);
  state.reported.set(identity, lastMs + STALE_SILENCE_MS);
  if (state.reported.size <= REPORTED_KEPT) return;
  const [oldest] = state.reported.keys();
  state.reported.delete(oldest!);
}

function grow(episode: Episode, state: BruteForceState, call: ApiCall, loops: readonly RetryLoop[]): void {
  episode.lastSeenAt = Math.max(episode.lastSeenAt, call.startedAt);
  episode.count++;
  episode.successes = Math.max(episode.successes, state.successes);
  for (const measure of measures)
    episode.most[measure] = Math.max(episode.most[measure], valueOf(state, measure, loops));
  const { user } = call;
  if (user !== undefined && episode.accounts.length < ACCOUNTS_NAMED && !episode.accounts.includes(user))
    episode.accounts.push(user);
}

function scoreFor(episode: Episode): number {
  return episode.pattern === 'stale' ? STALE_SCORE : scoreOf(episode.factor);
}

function close(state: BruteForceState): Alert {
  const alert = publish(state, 'closed');
  const isStale = state.episode?.pattern === 'stale';
  state.episode = null;
  state.tally = null;
  if (isStale) return alert;
  // What is left of the window and the day is the attack's, and must not be learnt.
  state.sinceMs = state.daySinceMs = state.newestMs;
  state.failures = state.others = state.explainable = state.successes = state.beyond = state.guesses = 0;
  state.dayFailures = state.daySuccesses = 0;
  state.accounts.clear();
  state.keys.clear();
  for (const loop of state.loops) loop.inWindow = loop.inDay = loop.varied = 0;
  return alert;
}

/** The next published state of the open episode. */
function publish(state: BruteForceState, status: Alert['status']): Alert {
  const episode = state.episode!;
  const tally = state.tally!;
  const score = scoreFor(episode);
  markPublished(episode, score, state.newestMs);
  const { pattern } = episode;
  const unit = UNITS[pattern];
  const service = dominant(tally, tally.services);
  return {
    id: episode.id,
    revision: episode.revision,
    type: pattern === 'stale' ? 'stale-credential' : 'brute-force',
    severity: severityOf(score),
    score,
    actor: episode.actor,
    service: service === '' ? null : service,
    route: dominant(tally, tally.routes),
    endpoint: dominant(tally, tally.endpoints),
    raisedAt: episode.raisedAt,
    startedAt: episode.startedAt,
    lastSeenAt: episode.lastSeenAt,
    count: episode.count,
    status,
    observed: { value: episode.value, unit },
    expected: { value: episode.usual, low: 0, high: episode.high, unit },
    summary: summaryOf(episode),
    sources: topSources(tally),
    evidence: pattern === 'stale' ? staleEvidence(state) : guessingEvidence(state),
    sampleCallIds: [...tally.sampleCallIds],
    references: [...REFERENCES[pattern]],
  };
}

// Copies, as the episode goes on growing and a published revision must not.
function guessingEvidence(state: BruteForceState): Record<string, unknown> {
  const episode = state.episode!;
  return {
    pattern: episode.pattern,
    windowMs: episode.pattern === 'daily' ? DAY_MS : WINDOW_MS,
    factor: Math.round(episode.factor * 100) / 100,
    learning: state.windows >= TRUSTED_WINDOWS ? 'overall' : 'cold',
    learntHours: state.windows,
    // Largest within a window while it lasts; `failures` are those that show no new account, password or key.
    most: { ...episode.most },
    successes: episode.successes,
    accounts: [...episode.accounts],
    opened: [...episode.opened],
    endpoints: topEndpoints(state.tally!),
  };
}

function staleEvidence(state: BruteForceState): Record<string, unknown> {
  const { accounts, everyMs } = state.episode!;
  return {
    // Mean time between two calls of the client that came last.
    everyMs,
    // Clients of the source that repeat a stale credential at present, up to LOOPS_KEPT.
    clients: retryLoops(state.loops).length,
    accounts: [...accounts],
    endpoints: topEndpoints(state.tally!),
  };
}

function summaryOf({ actor, pattern, value, high, count, opened, everyMs }: Episode): string {
  const got = opened.length > 0 ? ` ${opened.length} of the accounts it tried were then opened.` : '';
  const limit = `up to ${high} ${pattern === 'daily' ? 'a day are' : 'an hour is'} accepted.${got}`;
  switch (pattern) {
    case 'guesses':
      return `${actor.name} tried ${value} different credentials for one account within an hour; ${limit}`;
    case 'accounts':
      return `${actor.name} failed to log in to ${value} different accounts within an hour; ${limit}`;
    case 'keys':
      return `${actor.name} presented ${value} different credentials that nobody knows within an hour; ${limit}`;
    case 'failures':
      return `${actor.name} was refused ${value} times within an hour for its credentials, which the lines do not show; ${limit}`;
    case 'daily':
      return `${actor.name} was refused ${value} times within a day for its credentials; ${limit}`;
    case 'stale':
      return (
        `${actor.name} was refused ${count} times, about every ${Math.max(1, Math.round(everyMs / 1_000))} s, with what looks like ` +
        'one and the same credential: expired, withdrawn or skewed, rather than guessed.'
      );
  }
}

type EncodedEpisode = [
  id: string,
  actor: AlertActor,
  pattern: Pattern,
  numbers: [...EncodedGrowing, ...number[]],
  accounts: string[],
  opened: string[],
];
type Encoded = [
  numbers: number[],
  accounts: number[],
  keys: number[],
  endpoints: number[],
  usual: number[],
  loops: number[],
  episode?: EncodedEpisode | 0,
  tally?: EncodedTally | 0,
  succeeded?: number[],
  clients?: number[],
  reported?: number[],
];

function encode(state: BruteForceState): Encoded {
  const { episode, tally, succeeded, clients, reported } = state;
  const encoded: Encoded = [
    [
      state.newestMs,
      state.newestMs - state.sinceMs,
      state.failures,
      state.others,
      state.explainable,
      state.successes,
      state.beyond,
      state.windows,
      state.day,
      state.newestMs - state.daySinceMs,
      state.dayFailures,
      state.daySuccesses,
    ],
    [...state.accounts].flatMap(([user, { tries, guesses, credential }]) => [
      user,
      tries,
      guesses,
      credential,
    ]),
    [...state.keys],
    state.endpoints,
    measures.map((measure) => state.usual[measure]),
    encodeLoops(state.loops, state.newestMs),
  ];
  const more = succeeded.length + clients.size + reported.size > 0;
  if (episode !== null || tally !== null || more) encoded.push(episode ? encodeEpisode(episode) : 0);
  if (tally !== null || more) encoded.push(tally ? encodeTally(tally) : 0);
  if (more) encoded.push(succeeded, [...clients].flat(), [...reported].flat());
  return encoded;
}

function encodeEpisode(episode: Episode): EncodedEpisode {
  const { id, actor, pattern, value, high, usual, factor, everyMs, successes, most } = episode;
  return [
    id,
    actor,
    pattern,
    [
      ...encodeGrowing(episode),
      value,
      high,
      usual,
      factor,
      everyMs,
      successes,
      ...measures.map((measure) => most[measure]),
    ],
    episode.accounts,
    episode.opened,
  ];
}

function ofMeasures(numbers: readonly number[]): Record<Measure, number> {
  const [guesses, accounts, keys, failures, daily] = numbers as [number, number, number, number, number];
  return { guesses, accounts, keys, failures, daily };
}

function pairsOf(flat: readonly number[]): Map<number, number> {
  const pairs = new Map<number, number>();
  for (let at = 0; at < flat.length; at += 2) pairs.set(flat[at]!, flat[at + 1]!);
  return pairs;
}

function decode(encoded: Encoded): BruteForceState {
  const [numbers, flat, keys, endpoints, usual, loops, episode = 0, tally = 0] = encoded;
  const [, , , , , , , , succeeded = [], clients = [], reported = []] = encoded;
  const of = (index: number): number => numbers[index]!;
  const newestMs = of(0);
  const accounts = new Map<number, Account>();
  let guesses = 0;
  for (let at = 0; at < flat.length; at += 4) {
    accounts.set(flat[at]!, { tries: flat[at + 1]!, guesses: flat[at + 2]!, credential: flat[at + 3]! });
    guesses = Math.max(guesses, flat[at + 2]!);
  }
  return {
    newestMs,
    sinceMs: newestMs - of(1),
    failures: of(2),
    others: of(3),
    explainable: of(4),
    clients: pairsOf(clients),
    successes: of(5),
    succeeded: [...succeeded],
    accounts,
    beyond: of(6),
    keys: new Set(keys),
    endpoints: [...endpoints],
    guesses,
    windows: of(7),
    usual: ofMeasures(usual),
    day: of(8),
    daySinceMs: newestMs - of(9),
    dayFailures: of(10),
    daySuccesses: of(11),
    loops: decodeLoops(loops, newestMs),
    reported: pairsOf(reported),
    episode: episode === 0 ? null : decodeEpisode(episode),
    tally: tally === 0 ? null : decodeTally(tally),
  };
}

function decodeEpisode([id, actor, pattern, numbers, accounts, opened]: EncodedEpisode): Episode {
  const [value, high, usual, factor, everyMs, successes, ...most] = numbers.slice(8) as [
    number,
    number,
    number,
    number,
    number,
    number,
    ...number[],
  ];
  return {
    ...decodeGrowing(numbers),
    id,
    actor,
    pattern,
    value,
    high,
    usual,
    factor,
    everyMs,
    successes,
    most: ofMeasures(most),
    accounts: [...accounts],
    opened: [...opened],
  };
}
