import { severityOf, sourceOf, type Alert, type ApiCall } from '@tripline/model';
import {
  DAY_MS,
  HOUR_MS,
  LATENESS_MS,
  SAMPLES_MOST,
  SOURCES_MOST,
  TALLY_KEYS,
} from '../../baseline/limits.ts';
import { alertId, closesAt, isNews, markPublished, scoreOf, type Growing } from '../../alerts/episode.ts';
import { fromDigits, fromNumerals, toDigits, toNumerals } from '../../codec/digits.ts';
import { alertSources, largestFirst } from '../../alerts/tally.ts';
import type { Asked } from './asked.ts';
import { CHANCE_DEVIATIONS, STAYS_MS, TOP_PER_DAY } from './limits.ts';
import { decodeSeen, encodeSeen, type EncodedSeen } from '../../legacy-across.ts';
import { isKnown, look, newSeen, objectHash, rotate, weightOf, type Seen } from '../../sketches/seen.ts';
import { toleranceOf, type Tolerance } from '../../baseline/sensitivity.ts';
import { ENDPOINT_WINDOW_MS } from '../../across-actors/limits.ts';
import { endpointId } from '../credential-stuffing/credential-stuffing.ts';
import type { WholeMinute } from '../../across-actors/minute-hold.ts';
import { Sample } from '../../sketches/sample.ts';
import { decodeGrowing, encodeGrowing, type EncodedGrowing } from '../../legacy-across.ts';

/** Consecutive ids that are looked at together. */
const RANGE_IDS = 64;
/**
 * A range is gone through when so many of its ids were asked for in one minute and in no other: a walk leaves few out and takes
 * each once. Of ids that are asked for at random at most 1/e (the most that a Poisson distribution has at one), 24 of 64, are at
 * any time asked for just once, however many calls there are; 40 are four standard deviations more.
 */
const FILLED_IDS = 40;
/** From here on the actors of a range are evidence. */
const NOTED_IDS = FILLED_IDS / 2;
/** What one actor fills to this share is its own walk, which its own detector judges. */
const ONE_ACTOR_SHARE = 0.8;
/** No actor has more than this share of all that was gone through. */
const TOP_SHARE_MOST = 0.5;
/** Ids per endpoint and minute that are looked at: where there are more, whole ranges chosen by hash. */
const IDS_KEPT = 64;
/** One id in so many comes with the id of its call, for evidence. */
const SAMPLED_EVERY = 4;
const ACTOR_LENGTH_MOST = 64;
/** Ranges that are being filled. */
const RANGES_KEPT = 64;
const ACTORS_PER_RANGE = 8;
/** Ranges that were gone through, remembered per week; of more, a sample. */
const COUNTED_KEPT = 256;

/** Ranges per hour and day that are never an alert: 256 and 512 ids. */
const FLOORS = [4, 8] as const;
/**
 * Hours since the first call until an hour, and a day, is judged: the new objects of a busy endpoint have consecutive ids, too,
 * and how many there are is not known before. Two days have a whole one in them.
 */
const LEARNT_HOURS = [24, 48] as const;
const FACTOR = 2.5;
const HOUR = 0;
const UNITS = ['ranges of 64 ids/h', 'ranges of 64 ids/day'] as const;
const WORDS = ['an hour', 'a day'] as const;
const HOURS_PER_DAY = DAY_MS / HOUR_MS;
const DAYS_PER_WEEK = 7;

/** Who asked for an id. If several did within the minute, the first in order. */
export interface Walker {
  actor: string;
  ip: string;
  country: string | null;
  asn: number | null;
  /** Empty for most. */
  callId: string;
}

/** Numeric ids that an endpoint was asked for, those that are there and those that are not. */
export type Walked = Sample<Walker>;
export const newWalked = (): Walked => new Sample(IDS_KEPT);

/** Adds the ids of a call, which the call `asked` for. */
export function addWalked(walked: Walked | null, call: ApiCall, { numbers }: Asked): Walked | null {
  const { status, source } = call;
  const missed = (status === 404 || status === 403 || status === 410) && source === 'upstream';
  // What is created has the next id, and is no walk.
  if (status === 201 || (!missed && !(status >= 200 && status < 300) && status !== 304)) return walked;
  for (const number of numbers) {
    if (Number.isNaN(number)) continue;
    walked ??= newWalked();
    const hash = idHashOf(number);
    if (!walked.takes(hash)) continue;
    const { country = null, asn = null } = call;
    const ip = sourceOf(call) ?? '';
    const actor = call.actorName.slice(0, ACTOR_LENGTH_MOST);
    const callId = number % SAMPLED_EVERY === 0 ? call.id : '';
    pickFirst(walked, String(number), hash, { actor, ip, country, asn, callId });
  }
  return walked;
}

/** Adds `other` to `walked`. */
export function mergeWalked(walked: Walked, other: Walked): void {
  for (const [number, { hash, value }] of other.entries()) pickFirst(walked, number, hash, value);
}

/** Ids of a range lie together, so that a sample has ranges as a whole. 32 bits are the range's, as in `objectHash`. */
function idHashOf(number: number): number {
  const range = Math.floor(number / RANGE_IDS);
  let hash = (range ^ Math.floor(range / 2 ** 32)) | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) * 2 ** 21 + (number % RANGE_IDS);
}

function pickFirst(walked: Walked, number: string, hash: number, walker: Walker): void {
  const kept = walked.pick(number, hash, () => ({ ...walker }));
  if (kept && isBefore(walker, kept)) Object.assign(kept, walker);
}

function isBefore(a: Walker, b: Walker): boolean {
  if (a.actor !== b.actor) return a.actor < b.actor;
  return a.ip === b.ip ? a.callId < b.callId : a.ip < b.ip;
}

/** The actor is 0 if it is the address. */
export type EncodedWalked = [
  number: number,
  actor: string | 0,
  ip: string,
  country: string | null,
  asn: number | null,
  callId: string,
][];

export function encodeWalked(walked: Walked): EncodedWalked {
  return walked
    .sorted()
    .map(([number, { value }]) => [
      Number(number),
      value.actor === value.ip ? 0 : value.actor,
      value.ip,
      value.country,
      value.asn,
      value.callId,
    ]);
}

export function decodeWalked(encoded: EncodedWalked): Walked {
  const walked = newWalked();
  for (const [number, actor, ip, country, asn, callId] of encoded)
    pickFirst(walked, String(number), idHashOf(number), {
      actor: actor === 0 ? ip : actor,
      ip,
      country,
      asn,
      callId,
    });
  return walked;
}

/** A bit per id of a range: four digits of text per word. */
type Ids = [number, number, number];
const WORD_BITS = 24;

/** Which ids of a range were asked for, which of them in several minutes, and by whom first. */
interface Range {
  asked: Ids;
  again: Ids;
  /** Number of ids that were asked for in one minute only. */
  once: number;
  counted: boolean;
  /** By hash: at most ACTORS_PER_RANGE, ids of the others under 0. */
  actors: Map<number, number>;
}

/** Who went through the ranges. Bounded. */
interface Pool {
  ids: number;
  least: number;
  most: number;
  actors: Map<string, number>;
  sources: Map<string, { count: number; country: string | null; asn: number | null }>;
  callIds: string[];
}

interface Episode extends Growing {
  id: string;
  what: number;
  value: number;
  high: number;
  top: number;
}

/** What is known of the ids that one endpoint is asked for. */
export interface CoverageState {
  newestMs: number;
  /** Since the epoch. */
  hour: number;
  firstHour: number;
  /** Ranges gone through in the hour and the day, and the most of each so far, fading. */
  counts: number[];
  /** Calls of minutes with ids in the hour and the day. */
  calls: number[];
  tops: number[];
  /** Calls besides those that went through ranges, in the hour and the day with the most ranges. */
  usualCalls: number[];
  /** In the order of their latest new ids. */
  ranges: Map<number, Range>;
  /** Ranges counted in this week and the one before. */
  seen: Seen;
  pool: Pool | null;
  episode: Episode | null;
}

export function newCoverageState(): CoverageState {
  return {
    newestMs: 0,
    hour: 0,
    firstHour: 0,
    counts: [0, 0],
    calls: [0, 0],
    tops: [0, 0],
    usualCalls: [0, 0],
    ranges: new Map(),
    seen: newSeen(COUNTED_KEPT),
    pool: null,
    episode: null,
  };
}

/**
 * Do many actors together go through the ids of an endpoint, each with few of them? Judges one window; `nowMs` is the end of
 * the step in which it is judged.
 */
export function judgeCoverage(
  state: CoverageState,
  whole: WholeMinute,
  nowMs: number,
  tolerance: Tolerance,
): Alert[] {
  const { walked } = whole.minute;
  const atMs = whole.window * ENDPOINT_WINDOW_MS;
  if (!walked || atMs < state.newestMs - LATENESS_MS) return [];
  const alerts = closeCoverage(state, whole, atMs);
  state.newestMs = Math.max(state.newestMs, atMs);
  const hour = Math.floor(state.newestMs / HOUR_MS);
  if (hour > state.hour) for (const alert of moveOn(state, whole, hour, nowMs, tolerance)) alerts.push(alert);

  for (const what of state.calls.keys()) state.calls[what]! += whole.minute.calls;
  const before = state.counts[HOUR]!;
  for (const [number, { value }] of walked.sorted()) fill(state, Number(number), value);
  if (state.counts[HOUR] === before) return alerts;

  const { pool, episode } = state;
  let worst = { what: HOUR, value: 0, high: 1, top: 0 };
  for (const [what, value] of state.counts.entries()) {
    const high = allowed(state, what, tolerance);
    if (value / high > worst.value / worst.high) worst = { what, value, high, top: state.tops[what]! };
  }
  if (!pool || worst.value <= worst.high || topShare(pool) > TOP_SHARE_MOST) return alerts;
  if (episode) {
    episode.lastSeenAt = Math.max(episode.lastSeenAt, atMs);
    episode.count = pool.ids;
    if (worst.value / worst.high > episode.value / episode.high) Object.assign(episode, worst);
  } else {
    const unitMs = worst.what === HOUR ? HOUR_MS : DAY_MS;
    const startedAt = Math.floor(state.newestMs / unitMs) * unitMs;
    state.episode = {
      ...worst,
      id: alertId('object-enumeration', `endpoint:${endpointId(whole)}`, UNITS[worst.what]!, startedAt),
      startedAt,
      raisedAt: nowMs,
      lastSeenAt: atMs,
      count: pool.ids,
      revision: 0,
      publishedAt: 0,
      publishedCount: 0,
      publishedRank: -1,
    };
  }
  const open = state.episode!;
  if (isNews(open, scoreOf(open.value / open.high), nowMs)) alerts.push(publish(state, whole, 'open', nowMs));
  return alerts;
}

/** Infinity until it can be told. */
function allowed(state: CoverageState, what: number, tolerance: Tolerance): number {
  if (learntHours(state) < LEARNT_HOURS[what]!) return Infinity;
  const growth = Math.max(1, otherCalls(state, what) / Math.max(1, state.usualCalls[what]!));
  const most = Math.max(
    tolerance.count(FLOORS[what]!),
    tolerance.factor(FACTOR) * growth * state.tops[what]!,
  );
  const chance = Math.sqrt(most * (weightOf(state.seen) - 1));
  return Math.round(most + CHANCE_DEVIATIONS * chance);
}

/** Calls of the hour, or the day, that did not go through ranges. */
function otherCalls({ calls, counts }: CoverageState, what: number): number {
  return Math.max(0, calls[what]! - RANGE_IDS * counts[what]!);
}

function learntHours({ hour, firstHour }: CoverageState): number {
  return hour - firstHour;
}

function fill(state: CoverageState, number: number, walker: Walker): void {
  const { ranges } = state;
  const at = Math.floor(number / RANGE_IDS);
  let range = ranges.get(at);
  if (!range) {
    if (isKnown(state.seen, objectHash(String(at), 0))) return;
    if (ranges.size >= RANGES_KEPT) forgetOne(ranges);
    range = newRange();
  }
  const id = number % RANGE_IDS;
  if (hasId(range.asked, id)) {
    if (!hasId(range.again, id)) range.once--;
    addId(range.again, id);
    return;
  }
  addId(range.asked, id);
  range.once++;
  ranges.delete(at);
  ranges.set(at, range);
  const { actors } = range;
  const hash = objectHash(walker.actor, 0);
  const actor = actors.has(hash) || actors.size < ACTORS_PER_RANGE ? hash : 0;
  const own = (actors.get(actor) ?? 0) + 1;
  actors.set(actor, own);
  if (range.once < NOTED_IDS) return;

  let most = 0;
  for (const [one, ids] of actors) if (one !== 0) most = Math.max(most, ids);
  if (most > ONE_ACTOR_SHARE * range.once) return;
  note((state.pool ??= newPool()), number, walker);
  if (range.once < FILLED_IDS || range.counted) return;
  range.counted = true;
  const weight = Math.max(0, look(state.seen, objectHash(String(at), 0)));
  for (const what of state.counts.keys()) state.counts[what]! += weight;
}

function hasId(ids: Ids, id: number): boolean {
  return ((ids[Math.floor(id / WORD_BITS)]! >> (id % WORD_BITS)) & 1) === 1;
}

function addId(ids: Ids, id: number): void {
  ids[Math.floor(id / WORD_BITS)]! |= 1 << (id % WORD_BITS);
}

const newRange = (): Range => ({
  asked: [0, 0, 0],
  again: [0, 0, 0],
  once: 0,
  counted: false,
  actors: new Map(),
});

/**
 * Of the half that got no new id for longest, the range with the fewest ids that were asked for once: neither popular objects nor
 * walks that are over keep others out.
 */
function forgetOne(ranges: Map<number, Range>): void {
  let poorest: number | undefined;
  let least = Infinity;
  let left = RANGES_KEPT / 2;
  for (const [at, { once, counted }] of ranges) {
    if (left-- === 0) break;
    const kept = counted ? 0 : once;
    if (kept >= least) continue;
    least = kept;
    poorest = at;
  }
  if (poorest !== undefined) ranges.delete(poorest);
}

const newPool = (): Pool => ({
  ids: 0,
  least: Infinity,
  most: 0,
  actors: new Map(),
  sources: new Map(),
  callIds: [],
});

function note(pool: Pool, number: number, { actor, ip, country, asn, callId }: Walker): void {
  pool.ids++;
  pool.least = Math.min(pool.least, number);
  pool.most = Math.max(pool.most, number);
  const { actors, sources, callIds } = pool;
  if (actors.has(actor) || actors.size < TALLY_KEYS) actors.set(actor, (actors.get(actor) ?? 0) + 1);
  const source = sources.get(ip);
  if (source) source.count++;
  else if (ip !== '' && sources.size < TALLY_KEYS) sources.set(ip, { count: 1, country, asn });
  if (callId !== '' && callIds.length < SAMPLES_MOST) callIds.push(callId);
}

function topShare({ actors, ids }: Pool): number {
  return Math.max(0, ...actors.values()) / ids;
}

/** Ends the hour, and the day if it is over: learns from them unless they were under alert. */
function moveOn(
  state: CoverageState,
  of: { service: string; endpoint: string },
  hour: number,
  nowMs: number,
  tolerance: Tolerance,
): Alert[] {
  const alerts: Alert[] = [];
  const { counts, tops, episode } = state;
  const learn = (what: number): void => {
    if (counts[what]! < tops[what]!) return;
    tops[what] = counts[what]!;
    state.usualCalls[what] = otherCalls(state, what);
  };
  const days = Math.floor(hour / HOURS_PER_DAY) - Math.floor(state.hour / HOURS_PER_DAY);
  if (episode && episode.lastSeenAt - episode.startedAt >= STAYS_MS) {
    alerts.push(endEpisode(state, of, nowMs));
    for (const what of counts.keys()) learn(what);
  } else {
    const isLearnt = (what: number): boolean =>
      !episode || (tolerance.isStrict && counts[what]! <= allowed(state, what, toleranceOf('normal')));
    if (isLearnt(HOUR)) learn(HOUR);
    if (days > 0 && isLearnt(1)) learn(1);
    if (!episode) state.pool = null;
  }
  counts[HOUR] = 0;
  state.calls[HOUR] = 0;
  if (state.hour === 0) state.firstHour = hour;
  state.hour = hour;
  if (days > 0) {
    counts[1] = 0;
    state.calls[1] = 0;
    for (const [what, top] of tops.entries()) tops[what] = Math.round(top * TOP_PER_DAY ** days * 100) / 100;
    state.ranges.clear();
    rotate(state.seen, Math.floor(hour / HOURS_PER_DAY / DAYS_PER_WEEK));
  }
  return alerts;
}

/** Ends the episode if it is over at `nowMs`. The alert is the same whenever this is called after that. */
export function closeCoverage(
  state: CoverageState,
  of: { service: string; endpoint: string },
  nowMs: number,
): Alert[] {
  return state.episode && nowMs >= closesAt(state.episode) ? [endEpisode(state, of, nowMs)] : [];
}

export function coverageClosesAt({ episode }: CoverageState): number | undefined {
  return episode ? closesAt(episode) : undefined;
}

function endEpisode(state: CoverageState, of: { service: string; endpoint: string }, nowMs: number): Alert {
  const alert = publish(state, of, 'closed', nowMs);
  state.episode = null;
  state.pool = null;
  // What was under alert is neither learnt nor counted again.
  state.counts.fill(0);
  state.calls.fill(0);
  return alert;
}

/** The next published state of the open episode. */
function publish(
  state: CoverageState,
  of: { service: string; endpoint: string },
  status: Alert['status'],
  nowMs: number,
): Alert {
  const episode = state.episode!;
  const pool = state.pool!;
  const { what, value, high, top } = episode;
  const score = scoreOf(value / high);
  markPublished(episode, score, nowMs);
  const unit = UNITS[what]!;
  const id = endpointId(of);
  const many = pool.actors.size >= TALLY_KEYS ? `${TALLY_KEYS} actors or more` : `${pool.actors.size} actors`;
  const share = Math.ceil(topShare(pool) * 100);
  return {
    id: episode.id,
    revision: episode.revision,
    type: 'object-enumeration',
    severity: severityOf(score),
    score,
    actor: { kind: 'endpoint', id, name: id },
    service: of.service === '' ? null : of.service,
    route: null,
    endpoint: of.endpoint,
    raisedAt: episode.raisedAt,
    startedAt: episode.startedAt,
    lastSeenAt: episode.lastSeenAt,
    count: episode.count,
    status,
    observed: { value, unit },
    expected: { value: top, low: 0, high, unit },
    summary:
      `${id}: ${value} ranges of ${RANGE_IDS} consecutive ids were gone through in ${WORDS[what]!} by ${many} together, ` +
      `each with at most ${share} % of the ids; normal is up to ${high} ` +
      `(at most ${top} lately, ${learntHours(state)} h learnt).`,
    sources: alertSources([...pool.sources].map(([ip, source]) => ({ ip, ...source }))),
    evidence: {
      learning: 'overall',
      learntHours: learntHours(state),
      factor: Math.round((value / high) * 100) / 100,
      leastId: pool.least,
      largestId: pool.most,
      // Of the ids in ranges that several actors filled; of busy endpoints a sample.
      ids: pool.ids,
      distinctActors: pool.actors.size,
      largestShare: Math.round(topShare(pool) * 100) / 100,
      actors: largestFirst(pool.actors, (count) => count)
        .slice(0, SOURCES_MOST)
        .map(([actor, count]) => ({ actor, count })),
    },
    sampleCallIds: [...pool.callIds],
    references: ['OWASP API1:2023', 'MITRE ATT&CK T1213'],
  };
}

/** Actors are pairs of hash and number of ids, as numerals. */
type EncodedRange = [at: number, actors: string, asked: string, again?: string, counted?: 1];
const WORD_DIGITS = 4;
const IDS_LENGTH = 12;
type EncodedPool = [
  numbers: [ids: number, least: number, most: number],
  actors: [string, number][],
  sources: [string, number, string | null, number | null][],
  callIds: string[],
];
export type EncodedCoverage = [
  numbers: number[],
  seen: EncodedSeen,
  ranges: EncodedRange[],
  pool?: EncodedPool | 0,
  episode?: [
    id: string,
    numbers: [...EncodedGrowing, what: number, value: number, high: number, top: number],
  ],
];

export function encodeCoverage(state: CoverageState): EncodedCoverage {
  const { newestMs, hour, firstHour, counts, calls, tops, usualCalls, ranges, seen, pool, episode } = state;
  const encoded: EncodedCoverage = [
    [newestMs, hour, firstHour, ...counts, ...calls, ...tops, ...usualCalls],
    encodeSeen(seen),
    [...ranges].map(encodeRange),
  ];
  if (pool ?? episode)
    encoded.push(
      pool
        ? ([
            [pool.ids, pool.least, pool.most],
            [...pool.actors],
            [...pool.sources].map(([ip, { count, country, asn }]) => [ip, count, country, asn]),
            pool.callIds,
          ] as EncodedPool)
        : 0,
    );
  if (episode)
    encoded.push([
      episode.id,
      [...encodeGrowing(episode), episode.what, episode.value, episode.high, episode.top],
    ]);
  return encoded;
}

export function decodeCoverage([numbers, seen, ranges, pool, episode]: EncodedCoverage): CoverageState {
  const [newestMs, hour, firstHour] = numbers as [number, number, number];
  return {
    newestMs,
    hour,
    firstHour,
    counts: numbers.slice(3, 5),
    calls: numbers.slice(5, 7),
    tops: numbers.slice(7, 9),
    usualCalls: numbers.slice(9, 11),
    seen: decodeSeen(seen, COUNTED_KEPT),
    ranges: new Map(ranges.map((range) => [range[0], decodeRange(range)])),
    pool: pool ? decodePool(pool) : null,
    episode: episode ? decodeEpisode(episode) : null,
  };
}

function encodeRange([at, { asked, again, counted, actors }]: [number, Range]): EncodedRange {
  const encoded: EncodedRange = [at, toNumerals([...actors].flat()), encodeIds(asked)];
  const ids = encodeIds(again);
  if (counted || ids !== '') encoded.push(ids);
  if (counted) encoded.push(1);
  return encoded;
}

/** Without the zeros at the end. */
function encodeIds(ids: Ids): string {
  return toDigits(ids, WORD_DIGITS).replace(/A+$/, '');
}

function decodeIds(text: string): Ids {
  return fromDigits(text.padEnd(IDS_LENGTH, 'A'), WORD_DIGITS) as Ids;
}

function decodeRange([, actors, asked, again = '', counted]: EncodedRange): Range {
  const range = { ...newRange(), asked: decodeIds(asked), again: decodeIds(again), counted: counted === 1 };
  for (let id = 0; id < RANGE_IDS; id++) if (hasId(range.asked, id) && !hasId(range.again, id)) range.once++;
  const pairs = fromNumerals(actors);
  for (let at = 0; at < pairs.length; at += 2) range.actors.set(pairs[at]!, pairs[at + 1]!);
  return range;
}

function decodePool([[ids, least, most], actors, sources, callIds]: EncodedPool): Pool {
  return {
    ids,
    least,
    most,
    actors: new Map(actors),
    sources: new Map(sources.map(([ip, count, country, asn]) => [ip, { count, country, asn }])),
    callIds,
  };
}

function decodeEpisode([id, numbers]: NonNullable<EncodedCoverage[4]>): Episode {
  const [what, value, high, top] = numbers.slice(8) as [number, number, number, number];
  return { ...decodeGrowing(numbers), id, what, value, high, top };
}
