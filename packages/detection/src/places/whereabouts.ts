import type { PlacesFinding } from './places-finding.ts';
import { actorKey, type ApiCall } from '@tripline/model';
import { alertActor } from '../alerts/alert-actor.ts';
import { alertId, beginGrowing, isNews } from '../alerts/episode.ts';
import { newTally, tallyCall } from '../alerts/tally.ts';
import { toleranceOf } from '../baseline/sensitivity.ts';
import type { ActorProfileKind, DetectionOutput } from '../detector.ts';
import {
  countSharing,
  judgeSharing,
  sharingLimitsAt,
  type SharingLimits,
} from '../detectors/credential-sharing/sharing.ts';
import { judgeTravel, travelLimitsAt, type TravelLimits } from '../detectors/impossible-travel/travel.ts';
import { compileExceptions } from '../exception.ts';
import { asActorSettings } from '../settings.ts';
import { ADOPT_MS, QUIET_MS, RECENT_MS } from './limits.ts';
import { adoptStrange, disownYoung, isLocated, observe, type Sighting } from './places.ts';
import { publishPlaces, sharingFinding, travelFinding } from './whereabouts-alert.ts';
import {
  decodeWhereabouts,
  encodeWhereabouts,
  newWhereabouts,
  type PlacesAlertType,
  type WhereaboutsState,
} from './whereabouts-state.ts';

/** Which alerts a call may raise. What is announced to one of the two detectors is still the other's. */
type Judges = Record<PlacesAlertType, boolean>;

interface Limits {
  travel: TravelLimits;
  sharing: SharingLimits;
}

/**
 * Impossible travel and credential sharing, over one notion of the places and networks that an actor uses. Consumers and
 * credentials only, and only calls that a database has located: without one there is no state and no cost.
 */
export const whereabouts: ActorProfileKind<WhereaboutsState> = {
  id: 5,
  version: 2,
  needsPlaces: true,
  create(settingsOf) {
    const travel = asActorSettings(settingsOf('impossible-travel'));
    const sharing = asActorSettings(settingsOf('credential-sharing'));
    const isTravelExcepted = compileExceptions(travel);
    const isSharingExcepted = compileExceptions(sharing);
    const limits: Limits = {
      travel: travelLimitsAt(toleranceOf(travel.sensitivity)),
      sharing: sharingLimitsAt(toleranceOf(sharing.sensitivity)),
    };
    return {
      create: (call) =>
        isLocated(call) && call.actorKind !== 'address' ? newWhereabouts(call.startedAt) : undefined,
      concerns: isLocated,
      fold(state, call, _, out) {
        close(state, call.startedAt, out);
        if (!isLocated(call)) return;
        const judges: Judges = {
          'impossible-travel': travel.enabled && !isTravelExcepted(call),
          'credential-sharing': sharing.enabled && !isSharingExcepted(call),
        };
        if (judges['impossible-travel'] || judges['credential-sharing'])
          fold(state, call, judges, limits, out);
      },
      close,
      closesAt: ({ episode }) => (episode ? episode.lastSeenAt + QUIET_MS : undefined),
      encode: encodeWhereabouts,
      decode: decodeWhereabouts,
    };
  },
};

function fold(
  state: WhereaboutsState,
  call: ApiCall,
  judges: Judges,
  limits: Limits,
  out: DetectionOutput,
): void {
  const { places } = state;
  const sighting = observe(places, call, state.episode !== null);
  if (!sighting) return;
  const { atMs } = sighting;
  const isStrange = !sighting.network.own || !sighting.family.own;
  if (state.strange && !state.episode && atMs - state.strange.lastMs > RECENT_MS) state.strange = null;
  // Nearly all calls end here.
  if (!isStrange && !places.watched) {
    state.counts = state.turns = null;
    return;
  }
  const { episode } = state;
  const isAnnounced = episode !== null && !judges[episode.type];
  if (isStrange && !isAnnounced && noteStrange(state, call, atMs, out)) return;
  state.counts = countSharing(places, sighting, state.counts, limits.sharing);
  if (judges['credential-sharing'] && (isStrange || episode?.type !== 'credential-sharing'))
    if (foundSharing(state, call, limits.sharing, out)) return;
  if (judges['impossible-travel'] && episode?.type !== 'credential-sharing')
    if (foundTravel(state, call, sighting, limits.travel, out)) return;
  if (episode && isStrange && !isAnnounced && isNews(episode, episode.worst.score, places.newestMs))
    out.alert(publishPlaces(state, 'open'));
}

/**
 * Notes a call by a strange network or client, which belongs to the open episode. True if what is strange went on for so long that it is
 * the actor's own from here on: the episode is then over.
 */
function noteStrange(state: WhereaboutsState, call: ApiCall, atMs: number, out: DetectionOutput): boolean {
  const { episode } = state;
  const strange = (state.strange ??= { sinceMs: atMs, lastMs: atMs, tally: newTally() });
  strange.lastMs = Math.max(strange.lastMs, atMs);
  tallyCall(strange.tally, call, false);
  if (!episode) return false;
  if (atMs - episode.raisedAt >= ADOPT_MS) {
    adoptStrange(state.places);
    episode.worst.evidence.adopted = true;
    end(state, out);
    return true;
  }
  episode.lastSeenAt = Math.max(episode.lastSeenAt, atMs);
  episode.count = strange.tally.calls;
  return false;
}

function foundSharing(
  state: WhereaboutsState,
  call: ApiCall,
  limits: SharingLimits,
  out: DetectionOutput,
): boolean {
  const { places, episode } = state;
  const signs = judgeSharing(places, state.counts, limits);
  if (signs.length === 0) return false;
  const finding = sharingFinding(places, signs);
  if (episode?.type !== 'credential-sharing') disownYoung(places);
  if (episode?.type === 'impossible-travel') {
    // Travel that turns out to be sharing stays the same alert.
    episode.type = 'credential-sharing';
    episode.worst = { ...finding, score: Math.max(finding.score, episode.worst.score) };
    out.alert(publishPlaces(state, 'open'));
  } else grow(state, call, 'credential-sharing', finding, out);
  return true;
}

function foundTravel(
  state: WhereaboutsState,
  call: ApiCall,
  sighting: Sighting,
  limits: TravelLimits,
  out: DetectionOutput,
): boolean {
  const { places } = state;
  const { travel, turns } = judgeTravel(places, sighting, state.turns, limits);
  state.turns = turns;
  if (!travel) return false;
  grow(state, call, 'impossible-travel', travelFinding(places, sighting, travel, call, limits.kmh), out);
  return true;
}

function close(state: WhereaboutsState, nowMs: number, out: DetectionOutput): void {
  if (state.episode && nowMs >= state.episode.lastSeenAt + QUIET_MS) end(state, out);
}

function end(state: WhereaboutsState, out: DetectionOutput): void {
  out.alert(publishPlaces(state, 'closed'));
  state.episode = state.strange = state.counts = state.turns = null;
}

/** Raises the alert, or lets the open one grow; publishes if there is news. */
function grow(
  state: WhereaboutsState,
  call: ApiCall,
  type: PlacesAlertType,
  finding: PlacesFinding,
  out: DetectionOutput,
): void {
  const { places } = state;
  const atMs = call.startedAt;
  // The other end may be what is strange, or all of it known by now.
  state.strange ??= { sinceMs: atMs, lastMs: atMs, tally: newTally() };
  if (state.strange.tally.calls === 0) tallyCall(state.strange.tally, call, false);
  const { sinceMs, lastMs, tally } = state.strange;
  const { episode } = state;
  if (!episode) {
    state.episode = {
      id: alertId(type, actorKey(call), '', sinceMs),
      actor: alertActor(call),
      ...beginGrowing(sinceMs, places.newestMs, lastMs, tally.calls),
      type,
      beganAs: type,
      worst: finding,
    };
    out.alert(publishPlaces(state, 'open'));
    return;
  }
  if (finding.score > episode.worst.score) episode.worst = finding;
  if (isNews(episode, episode.worst.score, places.newestMs)) out.alert(publishPlaces(state, 'open'));
}
