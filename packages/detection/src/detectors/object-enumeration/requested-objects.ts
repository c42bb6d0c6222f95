import { actorKey, type ApiCall } from '@tripline/model';
import { alertActor } from '../../alerts/alert-actor.ts';
import { alertId, beginGrowing, isNews, scoreOf } from '../../alerts/episode.ts';
import { newTally, tallyCall } from '../../alerts/tally.ts';
import { DAY_MS, HOUR_MS, LATENESS_MS } from '../../baseline/limits.ts';
import { toleranceOf, type Tolerance } from '../../baseline/sensitivity.ts';
import type { ActorProfileKind, DetectionOutput } from '../../detector.ts';
import { compileExceptions } from '../../exception.ts';
import { asActorSettings } from '../../settings.ts';
import { KNOWN, look, rotate, weightOf } from '../../sketches/seen.ts';
import { collectionHash, createAsked, type Asked } from './asked.ts';
import {
  BATCH,
  CHANCE_DEVIATIONS,
  COLD,
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
} from './limits.ts';
import { publishObjects } from './objects-alert.ts';
import {
  DAYS_KEPT,
  decodeObjects,
  encodeObjects,
  newObjects,
  type Episode,
  type Excess,
  type ObjectAlertType,
  type ObjectsState,
} from './objects-state.ts';
import { newOrder, step } from './order.ts';
import {
  endDays,
  endHour,
  heldBy,
  isWritten,
  noteCreated,
  noteMissing,
  takeCreated,
  takeWritten,
} from './own.ts';

const HOURS_PER_DAY = DAY_MS / HOUR_MS;
const DAYS_PER_WEEK = 7;

/** How much is allowed at a sensitivity: by count, see FLOORS and COLD, and as a factor of the most so far. */
interface CountLimits {
  floors: readonly number[];
  cold: readonly number[];
  factor: number;
  /** The limits at `normal`, where these are stricter: what is not above them is learnt, alert or not. */
  normal?: CountLimits;
}

type Limits = Record<ObjectAlertType, CountLimits>;
/** Which alerts a call may raise. */
type Judges = Record<ObjectAlertType, boolean>;

function limitsAt(tolerance: Tolerance): CountLimits {
  return {
    ...(tolerance.isStrict ? { normal: limitsAt(toleranceOf('normal')) } : {}),
    floors: FLOORS.map((count) => tolerance.count(count)),
    cold: COLD.map((count) => tolerance.count(count)),
    factor: tolerance.factor(FACTOR),
  };
}

/**
 * Whether an actor goes through objects (ids in path, query, kept headers) or pages that it never asked for before, many more than it
 * usually does. Alerts are `object-enumeration`, or `data-scraping` for many objects in one call and for lists.
 */
export const requestedObjects: ActorProfileKind<ObjectsState> = {
  id: 3,
  version: 2,
  create(settingsOf) {
    const enumeration = asActorSettings(settingsOf('object-enumeration'));
    const scraping = asActorSettings(settingsOf('data-scraping'));
    const isExceptedFromEnumeration = compileExceptions(enumeration);
    const isExceptedFromScraping = compileExceptions(scraping);
    const limits: Limits = {
      'object-enumeration': limitsAt(toleranceOf(enumeration.sensitivity)),
      'data-scraping': limitsAt(toleranceOf(scraping.sensitivity)),
    };
    const judgesOf = (call: ApiCall): Judges => ({
      'object-enumeration': enumeration.enabled && !isExceptedFromEnumeration(call),
      'data-scraping': scraping.enabled && !isExceptedFromScraping(call),
    });
    const read = createAsked();
    const concerns = ({ objects, page }: Asked, call: ApiCall): boolean =>
      (objects.length > 0 || page >= 0) && (isThere(call) || isMissed(call));
    const isAnyOf = (judges: Judges): boolean => judges['object-enumeration'] || judges['data-scraping'];

    return {
      create: (call) => (concerns(read(call), call) && isAnyOf(judgesOf(call)) ? newObjects() : undefined),
      concerns: (call) => isWritten(call) || concerns(read(call), call),
      fold(state, call, _, out) {
        const judges = judgesOf(call);
        if (!isAnyOf(judges)) {
          close(state, call.startedAt, out);
          return;
        }
        const asked = read(call);
        if (isWritten(call) && noteWritten(state, call, asked)) return;
        if (concerns(asked, call)) fold(state, call, asked, limits, judges, out);
      },
      close,
      closesAt: ({ episode }) => (episode ? endsAt(episode) : undefined),
      encode: encodeObjects,
      decode: decodeObjects,
    };
  },
};

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

function fold(
  state: ObjectsState,
  call: ApiCall,
  asked: Asked,
  limits: Limits,
  judges: Judges,
  out: DetectionOutput,
): void {
  const atMs = call.startedAt;
  if (atMs < state.newestMs - LATENESS_MS) {
    state.late++;
    return;
  }
  close(state, atMs, out);
  if (atMs > state.newestMs) {
    state.newestMs = atMs;
    const hour = Math.floor(atMs / HOUR_MS);
    if (hour > state.hour) moveOn(state, hour, limits, out);
  }
  const { isUnknown, news } = count(state, call, asked);
  if (!isUnknown) return;
  const excess = worstOf(state, limits);
  if (state.episode || excess.factor > 0.5) examine(state, call, asked);
  if (news === 0 || excess.factor <= 1) return;

  const { episode } = state;
  if (!episode) {
    const type = typeOf(state, excess.what);
    if (!judges[type]) return;
    state.episode = raise(state, call, excess, type);
    out.alert(publishObjects(state, 'open'));
    return;
  }
  if (!judges[episode.type]) return;
  episode.lastSeenAt = Math.max(episode.lastSeenAt, atMs);
  episode.count = state.examined!.tally.calls;
  if (excess.factor > episode.worst.factor) episode.worst = excess;
  if (isNews(episode, scoreOf(episode.worst.factor), state.newestMs))
    out.alert(publishObjects(state, 'open'));
}

/** Counts what the call asks for. `news`: objects, and KB of pages, that are new; `isUnknown`: something is, counted or not. */
function count(state: ObjectsState, call: ApiCall, asked: Asked): { isUnknown: boolean; news: number } {
  const succeeded = isThere(call);
  let news = 0;
  let isUnknown = false;
  for (const [at, hash] of asked.objects.entries()) {
    const weight = look(state.seen, hash);
    if (weight === KNOWN) continue;
    isUnknown = true;
    if (weight > 0) news += countObject(state, call, hash, at === 0 ? asked.collection : -1, weight);
  }
  if (asked.page < 0 || !succeeded) return { isUnknown, news };
  const weight = look(state.seen, asked.page);
  if (weight === KNOWN) return { isUnknown, news };
  const kb = Math.round((weight * call.responseBytes) / 1_024);
  state.pagesKb += kb;
  return { isUnknown: true, news: news + kb };
}

/** Counts a new object that stands for `weight` of them; returns how many of them count as news. */
function countObject(
  state: ObjectsState,
  call: ApiCall,
  hash: number,
  collection: number,
  weight: number,
): number {
  const atMs = call.startedAt;
  if (!isThere(call)) {
    state.missed += weight;
    if (collection >= 0 && call.status !== 403) noteMissing(state.own, hash, collection, atMs, weight, false);
    return weight;
  }
  const others = weight - takeCreated(state.own, collection, weight);
  state.found += others;
  state.days[0]! += others;
  if (collection >= 0 && call.method === 'DELETE')
    noteMissing(state.own, hash, collection, atMs, weight, true);
  return others;
}

/** Many objects in one call, and pages of lists, are volume rather than walking. */
function typeOf({ examined }: ObjectsState, what: number): ObjectAlertType {
  const isBatched = examined !== null && examined.objects >= BATCH * examined.tally.calls;
  return what === PAGES || isBatched ? 'data-scraping' : 'object-enumeration';
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
    const high = allowed(state, what, weight, limits[typeOf(state, what)]);
    // Five days count on a day that has its part of them: not for days after the last of it.
    if (what === FIVE_DAYS && state.days[0]! * DAYS_KEPT < high) continue;
    if (what === MISSED && value < MISSED_SHARE * (value + state.found)) continue;
    const factor = value / high;
    if (factor > worst.factor) worst = { what, value, high, top: state.tops[what]!, factor, weight };
  }
  return worst;
}

function allowed(state: ObjectsState, what: number, weight: number, limits: CountLimits): number {
  const floor = Math.max(limits.floors[what]!, limits.cold[what]! / Math.max(1, state.knownDays));
  // Who asks for no more than usual is not guessing, even if all of it is gone: a route was renamed.
  const top = Math.max(state.tops[what]!, what === MISSED ? state.tops[HOUR]! : 0);
  const most = Math.max(floor, limits.factor * top);
  // Pages are counted in KB; of them as many are behind it as there are tens of KB.
  const chance = Math.sqrt(most * (what === PAGES ? 10 : 1) * (weight - 1));
  return Math.round(most + CHANCE_DEVIATIONS * chance);
}

/** Ends the hour, and the day if it is over: learns from them unless they were under alert. */
function moveOn(state: ObjectsState, hour: number, limits: Limits, out: DetectionOutput): void {
  const today = Math.floor(state.hour / HOURS_PER_DAY);
  const day = Math.floor(hour / HOURS_PER_DAY);
  const first = state.hour === 0;
  const { tops } = state;
  const counts = countsOf(state);
  const learn = (what: number): void => {
    tops[what] = Math.max(tops[what]!, counts[what]!);
  };
  const isLearnt = (what: number): boolean => {
    if (!state.episode) return true;
    const { normal } = limits[typeOf(state, what)];
    return normal !== undefined && counts[what]! <= allowed(state, what, weightOf(state.seen), normal);
  };
  if (state.episode && day > today && state.episode.lastSeenAt - state.episode.startedAt >= STAYS_MS) {
    endEpisode(state, out);
    for (const what of counts.keys()) learn(what);
  }
  for (const what of [HOUR, MISSED]) if (isLearnt(what)) learn(what);
  if (!state.episode) state.examined = null;
  state.found = 0;
  state.missed = 0;
  endHour(state.own);
  state.hour = hour;
  if (day === today) return;

  for (const what of [DAY, FIVE_DAYS, PAGES]) if (isLearnt(what)) learn(what);
  const passed = day - today;
  for (const [what, top] of tops.entries()) tops[what] = Math.round(top * TOP_PER_DAY ** passed);
  state.days = Array.from({ length: DAYS_KEPT }, (_, at) => state.days[at - passed] ?? 0);
  state.pagesKb = 0;
  endDays(state.own, passed);
  if (!first) state.knownDays++;
  rotate(state.seen, Math.floor(day / DAYS_PER_WEEK));
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

function close(state: ObjectsState, nowMs: number, out: DetectionOutput): void {
  if (state.episode && nowMs >= endsAt(state.episode)) endEpisode(state, out);
}

function endEpisode(state: ObjectsState, out: DetectionOutput): void {
  out.alert(publishObjects(state, 'closed'));
  state.episode = null;
  state.examined = null;
  // The days under alert are no past to be judged by, nor to be learnt from.
  state.days.fill(0, 1);
}

function raise(state: ObjectsState, call: ApiCall, excess: Excess, type: ObjectAlertType): Episode {
  const { what } = excess;
  const days = what === FIVE_DAYS ? DAYS_KEPT - 1 : 0;
  const startedAt =
    what === HOUR || what === MISSED
      ? state.hour * HOUR_MS
      : (Math.floor(state.hour / HOURS_PER_DAY) - days) * DAY_MS;
  return {
    id: alertId(type, actorKey(call), UNITS[what]!, startedAt),
    type,
    actor: alertActor(call),
    ...beginGrowing(startedAt, state.newestMs, call.startedAt, state.examined!.tally.calls),
    worst: excess,
  };
}
