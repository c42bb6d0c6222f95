import { actorKey, severityOf, type Alert, type AlertActor, type ApiCall } from '@tripline/model';
import { alertActor } from '../alerts/alert-actor.ts';
import type { ActorDetector } from '../legacy.ts';
import { asActorSettings, type ActorSettings } from '../settings.ts';
import type { ActorProfileKind } from '../detector.ts';
import { adapt } from '../legacy.ts';
import { alertId, isNews, markPublished, scoreOf, type Growing } from '../alerts/episode.ts';
import { compileExceptions } from '../exception.ts';
import { toleranceOf } from '../baseline/sensitivity.ts';
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
} from '../alerts/tally.ts';
import { ADOPT_MS, QUIET_MS, RECENT_MS } from './limits.ts';
import {
  adoptStrange,
  decodePlaces,
  disownYoung,
  encodePlaces,
  isLocated,
  isSettled,
  newPlaces,
  NOWHERE,
  observe,
  type EncodedPlaces,
  type Network,
  type Places,
  type Sighting,
} from './places.ts';
import {
  countSharing,
  judgeSharing,
  sharingLimitsAt,
  type Sharing,
  type SharingCounts,
} from '../detectors/credential-sharing/sharing.ts';
import {
  judgeTravel,
  travelLimitsAt,
  type Travel,
  type TravelFact,
  type Turns,
} from '../detectors/impossible-travel/travel.ts';

/** What an alert says besides its calls; as it was at its worst. */
interface Finding {
  score: number;
  observed: Alert['observed'];
  expected: Alert['expected'];
  words: string;
  evidence: Record<string, unknown>;
}

interface Episode extends Growing {
  id: string;
  type: 'impossible-travel' | 'credential-sharing';
  /** What it was taken for at first. */
  beganAs: Episode['type'];
  actor: AlertActor;
  worst: Finding;
}

/** Calls by strange networks or clients: those of the episode, else of the last while, in case they lead to one. */
interface Strange {
  sinceMs: number;
  lastMs: number;
  tally: Tally;
}

/** What is known of one actor. One episode at a time: travel that turns out to be sharing stays the same alert. */
export interface PlacesState {
  places: Places;
  turns: Turns;
  counts: SharingCounts | null;
  strange: Strange | null;
  episode: Episode | null;
}

export const whereabouts: ActorProfileKind<PlacesState> = {
  id: 5,
  version: 1,
  needsPlaces: true,
  create: (settingsOf) =>
    adapt(
      createPlacesDetector({
        impossibleTravel: asActorSettings(settingsOf('impossible-travel')),
        credentialSharing: asActorSettings(settingsOf('credential-sharing')),
      }),
    ),
};

/**
 * Impossible travel and credential sharing, over one notion of the places and networks that an actor uses. Consumers and
 * credentials only, and only calls that a database has located: without one there is no state and no cost.
 */
export function createPlacesDetector(config: {
  impossibleTravel: ActorSettings;
  credentialSharing: ActorSettings;
}): ActorDetector<PlacesState> {
  const { impossibleTravel, credentialSharing } = config;
  const isTravelExcepted = compileExceptions(impossibleTravel);
  const isSharingExcepted = compileExceptions(credentialSharing);
  const travelLimits = travelLimitsAt(toleranceOf(impossibleTravel.sensitivity));
  const sharingLimits = sharingLimitsAt(toleranceOf(credentialSharing.sensitivity));

  return {
    create(call) {
      if (!isLocated(call) || call.actorKind === 'address') return undefined;
      return { places: newPlaces(call.startedAt), turns: null, counts: null, strange: null, episode: null };
    },
    fold(state, call) {
      const alerts = close(state, call.startedAt);
      if (!isLocated(call)) return alerts;
      // What is announced to one of the two is still the other's.
      const judgesTravel = impossibleTravel.enabled && !isTravelExcepted(call);
      const judgesSharing = credentialSharing.enabled && !isSharingExcepted(call);
      if (!judgesTravel && !judgesSharing) return alerts;
      const { places } = state;
      const sighting = observe(places, call, state.episode !== null);
      if (!sighting) return alerts;
      const { atMs } = sighting;
      const isStrange = !sighting.network.own || !sighting.family.own;
      if (state.strange && !state.episode && atMs - state.strange.lastMs > RECENT_MS) state.strange = null;
      // Nearly all calls end here.
      if (!isStrange && !places.watched) {
        state.counts = state.turns = null;
        return alerts;
      }
      const { episode } = state;
      const isAnnounced =
        episode !== null && !(episode.type === 'impossible-travel' ? judgesTravel : judgesSharing);
      if (isStrange && !isAnnounced) {
        state.strange ??= { sinceMs: atMs, lastMs: atMs, tally: newTally() };
        state.strange.lastMs = Math.max(state.strange.lastMs, atMs);
        tallyCall(state.strange.tally, call, false);
        if (episode) {
          if (atMs - episode.raisedAt >= ADOPT_MS) {
            adoptStrange(places);
            episode.worst.evidence['adopted'] = true;
            alerts.push(end(state));
            return alerts;
          }
          episode.lastSeenAt = Math.max(episode.lastSeenAt, atMs);
          episode.count = state.strange.tally.calls;
        }
      }

      state.counts = countSharing(places, sighting, state.counts, sharingLimits);
      if (judgesSharing && (isStrange || episode?.type !== 'credential-sharing')) {
        const signs = judgeSharing(places, state.counts, sharingLimits);
        if (signs.length > 0) {
          const finding = sharingFinding(places, signs);
          if (episode?.type !== 'credential-sharing') disownYoung(places);
          if (episode?.type === 'impossible-travel') {
            episode.type = 'credential-sharing';
            episode.worst = { ...finding, score: Math.max(finding.score, episode.worst.score) };
            alerts.push(publish(state, 'open'));
          } else grow(state, call, 'credential-sharing', finding, alerts);
          return alerts;
        }
      }
      if (judgesTravel && episode?.type !== 'credential-sharing') {
        const { travel, turns } = judgeTravel(places, sighting, state.turns, travelLimits);
        state.turns = turns;
        if (travel) {
          grow(
            state,
            call,
            'impossible-travel',
            travelFinding(places, sighting, travel, call, travelLimits.kmh),
            alerts,
          );
          return alerts;
        }
      }
      if (episode && isStrange && !isAnnounced && isNews(episode, episode.worst.score, places.newestMs))
        alerts.push(publish(state, 'open'));
      return alerts;
    },
    close,
    closesAt: ({ episode }) => (episode ? episode.lastSeenAt + QUIET_MS : undefined),
    encode: encodeState,
    decode: (encoded) => decodeState(encoded as EncodedState),
  };
}

function close(state: PlacesState, nowMs: number): Alert[] {
  const { episode } = state;
  return episode && nowMs >= episode.lastSeenAt + QUIET_MS ? [end(state)] : [];
}

function end(state: PlacesState): Alert {
  const alert = publish(state, 'closed');
  state.episode = state.strange = state.counts = state.turns = null;
  return alert;
}

/** Raises the alert, or lets the open one grow; publishes if there is something new to tell. */
function grow(
  state: PlacesState,
  call: ApiCall,
  type: Episode['type'],
  finding: Finding,
  alerts: Alert[],
): void {
  const { places } = state;
  const atMs = call.startedAt;
  // The other end may be what is strange, or all of it known by now.
  state.strange ??= { sinceMs: atMs, lastMs: atMs, tally: newTally() };
  if (state.strange.tally.calls === 0) tallyCall(state.strange.tally, call, false);
  const { sinceMs, lastMs, tally } = state.strange;
  if (!state.episode) {
    state.episode = {
      id: alertId(type, actorKey(call), '', sinceMs),
      type,
      beganAs: type,
      actor: alertActor(call),
      startedAt: sinceMs,
      raisedAt: places.newestMs,
      lastSeenAt: lastMs,
      count: tally.calls,
      revision: 0,
      publishedAt: 0,
      publishedCount: 0,
      publishedRank: -1,
      worst: finding,
    };
    alerts.push(publish(state, 'open'));
    return;
  }
  const { episode } = state;
  if (finding.score > episode.worst.score) episode.worst = finding;
  if (isNews(episode, episode.worst.score, places.newestMs)) alerts.push(publish(state, 'open'));
}

const FACT_WORDS: Record<TravelFact, string> = {
  newClient: 'with a client that it never used before',
  interleaved: 'in turn with its usual place',
  precedingFailures: 'after refused calls from there',
  otherNetwork: 'through another network',
};

/** `kmhHigh`: the speed that is allowed. */
function travelFinding(
  places: Places,
  sighting: Sighting,
  travel: Travel,
  call: ApiCall,
  kmhHigh: number,
): Finding {
  const { strange, usual, km, kmh, gapMs, facts } = travel;
  const speed = kmh === null ? 0 : Math.min(1, Math.log10(kmh / kmhHigh));
  const score = Math.min(100, Math.round(40 + 15 * facts.length + 10 * speed));
  const [here, there] =
    strange === sighting.network
      ? [endOf(strange, call), endOf(usual)]
      : [endOf(strange), endOf(usual, call)];
  const apart =
    km === null
      ? `within ${Math.round(gapMs / 1_000)} s of ${wordsOf(there)}`
      : `${thousands(km)} km from ${wordsOf(there)}, ${durationOf(gapMs)} apart`;
  return {
    score,
    observed: kmh === null ? { value: 2, unit: 'countries/min' } : { value: kmh, unit: 'km/h' },
    expected:
      kmh === null
        ? { value: 1, low: 1, high: 1, unit: 'countries/min' }
        : { value: 0, low: 0, high: kmhHigh, unit: 'km/h' },
    words: `was used from ${wordsOf(here)}, ${apart}, ${facts.map((fact) => FACT_WORDS[fact]).join(', ')}`,
    evidence: {
      distanceKm: km,
      gapMs,
      speedKmh: kmh,
      facts,
      strange: here,
      usual: there,
      ...learningOf(places),
    },
  };
}

function sharingFinding(places: Places, signs: readonly Sharing[]): Finding {
  const worst = signs.reduce((a, b) => (b.value / b.high > a.value / a.high ? b : a));
  return {
    score: Math.min(100, scoreOf(worst.value / worst.high) + 10 * signs.length),
    observed: { value: worst.value, unit: worst.unit },
    expected: {
      value: worst.sign === 'manyNewNetworks' ? places.newsUsual : worst.sign === 'timeZones' ? 1 : 0,
      low: 0,
      high: worst.high,
      unit: worst.unit,
    },
    words: `was used from ${signs.map(({ words }) => words).join('; ')}`,
    evidence: {
      signs: signs.map(({ sign, value, high, unit }) => ({ sign, value, high, unit })),
      usualNewNetworksPerDay: places.newsUsual,
      ...learningOf(places),
    },
  };
}

/** What the verdict rests on. */
function learningOf(places: Places): Record<string, unknown> {
  const own = places.networks.filter((network) => network.own);
  return {
    learning: isSettled(places) ? 'settled' : 'young',
    learntSince: places.firstMs,
    learntDays: places.activeDays,
    ownNetworks: own.map(({ asn, country }) => ({ asn, country })),
    ownClients: places.families.filter((family) => family.own).length,
  };
}

interface End {
  asn: number | null;
  organization: string | null;
  country: string | null;
  city: string | null;
  latitude: number | null;
  longitude: number | null;
}

function endOf({ asn, country, latitude, longitude }: Network, call?: ApiCall): End {
  return {
    asn: asn === 0 ? null : asn,
    organization: call?.asOrganization ?? null,
    country: country === '' ? null : country,
    city: call?.city ?? null,
    latitude: latitude === NOWHERE ? null : latitude / 10,
    longitude: longitude === NOWHERE ? null : longitude / 10,
  };
}

function wordsOf({ asn, country, city }: End): string {
  const place = [city, country].filter((part) => part !== null).join(', ') || 'an unknown place';
  return asn === null ? place : `${place} (AS${asn})`;
}

function thousands(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',');
}

function durationOf(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  return minutes < 1
    ? 'less than a minute'
    : minutes < 120
      ? `${minutes} min`
      : `${Math.round(minutes / 60)} h`;
}

const REFERENCES = ['OWASP API2:2023', 'MITRE ATT&CK T1078'];

/** The next published state of the open episode. */
function publish(state: PlacesState, status: Alert['status']): Alert {
  const episode = state.episode!;
  const { tally } = state.strange!;
  const { worst } = episode;
  markPublished(episode, worst.score, state.places.newestMs);
  const service = dominant(tally, tally.services);
  return {
    id: episode.id,
    revision: episode.revision,
    type: episode.type,
    severity: severityOf(worst.score),
    score: worst.score,
    actor: episode.actor,
    service: service === '' ? null : service,
    route: dominant(tally, tally.routes),
    endpoint: dominant(tally, tally.endpoints),
    raisedAt: episode.raisedAt,
    startedAt: episode.startedAt,
    lastSeenAt: episode.lastSeenAt,
    count: episode.count,
    status,
    observed: { ...worst.observed },
    expected: { ...worst.expected },
    summary: `${episode.actor.name} ${worst.words} (learnt on ${String(worst.evidence['learntDays'])} days of its own traffic).`,
    // Those of strange networks and clients only: the owner is not to be blocked.
    sources: topSources(tally),
    evidence: {
      ...worst.evidence,
      ...(episode.beganAs === episode.type ? {} : { beganAs: episode.beganAs }),
      statuses: statusClasses(tally),
      endpoints: topEndpoints(tally),
    },
    sampleCallIds: [...tally.sampleCallIds],
    references: [...REFERENCES],
  };
}

type EncodedState = [
  places: EncodedPlaces,
  turns?: Turns,
  counts?: SharingCounts | null,
  strange?: [sinceMs: number, lastMs: number, tally: EncodedTally] | null,
  episode?: Episode | null,
];

function encodeState({ places, turns, counts, strange, episode }: PlacesState): EncodedState {
  const encoded: EncodedState = [encodePlaces(places)];
  if (turns === null && counts === null && strange === null && episode === null) return encoded;
  encoded.push(
    turns,
    counts,
    strange && [strange.sinceMs, strange.lastMs, encodeTally(strange.tally)],
    episode,
  );
  return encoded;
}

function decodeState([
  places,
  turns = null,
  counts = null,
  strange = null,
  episode = null,
]: EncodedState): PlacesState {
  return {
    places: decodePlaces(places),
    turns,
    counts,
    strange: strange && { sinceMs: strange[0], lastMs: strange[1], tally: decodeTally(strange[2]) },
    episode,
  };
}
