import type { Tolerance } from '../../baseline/sensitivity.ts';
import {
  FAILURES,
  FAILURES_LEAST,
  FAILURES_MS,
  FAMILIES_MOST,
  FLEET_COUNTRIES,
  FLEET_NETWORKS,
  LEAST_GAP_MS,
  REPLAY_MS,
  ROAMING_DOUBT_KM,
  TRAVEL_LEAST_KM,
  TRAVEL_LEAST_KMH,
  TRAVEL_NEVER_KM,
  TURNS,
  TURNS_LEAST,
  TURNS_MS,
} from '../../places/limits.ts';
import {
  distanceKm,
  isJudged,
  isRecent,
  isSettled,
  NOWHERE,
  type Network,
  type Places,
  type Sighting,
} from '../../places/places.ts';

/** Besides distance and speed: what makes it another person. The first three tip, the last one adds to the score. */
export type TravelFact = 'newClient' | 'interleaved' | 'precedingFailures' | 'otherNetwork';

/** How much is allowed, at the sensitivity that is set. That one of the facts is needed is the same at each. */
export interface TravelLimits {
  km: number;
  kmh: number;
  turns: number;
  failures: number;
}

export function travelLimitsAt(tolerance: Tolerance): TravelLimits {
  return {
    km: tolerance.count(TRAVEL_LEAST_KM, TRAVEL_NEVER_KM),
    kmh: tolerance.count(TRAVEL_LEAST_KMH, TRAVEL_LEAST_KMH),
    turns: tolerance.count(TURNS, TURNS_LEAST),
    failures: tolerance.count(FAILURES, FAILURES_LEAST),
  };
}

/** Turns between two places within the last hour; null if there were none. */
export type Turns = { sinceMs: number; count: number } | null;

/** Use from a strange network that the owner, just seen elsewhere, cannot have reached. */
export interface Travel {
  strange: Network;
  usual: Network;
  /** Coordinates in degrees; null if one end is not known to the city: then it is another country within a minute. */
  km: number | null;
  kmh: number | null;
  gapMs: number;
  facts: TravelFact[];
}

/** Judges one sighting against the other end; keeps count of the turns between them. At most one finding, the fastest. */
export function judgeTravel(
  places: Places,
  sighting: Sighting,
  turns: Turns,
  limits: TravelLimits,
): { travel: Travel | null; turns: Turns } {
  const none = { travel: null, turns };
  const { network } = sighting;
  // Nearly all calls: one own network, and nothing strange of late.
  if (network.own && !places.watched) return none;
  if (!isJudged(places) || isFleet(places)) return none;
  let travel: Travel | null = null;
  let counted = turns;
  for (const other of places.networks) {
    if (other === network || other.own === network.own || !isRecent(places, other)) continue;
    const found = between(sighting, other, limits);
    if (!found) continue;
    if (sighting.before === other && found.km !== null) {
      counted =
        counted && sighting.atMs - counted.sinceMs <= TURNS_MS
          ? { sinceMs: counted.sinceMs, count: counted.count + 1 }
          : { sinceMs: sighting.atMs, count: 1 };
    }
    found.facts = factsOf(places, found, counted, limits);
    const tips = found.facts.some((fact) => fact !== 'otherNetwork');
    if (tips && (!travel || (found.kmh ?? 0) > (travel.kmh ?? 0))) travel = found;
  }
  return { travel, turns: counted };
}

/** Many own networks: servers in many regions, or an app with many users. Where they are says nothing about anybody. */
function isFleet(places: Places): boolean {
  const own = places.networks.filter((network) => network.own);
  return own.length >= FLEET_NETWORKS || new Set(own.map(({ country }) => country)).size >= FLEET_COUNTRIES;
}

/** The two ends, if nobody gets from one to the other in time. */
function between(
  { network, atMs, latitude, longitude }: Sighting,
  other: Network,
  limits: TravelLimits,
): Travel | null {
  const [strange, usual] = network.own ? [other, network] : [network, other];
  const gapMs = Math.abs(atMs - other.lastMs);
  const ends = { strange, usual, gapMs, facts: [] };
  if (latitude !== NOWHERE && other.latitude !== NOWHERE) {
    const doubtKm = network.roams || other.roams ? ROAMING_DOUBT_KM : 0;
    const km = distanceKm(latitude, longitude, other.latitude, other.longitude) - doubtKm;
    const kmh = km / (Math.max(gapMs, LEAST_GAP_MS) / 3_600_000);
    return km > limits.km && kmh > limits.kmh ? { ...ends, km: Math.round(km), kmh: Math.round(kmh) } : null;
  }
  const abroad = strange.country !== '' && usual.country !== '' && strange.country !== usual.country;
  const elsewhere = strange.asn !== 0 && usual.asn !== 0 && strange.asn !== usual.asn;
  return gapMs <= REPLAY_MS && abroad && elsewhere && strange.strangeClient
    ? { ...ends, km: null, kmh: null }
    : null;
}

function factsOf(
  places: Places,
  { strange, usual }: Travel,
  turns: Turns,
  limits: TravelLimits,
): TravelFact[] {
  const facts: TravelFact[] = [];
  const settled = isSettled(places);
  const sameCountry = strange.country === usual.country;
  const ownFamilies = places.families.filter((family) => family.own).length;
  if (strange.strangeClient && ownFamilies < FAMILIES_MOST && (settled || !sameCountry))
    facts.push('newClient');
  // Within a country that is also a phone between Wi-Fi and a carrier that has its exit elsewhere.
  if (settled && turns !== null && turns.count >= limits.turns && (!sameCountry || strange.strangeClient))
    facts.push('interleaved');
  const { refused } = places;
  if (
    refused !== null &&
    refused.asn === strange.asn &&
    refused.country === strange.country &&
    refused.count >= limits.failures &&
    Math.abs(strange.lastMs - refused.lastMs) <= FAILURES_MS
  )
    facts.push('precedingFailures');
  if (strange.asn !== 0 && usual.asn !== 0 && strange.asn !== usual.asn) facts.push('otherNetwork');
  return facts;
}
