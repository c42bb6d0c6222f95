import { actorKey, severityOf, type Alert, type AlertActor, type ApiCall } from '@tripline/model';
import { alertActor } from '../alert-actor.ts';
import type { ActorDetector, ActorDetectorSettings } from '../actor-detector.ts';
import { compileExceptions } from '../exception.ts';
import { LATENESS_MS } from '../constants.ts';
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
} from '../episode.ts';
import { idHash } from '../recent-ids.ts';
import { toleranceOf, type Tolerance } from '../sensitivity.ts';
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
} from '../tally.ts';
import {
  ACCOUNTS_KEPT,
  ACCOUNTS_NAMED,
  ENDPOINTS_KEPT,
  FAILURES_PER_SUCCESS,
  FLOORS,
  FLOORS_LEAST,
  KEYS_KEPT,
  STALE_CALLS,
  STALE_MS,
  STALE_PAUSE_MS,
  STALE_SCORE,
  STALE_SILENCE_MS,
  TRUSTED_WINDOWS,
  USUAL_DOWN,
  USUAL_FACTOR,
  USUAL_UP,
  WINDOW_KEPT_MS,
  WINDOW_MS,
} from './constants.ts';

/** What is counted per window, each against a floor of its own. */
const measures = ['guesses', 'accounts', 'keys', 'failures'] as const;
type Measure = (typeof measures)[number];
type Pattern = Measure | 'stale';

const UNITS: Record<Pattern, string> = {
  guesses: 'guesses/h',
  accounts: 'accounts/h',
  keys: 'keys/h',
  failures: 'failures/h',
  stale: 'failures',
};
const REFERENCES: Record<Pattern, readonly string[]> = {
  guesses: ['OWASP API2:2023', 'MITRE ATT&CK T1110.001'],
  accounts: ['OWASP API2:2023', 'MITRE ATT&CK T1110.003', 'MITRE ATT&CK T1110.004'],
  keys: ['OWASP API2:2023', 'MITRE ATT&CK T1110'],
  failures: ['OWASP API2:2023', 'MITRE ATT&CK T1110'],
  stale: ['OWASP API2:2023'],
};

/** An account that failed: how often, with how many credentials (a change of credential counts), and with which last. */
interface Account {
  tries: number;
  guesses: number;
  credential: number;
}

/** One credential of one account that is refused again and again. */
interface Repeated {
  account: number;
  credential: number;
  sinceMs: number;
  lastMs: number;
  count: number;
}

interface Episode extends Growing {
  id: string;
  actor: AlertActor;
  pattern: Pattern;
  value: number;
  high: number;
  usual: number;
  factor: number;
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
  /** Failures of which neither account nor key is told. */
  untold: number;
  /** On the endpoints of `endpoints`. */
  successes: number;
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
  repeated: Repeated | null;
  /** The credential that was last told to be stale, and until when that is enough. */
  told: number;
  toldUntilMs: number;
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
    untold: 0,
    successes: 0,
    accounts: new Map(),
    beyond: 0,
    keys: new Set(),
    endpoints: [],
    guesses: 0,
    windows: 0,
    usual: { guesses: 0, accounts: 0, keys: 0, failures: 0 },
    repeated: null,
    told: 0,
    toldUntilMs: 0,
    episode: null,
    tally: null,
  };
}

/**
 * A source that tries credentials: one account with many, many accounts, many keys. The source is the address, as a refused
 * credential is no actor; or a consumer that logs others in, and tells whom.
 */
export function createBruteForceDetector(settings: ActorDetectorSettings): ActorDetector<BruteForceState> {
  const isExcepted = compileExceptions(settings);
  const limits = limitsAt(toleranceOf(settings.sensitivity));
  return {
    name: 'bruteForce',
    key: 'b',
    create: (call) => (isFailure(call) ? newState(call.startedAt) : undefined),
    fold: (state, call) => {
      if (!isFailure(call) && !isSuccess(call)) return [];
      if (isExcepted(call)) return [];
      return fold(state, call, limits);
    },
    close: (state, nowMs) => (state.episode && nowMs >= closesAt(state.episode) ? [close(state)] : []),
    closesAt: (state) => (state.episode ? closesAt(state.episode) : undefined),
    encode,
    decode: (encoded) => decode(encoded as Encoded),
  };
}

/**
 * A credential was judged and refused. A 403 says so only from an upstream to which one was presented: Kong's own 403 to
 * nobody in particular is a restriction of addresses, our block among them. A bearer token that Kong refuses, or of which
 * the later success is another actor's, has expired: 500 clients behind one address make 500 of those an hour. What a known
 * consumer is refused counts if it names the account it tried.
 */
function isFailure(call: ApiCall): boolean {
  const { status, user } = call;
  if (status === 401) {
    if (user !== undefined) return true;
    if (call.actorKind !== 'address') return false;
    return call.authScheme !== 'bearer' || (call.source === 'upstream' && call.credential === undefined);
  }
  return (
    status === 403 &&
    call.source === 'upstream' &&
    call.consumerId === undefined &&
    (user ?? call.credential) !== undefined
  );
}

function isSuccess({ status }: ApiCall): boolean {
  return status >= 200 && status < 400;
}

const hash32 = (text: string): number => idHash(text) >>> 0;

function fold(state: BruteForceState, call: ApiCall, limits: Limits): Alert[] {
  const atMs = call.startedAt;
  const alerts: Alert[] = [];
  if (atMs < state.newestMs - LATENESS_MS) return alerts;
  if (state.episode && atMs >= closesAt(state.episode)) alerts.push(close(state));
  state.newestMs = Math.max(state.newestMs, atMs);
  if (isSuccess(call)) {
    succeed(state, call);
    return alerts;
  }
  if (state.newestMs - state.sinceMs >= WINDOW_MS) roll(state);
  const repeats = count(state, call);

  const { pattern, value, high, factor } = worst(state, limits);
  const guessing = factor > 1 && state.failures >= FAILURES_PER_SUCCESS * state.successes;
  const stale =
    repeats !== null &&
    repeats.count >= limits.staleCalls &&
    repeats.lastMs - repeats.sinceMs >= STALE_MS &&
    (repeats.credential !== state.told || atMs >= state.toldUntilMs);
  const warm = factor > 0.5 || (repeats !== null && repeats.count * 2 > limits.staleCalls);
  if (!warm) {
    if (!state.episode) state.tally = null;
    return alerts;
  }
  // Somebody who guesses is more than somebody who forgot.
  if (state.episode?.pattern === 'stale' && guessing) alerts.push(close(state));
  tallyCall((state.tally ??= newTally()), call, false);
  let { episode } = state;
  if (!episode) {
    if (guessing) episode = raise(state, call, pattern, value, high, factor);
    else if (stale) {
      episode = raise(state, call, 'stale', repeats.count, limits.staleCalls - 1, 1);
      episode.startedAt = repeats.sinceMs;
      state.told = repeats.credential;
    } else return alerts;
    state.episode = episode;
  }
  if (episode.pattern === 'stale') {
    if (repeats?.credential !== state.told) return alerts;
    episode.value = Math.max(episode.value, repeats.count);
    state.toldUntilMs = atMs + STALE_SILENCE_MS;
  } else if (guessing && factor > episode.factor) Object.assign(episode, { pattern, value, high, factor });
  grow(episode, state, call);
  if (isNews(episode, scoreFor(episode), state.newestMs)) alerts.push(publish(state, 'open'));
  return alerts;
}

/** Adds a failure to the window; gives the repeated credential if the call is one more of it. */
function count(state: BruteForceState, call: ApiCall): Repeated | null {
  const { accounts, keys, endpoints } = state;
  state.failures++;
  const endpoint = hash32(call.endpoint);
  if (!endpoints.includes(endpoint)) {
    endpoints.push(endpoint);
    if (endpoints.length > ENDPOINTS_KEPT) endpoints.shift();
  }
  const credential = call.credential === undefined ? 0 : hash32(call.credential);
  if (call.user === undefined) {
    if (credential === 0) state.untold++;
    else if (keys.size < KEYS_KEPT) keys.add(credential);
    return null;
  }
  // Whether one account is guessed at, or its old password repeated, is not told without the credential.
  if (credential === 0) state.untold++;
  const user = hash32(call.user);
  const known = accounts.get(user);
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

  const { repeated } = state;
  const atMs = call.startedAt;
  if (repeated?.account === user && repeated.credential === credential) {
    repeated.count++;
    repeated.lastMs = Math.max(repeated.lastMs, atMs);
    return credential === 0 ? null : repeated;
  }
  if (!repeated || atMs > repeated.lastMs + STALE_PAUSE_MS)
    state.repeated = { account: user, credential, sinceMs: atMs, lastMs: atMs, count: 1 };
  return null;
}

/** A success where the source fails: it counts against the failures, and opens the account if that was tried before. */
function succeed(state: BruteForceState, call: ApiCall): void {
  if (!state.endpoints.includes(hash32(call.endpoint))) return;
  state.successes++;
  if (call.user === undefined) return;
  const user = hash32(call.user);
  if (state.repeated?.account === user) state.repeated = null;
  const { episode } = state;
  if (!episode || !state.accounts.has(user)) return;
  if (episode.opened.length < ACCOUNTS_NAMED && !episode.opened.includes(call.user))
    episode.opened.push(call.user);
}

/** Drops the older half of the window, or all of it if it is long past. Learns it before, unless it was suspicious. */
function roll(state: BruteForceState): void {
  if (!state.episode) {
    state.windows++;
    for (const measure of measures) {
      const value = valueOf(state, measure);
      const usual = state.usual[measure];
      const rate = value > usual ? USUAL_UP : USUAL_DOWN;
      state.usual[measure] = Math.round((usual + (value - usual) * rate) * 10) / 10;
    }
  }
  const past = state.newestMs - state.sinceMs >= WINDOW_MS + WINDOW_KEPT_MS;
  state.sinceMs = past ? state.newestMs : state.newestMs - WINDOW_KEPT_MS;
  const half = (number: number): number => (past ? 0 : number >> 1);
  state.failures = half(state.failures);
  state.untold = half(state.untold);
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
  if (past) state.endpoints = [];
}

function valueOf(state: BruteForceState, measure: Measure): number {
  switch (measure) {
    case 'guesses':
      return state.guesses;
    case 'keys':
      return state.keys.size;
    case 'failures':
      return state.untold;
    case 'accounts': {
      if (state.beyond === 0) return state.accounts.size;
      // Those that had no place are taken to be tried as often as those that had.
      let tries = 0;
      for (const account of state.accounts.values()) tries += account.tries;
      return state.accounts.size + Math.round((state.beyond * state.accounts.size) / tries);
    }
  }
}

/** What exceeds its threshold most; below 1 if nothing does. */
function worst(
  state: BruteForceState,
  { floors, usualFactor }: Limits,
): { pattern: Measure; value: number; high: number; factor: number } {
  let found = { pattern: 'guesses' as Measure, value: 0, high: 1, factor: 0 };
  for (const pattern of measures) {
    const value = valueOf(state, pattern);
    if (value * 2 <= floors[pattern]) continue;
    const high = Math.max(floors[pattern], Math.floor(usualFactor * state.usual[pattern]));
    if (value / high > found.factor) found = { pattern, value, high, factor: value / high };
  }
  return found;
}

function raise(
  state: BruteForceState,
  call: ApiCall,
  pattern: Pattern,
  value: number,
  high: number,
  factor: number,
): Episode {
  const startedAt = Math.min(state.sinceMs, call.startedAt);
  return {
    id: alertId('brute-force', actorKey(call), pattern === 'stale' ? 'stale' : '', startedAt),
    actor: alertActor(call),
    pattern,
    value,
    high,
    factor,
    usual: pattern === 'stale' ? 0 : state.usual[pattern],
    most: { guesses: 0, accounts: 0, keys: 0, failures: 0 },
    successes: 0,
    accounts: [],
    opened: [],
    startedAt,
    raisedAt: state.newestMs,
    lastSeenAt: call.startedAt,
    // The call itself is added by `grow`.
    count: Math.max(pattern === 'stale' ? value : state.failures, 1) - 1,
    revision: 0,
    publishedAt: 0,
    publishedCount: 0,
    publishedRank: -1,
  };
}

function grow(episode: Episode, state: BruteForceState, call: ApiCall): void {
  episode.lastSeenAt = Math.max(episode.lastSeenAt, call.startedAt);
  episode.count++;
  episode.successes = Math.max(episode.successes, state.successes);
  for (const measure of measures)
    episode.most[measure] = Math.max(episode.most[measure], valueOf(state, measure));
  const { user } = call;
  if (user !== undefined && episode.accounts.length < ACCOUNTS_NAMED && !episode.accounts.includes(user))
    episode.accounts.push(user);
}

function scoreFor(episode: Episode): number {
  return episode.pattern === 'stale' ? STALE_SCORE : scoreOf(episode.factor);
}

function close(state: BruteForceState): Alert {
  const alert = publish(state, 'closed');
  state.episode = null;
  state.tally = null;
  // What is left of the window is the attack's, and must not be learnt.
  state.sinceMs = state.newestMs;
  state.failures = state.untold = state.successes = state.beyond = state.guesses = 0;
  state.accounts.clear();
  state.keys.clear();
  return alert;
}

/** The next published state of the open episode. */
function publish(state: BruteForceState, status: Alert['status']): Alert {
  const episode = state.episode!;
  const tally = state.tally!;
  const score = scoreFor(episode);
  markPublished(episode, score, state.newestMs);
  const unit = UNITS[episode.pattern];
  const service = dominant(tally, tally.services);
  const learning = state.windows >= TRUSTED_WINDOWS ? 'overall' : 'cold';
  return {
    id: episode.id,
    revision: episode.revision,
    type: 'brute-force',
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
    evidence: {
      pattern: episode.pattern === 'stale' ? 'stale credential' : episode.pattern,
      windowMs: WINDOW_MS,
      factor: Math.round(episode.factor * 100) / 100,
      learning,
      learntHours: state.windows,
      // Largest within a window while it lasts; `failures` are those that tell neither account nor key.
      // Copies, as the episode goes on growing and a published revision must not.
      most: { ...episode.most },
      successes: episode.successes,
      accounts: [...episode.accounts],
      opened: [...episode.opened],
      endpoints: topEndpoints(tally),
    },
    sampleCallIds: [...tally.sampleCallIds],
    references: [...REFERENCES[episode.pattern]],
  };
}

function summaryOf({ actor, pattern, value, high, count, opened }: Episode): string {
  const limit = `up to ${high} an hour is accepted.`;
  const got = opened.length > 0 ? ` ${opened.length} of the accounts it tried were then opened.` : '';
  switch (pattern) {
    case 'guesses':
      return `${actor.name} tried ${value} different credentials for one account within an hour; ${limit}${got}`;
    case 'accounts':
      return `${actor.name} failed to log in to ${value} different accounts within an hour; ${limit}${got}`;
    case 'keys':
      return `${actor.name} presented ${value} different credentials that nobody knows within an hour; ${limit}${got}`;
    case 'failures':
      return `${actor.name} was refused ${value} times within an hour for its credentials, which the lines do not tell; ${limit}${got}`;
    case 'stale':
      return `${actor.name} was refused ${count} times with one and the same credential of one account: stale, rather than guessed.`;
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
  repeated: number[] | 0,
  episode: EncodedEpisode | 0,
  tally: EncodedTally | 0,
];

function encode(state: BruteForceState): Encoded {
  const { repeated, episode } = state;
  return [
    [
      state.newestMs,
      state.sinceMs,
      state.failures,
      state.untold,
      state.successes,
      state.beyond,
      state.windows,
      state.told,
      state.toldUntilMs,
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
    repeated ? [repeated.account, repeated.credential, repeated.sinceMs, repeated.lastMs, repeated.count] : 0,
    episode
      ? [
          episode.id,
          episode.actor,
          episode.pattern,
          [
            ...encodeGrowing(episode),
            episode.value,
            episode.high,
            episode.usual,
            episode.factor,
            episode.successes,
            ...measures.map((measure) => episode.most[measure]),
          ],
          episode.accounts,
          episode.opened,
        ]
      : 0,
    state.tally ? encodeTally(state.tally) : 0,
  ];
}

function ofMeasures(numbers: readonly number[]): Record<Measure, number> {
  const [guesses, accounts, keys, failures] = numbers as [number, number, number, number];
  return { guesses, accounts, keys, failures };
}

function decode(encoded: Encoded): BruteForceState {
  const [numbers, flat, keys, endpoints, usual, repeated, episode, tally] = encoded;
  const [newestMs, sinceMs, failures, untold, successes, beyond, windows, told, toldUntilMs] = numbers as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const accounts = new Map<number, Account>();
  let guesses = 0;
  for (let at = 0; at < flat.length; at += 4) {
    accounts.set(flat[at]!, { tries: flat[at + 1]!, guesses: flat[at + 2]!, credential: flat[at + 3]! });
    guesses = Math.max(guesses, flat[at + 2]!);
  }
  return {
    newestMs,
    sinceMs,
    failures,
    untold,
    successes,
    accounts,
    beyond,
    keys: new Set(keys),
    endpoints: [...endpoints],
    guesses,
    windows,
    usual: ofMeasures(usual),
    repeated: repeated === 0 ? null : decodeRepeated(repeated),
    told,
    toldUntilMs,
    episode: episode === 0 ? null : decodeEpisode(episode),
    tally: tally === 0 ? null : decodeTally(tally),
  };
}

function decodeRepeated(numbers: number[]): Repeated {
  const [account, credential, sinceMs, lastMs, count] = numbers as [number, number, number, number, number];
  return { account, credential, sinceMs, lastMs, count };
}

function decodeEpisode([id, actor, pattern, numbers, accounts, opened]: EncodedEpisode): Episode {
  const [value, high, usual, factor, successes, ...most] = numbers.slice(8) as [
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
    successes,
    most: ofMeasures(most),
    accounts: [...accounts],
    opened: [...opened],
  };
}
