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
import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';
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
  /** The five numbers of each of SLOTS slots, see `Slot`; days 0: the slot was never seen. */
  slots: Uint16Array;
}

/** One hour of the day on one kind of day: the three means, the deviation and the count of days (to 14); all integers. */
type Slot = [...Triple, deviation: number, days: number];

type Triple = [number, number, number];
const DEVIATION_AT = 3;
const DAYS_AT = 4;
const FIELDS = 5;
/** Levels of a slot go in steps of 0.2 %, as far as e^16 calls. */
const SLOT_STEP = 2;
const SLOT_VALUE_MOST = 8_099 * SLOT_STEP;

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
    slots: new Uint16Array(SLOTS * FIELDS),
  };
}

export function copyProfile(profile: Profile): Profile {
  const { mean, top, topHour, slots } = profile;
  return { ...profile, mean: [...mean], top: [...top], topHour: [...topHour], slots: slots.slice() };
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

/** Two decimals, as they are kept. */
function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

/** One step of an exponentially weighted mean. */
function step(value: number, towards: number, rate: number): number {
  return rounded(value + (towards - value) * rate);
}

/** As exact as it is kept, so that what is read back is what was computed with. */
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
  setSlot(profile.slots, slotOf(hour), slot);
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
        setSlot(profile.slots, number, slot);
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
function trustedSlots(slots: Uint16Array, hour: number): Slot[] | undefined {
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

/** The slot of a number from 0 to 47; undefined if it was never seen. */
function slotAt(slots: Uint16Array, number: number): Slot | undefined {
  const at = FIELDS * number;
  const days = slots[at + DAYS_AT]!;
  if (days === 0) return undefined;
  return [slots[at]!, slots[at + 1]!, slots[at + 2]!, slots[at + DEVIATION_AT]!, days];
}

function setSlot(slots: Uint16Array, number: number, slot: Slot): void {
  slots.set(slot, FIELDS * number);
}

export function encodeProfile(profile: Profile, writer: ByteWriter): void {
  const { mean, top, topHour, slots } = profile;
  const latest = Math.max(...topHour);
  writer.uint(profile.hours);
  writer.uint(hundredths(profile.deviation));
  writer.uint(latest);
  for (let size = 0; size < 3; size++) {
    writer.int(hundredths(mean[size]!));
    writer.int(top[size]!);
    writer.uint(latest - topHour[size]!);
  }
  encodeSlots(slots, writer);
}

export function decodeProfile(reader: ByteReader): Profile {
  const profile = newProfile();
  profile.hours = reader.uint();
  profile.deviation = reader.uint() / 100;
  const latest = reader.uint();
  for (let size = 0; size < 3; size++) {
    profile.mean[size] = reader.int() / 100;
    profile.top[size] = reader.int();
    profile.topHour[size] = latest - reader.uint();
  }
  decodeSlots(reader, profile.slots);
  return profile;
}

function hundredths(value: number): number {
  return Math.round(value * 100);
}

/*
 * Slots are most of an idle actor's state, so each takes 6 bytes: 4 bits of days, 13 of the lowest level, 10 and 11 of what the levels of
 * longer windows are above it, 9 of the deviation, and whether it is one that does not fit: its four numbers then follow once more.
 */
const LOWEST_UNIT = 2 ** 4;
const MINUTE_UNIT = 2 ** 17;
const LONG_UNIT = 2 ** 27;
const DEVIATION_UNIT = 2 ** 38;
const MISFIT = 2 ** 47;

function encodeSlots(slots: Uint16Array, writer: ByteWriter): void {
  for (let first = 0; first < SLOTS; first += 24) {
    let seen = 0;
    for (let number = first + 23; number >= first; number--)
      seen = 2 * seen + (slots[FIELDS * number + DAYS_AT] === 0 ? 0 : 1);
    writer.hash24(seen);
  }
  for (let at = 0; at < slots.length; at += FIELDS) {
    const days = slots[at + DAYS_AT]!;
    if (days === 0) continue;
    const lowest = slots[at]! / SLOT_STEP;
    const minute = slots[at + 1]! / SLOT_STEP - lowest;
    const long = slots[at + 2]! / SLOT_STEP - lowest - minute;
    const deviation = slots[at + DEVIATION_AT]! / SLOT_STEP;
    if (minute >= 0 && minute < 1_024 && long >= 0 && long < 2_048 && deviation < 512) {
      writer.uint48(
        days + LOWEST_UNIT * lowest + MINUTE_UNIT * minute + LONG_UNIT * long + DEVIATION_UNIT * deviation,
      );
      continue;
    }
    writer.uint48(days + MISFIT);
    for (let field = 0; field < DAYS_AT; field++) writer.uint(slots[at + field]! / SLOT_STEP);
  }
}

function decodeSlots(reader: ByteReader, slots: Uint16Array): void {
  const seen = [reader.hash24(), reader.hash24()];
  for (let number = 0; number < SLOTS; number++) {
    if (((seen[number < 24 ? 0 : 1]! >> (number % 24)) & 1) === 0) continue;
    const at = FIELDS * number;
    let bits = reader.uint48();
    slots[at + DAYS_AT] = bits % LOWEST_UNIT;
    if (bits >= MISFIT) {
      for (let field = 0; field < DAYS_AT; field++) slots[at + field] = reader.uint() * SLOT_STEP;
      continue;
    }
    const next = (unit: number): number => {
      const value = bits % unit;
      bits = (bits - value) / unit;
      return value;
    };
    next(LOWEST_UNIT);
    const lowest = next(2 ** 13);
    const minute = lowest + next(2 ** 10);
    const long = minute + next(2 ** 11);
    slots[at] = lowest * SLOT_STEP;
    slots[at + 1] = minute * SLOT_STEP;
    slots[at + 2] = long * SLOT_STEP;
    slots[at + DEVIATION_AT] = bits * SLOT_STEP;
  }
}
