import { severityOf, sourceOf, type Alert, type ApiCall } from '@tripline/model';
import {
  CALL_WEIGHT,
  HOUR_MS,
  LATENESS_MS,
  LEAST_FACTOR_LOG,
  MARGIN_DEVIATIONS,
  SAMPLES_MOST,
  SOURCES_MOST,
  STEP_MS,
  WINDOW_MS,
} from '../../baseline/limits.ts';
import { alertId, closesAt, isNews, markPublished, scoreOf, type Growing } from '../../alerts/episode.ts';
import { floorsAt, noPeers, type Floors } from '../../baseline/profile.ts';
import {
  adoptShadow,
  countCall,
  EXCEEDED,
  levelStays,
  settle,
  settlesAt,
  WARM,
  acceptedUpTo,
  worstExcess,
  type Excess,
} from '../../baseline/window-counts.ts';
import type { Tolerance } from '../../baseline/sensitivity.ts';
import { alertSources, largestFirst } from '../../alerts/tally.ts';
import { ENDPOINT_WINDOW_MS, SHARES_MOST } from '../../across-actors/limits.ts';
import { endpointId } from '../credential-stuffing/credential-stuffing.ts';
import type { WholeMinute } from '../../across-actors/minute-hold.ts';
import { Sample, sampleHash } from '../../sketches/sample.ts';
import {
  decodeGrowing,
  encodeGrowing,
  type EncodedGrowing,
  decodeScope,
  encodeScope,
  excuse,
  newScope,
  type EncodedScope,
  type Scope,
} from '../../legacy-across.ts';

/** Callers kept per endpoint and minute: their number and their calls are known to 18 %. */
const CALLERS_KEPT = 32;
const NAME_LENGTH_MOST = 64;
/** An endpoint is remembered from its first minute with so many callers on: paths that somebody makes up have one. */
const CALLERS_OF_NOTE = 2;
/**
 * Calls of one actor that count per minute: a crowd is what nobody makes alone, nor a handful, and the bursts of single actors are
 * what makes an endpoint's minutes vary most.
 */
const CALLS_PER_ACTOR = 5;
/**
 * Calls per 60 s and 600 s below which no crowd is a spike, with history and without any: it takes 20 actors to make them. The
 * baseline is fed once a minute, so its 10 s windows count the same as those of 60 s; theirs is the lower threshold and the one
 * that decides.
 */
const CROWD_FLOORS = {
  least: [100, 150, 1_000],
  cold: [600, 900, 4_000],
  factorLog: LEAST_FACTOR_LOG,
  deviations: MARGIN_DEVIATIONS,
  // However much an endpoint varies: what gathers in one network must not only be many.
  marginMost: Math.round(1_000 * Math.log(3)),
} as const;
/**
 * The calls from elsewhere must have at most this share of what they usually have: where everybody comes at once, in the morning or
 * as tokens run out, the networks keep their shares.
 */
const OTHERS_SHARE = 0.5;
/** Networks of which the usual share is known; those with the fewest calls make room. */
const NETWORKS_KEPT = 16;
/** Half-life of what is known of them about five days: each hour leaves this much. */
const NETWORKS_PER_HOUR = 1 - 1 / 168;
/** By size of window. */
const SPAN_MS = [ENDPOINT_WINDOW_MS, ENDPOINT_WINDOW_MS, WINDOW_MS[2]] as const;
const UNITS = ['requests/min', 'requests/min', 'requests/10min'] as const;
const WORDS = ['1 min', '1 min', '10 min'] as const;

/** An actor's calls to an endpoint in a minute, or in several, and where one of them came from. */
interface Caller {
  calls: number;
  /** The smallest of its calls' ids, so that it does not depend on their order; the rest is of the same call. */
  callId: string;
  ip: string;
  country: string | null;
  asn: number | null;
}

export type Callers = Sample<Caller>;
export const newCallers = (): Callers => new Sample(CALLERS_KEPT);

/** Adds a call that the server did not fail. */
export function addCaller(callers: Callers, call: ApiCall): void {
  const name = call.actorName.slice(0, NAME_LENGTH_MOST);
  const hash = sampleHash(name);
  if (!callers.takes(hash)) return;
  const { id: callId, country = null, asn = null } = call;
  const ip = sourceOf(call) ?? '';
  const caller = callers.pick(name, hash, () => ({ calls: 0, callId, ip, country, asn }));
  if (!caller) return;
  caller.calls++;
  if (callId < caller.callId) Object.assign(caller, { callId, ip, country, asn });
}

/** Adds `other` to `callers`; `other` stays as it is. */
export function mergeCallers(callers: Callers, other: Callers): void {
  for (const [name, { hash, value }] of other.entries()) {
    const caller = callers.pick(name, hash, () => ({ ...value, calls: 0 }));
    if (!caller) continue;
    const { calls, ...rest } = value;
    caller.calls += calls;
    if (rest.callId < caller.callId) Object.assign(caller, rest);
  }
}

/** The address is 0 if it is the name. */
export type EncodedCallers = [
  name: string,
  calls: number,
  callId: string,
  ip: string | 0,
  country: string | null,
  asn: number | null,
][];

export function encodeCallers(callers: Callers): EncodedCallers {
  return callers
    .sorted()
    .map(([name, { value }]) => [
      name,
      value.calls,
      value.callId,
      value.ip === name ? 0 : value.ip,
      value.country,
      value.asn,
    ]);
}

export function decodeCallers(encoded: EncodedCallers): Callers {
  const callers = newCallers();
  for (const [name, calls, callId, ip, country, asn] of encoded)
    callers.pick(name, sampleHash(name), () => ({ calls, callId, ip: ip === 0 ? name : ip, country, asn }));
  return callers;
}

interface Episode extends Growing {
  id: string;
  /** Calls of the crowd since startedAt, whether their window exceeded or not. */
  seen: number;
  worst: Excess;
  network: Network;
}

/** The network that the crowd gathers in, with its share of the calls, now and usually. */
interface Network {
  asn: number;
  share: number;
  usualShare: number;
}

/** What is known of the crowd that uses one endpoint. */
export interface CrowdState {
  /** Start of the newest window, ms. */
  newestMs: number;
  /** Of the calls of all actors, of each at most CALLS_PER_ACTOR a minute. */
  scope: Scope;
  /** Of calm windows: calls per network in 64ths, fading; those of unknown networks under 0. At most NETWORKS_KEPT. */
  networks: Map<number, number>;
  episode: Episode | null;
  /** Together: the callers of the windows near or over a threshold, of the episode, else of the newest 600 s. */
  pool: Callers | null;
}

export const crowdFloorsAt = (tolerance: Tolerance): Floors => floorsAt(CROWD_FLOORS, tolerance);

/** `floors` are those of the detector's sensitivity. */
export function newCrowdState(floors: Floors): CrowdState {
  return { newestMs: 0, scope: newScope(floors), networks: new Map(), episode: null, pool: null };
}

/** Is the window worth a state of its own for an endpoint that has none? */
export function isCrowdOfNote(callers: Callers | null): boolean {
  return callers !== null && callers.size >= CALLERS_OF_NOTE;
}

/**
 * Do many actors of one network together send far more to an endpoint than is usual there at this time, each of them too little
 * for a spike of its own? Judges one window; `nowMs` is the end of the step in which it is judged.
 */
export function judgeCrowd(state: CrowdState, whole: WholeMinute, nowMs: number): Alert[] {
  const alerts: Alert[] = [];
  const { callers } = whole.minute;
  const atMs = whole.window * ENDPOINT_WINDOW_MS;
  if (!callers || atMs < state.newestMs - LATENESS_MS) return alerts;
  for (const alert of closeCrowd(state, whole, atMs)) alerts.push(alert);
  if (atMs > state.newestMs) {
    if (!state.episode && longWindowOf(atMs) !== longWindowOf(state.newestMs)) state.pool = null;
    fade(state.networks, Math.floor(atMs / HOUR_MS) - Math.floor(state.newestMs / HOUR_MS));
    state.newestMs = atMs;
  }
  const { scope } = state;
  if (state.newestMs >= settlesAt(scope)) {
    settle(scope, noPeers(), state.newestMs, state.episode?.startedAt ?? Infinity, false);
    if (hasStayed(state)) {
      adoptShadow(scope, noPeers());
      alerts.push(endEpisode(state, whole, nowMs));
    }
  }

  const calls = callsOf(callers);
  const heat = countCall(scope, noPeers(), atMs, calls * CALL_WEIGHT);
  if (state.episode && atMs >= state.episode.startedAt) state.episode.seen += calls;
  if (heat < WARM) {
    learnNetworks(state.networks, callers);
    return alerts;
  }
  mergeCallers((state.pool ??= newCallers()), callers);
  if (heat < EXCEEDED) return alerts;
  const network = gatheredIn(state.pool, state.networks);
  if (!network) {
    if (!state.episode) excuse(scope, atMs);
    return alerts;
  }

  const excess = worstExcess(scope, atMs);
  const episode = (state.episode ??= raise(whole, excess, network, nowMs));
  episode.lastSeenAt = Math.max(episode.lastSeenAt, atMs);
  episode.count = episode.seen;
  if (excess.factor > episode.worst.factor) Object.assign(episode, { worst: excess, network });
  if (isNews(episode, scoreOf(episode.worst.factor), nowMs))
    alerts.push(publish(state, whole, 'open', nowMs));
  return alerts;
}

/** An estimate of the calls of all callers, of each at most CALLS_PER_ACTOR. */
function callsOf(callers: Callers): number {
  let sum = 0;
  for (const [, { value }] of callers.entries()) sum += Math.min(CALLS_PER_ACTOR, value.calls);
  return Math.round((sum * callers.distinct()) / callers.size);
}

function fade(networks: Map<number, number>, hours: number): void {
  if (hours === 0) return;
  for (const [asn, calls] of networks) {
    const left = Math.floor(calls * NETWORKS_PER_HOUR ** hours);
    if (left > 0) networks.set(asn, left);
    else networks.delete(asn);
  }
}

function learnNetworks(networks: Map<number, number>, callers: Callers): void {
  for (const [, { value }] of callers.entries()) {
    const asn = value.asn ?? 0;
    networks.set(asn, (networks.get(asn) ?? 0) + Math.min(CALLS_PER_ACTOR, value.calls) * CALL_WEIGHT);
  }
  while (networks.size > NETWORKS_KEPT) {
    let least = 0;
    let fewest = Infinity;
    for (const [asn, calls] of networks) {
      // Equal ones by number, so that it does not depend on their order.
      if (calls > fewest || (calls === fewest && asn > least)) continue;
      least = asn;
      fewest = calls;
    }
    networks.delete(least);
  }
}

/**
 * The network whose share of the calls has grown most, if that leaves the others far less than their usual share, by more than
 * the sample's standard error.
 */
function gatheredIn(callers: Callers, networks: ReadonlyMap<number, number>): Network | undefined {
  const now = new Map<number, number>();
  let sum = 0;
  for (const [, { value }] of callers.entries()) {
    sum += value.calls;
    if (value.asn !== null) now.set(value.asn, (now.get(value.asn) ?? 0) + value.calls);
  }
  let usualSum = 0;
  for (const calls of networks.values()) usualSum += calls;
  let found: Network | undefined;
  for (const [asn, calls] of now) {
    const share = calls / sum;
    const usualShare = (networks.get(asn) ?? 0) / Math.max(1, usualSum);
    const grown = share - usualShare - (found ? found.share - found.usualShare : 0);
    if (grown > 0 || (grown === 0 && found && asn < found.asn)) found = { asn, share, usualShare };
  }
  if (!found) return undefined;
  const error = Math.sqrt((found.share * (1 - found.share)) / callers.size);
  return 1 - found.share + error <= OTHERS_SHARE * (1 - found.usualShare) ? found : undefined;
}

/** Has the level become the way things are? */
function hasStayed({ episode, scope }: CrowdState): boolean {
  return episode !== null && episode.lastSeenAt - episode.startedAt >= STEP_MS && levelStays(scope);
}

/** Ends the episode if it is over at `nowMs`. The alert is the same whenever this is called after that. */
export function closeCrowd(
  state: CrowdState,
  of: { service: string; endpoint: string },
  nowMs: number,
): Alert[] {
  return state.episode && nowMs >= closesAt(state.episode) ? [endEpisode(state, of, nowMs)] : [];
}

export function crowdClosesAt({ episode }: CrowdState): number | undefined {
  return episode ? closesAt(episode) : undefined;
}

function endEpisode(state: CrowdState, of: { service: string; endpoint: string }, nowMs: number): Alert {
  const alert = publish(state, of, 'closed', nowMs);
  state.episode = null;
  state.pool = null;
  state.scope.shadow = [];
  return alert;
}

function longWindowOf(atMs: number): number {
  return Math.floor(atMs / WINDOW_MS[2]);
}

function raise(
  of: { service: string; endpoint: string },
  excess: Excess,
  network: Network,
  nowMs: number,
): Episode {
  const calls = Math.round(excess.count / CALL_WEIGHT);
  return {
    id: alertId('request-spike', `campaign:${endpointId(of)}`, '', excess.startsAt),
    startedAt: excess.startsAt,
    raisedAt: nowMs,
    lastSeenAt: excess.startsAt,
    seen: calls,
    count: calls,
    worst: excess,
    network,
    revision: 0,
    publishedAt: 0,
    publishedCount: 0,
    publishedRank: -1,
  };
}

/** The next published state of the open episode. */
function publish(
  state: CrowdState,
  of: { service: string; endpoint: string },
  status: Alert['status'],
  nowMs: number,
): Alert {
  const episode = state.episode!;
  const callers = state.pool!;
  const { worst, network } = episode;
  const score = scoreOf(worst.factor);
  markPublished(episode, score, nowMs);

  const id = endpointId(of);
  const unit = UNITS[worst.size]!;
  const value = Math.round(worst.count / CALL_WEIGHT);
  const high = Math.floor(worst.high / CALL_WEIGHT);
  const actors = callers.distinct();
  return {
    id: episode.id,
    revision: episode.revision,
    type: 'request-spike',
    severity: severityOf(score),
    score,
    actor: { kind: 'campaign', id, name: id },
    service: of.service === '' ? null : of.service,
    route: null,
    endpoint: of.endpoint,
    raisedAt: episode.raisedAt,
    startedAt: episode.startedAt,
    lastSeenAt: episode.lastSeenAt,
    count: episode.count,
    status,
    observed: { value, unit },
    expected: { value: Math.round((worst.expected / CALL_WEIGHT) * 10) / 10, low: 0, high, unit },
    summary: summaryOf(id, worst, value, high, actors, network),
    sources: alertSources(byCalls(callers).map(([, { calls, ...from }]) => ({ ...from, count: calls }))),
    evidence: {
      kind: 'crowd',
      windowMs: SPAN_MS[worst.size]!,
      windowStartsAt: worst.startsAt,
      factor: Math.round(worst.factor * 100) / 100,
      learning: worst.learning,
      learntHours: worst.learntHours,
      // An estimate from 32 on, see `Sample`; what follows is of a fair sample of the actors, weighted by their calls.
      distinctActors: actors,
      actors: byCalls(callers)
        .slice(0, SOURCES_MOST)
        .map(([actor, { calls }]) => ({ actor, count: calls })),
      network: network.asn,
      networkShare: rounded(network.share),
      usualNetworkShare: rounded(network.usualShare),
      networks: sharesOf(callers, ({ asn }) => asn),
      countries: sharesOf(callers, ({ country }) => country),
    },
    sampleCallIds: callers
      .sorted()
      .slice(0, SAMPLES_MOST)
      .map(([, { value: caller }]) => caller.callId),
    references: ['OWASP API4:2023', 'MITRE ATT&CK T1499'],
  };
}

function byCalls(callers: Callers): [name: string, caller: Caller][] {
  const named = [...callers.entries()].map(([name, { value }]): [string, Caller] => [name, value]);
  return largestFirst(named, ({ calls }) => calls);
}

/** The values with the most calls and their share of all, largest first; what is not known has no share. */
function sharesOf<T extends string | number>(
  callers: Callers,
  valueOf: (caller: Caller) => T | null,
): { value: T; share: number }[] {
  const counts = new Map<T, number>();
  let sum = 0;
  for (const [, { value: caller }] of callers.entries()) {
    sum += caller.calls;
    const value = valueOf(caller);
    if (value !== null) counts.set(value, (counts.get(value) ?? 0) + caller.calls);
  }
  return [...counts]
    .sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
    .slice(0, SHARES_MOST)
    .map(([value, count]) => ({ value, share: rounded(count / sum) }));
}

function rounded(share: number): number {
  return Math.round(share * 100) / 100;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

function summaryOf(
  id: string,
  worst: Excess,
  value: number,
  high: number,
  actors: number,
  { asn, share, usualShare }: Network,
): string {
  return (
    `${id}: about ${actors} actors together sent ${value} requests in ${WORDS[worst.size]!}, ${percent(share)} of them from ` +
    `network AS${asn}, usually ${percent(usualShare)}; ${acceptedUpTo(high, worst)}. Of each actor ${CALLS_PER_ACTOR} a minute count at most.`
  );
}

export type EncodedCrowd = [
  newestMs: number,
  scope: EncodedScope,
  networks: [asn: number, calls: number][],
  pool?: EncodedCallers | 0,
  episode?: [id: string, numbers: [...EncodedGrowing, seen: number], worst: Excess, network: Network],
];

export function encodeCrowd({ newestMs, scope, networks, pool, episode }: CrowdState): EncodedCrowd {
  const encoded: EncodedCrowd = [newestMs, encodeScope(scope), [...networks]];
  if (pool ?? episode) encoded.push(pool ? encodeCallers(pool) : 0);
  if (episode)
    encoded.push([episode.id, [...encodeGrowing(episode), episode.seen], episode.worst, episode.network]);
  return encoded;
}

/** `floors` as for a new state. */
export function decodeCrowd(
  [newestMs, scope, networks, pool, episode]: EncodedCrowd,
  floors: Floors,
): CrowdState {
  return {
    newestMs,
    scope: decodeScope(scope, floors),
    networks: new Map(networks),
    pool: pool ? decodeCallers(pool) : null,
    episode: episode ? decodeEpisode(episode) : null,
  };
}

function decodeEpisode([id, numbers, worst, network]: NonNullable<EncodedCrowd[4]>): Episode {
  return { ...decodeGrowing(numbers), id, seen: numbers[8], worst, network };
}
