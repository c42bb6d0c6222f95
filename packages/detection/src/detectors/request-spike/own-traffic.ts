import { actorKey, severityOf, type Alert, type AlertActor, type ApiCall } from '@tripline/model';
import { alertActor } from '../../alerts/alert-actor.ts';
import type { ActorProfileKind } from '../../detector.ts';
import { compileExceptions } from '../../exception.ts';
import { asActorSettings } from '../../settings.ts';
import { floorsAt } from '../../baseline/profile.ts';
import { toleranceOf } from '../../baseline/sensitivity.ts';
import {
  CALL_WEIGHT,
  REQUEST_FLOORS,
  DAY_MS,
  FAILED_CALL_WEIGHT,
  LATENESS_MS,
  SERVICES_KEPT,
  STEP_MS,
  WINDOW_MS,
  WINDOW_UNITS,
  WINDOW_WORDS,
} from '../../baseline/limits.ts';
import { fromNumerals, toNumerals } from '../../codec/digits.ts';
import {
  alertId,
  closesAt,
  decodeGrowing,
  encodeGrowing,
  isNews,
  markPublished,
  scoreOf,
  type Growing,
} from '../../alerts/episode.ts';
import type { Floors, PeersState } from '../../baseline/profile.ts';
import {
  adoptShadow,
  CALM,
  copyScope,
  countCall,
  decodeScope,
  encodeScope,
  EXCEEDED,
  levelStays,
  newScope,
  profileOf,
  settle,
  settlesAt,
  acceptedUpTo,
  worstExcess,
  type EncodedScope,
  type Excess,
  type Scope,
} from '../../baseline/window-counts.ts';
import {
  adoptStretch,
  countStretch,
  decodeStretch,
  encodeStretch,
  newStretch,
  settleStretch,
  STRETCH_MS,
  stretchEnds,
  stretchExcess,
  stretchStays,
  type EncodedStretch,
  type Stretch,
} from '../../baseline/six-hours.ts';
import {
  decodeTally,
  dominant,
  encodeTally,
  newTally,
  statusClasses,
  tallyCall,
  topEndpoints,
  topSources,
  type EncodedTally,
  type Tally,
} from '../../alerts/tally.ts';

const REFERENCES = ['OWASP API4:2023', 'MITRE ATT&CK T1499'];
const LONGEST_WINDOW_MS = WINDOW_MS[2];
/** Size of the windows of a `Stretch`, after the three of a `Scope`. */
const STRETCH = WINDOW_MS.length;
/** By size of window. */
const SPAN_MS = [...WINDOW_MS, STRETCH_MS] as const;
const UNITS = [...WINDOW_UNITS, 'requests/6h'] as const;
const WORDS = [...WINDOW_WORDS, '6 h'] as const;

interface Episode extends Growing {
  id: string;
  actor: AlertActor;
  /** The service whose scope raised it; null if the actor's whole traffic did. */
  service: string | null;
  /** Calls of the scope since startedAt, whether they exceeded or not. */
  seen: number;
  /** Late calls of the actor when the latest call exceeded. */
  late: number;
  worst: Excess;
}

/** What the request-spike detector knows of one actor. At most SERVICES_KEPT service scopes, one episode, one tally. */
export interface SpikeState {
  /** Event time of the newest call that was counted; 0 if there was none. */
  newestMs: number;
  /** Calls that came too late to be counted. */
  late: number;
  whole: Scope;
  /** The only service used so far; its scope would be the same as `whole`. Null before the first call. */
  firstService: string | null;
  /** From the second service on: one scope each; the least recently used goes. Before, the same empty map for all actors. */
  services: Map<string, Scope>;
  /** Of the whole traffic. */
  stretch: Stretch;
  episode: Episode | null;
  /** About the calls near or over a threshold: those of the episode, else of the newest 600 s window. */
  tally: Tally | null;
}

/** Most actors have one service, and an empty map is a tenth of what is kept of them. */
const NO_SERVICES = new Map<string, Scope>();

const LATEST = 2 ** 42;

/** What an actor's traffic amounts to, whole and by service. */
export const ownTraffic: ActorProfileKind<SpikeState> = {
  id: 1,
  version: 1,
  seesRefused: true,
  create(settingsOf) {
    const settings = asActorSettings(settingsOf('request-spike'));
    const isExcepted = compileExceptions(settings);
    const floors = floorsAt(REQUEST_FLOORS, toleranceOf(settings.sensitivity));
    return {
      create: (call) => (call.refused === true || isExcepted(call) ? undefined : newSpikeState(floors)),
      fold(state, call, context, out) {
        // What Kong turned away is neither judged nor learnt from: it may well be our own block.
        const alerts =
          call.refused === true || isExcepted(call)
            ? closeSpike(state, call.startedAt)
            : foldSpike(state, context.peers, call);
        for (const alert of alerts) out.alert(alert);
        context.inSpike = state.episode !== null;
      },
      close(state, nowMs, out) {
        for (const alert of closeSpike(state, nowMs)) out.alert(alert);
      },
      closesAt: spikeClosesAt,
      encode: (state, writer) => writer.text(JSON.stringify(encodeSpike(state, LATEST))),
      decode: (reader) => decodeSpike(JSON.parse(reader.text()) as EncodedSpike, LATEST, floors),
    };
  },
};

/** `floors` are those of the detector's sensitivity. */
export function newSpikeState(floors: Floors): SpikeState {
  return {
    newestMs: 0,
    late: 0,
    whole: newScope(floors),
    firstService: null,
    services: NO_SERVICES,
    stretch: newStretch(),
    episode: null,
    tally: null,
  };
}

/** Folds one call in. `call` must not be refused by Kong and must lie outside every exception. */
export function foldSpike(state: SpikeState, peers: PeersState, call: ApiCall): Alert[] {
  const alerts: Alert[] = [];
  const atMs = call.startedAt;
  if (atMs < state.newestMs - LATENESS_MS) {
    state.late++;
    return alerts;
  }
  if (state.episode && atMs >= endsAt(state.episode)) alerts.push(closeEpisode(state));
  if (atMs > state.newestMs) {
    if (state.tally && !state.episode && windowOf(atMs) !== windowOf(state.newestMs)) state.tally = null;
    state.newestMs = atMs;
  }

  const { whole, newestMs } = state;
  const service = call.service ?? '';
  const serverFailed = call.status >= 500 || call.status === 499;
  const weight = serverFailed ? FAILED_CALL_WEIGHT : CALL_WEIGHT;

  if (newestMs >= settlesAt(whole)) {
    settle(whole, peers, newestMs, state.episode?.startedAt ?? Infinity, state.services.size === 0);
    if (stepStayed(state)) alerts.push(adoptStep(state, peers));
  }
  const { stretch } = state;
  if (stretchEnds(stretch, atMs)) {
    settleStretch(stretch, atMs, state.episode !== null, profileOf(whole).deviation, whole.floors);
    if (isSlow(state.episode) && stretchStays(stretch)) alerts.push(adoptStep(state, peers));
  }
  // Before the call is counted: the first service's scope begins as a copy of the whole.
  const scope = serviceScope(state, service);
  let heat = countCall(whole, peers, atMs, weight);
  let hottest = whole;
  if (scope) {
    if (newestMs >= settlesAt(scope)) {
      settle(scope, peers, newestMs, state.episode?.startedAt ?? Infinity, true);
    }
    const serviceHeat = countCall(scope, peers, atMs, weight);
    if (serviceHeat > heat) {
      heat = serviceHeat;
      hottest = scope;
    }
  }

  const { episode } = state;
  const isShort = heat === EXCEEDED;
  const isTooMany = countStretch(stretch, atMs, weight);
  // A spike tells of its calls by itself, and what is left of its six hours is no second one.
  if (isShort || (episode && !isSlow(episode))) stretch.inSpike = true;
  else if (isTooMany && !stretch.inSpike) heat = EXCEEDED;
  if (episode && atMs >= episode.startedAt && (episode.service ?? service) === service) episode.seen++;
  if (heat === CALM) return alerts;
  if (heat === EXCEEDED || !episode) tallyCall((state.tally ??= newTally()), call, serverFailed);
  if (heat !== EXCEEDED) return alerts;

  const excess = isShort
    ? worstExcess(hottest, atMs)
    : stretchExcess(stretch, STRETCH, profileOf(state.whole).hours);
  if (!episode) {
    state.episode = raise(state, call, excess, hottest === whole ? null : service);
    alerts.push(publish(state, 'open'));
    return alerts;
  }
  episode.lastSeenAt = Math.max(episode.lastSeenAt, atMs);
  episode.count = episode.seen;
  episode.late = state.late;
  if (excess.factor > episode.worst.factor) episode.worst = excess;
  if (isNews(episode, scoreOf(episode.worst.factor), newestMs)) alerts.push(publish(state, 'open'));
  return alerts;
}

/** Ends the episode if it is over at `nowMs`. The alert is the same whenever this is called after that. */
export function closeSpike(state: SpikeState, nowMs: number): Alert[] {
  return state.episode && nowMs >= endsAt(state.episode) ? [closeEpisode(state)] : [];
}

export function spikeClosesAt(state: SpikeState): number | undefined {
  return state.episode ? endsAt(state.episode) : undefined;
}

/** Was the episode raised by a stretch, and no shorter window exceeded by more since? */
function isSlow(episode: Episode | null): boolean {
  return episode?.worst.size === STRETCH;
}

/** Slow growth is over when a day has passed that was ordinary: its nights may well be. */
function endsAt(episode: Episode): number {
  return isSlow(episode) ? episode.lastSeenAt + DAY_MS : closesAt(episode);
}

function windowOf(atMs: number): number {
  return Math.floor(atMs / LONGEST_WINDOW_MS);
}

/** The scope of this service; undefined as long as the actor has used no other. */
function serviceScope(state: SpikeState, service: string): Scope | undefined {
  if (state.services.size === 0) {
    state.firstService ??= service;
    if (state.firstService === service) return undefined;
    // Until now the first service's traffic was the whole traffic.
    state.services = new Map([[state.firstService, copyScope(state.whole)]]);
  }
  const { services } = state;
  let scope = services.get(service);
  if (!scope) {
    if (services.size >= SERVICES_KEPT) services.delete(leastRecentlyUsed(services));
    scope = newScope(state.whole.floors);
    services.set(service, scope);
  }
  return scope;
}

function leastRecentlyUsed(services: Map<string, Scope>): string {
  let oldest = '';
  let oldestWindow = Infinity;
  for (const [service, scope] of services) {
    if (scope.newest < oldestWindow) {
      oldestWindow = scope.newest;
      oldest = service;
    }
  }
  return oldest;
}

/** Has the episode become the way things are? */
function stepStayed(state: SpikeState): boolean {
  const { episode } = state;
  if (!episode || episode.lastSeenAt - episode.startedAt < STEP_MS) return false;
  return [state.whole, ...state.services.values()].some(levelStays);
}

function adoptStep(state: SpikeState, peers: PeersState): Alert {
  adoptShadow(state.whole, peers);
  for (const scope of state.services.values()) adoptShadow(scope, peers);
  adoptStretch(state.stretch, profileOf(state.whole).deviation, state.whole.floors);
  return closeEpisode(state);
}

function closeEpisode(state: SpikeState): Alert {
  const alert = publish(state, 'closed');
  state.episode = null;
  state.tally = null;
  state.whole.shadow = [];
  for (const scope of state.services.values()) scope.shadow = [];
  state.stretch.inSpike = true;
  return alert;
}

function raise(state: SpikeState, call: ApiCall, excess: Excess, service: string | null): Episode {
  const calls = Math.round(excess.count / CALL_WEIGHT);
  return {
    id: alertId('request-spike', actorKey(call), service ?? '', excess.startsAt),
    actor: alertActor(call),
    service,
    startedAt: excess.startsAt,
    raisedAt: state.newestMs,
    lastSeenAt: call.startedAt,
    seen: calls,
    count: calls,
    late: state.late,
    worst: excess,
    revision: 0,
    publishedAt: 0,
    publishedCount: 0,
    publishedRank: 0,
  };
}

/** The next published state of the open episode. */
function publish(state: SpikeState, status: Alert['status']): Alert {
  const episode = state.episode!;
  const tally = state.tally!;
  const { worst } = episode;
  const score = scoreOf(worst.factor);
  markPublished(episode, score, state.newestMs);

  const unit = UNITS[worst.size]!;
  const value = Math.round(worst.count / CALL_WEIGHT);
  const high = Math.floor(worst.high / CALL_WEIGHT);
  const service = episode.service ?? dominant(tally, tally.services);
  return {
    id: episode.id,
    revision: episode.revision,
    type: 'request-spike',
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
    observed: { value, unit },
    expected: { value: Math.round((worst.expected / CALL_WEIGHT) * 10) / 10, low: 0, high, unit },
    summary: summaryOf(episode, value, high, service),
    sources: topSources(tally),
    evidence: {
      windowMs: SPAN_MS[worst.size]!,
      windowStartsAt: worst.startsAt,
      factor: Math.round(worst.factor * 100) / 100,
      learning: worst.learning,
      learntHours: worst.learntHours,
      // Server failures weigh 1/64 in `observed`: repeating a call that the server failed is no attack.
      serverErrors: tally.serverErrors,
      statuses: statusClasses(tally),
      endpoints: topEndpoints(tally),
      // The calls that sources, statuses and endpoints are about: those near or over the threshold.
      examinedCalls: tally.calls,
      lateCalls: episode.late,
    },
    sampleCallIds: [...tally.sampleCallIds],
    references: [...REFERENCES],
  };
}

function summaryOf(episode: Episode, value: number, high: number, service: string | null): string {
  const { worst, actor } = episode;
  const sent = `${actor.name} sent ${value} requests in ${WORDS[worst.size]!}${service ? ` to ${service}` : ''}`;
  switch (worst.learning) {
    case 'seasonal':
      return `${sent}; normal for ${worst.size === STRETCH ? 'this time of day' : 'this hour'} is up to ${high} (learnt from ${worst.learntHours} h of its own traffic).`;
    case 'overall':
    case 'cold':
      return `${sent}; ${acceptedUpTo(high, worst)}.`;
  }
}

type EncodedExcess = [number, number, number, number, number, number, Excess['learning'], number];
/** `EncodedGrowing` with the episode's own among it, in the order in which states in use have them. */
type EncodedNumbers = [
  startedAt: number,
  raisedAt: number,
  lastSeenAt: number,
  seen: number,
  count: number,
  late: number,
  revision: number,
  publishedAt: number,
  publishedCount: number,
  publishedRank: number,
];
type EncodedEpisode = [
  id: string,
  actor: AlertActor,
  service: string | null,
  numbers: EncodedNumbers,
  worst: EncodedExcess,
];
/** The actor's age of its newest counted call and its late calls as numerals, then the parts; the last ones if there are any. */
export type EncodedSpike = [
  numbers: string,
  firstService: string | null,
  whole: EncodedScope,
  stretch: EncodedStretch,
  services?: [string, EncodedScope][],
  tally?: EncodedTally | 0,
  episode?: EncodedEpisode,
];

/** `lastSeenAt` is the actor's: that of its newest call, counted or not. */
export function encodeSpike(state: SpikeState, lastSeenAt: number): EncodedSpike {
  const { newestMs, late, services, tally, episode } = state;
  const encoded: EncodedSpike = [
    toNumerals([lastSeenAt - newestMs, late]),
    state.firstService,
    encodeScope(state.whole),
    encodeStretch(state.stretch),
  ];
  if (services.size > 0 || tally || episode)
    encoded.push(
      [...services].map(([service, scope]): [string, EncodedScope] => [service, encodeScope(scope)]),
    );
  if (tally || episode) encoded.push(tally ? encodeTally(tally) : 0);
  if (episode) encoded.push(encodeEpisode(episode));
  return encoded;
}

/** `lastSeenAt` as it was written with; `floors` as for a new state. */
export function decodeSpike(encoded: EncodedSpike, lastSeenAt: number, floors: Floors): SpikeState {
  const [numbers, firstService, whole, stretch, services = [], tally = 0, episode] = encoded;
  const [ageMs, late] = fromNumerals(numbers) as [number, number];
  const newestMs = lastSeenAt - ageMs;
  return {
    newestMs,
    late,
    firstService,
    whole: decodeScope(whole, floors),
    services:
      services.length === 0
        ? NO_SERVICES
        : new Map(services.map(([service, scope]) => [service, decodeScope(scope, floors)])),
    stretch: decodeStretch(stretch),
    episode: episode ? decodeEpisode(episode) : null,
    tally: tally === 0 ? null : decodeTally(tally),
  };
}

function encodeEpisode(episode: Episode): EncodedEpisode {
  const { size, startsAt, count: windowCount, high, expected, factor, learning, learntHours } = episode.worst;
  const [startedAt, raisedAt, lastSeenAt, count, ...published] = encodeGrowing(episode);
  return [
    episode.id,
    episode.actor,
    episode.service,
    [startedAt, raisedAt, lastSeenAt, episode.seen, count, episode.late, ...published],
    [size, startsAt, windowCount, high, expected, factor, learning, learntHours],
  ];
}

function decodeEpisode(encoded: EncodedEpisode): Episode {
  const [id, actor, service, numbers, worst] = encoded;
  const [startedAt, raisedAt, lastSeenAt, seen, count, late, ...published] = numbers;
  const [size, startsAt, windowCount, high, expected, factor, learning, learntHours] = worst;
  return {
    id,
    actor,
    service,
    ...decodeGrowing([startedAt, raisedAt, lastSeenAt, count, ...published]),
    seen,
    late,
    worst: { size, startsAt, count: windowCount, high, expected, factor, learning, learntHours },
  };
}
