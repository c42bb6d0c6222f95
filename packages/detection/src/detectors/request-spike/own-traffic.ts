import { actorKey, type ApiCall } from '@tripline/model';
import { alertActor } from '../../alerts/alert-actor.ts';
import { alertId, beginGrowing, closesAt, isNews, scoreOf } from '../../alerts/episode.ts';
import { newTally, tallyCall } from '../../alerts/tally.ts';
import {
  CALL_WEIGHT,
  DAY_MS,
  FAILED_CALL_WEIGHT,
  LATENESS_MS,
  REQUEST_FLOORS,
  STEP_MS,
  WINDOW_MS,
} from '../../baseline/limits.ts';
import { floorsAt, type PeersState } from '../../baseline/profile.ts';
import { toleranceOf } from '../../baseline/sensitivity.ts';
import {
  adoptSixHours,
  countInSixHours,
  settleSixHours,
  sixHoursEnd,
  sixHoursExcess,
  sixHoursStay,
} from '../../baseline/six-hours.ts';
import {
  adoptShadow,
  CALM,
  countCall,
  EXCEEDED,
  levelStays,
  profileOf,
  settle,
  settlesAt,
  worstExcess,
  type Excess,
  type WindowCounts,
} from '../../baseline/window-counts.ts';
import type { ActorProfileKind, DetectionOutput } from '../../detector.ts';
import { compileExceptions } from '../../exception.ts';
import { asActorSettings } from '../../settings.ts';
import { publishOwnTraffic, SIX_HOURS } from './own-traffic-alert.ts';
import {
  countsOfService,
  decodeOwnTraffic,
  encodeOwnTraffic,
  newOwnTraffic,
  type Episode,
  type OwnTrafficState,
} from './own-traffic-state.ts';

const LONGEST_WINDOW_MS = WINDOW_MS[2];

/** Whether an actor sends far more calls than is usual for it at this time, whole or to one service. */
export const ownTraffic: ActorProfileKind<OwnTrafficState> = {
  id: 1,
  version: 2,
  seesRefused: true,
  create(settingsOf) {
    const settings = asActorSettings(settingsOf('request-spike'));
    const isExcepted = compileExceptions(settings);
    const floors = floorsAt(REQUEST_FLOORS, toleranceOf(settings.sensitivity));
    return {
      create: (call) => (call.refused === true || isExcepted(call) ? undefined : newOwnTraffic(floors)),
      fold(state, call, context, out) {
        // What Kong turned away is neither judged nor learnt from: it may well be our own block.
        if (call.refused === true || isExcepted(call)) close(state, call.startedAt, out);
        else fold(state, context.peers, call, out);
        context.inSpike = state.episode !== null;
      },
      close,
      closesAt: ({ episode }) => (episode ? endsAt(episode) : undefined),
      encode: encodeOwnTraffic,
      decode: (reader) => decodeOwnTraffic(reader, floors),
    };
  },
};

function fold(state: OwnTrafficState, peers: PeersState, call: ApiCall, out: DetectionOutput): void {
  const atMs = call.startedAt;
  if (atMs < state.newestMs - LATENESS_MS) {
    state.late++;
    return;
  }
  if (state.episode && atMs >= endsAt(state.episode)) closeEpisode(state, out);
  if (atMs > state.newestMs) {
    if (state.tally && !state.episode && windowOf(atMs) !== windowOf(state.newestMs)) state.tally = null;
    state.newestMs = atMs;
  }
  settleWhole(state, peers, atMs, out);

  const service = call.service ?? '';
  const serverFailed = call.status >= 500 || call.status === 499;
  const weight = serverFailed ? FAILED_CALL_WEIGHT : CALL_WEIGHT;
  const { heat, hottest } = count(state, peers, atMs, service, weight);
  const isShort = heat === EXCEEDED;
  const isLong = exceedsSixHours(state, atMs, weight, isShort);
  const { episode } = state;
  if (episode && atMs >= episode.startedAt && (episode.service ?? service) === service) episode.seen++;
  if (heat === CALM && !isLong) return;
  if (isShort || isLong || !episode) tallyCall((state.tally ??= newTally()), call, serverFailed);
  if (!isShort && !isLong) return;

  const excess = isShort
    ? worstExcess(hottest, atMs)
    : sixHoursExcess(state.sixHours, SIX_HOURS, profileOf(state.whole).hours);
  if (!episode) {
    state.episode = raise(state, call, excess, hottest === state.whole ? null : service);
    out.alert(publishOwnTraffic(state, 'open'));
    return;
  }
  episode.lastSeenAt = Math.max(episode.lastSeenAt, atMs);
  episode.count = episode.seen;
  episode.late = state.late;
  if (excess.factor > episode.worst.factor) episode.worst = excess;
  if (isNews(episode, scoreOf(episode.worst.factor), state.newestMs))
    out.alert(publishOwnTraffic(state, 'open'));
}

/** Ends the hours and the six hours of the whole traffic that are over. */
function settleWhole(state: OwnTrafficState, peers: PeersState, atMs: number, out: DetectionOutput): void {
  const { whole, sixHours, newestMs } = state;
  if (newestMs >= settlesAt(whole)) {
    settle(whole, peers, newestMs, state.episode?.startedAt ?? Infinity, state.services.size === 0);
    if (stepStayed(state)) adoptStep(state, peers, out);
  }
  if (!sixHoursEnd(sixHours, atMs)) return;
  settleSixHours(sixHours, atMs, state.episode !== null, profileOf(whole).deviation, whole.floors);
  if (isSlow(state.episode) && sixHoursStay(sixHours)) adoptStep(state, peers, out);
}

/** Counts the call in the whole traffic and in its service's; says which of the two is nearer its threshold, and how near. */
function count(
  state: OwnTrafficState,
  peers: PeersState,
  atMs: number,
  service: string,
  weight: number,
): { heat: number; hottest: WindowCounts } {
  const { whole, newestMs } = state;
  // Before the call is counted: the first service's counts begin as a copy of the whole.
  const ofService = countsOfService(state, service);
  const heat = countCall(whole, peers, atMs, weight);
  if (!ofService) return { heat, hottest: whole };
  if (newestMs >= settlesAt(ofService))
    settle(ofService, peers, newestMs, state.episode?.startedAt ?? Infinity, true);
  const serviceHeat = countCall(ofService, peers, atMs, weight);
  return serviceHeat > heat ? { heat: serviceHeat, hottest: ofService } : { heat, hottest: whole };
}

/** Counts the call in its six hours; true if it is one too many there and no shorter window explains it. */
function exceedsSixHours(state: OwnTrafficState, atMs: number, weight: number, isShort: boolean): boolean {
  const { sixHours, episode } = state;
  const isTooMany = countInSixHours(sixHours, atMs, weight);
  // A spike has an alert of its own, and what is left of its six hours is no second one.
  if (isShort || (episode && !isSlow(episode))) {
    sixHours.inSpike = true;
    return false;
  }
  return isTooMany && !sixHours.inSpike;
}

function close(state: OwnTrafficState, nowMs: number, out: DetectionOutput): void {
  if (state.episode && nowMs >= endsAt(state.episode)) closeEpisode(state, out);
}

/** Whether six hours raised the episode, and no shorter window exceeded by more since. */
function isSlow(episode: Episode | null): boolean {
  return episode?.worst.size === SIX_HOURS;
}

/** Slow growth is over when a day has passed that was ordinary: its nights may well be. */
function endsAt(episode: Episode): number {
  return isSlow(episode) ? episode.lastSeenAt + DAY_MS : closesAt(episode);
}

function windowOf(atMs: number): number {
  return Math.floor(atMs / LONGEST_WINDOW_MS);
}

/** Whether the episode has become the way things are. */
function stepStayed(state: OwnTrafficState): boolean {
  const { episode } = state;
  if (!episode || episode.lastSeenAt - episode.startedAt < STEP_MS) return false;
  return [state.whole, ...state.services.values()].some(levelStays);
}

function adoptStep(state: OwnTrafficState, peers: PeersState, out: DetectionOutput): void {
  adoptShadow(state.whole, peers);
  for (const counts of state.services.values()) adoptShadow(counts, peers);
  adoptSixHours(state.sixHours, profileOf(state.whole).deviation, state.whole.floors);
  closeEpisode(state, out);
}

function closeEpisode(state: OwnTrafficState, out: DetectionOutput): void {
  out.alert(publishOwnTraffic(state, 'closed'));
  state.episode = null;
  state.tally = null;
  state.whole.shadow = [];
  for (const counts of state.services.values()) counts.shadow = [];
  state.sixHours.inSpike = true;
}

function raise(state: OwnTrafficState, call: ApiCall, excess: Excess, service: string | null): Episode {
  const calls = Math.round(excess.count / CALL_WEIGHT);
  return {
    id: alertId('request-spike', actorKey(call), service ?? '', excess.startsAt),
    actor: alertActor(call),
    ...beginGrowing(excess.startsAt, state.newestMs, call.startedAt, calls),
    service,
    seen: calls,
    late: state.late,
    worst: excess,
  };
}
