import { actorKey, type Alert, type ApiCall } from '@tripline/model';
import { alertActor } from '../../alerts/alert-actor.ts';
import { alertId, beginGrowing, closesAt, isNews } from '../../alerts/episode.ts';
import { newTally, tallyCall } from '../../alerts/tally.ts';
import { isAuthFailure, isAuthSuccess, isExpired } from '../../auth-outcome.ts';
import { LATENESS_MS } from '../../baseline/limits.ts';
import { toleranceOf, type Tolerance } from '../../baseline/sensitivity.ts';
import type { ActorProfileKind, DetectionOutput } from '../../detector.ts';
import { compileExceptions } from '../../exception.ts';
import { asActorSettings } from '../../settings.ts';
import {
  ACCOUNTS_NAMED,
  FLOORS,
  FLOORS_LEAST,
  REPORTED_KEPT,
  STALE_CALLS,
  STALE_MS,
  STALE_SILENCE_MS,
  USUAL_FACTOR,
  WINDOW_MS,
} from './limits.ts';
import { publishRefusals, scoreFor } from './refusals-alert.ts';
import { beginDay, count, isBusiness, isExplained, roll, succeed, valueOf } from './refusals-counts.ts';
import {
  dayOf,
  decodeRefusals,
  encodeRefusals,
  measures,
  newRefusals,
  type Episode,
  type Measure,
  type RefusalsState,
} from './refusals-state.ts';
import { addToLoops, gapMsOf, retryLoops, type RetryLoop } from './retry-loops.ts';
import { isLogin } from './what-is-guessed.ts';

/** How much is allowed, at the sensitivity that is set. */
interface Limits {
  floors: Record<Measure, number>;
  usualFactor: number;
  staleCalls: number;
}

function limitsAt(tolerance: Tolerance): Limits {
  const floorOf = (measure: Measure): number => tolerance.count(FLOORS[measure], FLOORS_LEAST[measure]);
  return {
    floors: {
      guesses: floorOf('guesses'),
      accounts: floorOf('accounts'),
      keys: floorOf('keys'),
      failures: floorOf('failures'),
      daily: floorOf('daily'),
    },
    usualFactor: tolerance.factor(USUAL_FACTOR),
    staleCalls: tolerance.count(STALE_CALLS),
  };
}

/** Which of the two kinds of alert a call may raise. */
interface Judges {
  guesses: boolean;
  stale: boolean;
}

/**
 * Whether a source tries credentials: one account with many, many accounts, or many keys; or repeats a stale one. The source is the
 * address, as a refused credential is no actor; or a consumer that logs others in.
 */
export const refusals: ActorProfileKind<RefusalsState> = {
  id: 2,
  version: 2,
  create(settingsOf) {
    const bruteForce = asActorSettings(settingsOf('brute-force'));
    const staleCredential = asActorSettings(settingsOf('stale-credential'));
    const isExceptedFromGuesses = compileExceptions(bruteForce);
    const isExceptedFromStale = compileExceptions(staleCredential);
    const limits: Limits = {
      ...limitsAt(toleranceOf(bruteForce.sensitivity)),
      staleCalls: toleranceOf(staleCredential.sensitivity).count(STALE_CALLS),
    };
    const concerns = (call: ApiCall): boolean => isFailure(call) || isExpired(call) || isAuthSuccess(call);
    return {
      create: (call) => (isFailure(call) || isExpired(call) ? newRefusals(call.startedAt) : undefined),
      concerns,
      fold(state, call, _, out) {
        if (!concerns(call)) return;
        const judges: Judges = {
          guesses: bruteForce.enabled && !isExpired(call) && !isExceptedFromGuesses(call),
          stale: staleCredential.enabled && !isExceptedFromStale(call),
        };
        if (judges.guesses || judges.stale) fold(state, call, limits, judges, out);
      },
      close: (state, nowMs, out) => {
        if (state.episode && nowMs >= closesAt(state.episode)) close(state, out);
      },
      closesAt: (state) => (state.episode ? closesAt(state.episode) : undefined),
      encode: encodeRefusals,
      decode: decodeRefusals,
    };
  },
};

/**
 * Of a known consumer only failed logins count: what else it is refused for is what it may do, or a token inside its calls that
 * ran out.
 */
function isFailure(call: ApiCall): boolean {
  return isAuthFailure(call) && (call.actorKind === 'address' || call.user !== undefined || isLogin(call));
}

function fold(
  state: RefusalsState,
  call: ApiCall,
  limits: Limits,
  judges: Judges,
  out: DetectionOutput,
): void {
  const atMs = call.startedAt;
  if (atMs < state.newestMs - LATENESS_MS) return;
  if (state.episode && atMs >= closesAt(state.episode)) close(state, out);
  state.newestMs = Math.max(state.newestMs, atMs);
  if (isAuthSuccess(call)) {
    succeed(state, call);
    return;
  }
  if (dayOf(state.newestMs) !== state.day) beginDay(state);
  if (state.newestMs - state.sinceMs >= WINDOW_MS) roll(state);
  if (isExplained(state, call)) return;
  const loop = addToLoops(state.loops, call);
  if (judges.guesses) count(state, call);
  else if (loop) {
    // What is not counted must not be taken off what is.
    loop.inWindow--;
    loop.inDay--;
  }
  judge(state, call, loop, limits, judges, out);
}

/** Raises an alert after a refused call, or lets the open one grow. `loop`: the one that the call repeats. */
function judge(
  state: RefusalsState,
  call: ApiCall,
  loop: RetryLoop | undefined,
  limits: Limits,
  judges: Judges,
  out: DetectionOutput,
): void {
  const loops = retryLoops(state.loops);
  const repeated = loop !== undefined && loops.includes(loop) ? loop : undefined;
  const found = worst(state, loops, limits);
  const isGuessing = judges.guesses && found.factor > 1 && !isBusiness(state, loops, found);
  const isStale = judges.stale && repeated !== undefined && isLongLoop(repeated, limits);
  const isWarm = found.factor > 0.5 || (loop !== undefined && loop.count * 2 > limits.staleCalls);
  if (!isWarm) {
    if (!state.episode) state.tally = null;
    return;
  }
  // Somebody who guesses is more than somebody who forgot.
  if (state.episode?.pattern === 'stale' && isGuessing) close(state, out);
  tallyCall((state.tally ??= newTally()), call, false);
  let { episode } = state;
  if (!episode) {
    if (isGuessing) episode = raise(state, call, found);
    else if (isStale && call.startedAt >= (state.reported.get(repeated.identity) ?? 0))
      episode = raiseStale(state, call, repeated, limits);
    else return;
    state.episode = episode;
  }
  if (episode.pattern === 'stale') {
    if (!isStale) return;
    noteReported(state, repeated);
    episode.value = Math.max(episode.value, repeated.count);
    episode.everyMs = Math.round(gapMsOf(repeated));
  } else if (repeated) return;
  else if (isGuessing && found.factor > episode.factor) Object.assign(episode, found);
  grow(episode, state, call, loops);
  if (isNews(episode, scoreFor(episode), state.newestMs))
    putOut(episode, publishRefusals(state, 'open'), out);
}

function isLongLoop(loop: RetryLoop, { staleCalls }: Limits): boolean {
  return loop.count >= staleCalls && loop.lastMs - loop.sinceMs >= STALE_MS;
}

/**
 * Publishes a revision, or hands it to the endpoint: others may try many accounts or keys there, too, and are put together. Who guesses
 * at one account stands alone, and a stale credential is no brute force.
 */
function putOut({ pattern }: Episode, alert: Alert, out: DetectionOutput): void {
  const isOneOfMany = pattern !== 'stale' && pattern !== 'guesses';
  if (isOneOfMany && alert.actor.kind === 'address' && alert.endpoint !== null) out.toEndpoint(alert);
  else out.alert(alert);
}

interface Found {
  pattern: Measure;
  value: number;
  high: number;
  factor: number;
}

/**
 * Whether an open episode may be about this from here on. One that others may share is published by way of its endpoint, see
 * `putOut`, so that it stays one that others may share; and a day adds nothing to what an hour already showed.
 */
function mayBecome(episode: Episode | null, pattern: Measure): boolean {
  if (episode === null || episode.pattern === 'stale' || episode.pattern === pattern) return true;
  return pattern !== 'daily' && (pattern === 'guesses') === (episode.pattern === 'guesses');
}

/** What exceeds its threshold most; below 1 if nothing does. */
function worst(state: RefusalsState, loops: readonly RetryLoop[], { floors, usualFactor }: Limits): Found {
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

function raise(state: RefusalsState, call: ApiCall, found: Found): Episode {
  const isDaily = found.pattern === 'daily';
  const startedAt = Math.min(isDaily ? state.daySinceMs : state.sinceMs, call.startedAt);
  // The call itself is added by `grow`.
  const count = Math.max(isDaily ? state.dayFailures : state.failures, 1) - 1;
  return {
    ...newEpisode(state, call, 'brute-force', startedAt, count),
    ...found,
    usual: state.usual[found.pattern],
  };
}

function raiseStale(state: RefusalsState, call: ApiCall, loop: RetryLoop, limits: Limits): Episode {
  return {
    ...newEpisode(state, call, 'stale-credential', loop.sinceMs, loop.count - 1),
    pattern: 'stale',
    value: loop.count,
    high: limits.staleCalls - 1,
    factor: 1,
    usual: 0,
  };
}

type Begun = Omit<Episode, 'pattern' | 'value' | 'high' | 'factor' | 'usual'>;

function newEpisode(
  state: RefusalsState,
  call: ApiCall,
  type: 'brute-force' | 'stale-credential',
  startedAt: number,
  count: number,
): Begun {
  return {
    id: alertId(type, actorKey(call), '', startedAt),
    actor: alertActor(call),
    ...beginGrowing(startedAt, state.newestMs, call.startedAt, count),
    everyMs: 0,
    most: { guesses: 0, accounts: 0, keys: 0, failures: 0, daily: 0 },
    successes: 0,
    accounts: [],
    opened: [],
  };
}

function noteReported(state: RefusalsState, { identity, lastMs }: RetryLoop): void {
  state.reported.delete(identity);
  state.reported.set(identity, lastMs + STALE_SILENCE_MS);
  if (state.reported.size <= REPORTED_KEPT) return;
  const [oldest] = state.reported.keys();
  state.reported.delete(oldest!);
}

function grow(episode: Episode, state: RefusalsState, call: ApiCall, loops: readonly RetryLoop[]): void {
  episode.lastSeenAt = Math.max(episode.lastSeenAt, call.startedAt);
  episode.count++;
  episode.successes = Math.max(episode.successes, state.successes);
  for (const measure of measures)
    episode.most[measure] = Math.max(episode.most[measure], valueOf(state, measure, loops));
  const { user } = call;
  if (user !== undefined && episode.accounts.length < ACCOUNTS_NAMED && !episode.accounts.includes(user))
    episode.accounts.push(user);
}

function close(state: RefusalsState, out: DetectionOutput): void {
  const episode = state.episode!;
  putOut(episode, publishRefusals(state, 'closed'), out);
  state.episode = null;
  state.tally = null;
  if (episode.pattern === 'stale') return;
  // What is left of the window and the day is the attack's, and must not be learnt.
  state.sinceMs = state.daySinceMs = state.newestMs;
  state.failures = state.others = state.explainable = state.successes = state.beyond = state.guesses = 0;
  state.dayFailures = state.daySuccesses = 0;
  state.accounts.clear();
  state.keys.clear();
  for (const loop of state.loops) loop.inWindow = loop.inDay = loop.varied = 0;
}
