import type { ApiCall } from '@tripline/model';
import { idHash } from '../../sketches/recent-ids.ts';
import {
  ACCOUNTS_KEPT,
  ACCOUNTS_NAMED,
  CERTAIN_FACTOR,
  CLIENT_SHARE_MOST,
  CLIENTS_KEPT,
  ENDPOINTS_KEPT,
  FAILURES_PER_SUCCESS,
  KEYS_KEPT,
  SUCCEEDED_KEPT,
  UNKNOWN_PER_SUCCESS,
  USUAL_DOWN,
  USUAL_UP,
  WINDOW_KEPT_MS,
  WINDOW_MS,
} from './limits.ts';
import { dayOf, measures, type Measure, type RefusalsState } from './refusals-state.ts';
import { retryLoops, rollLoops, type RetryLoop } from './retry-loops.ts';
import { isLogin, signsEachCall } from './what-is-guessed.ts';

const hash32 = (text: string): number => idHash(text) >>> 0;

/** Adds a failure to the window and to the day. */
export function count(state: RefusalsState, call: ApiCall): void {
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
export function succeed(state: RefusalsState, call: ApiCall): void {
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
export function beginDay(state: RefusalsState): void {
  if (state.episode === null || state.episode.pattern === 'stale') learn(state, 'daily');
  state.day = dayOf(state.newestMs);
  state.daySinceMs = state.newestMs;
  state.dayFailures = state.daySuccesses = 0;
  for (const loop of state.loops) loop.inDay = 0;
}

function learn(state: RefusalsState, measure: Measure): void {
  const value = valueOf(state, measure, retryLoops(state.loops));
  const usual = state.usual[measure];
  const rate = value > usual ? USUAL_UP : USUAL_DOWN;
  state.usual[measure] = Math.round((usual + (value - usual) * rate) * 10) / 10;
}

/** Drops the older half of the window, or all of it if it is long past. Learns it before, unless it was suspicious. */
export function roll(state: RefusalsState): void {
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
export function valueOf(state: RefusalsState, measure: Measure, loops: readonly RetryLoop[]): number {
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

/**
 * Whether successes of consumers at the same address explain that Kong refused the call. A new account, password or key is never
 * explained so, nor is what an endpoint of the service itself refused: somebody with a key of his own could guess beside it. What
 * remains are tokens that ran out and are renewed, the first legs of a handshake, and an office in which some mistype.
 */
export function isExplained(state: RefusalsState, call: ApiCall): boolean {
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
export function isBusiness(
  state: RefusalsState,
  loops: readonly RetryLoop[],
  { pattern, factor }: { pattern: Measure; factor: number },
): boolean {
  const isDaily = pattern === 'daily';
  const successes = isDaily ? state.daySuccesses : state.successes;
  let failures = isDaily ? state.dayFailures : state.failures;
  for (const loop of loops) failures -= isDaily ? loop.inDay : loop.inWindow;
  return failures < (factor > CERTAIN_FACTOR ? 1 : FAILURES_PER_SUCCESS) * successes;
}
