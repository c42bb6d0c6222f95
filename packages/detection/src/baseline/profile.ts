import {
  CALL_WEIGHT,
  COLD_DECAY,
  COLD_HOURS,
  DEVIATION_PRIOR,
  DROP_LIMIT_LOG,
  LOG_SCALE,
  LONG_PER_MINUTE,
  MINUTE_PER_SHORT,
  OVERALL_MEMORY,
  PEERS_MEMORY,
  PEERS_TRUSTED_HOURS,
  SLOTS,
  SLOT_MEMORY,
  SLOT_TRUSTED_COUNT,
  TOP_HALF_LIFE_HOURS,
} from './limits.ts';
import { fromNumerals, toNumerals } from '../codec/digits.ts';
import type { Tolerance } from './sensitivity.ts';

/** Largest counts of the three windows (10 s, 60 s, 600 s) in one hour, each as 1,000 ln(1 + calls). */
export type Levels = readonly [number, number, number];

/**
 * What is normal for one scope, learnt from its quiet hours. Unit throughout: 1,000 ln(1 + calls). Bounded: 48 slots,
 * nothing else grows.
 */
export interface Profile {
  /** Active hours learnt. */
  hours: number;
  /** Exponentially weighted means. */
  mean: Triple;
  /** Exponentially weighted mean of the largest |level - what was expected at that hour| of the three windows. */
  deviation: number;
  /** Largest levels so far and the hours (since the epoch) they were in; they fade towards the mean. */
  top: Triple;
  topHour: Triple;
  /** Of SLOTS slots, see `slotText`: as text, since an hour looks at three of them and changes one. */
  slots: string;
}

/** One hour of the day on one kind of day: the three means, the deviation and the count of days (to 14); all integers. */
type Slot = [...Triple, deviation: number, days: number];

type Triple = [number, number, number];
const DEVIATION_AT = 3;
const DAYS_AT = 4;
/**
 * Two printable characters hold a slot's value: a step of 0.2 % as far as e^16 calls. Neither quotes nor backslashes, which JSON
 * would escape, and the first is no `.`, which stands for an empty slot.
 */
const DIGITS = 90;
const SLOT_STEP = 2;
const SLOT_VALUE_MOST = (DIGITS * DIGITS - 1) * SLOT_STEP;
const CHARS = Array.from({ length: 95 }, (_, at) => String.fromCharCode(32 + at))
  .filter((char) => !'"\\. '.includes(char))
  .join('');
const VALUES = new Uint8Array(128);
for (let value = 0; value < CHARS.length; value++) VALUES[CHARS.charCodeAt(value)] = value;
const NO_SLOTS = '.'.repeat(SLOTS);
const EMPTY = NO_SLOTS.charCodeAt(0);
/**
 * A slot's first character has its days, 1 to 14, and what more it can hold: the first digit of the deviation, which is nearly
 * always small. LONG stands for all others, which follow as a character of their own.
 */
const DAYS_RADIX = 15;
const LONG = DIGITS / DAYS_RADIX - 1;

/** How other actors use a service: mean and mean absolute deviation of their hourly level per 60 s. */
export interface PeersState {
  hours: number;
  mean: number;
  deviation: number;
}

/** Of who has none, and borrows from nobody: an endpoint. */
export const noPeers = (): PeersState => ({ hours: 0, mean: 0, deviation: 0 });

/** Counts per 10 s, 60 s, 600 s below which nothing is ever a spike, with history (`least`) and without any (`cold`). */
export interface Floors {
  least: readonly [number, number, number];
  cold: readonly [number, number, number];
  /** Margin above the usual level: at least this, as 1,000 ln of the factor, and so many mean absolute deviations. */
  factorLog: number;
  deviations: number;
  /** At most this, as 1,000 ln of the factor. */
  marginMost: number;
  /** Those at `normal`, where these are stricter: what is not above them is learnt, alert or not. */
  normal?: Floors;
}

/** The floors at the sensitivity of a tolerance; `floors` are those at `normal`. */
export function floorsAt(floors: Floors, tolerance: Tolerance): Floors {
  const countsOf = ([short, minute, long]: Floors['least']): Floors['least'] => [
    tolerance.count(short),
    tolerance.count(minute),
    tolerance.count(long),
  ];
  return {
    least: countsOf(floors.least),
    cold: countsOf(floors.cold),
    factorLog: tolerance.factorLog(floors.factorLog),
    deviations: tolerance.deviations(floors.deviations),
    marginMost: tolerance.factorLog(floors.marginMost),
    ...(tolerance.isStrict ? { normal: floors } : {}),
  };
}

/** On what a threshold rests: floors and peers; the actor's own hours together; its own hours of this time of day. */
export type Learning = 'cold' | 'overall' | 'seasonal';

export interface Thresholds {
  /** Counts per window above which it is a spike, in 64ths of a call. */
  high: Triple;
  /** What is usual: the same unit. */
  expected: Triple;
  learning: Learning;
}

export function newProfile(): Profile {
  return {
    hours: 0,
    mean: [0, 0, 0],
    deviation: 0,
    top: [0, 0, 0],
    topHour: [0, 0, 0],
    slots: NO_SLOTS,
  };
}

export function copyProfile(profile: Profile): Profile {
  const { mean, top, topHour } = profile;
  return { ...profile, mean: [...mean], top: [...top], topHour: [...topHour] };
}

/** Hour of day (UTC) and kind of day as 0 to 47. 1970-01-01 was a Thursday. */
export function slotOf(hour: number): number {
  const weekday = (Math.floor(hour / 24) + 4) % 7;
  return (hour % 24) + (weekday === 0 || weekday === 6 ? 24 : 0);
}

/** 1,000 ln(1 + calls) of a count in 64ths. */
export function levelOf(count: number): number {
  return Math.round(Math.log1p(count / CALL_WEIGHT) * LOG_SCALE);
}

function countOf(level: number): number {
  return Math.floor(Math.expm1(level / LOG_SCALE) * CALL_WEIGHT);
}

/** Two decimals: short as text, and exact when it is read back. */
function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

/** One step of an exponentially weighted mean. */
function step(value: number, towards: number, rate: number): number {
  return rounded(value + (towards - value) * rate);
}

/** As exact as its text, so that what is read back is what was computed with. */
function slotValue(value: number): number {
  return Math.min(SLOT_VALUE_MOST, Math.round(value / SLOT_STEP) * SLOT_STEP);
}

/** Learns one quiet hour. */
export function learn(profile: Profile, hour: number, levels: Levels): void {
  const slot = slotAt(profile.slots, slotOf(hour)) ?? [0, 0, 0, 0, 0];
  const seen = slot[DAYS_AT];
  const count = Math.min(seen + 1, SLOT_MEMORY);
  profile.hours++;
  const rate = Math.max(1 / profile.hours, 1 / OVERALL_MEMORY);

  let largest = 0;
  for (let size = 0; size < 3; size++) {
    const level = levels[size]!;
    // The deviation is that from the best expectation there was: the slot's, else the overall mean. A quiet hour says
    // little about how high a busy one may be, so it counts only to a factor of e.
    const residual = level - (seen > 0 ? slot[size]! : profile.mean[size]!);
    largest = Math.max(largest, residual, Math.min(LOG_SCALE, -residual));

    if (level >= fadedTop(profile, size, hour)) {
      profile.top[size] = level;
      profile.topHour[size] = hour;
    }
    profile.mean[size] = step(profile.mean[size]!, level, rate);
    const difference = seen === 0 ? level : Math.max(-DROP_LIMIT_LOG, residual);
    slot[size] = slotValue(slot[size]! + difference / count);
  }
  if (profile.hours > 1) profile.deviation = step(profile.deviation, largest, rate);
  if (seen > 0) {
    const deviation = slot[DEVIATION_AT];
    slot[DEVIATION_AT] = slotValue(deviation + (largest - deviation) / count);
  }
  slot[DAYS_AT] = count;
  profile.slots = withSlot(profile.slots, slotOf(hour), slot);
}

/**
 * Takes over a level that stayed: the whole profile moves by the mean of what the elevated hours were above it, then
 * those hours are learnt as they are.
 */
export function adopt(
  profile: Profile,
  hours: readonly { hour: number; levels: Levels; exceeded: boolean }[],
): void {
  const elevated = hours.filter((one) => one.exceeded);
  if (profile.hours > 0 && elevated.length > 0) {
    for (let size = 0; size < 3; size++) {
      let sum = 0;
      for (const one of elevated) sum += excessOf(profile, one.hour, size, one.levels[size]!);
      const shift = Math.max(0, Math.round(sum / elevated.length));
      profile.mean[size] = rounded(profile.mean[size]! + shift);
      profile.top[size]! += shift;
      for (let number = 0; number < SLOTS; number++) {
        const slot = slotAt(profile.slots, number);
        if (!slot) continue;
        slot[size] = slotValue(slot[size]! + shift);
        profile.slots = withSlot(profile.slots, number, slot);
      }
    }
  }
  for (const one of hours) learn(profile, one.hour, one.levels);
}

/** How far a level of a window size is above the mean of its slot, or above the overall mean if the slot is empty. */
export function excessOf(profile: Profile, hour: number, size: number, level: number): number {
  const slot = slotAt(profile.slots, slotOf(hour));
  return level - (slot ? slot[size]! : profile.mean[size]!);
}

function fadedTop(profile: Profile, size: number, hour: number): number {
  const age = Math.max(0, hour - profile.topHour[size]!);
  const mean = profile.mean[size]!;
  return mean + Math.max(0, profile.top[size]! - mean) * 0.5 ** (age / TOP_HALF_LIFE_HOURS);
}

/** Learns an hour of one actor on the service: its level per 60 s. */
export function learnPeer(peers: PeersState, level: number): void {
  peers.hours++;
  const rate = Math.max(1 / peers.hours, 1 / PEERS_MEMORY);
  peers.deviation = step(peers.deviation, peers.hours === 1 ? 0 : Math.abs(level - peers.mean), rate);
  peers.mean = step(peers.mean, level, rate);
}

/** Where the three windows of one hour begin to be a spike. Computed once per hour and scope, not per call. */
export function thresholdsAt(profile: Profile, peers: PeersState, hour: number, floors: Floors): Thresholds {
  const thresholds: Thresholds = { high: [0, 0, 0], expected: [0, 0, 0], learning: 'cold' };
  const { high, expected } = thresholds;
  const cold = profile.hours < COLD_HOURS;
  // The slot that allows most among this hour and its neighbours: clocks change, jobs slip.
  const near = cold ? undefined : trustedSlots(profile.slots, hour);
  if (!cold) thresholds.learning = near ? 'seasonal' : 'overall';

  for (let size = 0; size < 3 && profile.hours > 0; size++) {
    if (!near) {
      const usual = fadedTop(profile, size, hour);
      high[size] = countOf(usual + marginOf(cold ? 0 : profile.deviation, floors));
      expected[size] = countOf(usual);
      continue;
    }
    for (const slot of near) {
      const days = slot[DAYS_AT];
      const deviation =
        (days * slot[DEVIATION_AT] + DEVIATION_PRIOR * profile.deviation) / (days + DEVIATION_PRIOR);
      const upper = countOf(slot[size]! + marginOf(deviation, floors));
      if (upper > high[size]!) {
        high[size] = upper;
        expected[size] = countOf(slot[size]!);
      }
    }
  }

  // A newcomer may do what is common among its peers (their mean and one deviation) and the usual margin above, if that is
  // known. Peers are known by the minute; their 10 s and 600 s are taken to be in the proportion of the cold floors.
  const known = peers.hours >= PEERS_TRUSTED_HOURS;
  const borrowed = known ? countOf(peers.mean + peers.deviation + floors.factorLog) : 0;
  if (known && profile.hours === 0) expected[1] = countOf(peers.mean);
  const inexperience = Math.min(1, COLD_HOURS / Math.max(1, profile.hours)) ** COLD_DECAY;
  for (let size = 0; size < 3; size++) {
    const proportion = floors.cold[size]! / floors.cold[1];
    const newcomer = Math.max(floors.cold[size]! * CALL_WEIGHT, borrowed * proportion);
    high[size] = Math.floor(
      Math.max(high[size]!, floors.least[size]! * CALL_WEIGHT, newcomer * inexperience),
    );
  }
  // What bursts for a minute may burst for a few.
  high[1] = Math.max(high[1], Math.floor(high[0] * MINUTE_PER_SHORT));
  high[2] = Math.max(high[2], Math.floor(high[1] * LONG_PER_MINUTE));
  return thresholds;
}

function marginOf(deviation: number, { factorLog, deviations, marginMost }: Floors): number {
  return Math.min(marginMost, Math.max(factorLog, deviations * deviation));
}

const NEIGHBOURS = [23, 0, 1] as const;

/**
 * The slots to judge this hour by, its own and its neighbours' that were ever seen: those of its kind of day, else of the other, if
 * one of the three was seen often enough; undefined if neither has one.
 */
function trustedSlots(slots: string, hour: number): Slot[] | undefined {
  const own = slotOf(hour) >= 24 ? 24 : 0;
  for (const kind of [own, 24 - own]) {
    const near: Slot[] = [];
    for (const neighbour of NEIGHBOURS) {
      const slot = slotAt(slots, kind + ((hour + neighbour) % 24));
      if (slot) near.push(slot);
    }
    if (near.some((slot) => slot[DAYS_AT] >= SLOT_TRUSTED_COUNT)) return near;
  }
  return undefined;
}

/** As one text, numbers and then slots: it can be carried from one state's text to the next as it is. */
export function encodeProfile({ hours, deviation, mean, top, topHour, slots }: Profile): string {
  const latest = Math.max(...topHour);
  const numbers = [hours, hundredths(deviation)];
  for (const value of mean) numbers.push(hundredths(value));
  numbers.push(...top, latest);
  for (const value of topHour) numbers.push(latest - value);
  return `${toNumerals(numbers)} ${slots}`;
}

export function decodeProfile(text: string): Profile {
  const end = text.indexOf(' ');
  const [hours, deviation, ...rest] = fromNumerals(text.slice(0, end)) as [number, number, ...number[]];
  const latest = rest[6]!;
  const triple = (at: number, read: (value: number) => number): Triple => [
    read(rest[at]!),
    read(rest[at + 1]!),
    read(rest[at + 2]!),
  ];
  return {
    hours,
    deviation: deviation / 100,
    mean: triple(0, (value) => value / 100),
    top: triple(3, (value) => value),
    topHour: triple(7, (age) => latest - age),
    slots: text.slice(end + 1),
  };
}

function hundredths(value: number): number {
  return Math.round(value * 100);
}

/** The slot of a number from 0 to 47; undefined if it was never seen. */
function slotAt(slots: string, number: number): Slot | undefined {
  let at = startOf(slots, number);
  if (slots.charCodeAt(at) === EMPTY) return undefined;
  const first = valueAt(slots, at++);
  const days = first % DAYS_RADIX;
  let digit = (first - days) / DAYS_RADIX;
  if (digit === LONG) digit = valueAt(slots, at++);
  const mean = (field: number): number =>
    SLOT_STEP * (DIGITS * valueAt(slots, at + 2 * field) + valueAt(slots, at + 2 * field + 1));
  return [mean(0), mean(1), mean(2), SLOT_STEP * (DIGITS * digit + valueAt(slots, at + 6)), days];
}

function withSlot(slots: string, number: number, slot: Slot): string {
  const at = startOf(slots, number);
  return slots.slice(0, at) + slotText(slot) + slots.slice(at + lengthAt(slots, at));
}

/** Days with the deviation's first digit (see LONG), the three means by two characters, the deviation's second digit. */
function slotText(slot: Slot): string {
  const deviation = slot[DEVIATION_AT] / SLOT_STEP;
  const digit = Math.floor(deviation / DIGITS);
  let text = CHARS[slot[DAYS_AT] + DAYS_RADIX * Math.min(digit, LONG)]!;
  if (digit >= LONG) text += CHARS[digit]!;
  for (let size = 0; size < 3; size++) {
    const steps = slot[size]! / SLOT_STEP;
    text += CHARS[Math.floor(steps / DIGITS)]! + CHARS[steps % DIGITS]!;
  }
  return text + CHARS[deviation % DIGITS]!;
}

/** Where the text of a slot begins. */
function startOf(slots: string, number: number): number {
  let at = 0;
  for (let before = 0; before < number; before++) at += lengthAt(slots, at);
  return at;
}

function lengthAt(slots: string, at: number): number {
  if (slots.charCodeAt(at) === EMPTY) return 1;
  return valueAt(slots, at) < DAYS_RADIX * LONG ? 8 : 9;
}

function valueAt(text: string, at: number): number {
  return VALUES[text.charCodeAt(at)]!;
}
