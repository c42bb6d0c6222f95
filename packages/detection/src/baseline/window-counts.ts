import {
  HOUR_MS,
  LATENESS_MS,
  PEAK_ALLOWANCE_LOG,
  PEAKS_KEPT,
  SHADOW_HOURS,
  STEP_GROWTH_LOG,
  STEP_HOURS,
  STEP_MS,
  WINDOW_MS,
  WINDOWS_KEPT,
  LOG_SCALE,
  CALL_WEIGHT,
} from './limits.ts';
import { fromNumerals, toNumerals } from '../codec/digits.ts';
import {
  adopt,
  copyProfile,
  decodeProfile,
  encodeProfile,
  excessOf,
  learn,
  learnPeer,
  levelOf,
  newProfile,
  thresholdsAt,
  type Floors,
  type Learning,
  type Levels,
  type PeersState,
  type Profile,
} from './profile.ts';

const [KEPT_SHORT, KEPT_MINUTES, KEPT_LONG] = WINDOWS_KEPT;
const MINUTES_AT = KEPT_SHORT;
const LONG_AT = KEPT_SHORT + KEPT_MINUTES;
const COUNTS = LONG_AT + KEPT_LONG;
const SHORT_PER_MINUTE = WINDOW_MS[1] / WINDOW_MS[0];
const SHORT_PER_LONG = WINDOW_MS[2] / WINDOW_MS[0];
const SHORT_PER_HOUR = HOUR_MS / WINDOW_MS[0];

/** One hour of a scope while its calls still come in. Counts in 64ths of a call. */
interface HourRecord {
  /** Hours since the epoch. */
  hour: number;
  /** Largest count so far per window size. */
  most: [number, number, number];
  high: [number, number, number];
  expected: [number, number, number];
  learning: Learning;
  exceeded: boolean;
  /** A peak of this hour was foreseen, see `foreseen`. */
  foreseen: boolean;
}

/** An hour that passed under an alert: not learnt, but remembered in case the level stays. */
interface ShadowHour {
  hour: number;
  levels: Levels;
  exceeded: boolean;
}

/** The traffic of an actor, whole or on one service, or what is counted of an endpoint: recent windows, the hours they lie in, and the baseline. */
export interface Scope {
  floors: Floors;
  /** Number (since the epoch) of the newest 10 s window. */
  newest: number;
  /** Rings of the latest 10 s, 60 s and 600 s windows, one after the other, in 64ths of a call. */
  counts: number[];
  current: HourRecord | null;
  /** The hour before the current one, as long as late calls may still change it. */
  before: HourRecord | null;
  /**
   * As text from reading on until it is looked at, and again once it was written: hours begin and end seldom, states of many
   * actors are read and written with every few calls. To be had by `profileOf`.
   */
  profile: Profile | string;
  /** At most SHADOW_HOURS, oldest first. */
  shadow: ShadowHour[];
  /** Hours that exceeded, at most PEAKS_KEPT, oldest first. */
  peaks: { hour: number; levels: Levels }[];
}

/** What `countCall` found: nothing of note, at least half of a threshold reached, a threshold exceeded. */
export const CALM = 0;
export const WARM = 1;
export const EXCEEDED = 2;

export function newScope(floors: Floors): Scope {
  return {
    floors,
    newest: -1,
    counts: new Array<number>(COUNTS).fill(0),
    current: null,
    before: null,
    profile: newProfile(),
    shadow: [],
    peaks: [],
  };
}

export function profileOf(scope: Scope): Profile {
  if (typeof scope.profile === 'string') scope.profile = decodeProfile(scope.profile);
  return scope.profile;
}

/** A scope that starts from what another has learnt (the first service of an actor that begins to use a second). */
export function copyScope(scope: Scope): Scope {
  const copyHour = (hour: HourRecord | null): HourRecord | null =>
    hour && { ...hour, most: [...hour.most], high: [...hour.high], expected: [...hour.expected] };
  return {
    floors: scope.floors,
    newest: scope.newest,
    counts: [...scope.counts],
    current: copyHour(scope.current),
    before: copyHour(scope.before),
    profile: typeof scope.profile === 'string' ? scope.profile : copyProfile(scope.profile),
    shadow: [...scope.shadow],
    peaks: [...scope.peaks],
  };
}

/**
 * Counts a call that began at `atMs` into its three windows and compares them with the thresholds of their hour. The
 * caller has made sure that the call is not later than LATENESS_MS behind `newestMs`, the actor's newest call, and has
 * called `settle` for `newestMs`. Constant time, no logarithms, except once per hour.
 */
export function countCall(scope: Scope, peers: PeersState, atMs: number, weight: number): number {
  const short = Math.floor(atMs / WINDOW_MS[0]);
  if (short > scope.newest) advance(scope, short);
  const record = hourRecord(scope, peers, Math.floor(short / SHORT_PER_HOUR));
  const { counts } = scope;
  const { most, high } = record;
  let heat = CALM;

  if (scope.newest - short < KEPT_SHORT) {
    const count = (counts[short % KEPT_SHORT]! += weight);
    if (count > most[0]) most[0] = count;
    if (count * 2 > high[0]) heat = count > high[0] ? EXCEEDED : WARM;
  }
  const minute = (counts[MINUTES_AT + (Math.floor(short / SHORT_PER_MINUTE) % KEPT_MINUTES)]! += weight);
  if (minute > most[1]) most[1] = minute;
  if (minute * 2 > high[1] && heat !== EXCEEDED) heat = minute > high[1] ? EXCEEDED : WARM;
  const long = (counts[LONG_AT + (Math.floor(short / SHORT_PER_LONG) % KEPT_LONG)]! += weight);
  if (long > most[2]) most[2] = long;
  if (long * 2 > high[2] && heat !== EXCEEDED) heat = long > high[2] ? EXCEEDED : WARM;

  if (heat === EXCEEDED) record.exceeded = true;
  return heat;
}

export interface Excess {
  /** 0, 1, 2: the 10 s, 60 s, 600 s window. */
  size: number;
  startsAt: number;
  /** In 64ths of a call, as are `high` and `expected`. */
  count: number;
  high: number;
  expected: number;
  /** count / high, above 1. */
  factor: number;
  learning: Learning;
  learntHours: number;
}

/** What is accepted, in the words of an alert's summary. `high` in units of what is counted. */
export function acceptedUpTo(
  high: number,
  { learning, learntHours }: Pick<Excess, 'learning' | 'learntHours'>,
): string {
  return learning === 'cold'
    ? `up to ${high} is accepted without a baseline (${learntHours} h learnt so far)`
    : `normal is up to ${high} (learnt from ${learntHours} h of its own traffic)`;
}

/** The window around `atMs` that exceeds its threshold by the largest factor. To be asked after `countCall` said so. */
export function worstExcess(scope: Scope, atMs: number): Excess {
  const short = Math.floor(atMs / WINDOW_MS[0]);
  const hour = Math.floor(short / SHORT_PER_HOUR);
  const record = scope.current!.hour === hour ? scope.current! : scope.before!;
  let worst: Excess | undefined;
  for (let size = 0; size < 3; size++) {
    if (size === 0 && scope.newest - short >= KEPT_SHORT) continue;
    const count = scope.counts[ringIndex(short, size)]!;
    const high = record.high[size]!;
    const factor = count / high;
    if (count > high && (!worst || factor > worst.factor)) {
      worst = {
        size,
        startsAt: Math.floor(atMs / WINDOW_MS[size]!) * WINDOW_MS[size]!,
        count,
        high,
        expected: record.expected[size]!,
        factor,
        learning: record.learning,
        learntHours: profileOf(scope).hours,
      };
    }
  }
  return worst!;
}

/**
 * The threshold that a call at `atMs` exceeded means nothing, for a reason that lies outside the count: the hour is learnt
 * like any other. To be asked right after `countCall` said so.
 */
export function excuse(scope: Scope, atMs: number): void {
  const hour = Math.floor(atMs / HOUR_MS);
  (scope.current!.hour === hour ? scope.current! : scope.before!).exceeded = false;
}

/** Counts of the windows around `atMs` (10 s, 60 s, 600 s), in calls; for tests. */
export function countsAt(scope: Scope, atMs: number): number[] {
  const short = Math.floor(atMs / WINDOW_MS[0]);
  return [0, 1, 2].map((size) => scope.counts[ringIndex(short, size)]! / CALL_WEIGHT);
}

function ringIndex(short: number, size: number): number {
  if (size === 0) return short % KEPT_SHORT;
  if (size === 1) return MINUTES_AT + (Math.floor(short / SHORT_PER_MINUTE) % KEPT_MINUTES);
  return LONG_AT + (Math.floor(short / SHORT_PER_LONG) % KEPT_LONG);
}

/** Makes room for the windows up to the 10 s window `short`. */
function advance(scope: Scope, short: number): void {
  const { counts, newest } = scope;
  scope.newest = short;
  for (let at = Math.max(newest + 1, short - KEPT_SHORT + 1); at <= short; at++) counts[at % KEPT_SHORT] = 0;
  const minute = Math.floor(short / SHORT_PER_MINUTE);
  const minuteBefore = Math.floor(newest / SHORT_PER_MINUTE);
  if (minute === minuteBefore) return;
  for (let at = Math.max(minuteBefore + 1, minute - KEPT_MINUTES + 1); at <= minute; at++) {
    counts[MINUTES_AT + (at % KEPT_MINUTES)] = 0;
  }
  const long = Math.floor(short / SHORT_PER_LONG);
  const longBefore = Math.floor(newest / SHORT_PER_LONG);
  for (let at = Math.max(longBefore + 1, long - KEPT_LONG + 1); at <= long; at++)
    counts[LONG_AT + (at % KEPT_LONG)] = 0;
}

function hourRecord(scope: Scope, peers: PeersState, hour: number): HourRecord {
  const { current, before } = scope;
  if (current?.hour === hour) return current;
  if (before?.hour === hour) return before;
  const record: HourRecord = {
    hour,
    most: [0, 0, 0],
    high: [0, 0, 0],
    expected: [0, 0, 0],
    learning: 'cold',
    exceeded: false,
    foreseen: false,
  };
  judgeBy(record, scope, peers);
  if (!current || hour > current.hour) {
    scope.before = current;
    scope.current = record;
  } else {
    scope.before = record;
  }
  return record;
}

function judgeBy(record: HourRecord, scope: Scope, peers: PeersState): void {
  const { high, expected, learning } = thresholdsAt(profileOf(scope), peers, record.hour, scope.floors);
  const peak = foreseen(scope, record.hour);
  record.foreseen = peak !== undefined;
  if (peak) {
    for (let size = 0; size < 3; size++) {
      const level = (peak[size]! + PEAK_ALLOWANCE_LOG) / LOG_SCALE;
      high[size] = Math.max(high[size]!, Math.floor(Math.expm1(level) * CALL_WEIGHT));
    }
  }
  record.high = high;
  record.expected = expected;
  record.learning = learning;
}

/**
 * The peak that comes again: at about this hour a week ago, or a month ago if both days are the first of their month,
 * and at no other day of the last six at this time. What happens on consecutive days is not foreseen by it.
 */
function foreseen(scope: Scope, hour: number): Levels | undefined {
  if (scope.peaks.length === 0) return undefined;
  let found: [number, number, number] | undefined;
  for (const peak of scope.peaks) {
    const age = hour - peak.hour;
    if (age > 12 && age < 6 * 24) return undefined;
    const weekly = Math.abs(age - 7 * 24) <= 1;
    const drift = Math.abs((((age % 24) + 36) % 24) - 12);
    const monthly =
      drift <= 1 && age >= 27 * 24 && age <= 32 * 24 && dayOfMonth(hour) === 1 && dayOfMonth(peak.hour) === 1;
    if (!weekly && !monthly) continue;
    found ??= [0, 0, 0];
    for (let size = 0; size < 3; size++) found[size] = Math.max(found[size]!, peak.levels[size]!);
  }
  return found;
}

function dayOfMonth(hour: number): number {
  return new Date(hour * HOUR_MS).getUTCDate();
}

/** Event time from which `settle` has something to do; Infinity if nothing. */
export function settlesAt(scope: Scope): number {
  const due = scope.before ?? scope.current;
  return due ? (due.hour + 1) * HOUR_MS + LATENESS_MS : Infinity;
}

/**
 * Ends the hours that no call can change any more at `newestMs`: learns them if they were quiet, else keeps them in the
 * shadow. `alertSinceMs` is the beginning of the actor's open episode, Infinity if there is none. `teachPeers`: this scope
 * is the actor's on one service, its hours are what newcomers there borrow from.
 */
export function settle(
  scope: Scope,
  peers: PeersState,
  newestMs: number,
  alertSinceMs: number,
  teachPeers: boolean,
): void {
  let learnt = false;
  for (const record of [scope.before, scope.current]) {
    if (!record) continue;
    const endsAt = (record.hour + 1) * HOUR_MS;
    if (newestMs < endsAt + LATENESS_MS) continue;
    if (record === scope.before) scope.before = null;
    else scope.current = null;
    if (record.most[2] === 0) continue;

    const levels: Levels = [levelOf(record.most[0]), levelOf(record.most[1]), levelOf(record.most[2])];
    const { normal } = scope.floors;
    if (normal && !isAbove(scope, record, peers, normal)) {
      learn(profileOf(scope), record.hour, levels);
      if (teachPeers) learnPeer(peers, levels[1]);
      learnt = true;
      continue;
    }
    if (record.exceeded || (record.foreseen && isAbove(scope, record, peers, scope.floors))) {
      scope.peaks.push({ hour: record.hour, levels });
      if (scope.peaks.length > PEAKS_KEPT) scope.peaks.shift();
    } else if (endsAt <= alertSinceMs) {
      learn(profileOf(scope), record.hour, levels);
      if (teachPeers) learnPeer(peers, levels[1]);
      learnt = true;
    }
    if (endsAt > alertSinceMs) {
      scope.shadow.push({ hour: record.hour, levels, exceeded: record.exceeded });
      if (scope.shadow.length > SHADOW_HOURS) scope.shadow.shift();
    }
  }
  // The newest hour profits from what its predecessor taught: an actor's first hours follow each other closely.
  if (learnt && scope.current) judgeBy(scope.current, scope, peers);
}

/** Is the hour above the thresholds of these floors, whether its peak was foreseen or not? */
function isAbove(scope: Scope, record: HourRecord, peers: PeersState, floors: Floors): boolean {
  const { high } = thresholdsAt(profileOf(scope), peers, record.hour, floors);
  return record.most.some((count, size) => count > high[size]!);
}

/**
 * Has the scope kept an elevated level for a day: enough hours that exceeded, and the later half of them not much above the earlier
 * one? What still grows is not taken over, or a slow ramp would be cut into one alert a day.
 */
export function levelStays(scope: Scope): boolean {
  const elevated = scope.shadow.filter((one) => one.exceeded);
  if (elevated.length < STEP_HOURS) return false;
  // Of an episode that a longer window began, the first hours may not have exceeded.
  if ((elevated.at(-1)!.hour + 1 - elevated[0]!.hour) * HOUR_MS < STEP_MS) return false;
  const half = elevated.length >> 1;
  const meanExcess = (hours: readonly ShadowHour[]): number =>
    hours.reduce((sum, one) => sum + excessOf(profileOf(scope), one.hour, 1, one.levels[1]), 0) /
    hours.length;
  return meanExcess(elevated.slice(half)) - meanExcess(elevated.slice(0, half)) <= STEP_GROWTH_LOG;
}

/** The level stayed: it is the new normal, also for the hours that are still open. */
export function adoptShadow(scope: Scope, peers: PeersState): void {
  if (!scope.shadow.some((one) => one.exceeded)) return;
  adopt(profileOf(scope), scope.shadow);
  scope.shadow = [];
  for (const record of [scope.before, scope.current]) {
    if (!record) continue;
    judgeBy(record, scope, peers);
    record.exceeded = record.most.some((count, size) => count > record.high[size]!);
  }
}

/** Counts, newest window and hours under way as numerals; the profile; shadow and peaks if there are any. */
export type EncodedScope = [
  numbers: string,
  profile: string,
  shadow?: [number, Levels, 0 | 1][],
  peaks?: [number, Levels][],
];

const LEARNINGS = ['cold', 'overall', 'seasonal'] as const satisfies readonly Learning[];

/** `newestHour` is that of the newest window: no hour under way is later. */
function pushHour(numbers: number[], hour: HourRecord | null, newestHour: number, unit: number): void {
  if (!hour) {
    numbers.push(0);
    return;
  }
  const flags = (hour.exceeded ? 1 : 0) + (hour.foreseen ? 2 : 0) + 4 * LEARNINGS.indexOf(hour.learning);
  const { most, high, expected } = hour;
  numbers.push(1 + newestHour - hour.hour, flags, most[0] / unit, most[1] / unit, most[2] / unit);
  numbers.push(high[0], high[1], high[2], expected[0], expected[1], expected[2]);
}

/** What the counts are multiples of: whole calls, of which nearly all are one digit, unless the server failed some. */
function unitOf(counts: readonly number[], current: HourRecord | null, before: HourRecord | null): number {
  // All at once: failed calls are what is below a whole one.
  let all = 0;
  for (let at = 0; at < counts.length; at++) all |= counts[at]!;
  if (current) all |= current.most[0] | current.most[1] | current.most[2];
  if (before) all |= before.most[0] | before.most[1] | before.most[2];
  return all % CALL_WEIGHT === 0 ? CALL_WEIGHT : 1;
}

export function encodeScope(scope: Scope): EncodedScope {
  const newestHour = Math.floor(scope.newest / SHORT_PER_HOUR);
  const { counts, current, before } = scope;
  const unit = unitOf(counts, current, before);
  const numbers = [scope.newest + 1, unit === 1 ? 0 : 1];
  for (let at = 0; at < counts.length; at++) numbers.push(counts[at]! / unit);
  pushHour(numbers, current, newestHour, unit);
  pushHour(numbers, before, newestHour, unit);
  scope.profile = typeof scope.profile === 'string' ? scope.profile : encodeProfile(scope.profile);
  const encoded: EncodedScope = [toNumerals(numbers), scope.profile];
  const { shadow, peaks } = scope;
  if (shadow.length > 0 || peaks.length > 0)
    encoded.push(shadow.map(({ hour, levels, exceeded }) => [hour, levels, exceeded ? 1 : 0]));
  if (peaks.length > 0) encoded.push(peaks.map(({ hour, levels }) => [hour, levels]));
  return encoded;
}

export function decodeScope([text, profile, shadow = [], peaks = []]: EncodedScope, floors: Floors): Scope {
  const numbers = fromNumerals(text);
  const newest = numbers[0]! - 1;
  const newestHour = Math.floor(newest / SHORT_PER_HOUR);
  const unit = numbers[1] === 0 ? 1 : CALL_WEIGHT;
  const counts: number[] = [];
  for (let at = 2; at < 2 + COUNTS; at++) counts.push(numbers[at]! * unit);
  let at = 2 + COUNTS;
  const nextHour = (): HourRecord | null => {
    const age = numbers[at++]!;
    if (age === 0) return null;
    const flags = numbers[at++]!;
    const three = (by = 1): [number, number, number] => [
      numbers[at++]! * by,
      numbers[at++]! * by,
      numbers[at++]! * by,
    ];
    return {
      hour: 1 + newestHour - age,
      most: three(unit),
      high: three(),
      expected: three(),
      learning: LEARNINGS[flags >> 2]!,
      exceeded: (flags & 1) !== 0,
      foreseen: (flags & 2) !== 0,
    };
  };
  return {
    floors,
    newest,
    counts,
    current: nextHour(),
    before: nextHour(),
    profile,
    shadow: shadow.map(([hour, levels, exceeded]) => ({ hour, levels, exceeded: exceeded === 1 })),
    peaks: peaks.map(([hour, levels]) => ({ hour, levels })),
  };
}
