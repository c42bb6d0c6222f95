import { sourceOf, type ApiCall } from '@tripline/model';
import { isAuthFailure } from '../auth-outcome.ts';
import { DAY_MS, HOUR_MS, LATENESS_MS } from '../baseline/limits.ts';
import { clientFamily, finishHash } from './client-family.ts';
import {
  FAILURES_MS,
  FAMILIES_MOST,
  FIRST_HOURS,
  JUDGED_AGE_MS,
  JUDGED_CALLS,
  KNOWN_DAYS,
  NEWS_MEMORY,
  OWN_KEPT_DAYS,
  OWN_NETWORKS_MOST,
  RECENT_MS,
  SETTLED_ACTIVE_DAYS,
  SETTLED_CALLS,
  SPOT_TENTHS,
  STRANGE_KEPT_DAYS,
  STRANGE_NETWORKS_MOST,
  YOUNG_DAYS,
} from './limits.ts';

/** Marks coordinates that are not known to the city: a country's centroid is no place. Out of the range of degrees. */
export const NOWHERE = 9_999;

/**
 * A network (ASN, 0 if unknown) in a country ('' if unknown) that the actor used, at one spot; if it shows its subscribers
 * at many (`roams`: carriers, dual stack), at the latest one. Days and hours count from the actor's first call.
 */
export interface Network {
  asn: number;
  country: string;
  /** Tenths of a degree, or NOWHERE. */
  latitude: number;
  longitude: number;
  /** The actor's own: there from the beginning, used on KNOWN_DAYS days, or another exit of an own network. */
  own: boolean;
  /** From its first call on; such a network is not young. */
  bornOwn: boolean;
  roams: boolean;
  /** Its latest call was made by a strange client. */
  strangeClient: boolean;
  firstHour: number;
  lastDay: number;
  /** Days on which it was used; under alert those of strange networks do not count. */
  days: number;
  /** Event time of its newest call; of no meaning once it is older than RECENT_MS. */
  lastMs: number;
  /** 24-bit hash of the /24 or /64 from which an own client called last. */
  prefix: number;
  /** Hours in use, and returns to it from another country, while it is young. */
  hours: number;
  returns: number;
}

/** User agents without their version numbers, as a 24-bit hash. */
export interface Family {
  hash: number;
  own: boolean;
  browser: boolean;
  lastDay: number;
  days: number;
}

/** The places and networks of one actor, learnt from its own successful calls. Bounded: about 120 bytes for a person. */
export interface Places {
  firstMs: number;
  newestMs: number;
  /** To SETTLED_CALLS. */
  calls: number;
  activeDays: number;
  /** Of the newest call, since the first. */
  day: number;
  networks: Network[];
  families: Family[];
  /** Strange networks first seen today, and how many a day are usual. */
  newsToday: number;
  newsUsual: number;
  /** The network of the latest call. */
  last: Network | null;
  /** Refused logins of one network; null if there are none of late. */
  refused: { asn: number; country: string; count: number; lastMs: number } | null;
  /** Is there a young network or a strange client? Derived. */
  watched: boolean;
  /** Of the latest call, so that what repeats is not hashed again; not kept with the state. */
  memo: { userAgent: string; family: Family | null; ip: string; prefix: number };
}

/** What one successful call shows. */
export interface Sighting {
  atMs: number;
  network: Network;
  family: Family;
  /** Coordinates of the call itself, or NOWHERE. */
  latitude: number;
  longitude: number;
  prefix: number;
  /** The network of the call before; null at the first call. */
  before: Network | null;
}

export function newPlaces(atMs: number): Places {
  return {
    firstMs: atMs,
    newestMs: atMs,
    calls: 0,
    activeDays: 0,
    day: -1,
    networks: [],
    families: [],
    newsToday: 0,
    newsUsual: 0,
    last: null,
    refused: null,
    watched: false,
    memo: newMemo(),
  };
}

const newMemo = (): Places['memo'] => ({ userAgent: '', family: null, ip: '', prefix: 0 });

/** Does the call tell where it came from? Without databases none does. */
export function isLocated(call: ApiCall): boolean {
  return call.asn !== undefined || call.country !== undefined;
}

export const isRecent = (places: Places, network: Network): boolean =>
  places.newestMs - network.lastMs <= RECENT_MS;

/** New enough to be part of a leak, whether it is known by now or not. */
export function isYoung(places: Places, network: Network): boolean {
  return (
    !network.bornOwn &&
    network.firstHour >= FIRST_HOURS &&
    places.day - Math.floor(network.firstHour / 24) < YOUNG_DAYS
  );
}

/** Enough history to say that something is strange. */
export function isJudged(places: Places): boolean {
  return places.calls >= JUDGED_CALLS && places.newestMs - places.firstMs >= JUDGED_AGE_MS;
}

/** Enough history for the weaker signs. */
export function isSettled(places: Places): boolean {
  return isJudged(places) && places.calls >= SETTLED_CALLS && places.activeDays >= SETTLED_ACTIVE_DAYS;
}

/**
 * Notes a located call of the actor. Returns what it shows; undefined if it failed or came too late. Strange networks and
 * clients are not learnt while `underAlert`.
 */
export function observe(places: Places, call: ApiCall, underAlert: boolean): Sighting | undefined {
  const atMs = call.startedAt;
  if (atMs < places.newestMs - LATENESS_MS) return undefined;
  const asn = call.asn ?? 0;
  const country = call.country ?? '';
  if (isAuthFailure(call)) noteRefused(places, asn, country, atMs);
  if (call.status >= 400 || isAuthFailure(call) || call.auth === 'challenge') return undefined;
  if (atMs > places.newestMs) places.newestMs = atMs;
  const day = Math.max(0, Math.floor((atMs - places.firstMs) / DAY_MS));
  if (day > places.day) beginDay(places, day, underAlert);

  const prefix = prefixOf(places.memo, sourceOf(call));
  const located = call.city !== undefined && call.latitude !== undefined && call.longitude !== undefined;
  const latitude = located ? Math.round(call.latitude! * 10) : NOWHERE;
  const longitude = located ? Math.round(call.longitude! * 10) : NOWHERE;
  const family = familyOf(places, call.userAgent ?? '');
  const network = networkOf(places, asn, country, latitude, longitude, family);
  const { last } = places;

  if (!network.bornOwn) {
    if (network.hours > 0 && last !== null && network.country !== last.country)
      network.returns = Math.min(99, network.returns + 1);
    if (network.hours === 0 || Math.floor(atMs / HOUR_MS) !== Math.floor(network.lastMs / HOUR_MS))
      network.hours = Math.min(99, network.hours + 1);
  }
  if (atMs > network.lastMs) network.lastMs = atMs;
  network.strangeClient = !family.own;
  places.last = network;
  if (places.calls < SETTLED_CALLS) places.calls++;

  if (places.day > network.lastDay) {
    network.lastDay = places.day;
    if (network.own || !underAlert) {
      network.days = Math.min(99, network.days + 1);
      if (!network.own && network.days >= KNOWN_DAYS) network.own = true;
    }
    places.watched = isWatched(places);
  }
  if (places.day > family.lastDay) {
    family.lastDay = places.day;
    if (family.own || !underAlert) family.days = Math.min(99, family.days + 1);
  }
  if (
    !family.own &&
    !underAlert &&
    (family.days >= KNOWN_DAYS || (network.own && prefix === network.prefix))
  ) {
    // A new client from where the others call is a new device, not a new person.
    family.own = true;
    network.strangeClient = false;
    places.watched = isWatched(places);
  }
  if (family.own) network.prefix = prefix;
  return { atMs, network, family, latitude, longitude, prefix, before: last };
}

/** All that is strange and recent becomes the actor's own. */
export function adoptStrange(places: Places): void {
  for (const network of places.networks) if (isRecent(places, network)) network.own = network.bornOwn = true;
  for (const family of places.families) family.own = true;
  trim(places);
}

/** What was half known turns out to be part of a leak. */
export function disownYoung(places: Places): void {
  for (const network of places.networks) {
    if (!isYoung(places, network) || !isRecent(places, network)) continue;
    network.own = false;
    network.days = 1;
  }
  places.watched = isWatched(places);
}

/** Kilometres between two places in tenths of a degree. */
export function distanceKm(
  latitude: number,
  longitude: number,
  otherLatitude: number,
  otherLongitude: number,
): number {
  const radians = Math.PI / 1_800;
  const a =
    Math.sin(((otherLatitude - latitude) * radians) / 2) ** 2 +
    Math.cos(latitude * radians) *
      Math.cos(otherLatitude * radians) *
      Math.sin(((otherLongitude - longitude) * radians) / 2) ** 2;
  return 2 * 6_371 * Math.asin(Math.min(1, Math.sqrt(a)));
}

function noteRefused(places: Places, asn: number, country: string, atMs: number): void {
  const { refused } = places;
  if (refused && refused.asn === asn && refused.country === country && atMs - refused.lastMs <= FAILURES_MS) {
    refused.count = Math.min(999, refused.count + 1);
    refused.lastMs = Math.max(refused.lastMs, atMs);
  } else places.refused = { asn, country, count: 1, lastMs: atMs };
}

function beginDay(places: Places, day: number, underAlert: boolean): void {
  // Days without a call had no news either; more than a few of them say the same.
  if (!underAlert && places.day >= 0) {
    for (let past = 0; past < Math.min(NEWS_MEMORY, day - places.day); past++) {
      const news = past === 0 ? places.newsToday : 0;
      places.newsUsual = Math.round((places.newsUsual + (news - places.newsUsual) / NEWS_MEMORY) * 100) / 100;
    }
  }
  places.newsToday = 0;
  places.day = day;
  places.activeDays = Math.min(99, places.activeDays + 1);
  const isKept = ({ own, lastDay }: { own: boolean; lastDay: number }): boolean =>
    day - lastDay <= (own ? OWN_KEPT_DAYS : STRANGE_KEPT_DAYS);
  places.networks = places.networks.filter(isKept);
  places.families = places.families.filter(isKept);
  if (places.last && !places.networks.includes(places.last)) places.last = null;
  if (places.memo.family && !places.families.includes(places.memo.family)) places.memo = newMemo();
  if (places.refused && places.newestMs - places.refused.lastMs > FAILURES_MS) places.refused = null;
  places.watched = isWatched(places);
}

export function isWatched(places: Places): boolean {
  return (
    places.families.some((family) => !family.own) ||
    places.networks.some((network) => !network.own || isYoung(places, network))
  );
}

function isNear(network: Network, latitude: number, longitude: number): boolean {
  return (
    network.latitude === NOWHERE ||
    latitude === NOWHERE ||
    (Math.abs(network.latitude - latitude) <= SPOT_TENTHS &&
      Math.abs(network.longitude - longitude) <= SPOT_TENTHS)
  );
}

/** The network that the call came through, as far as it is known; else a new one. */
function networkOf(
  places: Places,
  asn: number,
  country: string,
  latitude: number,
  longitude: number,
  family: Family,
): Network {
  let away: Network | undefined;
  let abroad: Network | undefined;
  for (const network of places.networks) {
    if (network.asn !== asn) continue;
    if (network.country === country) {
      if (network.roams || isNear(network, latitude, longitude)) {
        if (latitude !== NOWHERE && (network.roams || network.latitude === NOWHERE)) {
          network.latitude = latitude;
          network.longitude = longitude;
        }
        return network;
      }
      if (!away || network.own) away = network;
    } else if (network.own) abroad = network;
  }
  if (away && asn !== 0 && family.own) {
    // One client on one network at two spots: that is how the network shows it, not how it travels.
    away.roams = true;
    away.latitude = latitude;
    away.longitude = longitude;
    return away;
  }
  const own = !isJudged(places) || (abroad !== undefined && asn !== 0 && family.own);
  const network: Network = {
    asn,
    country,
    latitude,
    longitude,
    own,
    bornOwn: own,
    roams: false,
    strangeClient: false,
    firstHour: Math.max(0, Math.floor((places.newestMs - places.firstMs) / HOUR_MS)),
    lastDay: -1,
    days: 0,
    lastMs: 0,
    prefix: 0,
    hours: 0,
    returns: 0,
  };
  places.networks.push(network);
  // Beyond those that are kept, a new one cannot be told from one that was forgotten.
  if (!own) places.newsToday = Math.min(STRANGE_NETWORKS_MOST, places.newsToday + 1);
  trim(places);
  return network;
}

function familyOf(places: Places, userAgent: string): Family {
  const { memo } = places;
  if (memo.family !== null && memo.userAgent === userAgent) return memo.family;
  const hash = clientFamily(userAgent);
  let family = places.families.find((one) => one.hash === hash);
  if (!family) {
    family = {
      hash,
      own: !isJudged(places),
      browser: userAgent.startsWith('Mozilla/'),
      lastDay: -1,
      days: 0,
    };
    places.families.push(family);
    trim(places);
  }
  memo.userAgent = userAgent;
  memo.family = family;
  return family;
}

/** Too many: those go that were not used for longest; of what came last, the newest is the one at hand. */
function trim(places: Places): void {
  drop(places.networks, true, OWN_NETWORKS_MOST);
  drop(places.networks, false, STRANGE_NETWORKS_MOST);
  drop(places.families, true, FAMILIES_MOST);
  drop(places.families, false, FAMILIES_MOST);
  if (places.last && !places.networks.includes(places.last)) places.last = null;
  if (places.memo.family && !places.families.includes(places.memo.family)) places.memo.family = null;
  places.watched = isWatched(places);
}

function drop(list: { own: boolean; lastDay: number }[], own: boolean, most: number): void {
  for (let excess = list.filter((one) => one.own === own).length - most; excess > 0; excess--) {
    let oldest = -1;
    // The last one may be new and have no day yet.
    for (let at = 0; at < list.length - 1; at++) {
      if (list[at]!.own === own && (oldest < 0 || list[at]!.lastDay < list[oldest]!.lastDay)) oldest = at;
    }
    list.splice(oldest, 1);
  }
}

/** Of the /24 of an IPv4 address, of the /64 of an IPv6 address: what one household or office has. */
function prefixOf(memo: Places['memo'], ip: string | undefined): number {
  if (ip === undefined) return 0;
  if (memo.ip === ip) return memo.prefix;
  const dot = ip.lastIndexOf('.');
  const end = dot < 0 ? ip.length : dot;
  let hash = 0x811c9dc5;
  for (let at = 0; at < end; at++) hash = Math.imul(hash ^ ip.charCodeAt(at), 0x01000193);
  memo.ip = ip;
  return (memo.prefix = finishHash(hash));
}
