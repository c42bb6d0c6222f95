import {
  CALL_WEIGHT,
  COLD_DECAY,
  COLD_HOURS,
  DEVIATION_PRIOR,
  DROP_LIMIT_LOG,
  LEAST_FACTOR_LOG,
  LOG_SCALE,
  LONG_PER_MINUTE,
  MARGIN_DEVIATIONS,
  MINUTE_PER_SHORT,
  OVERALL_MEMORY,
  PEERS_MEMORY,
  PEERS_TRUSTED_HOURS,
  SLOTS,
  SLOT_MEMORY,
  SLOT_TRUSTED_COUNT,
  TOP_HALF_LIFE_HOURS,
} from './constants.ts';

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
  /** Per slot: the three means, the deviation, the count (to 14); all integers. Null: none yet. */
  slots: Uint16Array | null;
}

type Triple = [number, number, number];
const SLOT_FIELDS = 5;
const DEVIATION_AT = 3;
const COUNT_AT = 4;
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
  /** Most of the margin above the usual level, as 1,000 ln of the factor. */
  marginMost: number;
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
    slots: null,
  };
}

export function copyProfile(profile: Profile): Profile {
  const { mean, top, topHour, slots } = profile;
  return {
    ...profile,
    mean: [...mean],
    top: [...top],
    topHour: [...topHour],
    slots: slots ? slots.slice() : null,
  };
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

/** One step of an exponentially weighted mean, to two decimals: short as text, and exact when it is read back. */
function step(value: number, towards: number, rate: number): number {
  return Math.round((value + (towards - value) * rate) * 100) / 100;
}

/** As exact as its text, so that what is read back is what was computed with. */
function slotValue(value: number): number {
  return Math.min(SLOT_VALUE_MOST, Math.round(value / SLOT_STEP) * SLOT_STEP);
}

/** Learns one quiet hour. */
export function learn(profile: Profile, hour: number, levels: Levels): void {
  const slots = (profile.slots ??= new Uint16Array(SLOTS * SLOT_FIELDS));
  const at = slotOf(hour) * SLOT_FIELDS;
  const seen = slots[at + COUNT_AT]!;
  const count = Math.min(seen + 1, SLOT_MEMORY);
  profile.hours++;
  const rate = Math.max(1 / profile.hours, 1 / OVERALL_MEMORY);

  let largest = 0;
  for (let size = 0; size < 3; size++) {
    const level = levels[size]!;
    // The deviation is that from the best expectation there was: the slot's, else the overall mean. A quiet hour says
    // little about how high a busy one may be, so it counts only to a factor of e.
    const residual = level - (seen > 0 ? slots[at + size]! : profile.mean[size]!);
    largest = Math.max(largest, residual, Math.min(LOG_SCALE, -residual));

    if (level >= fadedTop(profile, size, hour)) {
      profile.top[size] = level;
      profile.topHour[size] = hour;
    }
    profile.mean[size] = step(profile.mean[size]!, level, rate);
    const difference = seen === 0 ? level : Math.max(-DROP_LIMIT_LOG, residual);
    slots[at + size] = slotValue(slots[at + size]! + difference / count);
  }
  if (profile.hours > 1) profile.deviation = step(profile.deviation, largest, rate);
  if (seen > 0) {
    const deviation = slots[at + DEVIATION_AT]!;
    slots[at + DEVIATION_AT] = slotValue(deviation + (largest - deviation) / count);
  }
  slots[at + COUNT_AT] = count;
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
  const { slots } = profile;
  if (slots && elevated.length > 0) {
    for (let size = 0; size < 3; size++) {
      let sum = 0;
      for (const one of elevated) sum += excessOf(profile, one.hour, size, one.levels[size]!);
      const shift = Math.max(0, Math.round(sum / elevated.length));
      profile.mean[size]! += shift;
      profile.top[size]! += shift;
      for (let at = 0; at < slots.length; at += SLOT_FIELDS) {
        if (slots[at + COUNT_AT]! > 0) slots[at + size] = slotValue(slots[at + size]! + shift);
      }
    }
  }
  for (const one of hours) learn(profile, one.hour, one.levels);
}

/** How far a level of a window size is above the mean of its slot, or above the overall mean if the slot is empty. */
export function excessOf(profile: Profile, hour: number, size: number, level: number): number {
  const { slots } = profile;
  const at = slotOf(hour) * SLOT_FIELDS;
  return level - (slots && slots[at + COUNT_AT]! > 0 ? slots[at + size]! : profile.mean[size]!);
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
  const { slots } = profile;
  const cold = profile.hours < COLD_HOURS;
  const kind = cold || !slots ? undefined : trustedKind(slots, hour);
  if (!cold) thresholds.learning = kind === undefined ? 'overall' : 'seasonal';

  for (let size = 0; size < 3 && profile.hours > 0; size++) {
    if (kind === undefined || !slots) {
      const usual = fadedTop(profile, size, hour);
      high[size] = countOf(usual + marginOf(cold ? 0 : profile.deviation, floors));
      expected[size] = countOf(usual);
      continue;
    }
    // The slot that allows most among this hour and its neighbours: clocks change, jobs slip.
    for (const neighbour of NEIGHBOURS) {
      const at = slotNear(kind, hour, neighbour);
      const count = slots[at + COUNT_AT]!;
      if (count === 0) continue;
      const deviation =
        (count * slots[at + DEVIATION_AT]! + DEVIATION_PRIOR * profile.deviation) / (count + DEVIATION_PRIOR);
      const upper = countOf(slots[at + size]! + marginOf(deviation, floors));
      if (upper > high[size]!) {
        high[size] = upper;
        expected[size] = countOf(slots[at + size]!);
      }
    }
  }

  // A newcomer may do what is common among its peers (their mean and one deviation) and the usual margin above, if that is
  // known. Peers are known by the minute; their 10 s and 600 s are taken to be in the proportion of the cold floors.
  const known = peers.hours >= PEERS_TRUSTED_HOURS;
  const borrowed = known ? countOf(peers.mean + peers.deviation + LEAST_FACTOR_LOG) : 0;
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

function marginOf(deviation: number, { marginMost }: Floors): number {
  return Math.min(marginMost, Math.max(LEAST_FACTOR_LOG, MARGIN_DEVIATIONS * deviation));
}

const NEIGHBOURS = [23, 0, 1] as const;

function slotNear(kind: number, hour: number, neighbour: number): number {
  return (kind + ((hour + neighbour) % 24)) * SLOT_FIELDS;
}

/**
 * 0 or 24, the first slot of the kind of day to judge this hour by: its own kind, else the other, if the hour or a
 * neighbour was seen often enough; undefined if neither was.
 */
function trustedKind(slots: Uint16Array, hour: number): number | undefined {
  const own = slotOf(hour) >= 24 ? 24 : 0;
  return [own, 24 - own].find((kind) =>
    NEIGHBOURS.some((neighbour) => slots[slotNear(kind, hour, neighbour) + COUNT_AT]! >= SLOT_TRUSTED_COUNT),
  );
}

/** As one text, numbers and then slots: it can be carried from one state's text to the next as it is. */
export function encodeProfile(profile: Profile): string {
  const { hours, deviation, mean, top, topHour, slots } = profile;
  return `${hours} ${deviation} ${mean.join(' ')} ${top.join(' ')} ${topHour.join(' ')} ${slots ? slotsToText(slots) : ''}`;
}

export function decodeProfile(text: string): Profile {
  const parts = text.split(' ');
  const slots = parts.pop()!;
  const [hours, deviation, ...triples] = parts.map(Number) as [number, number, ...number[]];
  return {
    hours,
    deviation,
    mean: triples.slice(0, 3) as Triple,
    top: triples.slice(3, 6) as Triple,
    topHour: triples.slice(6, 9) as Triple,
    slots: slots === '' ? null : textToSlots(slots),
  };
}

/** `.` for an empty slot, else the count and then means and deviation, two characters each. */
function slotsToText(slots: Uint16Array): string {
  let text = '';
  for (let at = 0; at < slots.length; at += SLOT_FIELDS) {
    const count = slots[at + COUNT_AT]!;
    if (count === 0) {
      text += '.';
      continue;
    }
    text += CHARS[count]!;
    for (let field = 0; field < COUNT_AT; field++) {
      const steps = slots[at + field]! / SLOT_STEP;
      text += CHARS[Math.floor(steps / DIGITS)]! + CHARS[steps % DIGITS]!;
    }
  }
  return text;
}

function textToSlots(text: string): Uint16Array {
  const slots = new Uint16Array(SLOTS * SLOT_FIELDS);
  for (let at = 0, read = 0; read < text.length; at += SLOT_FIELDS) {
    if (text[read] === '.') {
      read++;
      continue;
    }
    slots[at + COUNT_AT] = valueAt(text, read++);
    for (let field = 0; field < COUNT_AT; field++, read += 2) {
      slots[at + field] = SLOT_STEP * (DIGITS * valueAt(text, read) + valueAt(text, read + 1));
    }
  }
  return slots;
}

function valueAt(text: string, at: number): number {
  return VALUES[text.charCodeAt(at)]!;
}
