import { DAY_MS, HOUR_MS } from '../../baseline/limits.ts';
import type { Tolerance } from '../../baseline/sensitivity.ts';
import {
  AT_ONCE_COUNTRIES,
  AT_ONCE_NETWORKS,
  AT_ONCE_NEW,
  AT_ONCE_WINDOWS,
  CROWD_NEWS,
  LEAK_COUNTRIES,
  LEAK_NETWORKS,
  MIGRATION_MS,
  STACK_HOURS,
  STACK_PAUSE_MS,
  STACK_WINDOWS,
  STEP_COUNTRIES,
  STEP_FAMILIES,
  STEP_NETWORKS,
  STEP_TIMES,
  STRANGE_NETWORKS_MOST,
  WINDOW_MS,
  WINDOW_NETWORKS_MOST,
  ZONES,
  ZONE_HOURS,
  ZONE_HOURS_LEAST,
  ZONE_TENTHS,
} from '../../places/limits.ts';
import {
  isRecent,
  isSettled,
  isYoung,
  NOWHERE,
  type Network,
  type Places,
  type Sighting,
} from '../../places/places.ts';

/** How the sharing shows. */
export type SharingSign =
  'networksAtOnce' | 'manyNewNetworks' | 'networksInTurn' | 'timeZones' | 'twoClients';

/** One sign that is over its bound: `value` of `unit`, `high` is the most that is accepted. */
export interface Sharing {
  sign: SharingSign;
  value: number;
  high: number;
  unit: string;
  words: string;
}

/** How much it takes, at the sensitivity that is set. Countries, and what only shows after a while, are the same at each. */
export interface SharingLimits {
  atOnceNetworks: number;
  stepNetworks: number;
  stepTimes: number;
  leakNetworks: number;
  zoneHours: number;
  stackWindows: number;
}

export function sharingLimitsAt(tolerance: Tolerance): SharingLimits {
  return {
    // As many as countries: each network is in one.
    atOnceNetworks: tolerance.count(AT_ONCE_NETWORKS, AT_ONCE_COUNTRIES),
    stepNetworks: tolerance.count(STEP_NETWORKS),
    stepTimes: tolerance.factor(STEP_TIMES),
    leakNetworks: tolerance.count(LEAK_NETWORKS, LEAK_COUNTRIES),
    zoneHours: tolerance.count(ZONE_HOURS, ZONE_HOURS_LEAST),
    stackWindows: tolerance.count(STACK_WINDOWS),
  };
}

/** What is counted while there is something strange; null otherwise. */
export interface SharingCounts {
  /** Number of the window, the networks in it, how many are new; addresses of own and strange clients (0: none yet). */
  window: number;
  networks: { asn: number; country: string; isNew: boolean }[];
  ownPrefix: number;
  ownBrowser: boolean;
  strangePrefix: number;
  isAtOnce: boolean;
  isMixed: boolean;
  /** Windows with many networks at once, and when the last one began. */
  atOnce: number;
  atOnceMs: number;
  /** Windows with an own and a strange client at two addresses, over how many hours; whether ever of two kinds. */
  mixed: number;
  mixedHours: number;
  mixedSinceMs: number;
  mixedMs: number;
  twoKinds: boolean;
}

const newCounts = (): SharingCounts => ({
  window: -1,
  networks: [],
  ownPrefix: 0,
  ownBrowser: false,
  strangePrefix: 0,
  isAtOnce: false,
  isMixed: false,
  atOnce: 0,
  atOnceMs: 0,
  mixed: 0,
  mixedHours: 0,
  mixedSinceMs: 0,
  mixedMs: 0,
  twoKinds: false,
});

/** Takes note of the sighting; returns the counts to go on with. */
export function countSharing(
  places: Places,
  sighting: Sighting,
  counts: SharingCounts | null,
  limits: SharingLimits,
): SharingCounts | null {
  if (!places.watched) return null;
  const now = counts ?? newCounts();
  const { atMs, network, family, prefix } = sighting;
  const window = Math.floor(atMs / WINDOW_MS);
  if (window < now.window) return now;
  if (window > now.window) {
    now.window = window;
    now.networks = [];
    now.ownPrefix = now.strangePrefix = 0;
    now.isAtOnce = now.isMixed = false;
  }
  if (
    network.asn !== 0 &&
    !now.networks.some(({ asn, country }) => asn === network.asn && country === network.country)
  ) {
    if (now.networks.length < WINDOW_NETWORKS_MOST)
      now.networks.push({ asn: network.asn, country: network.country, isNew: isYoung(places, network) });
    if (!now.isAtOnce && isAtOnce(now, limits)) {
      now.isAtOnce = true;
      now.atOnce = atMs - now.atOnceMs > DAY_MS ? 1 : now.atOnce + 1;
      now.atOnceMs = atMs;
    }
  }
  if (family.own) {
    now.ownPrefix = prefix;
    now.ownBrowser = family.browser;
  } else now.strangePrefix = prefix;
  if (!now.isMixed && now.ownPrefix !== 0 && now.strangePrefix !== 0 && now.ownPrefix !== now.strangePrefix) {
    now.isMixed = true;
    if (now.mixed === 0 || atMs - now.mixedMs > STACK_PAUSE_MS) {
      now.mixed = now.mixedHours = 0;
      now.mixedSinceMs = atMs;
      now.twoKinds = false;
    }
    now.mixed++;
    if (now.mixedHours === 0 || Math.floor(atMs / HOUR_MS) !== Math.floor(now.mixedMs / HOUR_MS))
      now.mixedHours++;
    now.mixedMs = atMs;
    if (places.families.some((one) => !one.own && one.browser !== now.ownBrowser)) now.twoKinds = true;
  }
  return now;
}

function isAtOnce({ networks }: SharingCounts, { atOnceNetworks }: SharingLimits): boolean {
  return (
    new Set(networks.map(({ asn }) => asn)).size >= atOnceNetworks &&
    countriesOf(networks).size >= AT_ONCE_COUNTRIES &&
    networks.filter(({ isNew }) => isNew).length >= AT_ONCE_NEW
  );
}

const countriesOf = (networks: readonly { country: string }[]): Set<string> =>
  new Set(networks.map(({ country }) => country).filter((country) => country !== ''));

/** The signs that are over their bounds, in no order. Looks at the actor's own history only. */
export function judgeSharing(places: Places, counts: SharingCounts | null, limits: SharingLimits): Sharing[] {
  if (counts === null || !isSettled(places)) return [];
  const found: Sharing[] = [];
  const young = places.networks.filter((network) => isYoung(places, network) && isRecent(places, network));
  const strangeFamilies = places.families.filter((family) => !family.own).length;

  const { stepNetworks, stepTimes } = limits;
  const stepHigh = Math.max(stepNetworks - 1, Math.ceil(stepTimes * places.newsUsual) + stepNetworks - 1);
  if (
    places.newsToday > stepHigh &&
    (strangeFamilies >= STEP_FAMILIES || countriesOf(young).size >= STEP_COUNTRIES)
  )
    found.push({
      sign: 'manyNewNetworks',
      value: places.newsToday,
      high: stepHigh,
      unit: 'new networks/day',
      words: `${places.newsToday}${places.newsToday === STRANGE_NETWORKS_MOST ? ' or more' : ''} networks in a day that it never used before`,
    });
  if (places.newsUsual >= CROWD_NEWS) return found;

  if (counts.atOnce >= AT_ONCE_WINDOWS && places.newestMs - counts.atOnceMs <= DAY_MS) {
    const networks = isAtOnce(counts, limits) ? counts.networks.length : limits.atOnceNetworks;
    found.push({
      sign: 'networksAtOnce',
      value: networks,
      high: limits.atOnceNetworks - 1,
      unit: 'networks/5min',
      words: `${networks} networks in ${AT_ONCE_COUNTRIES} countries or more within the same 5 minutes`,
    });
  }
  const inTurn = young.filter(({ asn, returns }) => asn !== 0 && returns > 0);
  if (
    new Set(inTurn.map(({ asn }) => asn)).size >= limits.leakNetworks &&
    countriesOf(inTurn).size >= LEAK_COUNTRIES
  )
    found.push({
      sign: 'networksInTurn',
      value: inTurn.length,
      high: limits.leakNetworks - 1,
      unit: 'new networks in use',
      words: `${inTurn.length} new networks in ${countriesOf(inTurn).size} countries in turn, all still in use`,
    });
  const zones = zonesOf(places, young, limits);
  if (zones >= ZONES)
    found.push({
      sign: 'timeZones',
      value: zones,
      high: 1,
      unit: 'time zones/day',
      words: `${zones} distant time zones for hours of one day`,
    });
  if (
    counts.mixed >= limits.stackWindows &&
    counts.mixedHours >= STACK_HOURS &&
    (counts.twoKinds || counts.mixedMs - counts.mixedSinceMs >= MIGRATION_MS)
  )
    found.push({
      sign: 'twoClients',
      value: counts.mixed,
      high: limits.stackWindows - 1,
      unit: '5 min with two clients',
      words: `two kinds of clients at two addresses in ${counts.mixed} of its 5-minute windows`,
    });
  return found;
}

/** Zones in use within a day, if its own networks lie in one: that one, and those far from it and from each other. */
function zonesOf(places: Places, young: readonly Network[], { zoneHours }: SharingLimits): number {
  const home = places.networks.find(
    (network) => !young.includes(network) && network.own && network.longitude !== NOWHERE,
  );
  if (!home) return 0;
  const near = (a: number, b: number): boolean => {
    const apart = Math.abs(a - b) % 3_600;
    return Math.min(apart, 3_600 - apart) < ZONE_TENTHS;
  };
  let isHomeUsed = false;
  for (const network of places.networks) {
    if (!network.own || young.includes(network) || network.longitude === NOWHERE) continue;
    if (!near(network.longitude, home.longitude)) return 0;
    if (isRecent(places, network)) isHomeUsed = true;
  }
  if (!isHomeUsed) return 0;
  const zones = [home.longitude];
  for (const { longitude, hours } of young) {
    if (longitude === NOWHERE || hours < zoneHours || zones.some((zone) => near(zone, longitude))) continue;
    zones.push(longitude);
  }
  return zones.length;
}
