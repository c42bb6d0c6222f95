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
import { ByteReader } from '../codec/byte-reader.ts';
import {
  adopt,
  copyProfile,
  decodeProfile,
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
export const COUNTS = LONG_AT + KEPT_LONG;
const SHORT_PER_MINUTE = WINDOW_MS[1] / WINDOW_MS[0];
const SHORT_PER_LONG = WINDOW_MS[2] / WINDOW_MS[0];
export const SHORT_PER_HOUR = HOUR_MS / WINDOW_MS[0];

/** One hour of the traffic while its calls still come in. Counts in 64ths of a call. */
export interface HourRecord {
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

export function newHour(hour: number): HourRecord {
  return {
    hour,
    most: [0, 0, 0],
    high: [0, 0, 0],
    expected: [0, 0, 0],
    learning: 'cold',
    exceeded: false,
    foreseen: false,
  };
}

/** An hour that passed under an alert: not learnt, but remembered in case the level stays. */
export interface ShadowHour {
  hour: number;
  levels: Levels;
  exceeded: boolean;
}

/** The traffic of an actor, whole or on one service, or what is counted of an endpoint: recent windows, the hours they lie in, and the baseline. */
export interface WindowCounts {
  floors: Floors;
  /** Number (since the epoch) of the newest 10 s window. */
  newest: number;
  /** Rings of the latest 10 s, 60 s and 600 s windows, one after the other, in 64ths of a call. */
  counts: number[];
  current: HourRecord | null;
  /** The hour before the current one, as long as late calls may still change it. */
  before: HourRecord | null;
  /**
   * Its bytes from reading on until the profile is needed: hours begin and end seldom, states of many actors are read and written with
   * every few calls. `profileOf` gives the profile.
   */
  profile: Profile | Buffer;
  /** At most SHADOW_HOURS, oldest first. */
  shadow: ShadowHour[];
  /** Hours that exceeded, at most PEAKS_KEPT, oldest first. */
  peaks: { hour: number; levels: Levels }[];
}

/** What `countCall` found: nothing of note, at least half of a threshold reached, a threshold exceeded. */
export const CALM = 0;
export const WARM = 1;
export const EXCEEDED = 2;

export function newWindowCounts(floors: Floors): WindowCounts {
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

export function profileOf(windows: WindowCounts): Profile {
  if (Buffer.isBuffer(windows.profile)) windows.profile = decodeProfile(new ByteReader(windows.profile));
  return windows.profile;
}

/** Counts that start from what others have learnt: those of an actor's first service, when it begins to use a second. */
export function copyWindowCounts(windows: WindowCounts): WindowCounts {
  const copyHour = (hour: HourRecord | null): HourRecord | null =>
    hour && { ...hour, most: [...hour.most], high: [...hour.high], expected: [...hour.expected] };
  return {
    floors: windows.floors,
    newest: windows.newest,
    counts: [...windows.counts],
    current: copyHour(windows.current),
    before: copyHour(windows.before),
    profile: Buffer.isBuffer(windows.profile) ? windows.profile : copyProfile(windows.profile),
    shadow: [...windows.shadow],
    peaks: [...windows.peaks],
  };
}

/**
 * Counts a call that began at `atMs` into its three windows and compares them with the thresholds of their hour. The
 * caller has made sure that the call is not later than LATENESS_MS behind `newestMs`, the actor's newest call, and has
 * called `settle` for `newestMs`. Constant time, no logarithms, except once per hour.
 */
export function countCall(windows: WindowCounts, peers: PeersState, atMs: number, weight: number): number {
  const short = Math.floor(atMs / WINDOW_MS[0]);
  if (short > windows.newest) advance(windows, short);
  const record = hourRecord(windows, peers, Math.floor(short / SHORT_PER_HOUR));
  const { counts } = windows;
  const { most, high } = record;
  let heat = CALM;

  if (windows.newest - short < KEPT_SHORT) {
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
export function worstExcess(windows: WindowCounts, atMs: number): Excess {
  const short = Math.floor(atMs / WINDOW_MS[0]);
  const hour = Math.floor(short / SHORT_PER_HOUR);
  const record = windows.current!.hour === hour ? windows.current! : windows.before!;
  let worst: Excess | undefined;
  for (let size = 0; size < 3; size++) {
    if (size === 0 && windows.newest - short >= KEPT_SHORT) continue;
    const count = windows.counts[ringIndex(short, size)]!;
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
        learntHours: profileOf(windows).hours,
      };
    }
  }
  return worst!;
}

/**
 * Marks the hour of a call as normal although a threshold was exceeded, because the caller found a harmless cause. The hour is then learnt
 * like any other. To be called right after `countCall` found the excess.
 */
export function markHourNormal(windows: WindowCounts, atMs: number): void {
  const hour = Math.floor(atMs / HOUR_MS);
  (windows.current!.hour === hour ? windows.current! : windows.before!).exceeded = false;
}

/** Counts of the windows around `atMs` (10 s, 60 s, 600 s), in calls; for tests. */
export function countsAt(windows: WindowCounts, atMs: number): number[] {
  const short = Math.floor(atMs / WINDOW_MS[0]);
  return [0, 1, 2].map((size) => windows.counts[ringIndex(short, size)]! / CALL_WEIGHT);
}

function ringIndex(short: number, size: number): number {
  if (size === 0) return short % KEPT_SHORT;
  if (size === 1) return MINUTES_AT + (Math.floor(short / SHORT_PER_MINUTE) % KEPT_MINUTES);
  return LONG_AT + (Math.floor(short / SHORT_PER_LONG) % KEPT_LONG);
}

/** Makes room for the windows up to the 10 s window `short`. */
function advance(windows: WindowCounts, short: number): void {
  const { counts, newest } = windows;
  windows.newest = short;
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

function hourRecord(windows: WindowCounts, peers: PeersState, hour: number): HourRecord {
  const { current, before } = windows;
  if (current?.hour === hour) return current;
  if (before?.hour === hour) return before;
  const record = newHour(hour);
  judgeBy(record, windows, peers);
  if (!current || hour > current.hour) {
    windows.before = current;
    windows.current = record;
  } else {
    windows.before = record;
  }
  return record;
}

function judgeBy(record: HourRecord, windows: WindowCounts, peers: PeersState): void {
  const { high, expected, learning } = thresholdsAt(profileOf(windows), peers, record.hour, windows.floors);
  const peak = foreseen(windows, record.hour);
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
function foreseen(windows: WindowCounts, hour: number): Levels | undefined {
  if (windows.peaks.length === 0) return undefined;
  let found: [number, number, number] | undefined;
  for (const peak of windows.peaks) {
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
export function settlesAt(windows: WindowCounts): number {
  const due = windows.before ?? windows.current;
  return due ? (due.hour + 1) * HOUR_MS + LATENESS_MS : Infinity;
}

/**
 * Ends the hours that no call can change any more at `newestMs`: learns them if they were quiet, else keeps them in the
 * shadow. `alertSinceMs` is the beginning of the actor's open episode, Infinity if there is none. `teachPeers`: the counts
 * are the actor's on one service, whose hours are what newcomers there borrow from.
 */
export function settle(
  windows: WindowCounts,
  peers: PeersState,
  newestMs: number,
  alertSinceMs: number,
  teachPeers: boolean,
): void {
  let learnt = false;
  for (const record of [windows.before, windows.current]) {
    if (!record) continue;
    const endsAt = (record.hour + 1) * HOUR_MS;
    if (newestMs < endsAt + LATENESS_MS) continue;
    if (record === windows.before) windows.before = null;
    else windows.current = null;
    if (record.most[2] === 0) continue;

    const levels: Levels = [levelOf(record.most[0]), levelOf(record.most[1]), levelOf(record.most[2])];
    const { normal } = windows.floors;
    if (normal && !isAbove(windows, record, peers, normal)) {
      learn(profileOf(windows), record.hour, levels);
      if (teachPeers) learnPeer(peers, levels[1]);
      learnt = true;
      continue;
    }
    if (record.exceeded || (record.foreseen && isAbove(windows, record, peers, windows.floors))) {
      windows.peaks.push({ hour: record.hour, levels });
      if (windows.peaks.length > PEAKS_KEPT) windows.peaks.shift();
    } else if (endsAt <= alertSinceMs) {
      learn(profileOf(windows), record.hour, levels);
      if (teachPeers) learnPeer(peers, levels[1]);
      learnt = true;
    }
    if (endsAt > alertSinceMs) {
      windows.shadow.push({ hour: record.hour, levels, exceeded: record.exceeded });
      if (windows.shadow.length > SHADOW_HOURS) windows.shadow.shift();
    }
  }
  // The newest hour profits from what its predecessor taught: an actor's first hours follow each other closely.
  if (learnt && windows.current) judgeBy(windows.current, windows, peers);
}

/** Is the hour above the thresholds of these floors, whether its peak was foreseen or not? */
function isAbove(windows: WindowCounts, record: HourRecord, peers: PeersState, floors: Floors): boolean {
  const { high } = thresholdsAt(profileOf(windows), peers, record.hour, floors);
  return record.most.some((count, size) => count > high[size]!);
}

/**
 * Whether an elevated level was kept for a day: enough hours that exceeded, and the later half of them not much above the earlier
 * one? What still grows is not taken over, or a slow ramp would be cut into one alert a day.
 */
export function levelStays(windows: WindowCounts): boolean {
  const elevated = windows.shadow.filter((one) => one.exceeded);
  if (elevated.length < STEP_HOURS) return false;
  // Of an episode that a longer window began, the first hours may not have exceeded.
  if ((elevated.at(-1)!.hour + 1 - elevated[0]!.hour) * HOUR_MS < STEP_MS) return false;
  const half = elevated.length >> 1;
  const meanExcess = (hours: readonly ShadowHour[]): number =>
    hours.reduce((sum, one) => sum + excessOf(profileOf(windows), one.hour, 1, one.levels[1]), 0) /
    hours.length;
  return meanExcess(elevated.slice(half)) - meanExcess(elevated.slice(0, half)) <= STEP_GROWTH_LOG;
}

/** The level stayed: it is the new normal, also for the hours that are still open. */
export function adoptShadow(windows: WindowCounts, peers: PeersState): void {
  if (!windows.shadow.some((one) => one.exceeded)) return;
  adopt(profileOf(windows), windows.shadow);
  windows.shadow = [];
  for (const record of [windows.before, windows.current]) {
    if (!record) continue;
    judgeBy(record, windows, peers);
    record.exceeded = record.most.some((count, size) => count > record.high[size]!);
  }
}
