import {
  actorKey,
  severityOf,
  type Alert,
  type AlertActor,
  type AlertType,
  type ApiCall,
} from '@tripline/model';
import { adapt, type ActorDetector, type ActorDetectorSettings } from '../../legacy.ts';
import { asActorSettings } from '../../settings.ts';
import type { ActorProfileKind } from '../../detector.ts';
import { alertActor } from '../../alerts/alert-actor.ts';
import { DAY_MS, HOUR_MS, LATENESS_MS } from '../../baseline/limits.ts';
import { fromNumerals, toNumerals } from '../../codec/digits.ts';
import {
  alertId,
  decodeGrowing,
  encodeGrowing,
  isNews,
  markPublished,
  scoreOf,
  type EncodedGrowing,
  type Growing,
} from '../../alerts/episode.ts';
import { compileExceptions } from '../../exception.ts';
import { toleranceOf, type Tolerance } from '../../baseline/sensitivity.ts';
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
import { collectionHash, createAsked, type Asked } from './asked.ts';
import {
  BATCH,
  CHANCE_DEVIATIONS,
  COLD,
  COLD_DAYS,
  DAY,
  FACTOR,
  FIVE_DAYS,
  FLOORS,
  HOUR,
  MISSED,
  MISSED_SHARE,
  PAGES,
  QUIET_MS,
  STAYS_MS,
  TOP_PER_DAY,
  UNITS,
  WORDS,
} from './limits.ts';
import { decodeOrder, encodeOrder, newOrder, orderOf, step, type EncodedOrder, type Order } from './order.ts';
import {
  decodeOwn,
  encodeOwn,
  endDays,
  endHour,
  heldBy,
  isWritten,
  newOwn,
  noteCreated,
  noteMissing,
  takeCreated,
  takeWritten,
  type EncodedOwn,
  type Own,
} from './own.ts';
import {
  decodeSeen,
  encodeSeen,
  KNOWN,
  look,
  newSeen,
  rotate,
  weightOf,
  type EncodedSeen,
  type Seen,
} from '../../sketches/seen.ts';

const HOURS_PER_DAY = DAY_MS / HOUR_MS;
const DAYS_KEPT = 5;
const DAYS_PER_WEEK = 7;

/** What exceeded: which count, how much, and what was allowed. */
interface Excess {
  what: number;
  value: number;
  high: number;
  top: number;
  factor: number;
  /** One object in so many was looked at. */
  weight: number;
}

/** What an alert tells about its calls, from half of what is allowed on. */
interface Examined {
  tally: Tally;
  order: Order;
  /** Objects that the calls asked for. */
  objects: number;
  /** The largest size of a page that was asked for. */
  limit: number;
}

interface Episode extends Growing {
  id: string;
  type: AlertType;
  actor: AlertActor;
  worst: Excess;
}

/** What is known of the objects that one actor asks for. */
export interface ObjectsState {
  newestMs: number;
  late: number;
  /** Hours since the epoch of what `found` and `missed` count. */
  hour: number;
  /** New objects of the hour: there, or refused or not there. */
  found: number;
  missed: number;
  /** New objects that were there, by day: today, yesterday, … */
  days: number[];
  /** KB of new pages today. */
  pagesKb: number;
  /** Days with calls that concern the detector. */
  knownDays: number;
  /** The most so far of each count, fading. */
  tops: number[];
  own: Own;
  seen: Seen;
  examined: Examined | null;
  episode: Episode | null;
}

/** How much is allowed, at the sensitivity that is set: by count, see FLOORS and COLD, and as a factor of the most so far. */
interface Limits {
  floors: readonly number[];
  cold: readonly number[];
  factor: number;
  /** Those at `normal`, where these are stricter: what is not above them is learnt, alert or not. */
  normal?: Limits;
}

function limitsAt(tolerance: Tolerance): Limits {
  return {
    ...(tolerance.isStrict ? { normal: limitsAt(toleranceOf('normal')) } : {}),
    floors: FLOORS.map((count) => tolerance.count(count)),
    cold: COLD.map((count) => tolerance.count(count)),
    factor: tolerance.factor(FACTOR),
  };
}

function newState(): ObjectsState {
  return {
    newestMs: 0,
    late: 0,
    hour: 0,
    found: 0,
    missed: 0,
    days: [0, 0, 0, 0, 0],
    pagesKb: 0,
    knownDays: 0,
    tops: [0, 0, 0, 0, 0],
    own: newOwn(),
    seen: newSeen(),
    examined: null,
    episode: null,
  };
}

export const requestedObjects: ActorProfileKind<ObjectsState> = {
  id: 3,
  version: 1,
  create: (settingsOf) =>
    adapt(createObjectEnumerationDetector(asActorSettings(settingsOf('object-enumeration')))),
};

/**
 * Does an actor go through objects (ids in path, query, kept headers) or pages that it never asked for before, many more
 * than it usually does? Alerts are `object-enumeration`, or `data-scraping` for many objects in one call and for lists.
 */
export function createObjectEnumerationDetector(
  settings: ActorDetectorSettings,
): ActorDetector<ObjectsState> {
  const isExcepted = compileExceptions(settings);
  const limits = limitsAt(toleranceOf(settings.sensitivity));
  const read = createAsked();
  const concerns = ({ objects, page }: Asked, call: ApiCall): boolean =>
    (objects.length > 0 || page >= 0) && (isThere(call) || isMissed(call));

  return {
    create: (call) => (concerns(read(call), call) && !isExcepted(call) ? newState() : undefined),
    fold(state, call) {
      if (isExcepted(call)) return close(state, call.startedAt);
      const asked = read(call);
      if (isWritten(call) && noteWritten(state, call, asked)) return [];
      return concerns(asked, call) ? fold(state, call, asked, limits) : [];
    },
    close,
    closesAt: ({ episode }) => (episode ? endsAt(episode) : undefined),
    encode,
    decode: (encoded, lastSeenAt) => decode(encoded as EncodedObjects, lastSeenAt),
  };
}

function isThere({ status }: ApiCall): boolean {
  return (status >= 200 && status < 300) || status === 304;
}

/**
 * The upstream's word on an object: what Kong answers itself is about credentials or routes. A path with an id is gone only
 * where another route takes it since.
 */
function isMissed({ status, source, pathGone, endpoint }: ApiCall): boolean {
  if (pathGone === true && endpoint.includes('{')) return false;
  return (status === 404 || status === 403 || status === 410) && source === 'upstream';
}

/**
 * What the actor creates is its own, and what it missed just before and writes now was about to be: that is taken back. True if
 * nothing is left to judge.
 */
function noteWritten(state: ObjectsState, call: ApiCall, { objects, collection }: Asked): boolean {
  const { own, seen } = state;
  const { method, status, path, startedAt } = call;
  const weight = weightOf(seen);
  if (collection >= 0) {
    const counted = takeWritten(own, objects[0]!, startedAt, weight);
    if (counted === 'missed') state.missed = Math.max(0, state.missed - weight);
    if (counted === 'deleted') {
      state.found = Math.max(0, state.found - weight);
      state.days[0] = Math.max(0, state.days[0]! - weight);
    }
    if (counted !== undefined) return true;
    if (status === 201 && method !== 'POST') {
      look(seen, objects[0]!);
      return true;
    }
  }
  if (method !== 'POST' || status === 204) return false;
  state.missed = Math.max(0, state.missed - noteCreated(own, collectionHash(path), startedAt, weight));
  return status === 201;
}

function fold(state: ObjectsState, call: ApiCall, asked: Asked, limits: Limits): Alert[] {
  const atMs = call.startedAt;
  if (atMs < state.newestMs - LATENESS_MS) {
    state.late++;
    return [];
  }
  const alerts = close(state, atMs);
  if (atMs > state.newestMs) {
    state.newestMs = atMs;
    const hour = Math.floor(atMs / HOUR_MS);
    if (hour > state.hour) for (const alert of moveOn(state, hour, limits)) alerts.push(alert);
  }

  const succeeded = isThere(call);
  let news = 0;
  let unknown = false;
  for (const [at, hash] of asked.objects.entries()) {
    const weight = look(state.seen, hash);
    if (weight === KNOWN) continue;
    const collection = at === 0 ? asked.collection : -1;
    unknown = true;
    if (weight === 0) continue;
    if (!succeeded) {
      state.missed += weight;
      news += weight;
      if (collection >= 0 && call.status !== 403)
        noteMissing(state.own, hash, collection, atMs, weight, false);
      continue;
    }
    const own = takeCreated(state.own, collection, weight);
    state.found += weight - own;
    state.days[0]! += weight - own;
    news += weight - own;
    if (collection >= 0 && call.method === 'DELETE')
      noteMissing(state.own, hash, collection, atMs, weight, true);
  }
  if (asked.page >= 0 && succeeded) {
    const weight = look(state.seen, asked.page);
    if (weight !== KNOWN) {
      unknown = true;
      const kb = Math.round((weight * call.responseBytes) / 1_024);
      state.pagesKb += kb;
      news += kb;
    }
  }
  if (!unknown) return alerts;
  const excess = worstOf(state, limits);
  if (state.episode || excess.factor > 0.5) examine(state, call, asked);
  if (news === 0 || excess.factor <= 1) return alerts;

  const { episode } = state;
  if (!episode) {
    state.episode = raise(state, call, excess);
    alerts.push(publish(state, 'open'));
    return alerts;
  }
  episode.lastSeenAt = Math.max(episode.lastSeenAt, atMs);
  episode.count = state.examined!.tally.calls;
  if (excess.factor > episode.worst.factor) episode.worst = excess;
  if (isNews(episode, scoreOf(episode.worst.factor), state.newestMs)) alerts.push(publish(state, 'open'));
  return alerts;
}

function countsOf(state: ObjectsState): number[] {
  const five = state.days.reduce((sum, day) => sum + day, 0);
  const missed = Math.max(0, state.missed - heldBy(state.own, weightOf(state.seen)));
  return [state.found, state.days[0]!, five, missed, state.pagesKb];
}

/** The count that is the most times what is allowed. */
function worstOf(state: ObjectsState, limits: Limits): Excess {
  const weight = weightOf(state.seen);
  const counts = countsOf(state);
  let worst: Excess = { what: HOUR, value: 0, high: 1, top: 0, factor: 0, weight };
  for (const [what, value] of counts.entries()) {
    const high = allowed(state, what, weight, limits);
    // Five days count on a day that has its part of them: not for days after the last of it.
    if (what === FIVE_DAYS && state.days[0]! * DAYS_KEPT < high) continue;
    if (what === MISSED && value < MISSED_SHARE * (value + state.found)) continue;
    const factor = value / high;
    if (factor > worst.factor) worst = { what, value, high, top: state.tops[what]!, factor, weight };
  }
  return worst;
}

function allowed(state: ObjectsState, what: number, weight: number, limits: Limits): number {
  const floor = Math.max(limits.floors[what]!, limits.cold[what]! / Math.max(1, state.knownDays));
  // Who asks for no more than usual is not guessing, even if all of it is gone: a route was renamed.
  const top = Math.max(state.tops[what]!, what === MISSED ? state.tops[HOUR]! : 0);
  const most = Math.max(floor, limits.factor * top);
  // Pages are counted in KB; of them as many are behind it as there are tens of KB.
  const chance = Math.sqrt(most * (what === PAGES ? 10 : 1) * (weight - 1));
  return Math.round(most + CHANCE_DEVIATIONS * chance);
}

/** Ends the hour, and the day if it is over: learns from them unless they were under alert. */
function moveOn(state: ObjectsState, hour: number, { normal }: Limits): Alert[] {
  const alerts: Alert[] = [];
  const today = Math.floor(state.hour / HOURS_PER_DAY);
  const day = Math.floor(hour / HOURS_PER_DAY);
  const first = state.hour === 0;
  const { tops } = state;
  const counts = countsOf(state);
  const learn = (what: number): void => {
    tops[what] = Math.max(tops[what]!, counts[what]!);
  };
  const isLearnt = (what: number): boolean =>
    !state.episode ||
    (normal !== undefined && counts[what]! <= allowed(state, what, weightOf(state.seen), normal));
  if (state.episode && day > today && state.episode.lastSeenAt - state.episode.startedAt >= STAYS_MS) {
    alerts.push(endEpisode(state));
    for (const what of counts.keys()) learn(what);
  }
  for (const what of [HOUR, MISSED]) if (isLearnt(what)) learn(what);
  if (!state.episode) state.examined = null;
  state.found = 0;
  state.missed = 0;
  endHour(state.own);
  state.hour = hour;
  if (day === today) return alerts;

  for (const what of [DAY, FIVE_DAYS, PAGES]) if (isLearnt(what)) learn(what);
  const passed = day - today;
  for (const [what, top] of tops.entries()) tops[what] = Math.round(top * TOP_PER_DAY ** passed);
  state.days = Array.from({ length: DAYS_KEPT }, (_, at) => state.days[at - passed] ?? 0);
  state.pagesKb = 0;
  endDays(state.own, passed);
  if (!first) state.knownDays++;
  rotate(state.seen, Math.floor(day / DAYS_PER_WEEK));
  return alerts;
}

function examine(state: ObjectsState, call: ApiCall, asked: Asked): void {
  const examined = (state.examined ??= { tally: newTally(), order: newOrder(), objects: 0, limit: 0 });
  tallyCall(examined.tally, call, false);
  examined.objects += asked.objects.length;
  examined.limit = Math.max(examined.limit, asked.limit);
  for (const number of asked.numbers) step(examined.order, number);
}

function endsAt(episode: Episode): number {
  return episode.lastSeenAt + QUIET_MS;
}

function close(state: ObjectsState, nowMs: number): Alert[] {
  return state.episode && nowMs >= endsAt(state.episode) ? [endEpisode(state)] : [];
}

function endEpisode(state: ObjectsState): Alert {
  const alert = publish(state, 'closed');
  state.episode = null;
  state.examined = null;
  // The days under alert are no past to be judged by, nor to be learnt from.
  state.days.fill(0, 1);
  return alert;
}

function raise(state: ObjectsState, call: ApiCall, excess: Excess): Episode {
  const { what } = excess;
  const { hour, examined } = state;
  const days = what === FIVE_DAYS ? DAYS_KEPT - 1 : 0;
  const startedAt =
    what === HOUR || what === MISSED ? hour * HOUR_MS : (Math.floor(hour / HOURS_PER_DAY) - days) * DAY_MS;
  const { tally, objects } = examined!;
  const type = what === PAGES || objects >= BATCH * tally.calls ? 'data-scraping' : 'object-enumeration';
  return {
    id: alertId(type, actorKey(call), UNITS[what]!, startedAt),
    type,
    actor: alertActor(call),
    worst: excess,
    startedAt,
    raisedAt: state.newestMs,
    lastSeenAt: call.startedAt,
    count: tally.calls,
    revision: 0,
    publishedAt: 0,
    publishedCount: 0,
    publishedRank: 0,
  };
}

/** The next published state of the open episode. */
function publish(state: ObjectsState, status: Alert['status']): Alert {
  const episode = state.episode!;
  const { tally, order, objects, limit } = state.examined!;
  const { what, value, high, top, weight, factor } = episode.worst;
  const score = scoreOf(factor);
  markPublished(episode, score, state.newestMs);
  const unit = UNITS[what]!;
  const learning = state.knownDays < COLD_DAYS ? 'cold' : 'overall';
  const failed = [...tally.statuses].reduce((sum, [name, count]) => sum + (name === '4xx' ? count : 0), 0);
  const walk = orderOf(order);
  return {
    id: episode.id,
    revision: episode.revision,
    type: episode.type,
    severity: severityOf(score),
    score,
    actor: episode.actor,
    service: dominant(tally, tally.services),
    route: dominant(tally, tally.routes),
    endpoint: dominant(tally, tally.endpoints),
    raisedAt: episode.raisedAt,
    startedAt: episode.startedAt,
    lastSeenAt: episode.lastSeenAt,
    count: episode.count,
    status,
    observed: { value, unit },
    expected: { value: top, low: 0, high, unit },
    summary: summaryOf(episode, walk, learning, state.knownDays),
    sources: topSources(tally),
    evidence: {
      learning,
      learntDays: state.knownDays,
      factor: Math.round(factor * 100) / 100,
      // Of ids: `sequential`, `reversed`, `strided`, `ascending`, `descending`, `random`.
      order: walk,
      objectsPerCall: Math.round((objects / tally.calls) * 10) / 10,
      largestLimit: limit,
      failedShare: Math.round((failed / tally.calls) * 100) / 100,
      // Above 1, `observed` is an estimate: one object in so many is looked at.
      countedOneIn: weight,
      statuses: statusClasses(tally),
      endpoints: topEndpoints(tally),
      // The calls that all but `observed` is about: those near or over the threshold.
      examinedCalls: tally.calls,
      lateCalls: state.late,
    },
    sampleCallIds: [...tally.sampleCallIds],
    references:
      episode.type === 'data-scraping'
        ? ['OWASP API6:2023', 'MITRE ATT&CK T1119']
        : ['OWASP API1:2023', 'MITRE ATT&CK T1213'],
  };
}

function summaryOf({ worst, actor }: Episode, walk: string, learning: string, days: number): string {
  const { what, value, high, top } = worst;
  const how = walk === 'unknown' || what === PAGES ? '' : `, ids in ${walk} order`;
  const did =
    what === PAGES
      ? `read ${value} KB of pages of lists that it had not read before`
      : what === MISSED
        ? `asked for ${value} objects that were refused or not there`
        : `asked for ${value} objects that it had not asked for before`;
  const normal =
    learning === 'cold'
      ? `up to ${high} is accepted without a baseline (${days} days learnt so far)`
      : `normal is up to ${high} (at most ${top} lately, ${days} days learnt)`;
  return `${actor.name} ${did} in ${WORDS[what]!}${how}; ${normal}.`;
}

type EncodedExcess = [what: number, value: number, high: number, top: number, factor: number, weight: number];
type EncodedEpisode = [
  id: string,
  type: AlertType,
  actor: AlertActor,
  numbers: [...EncodedGrowing, ...EncodedExcess],
];
export type EncodedObjects = [
  numbers: string,
  seen: EncodedSeen,
  examined?: [EncodedTally, EncodedOrder, objects: number, limit: number] | 0,
  episode?: EncodedEpisode | 0,
  own?: EncodedOwn,
];

function encode(state: ObjectsState, lastSeenAt: number): EncodedObjects {
  const { newestMs, late, found, missed, pagesKb, knownDays, days, tops, examined, episode } = state;
  // The number in between was of created objects, in states that were written before `own`.
  const numbers = [lastSeenAt - newestMs, late, found, missed, pagesKb, knownDays, 0, ...days, ...tops];
  const encoded: EncodedObjects = [toNumerals(numbers), encodeSeen(state.seen)];
  const own = encodeOwn(state.own, lastSeenAt);
  if (examined || own)
    encoded.push(
      examined
        ? [encodeTally(examined.tally), encodeOrder(examined.order), examined.objects, examined.limit]
        : 0,
    );
  if (episode || own) encoded.push(episode ? encodeEpisode(episode) : 0);
  if (own) encoded.push(own);
  return encoded;
}

function encodeEpisode(episode: Episode): EncodedEpisode {
  const { what, value, high, top, factor, weight } = episode.worst;
  return [
    episode.id,
    episode.type,
    episode.actor,
    [...encodeGrowing(episode), what, value, high, top, factor, weight],
  ];
}

function decode([text, seen, examined, episode, own]: EncodedObjects, lastSeenAt: number): ObjectsState {
  const numbers = fromNumerals(text);
  const [ageMs, late, found, missed, pagesKb, knownDays] = numbers as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const newestMs = lastSeenAt - ageMs;
  return {
    newestMs,
    late,
    hour: Math.floor(newestMs / HOUR_MS),
    found,
    missed,
    pagesKb,
    knownDays,
    own: decodeOwn(own, lastSeenAt),
    days: numbers.slice(7, 7 + DAYS_KEPT),
    tops: numbers.slice(7 + DAYS_KEPT),
    seen: decodeSeen(seen),
    examined: examined
      ? {
          tally: decodeTally(examined[0]),
          order: decodeOrder(examined[1]),
          objects: examined[2],
          limit: examined[3],
        }
      : null,
    episode: episode ? decodeEpisode(episode) : null,
  };
}

function decodeEpisode([id, type, actor, numbers]: EncodedEpisode): Episode {
  const [what, value, high, top, factor, weight] = numbers.slice(8) as EncodedExcess;
  return { id, type, actor, ...decodeGrowing(numbers), worst: { what, value, high, top, factor, weight } };
}
