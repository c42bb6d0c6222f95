import {
  CALL_WEIGHT,
  DROP_LIMIT_LOG,
  HOUR_MS,
  LOG_SCALE,
  SLOT_MEMORY,
  SLOT_TRUSTED_COUNT,
  STEP_GROWTH_LOG,
} from './limits.ts';
import { fromNumerals, signed, toNumerals, unsigned } from '../codec/digits.ts';
import { levelOf, slotOf, type Floors } from './profile.ts';
import type { Excess } from './window-counts.ts';

/** A quarter of a day (UTC): so long that a fourfold is no chance, however few calls a minute they are. */
export const STRETCH_MS = 6 * HOUR_MS;
/** Fewer calls than so many times the least of ten minutes are never too many: four a minute, where ten minutes must have thirty. */
const LEAST_TIMES = 5;
/**
 * Of an hour no more than this share of what is too many counts, so that nearly all six must be high: bursts, jobs and busy
 * afternoons are for shorter windows, which know of peaks that come again.
 */
const HOUR_SHARE_MOST = 1 / 5;
const HOURS = STRETCH_MS / HOUR_MS;
const PER_DAY = 24 / HOURS;
const KINDS = 2;
/** A day moves what is known as if it were at most a third (e^0.3) above it: growth is not followed while it is under way. */
const RISE_LIMIT_LOG = 300;
/** Whose hours vary by large factors will have six busy ones in a row: of the hours' deviation the margin has one less. */
const HOURLY_FEWER = 1;
/** Windows of an episode that are remembered, to see whether their level stays. */
const REMEMBERED = 4;

/** What is known of one quarter of the day on workdays, or on weekends: levels as in a profile. */
interface Slot {
  level: number;
  deviation: number;
  /** Days seen, at most SLOT_MEMORY. */
  days: number;
}

/**
 * All calls of an actor in windows of six hours, against those of the same time on days before: what grows so slowly that each
 * hour differs little from the last one, and is too little for the floors of shorter windows. Days before weigh as much as they
 * did, so that the growth of one day moves them little.
 */
export interface Stretch {
  /** Number (since the epoch) of the current window; -1 before the first call. */
  window: number;
  /** Its calls, in 64ths, and where they begin to be too many; 0: nothing is known yet. */
  count: number;
  high: number;
  expected: number;
  /** Of `count`, without what is beyond HOUR_SHARE_MOST; and the same of the newest hour (since the epoch), with it. */
  steady: number;
  hour: number;
  hourCount: number;
  /** A spike was open in it, which tells of its calls: neither judged nor learnt. */
  inSpike: boolean;
  /** As text from reading on until they are looked at, which is once in a window. To be had by `slotsOf`. */
  slots: Slot[] | string;
  /** By how much the latest windows of the open episode were above what is usual, as logarithms. */
  excesses: number[];
}

export function newStretch(): Stretch {
  return {
    window: -1,
    count: 0,
    high: 0,
    expected: 0,
    steady: 0,
    hour: 0,
    hourCount: 0,
    inSpike: false,
    slots: Array.from({ length: PER_DAY * KINDS }, () => ({ level: 0, deviation: 0, days: 0 })),
    excesses: [],
  };
}

/** Is a call at `atMs` the first one of a new window? Then `settleStretch` is due. */
export function stretchEnds(stretch: Stretch, atMs: number): boolean {
  return Math.floor(atMs / STRETCH_MS) > stretch.window;
}

/**
 * Ends the window and begins the one of `atMs`. `inEpisode`: an alert of the actor is open. `hourlyDeviation`: that of its profile.
 */
export function settleStretch(
  stretch: Stretch,
  atMs: number,
  inEpisode: boolean,
  hourlyDeviation: number,
  floors: Floors,
): void {
  const { window, count, steady, high, excesses } = stretch;
  if (count > 0) {
    const slot = slotsOf(stretch)[slotAt(window)]!;
    const level = levelOf(count);
    if (inEpisode && slot.days > 0) {
      excesses.push(level - slot.level);
      if (excesses.length > REMEMBERED) excesses.shift();
    } else if (!inEpisode && !stretch.inSpike && (high === 0 || steady <= high)) learn(slot, level);
  }
  if (!inEpisode) stretch.excesses = [];
  stretch.window = Math.floor(atMs / STRETCH_MS);
  stretch.count = stretch.steady = stretch.hourCount = 0;
  stretch.inSpike = false;
  expect(stretch, hourlyDeviation, floors);
}

/** Has the level of the open episode stayed the same for a day? */
export function stretchStays({ excesses }: Stretch): boolean {
  return excesses.length === REMEMBERED && !grows(excesses);
}

/** The level of the open episode is the new normal. */
export function adoptStretch(stretch: Stretch, hourlyDeviation: number, floors: Floors): void {
  const { excesses } = stretch;
  if (excesses.length === 0) return;
  const shift = Math.max(0, Math.round(excesses.reduce((sum, one) => sum + one, 0) / excesses.length));
  for (const slot of slotsOf(stretch)) if (slot.days > 0) slot.level += shift;
  stretch.excesses = [];
  expect(stretch, hourlyDeviation, floors);
}

function grows(excesses: readonly number[]): boolean {
  const half = excesses.length >> 1;
  const mean = (some: readonly number[]): number => some.reduce((sum, one) => sum + one, 0) / some.length;
  return mean(excesses.slice(half)) - mean(excesses.slice(0, half)) > STEP_GROWTH_LOG;
}

function slotAt(window: number): number {
  return Math.floor(slotOf(window * HOURS) / HOURS);
}

function learn(slot: Slot, level: number): void {
  slot.days = Math.min(slot.days + 1, SLOT_MEMORY);
  if (slot.days > 1) {
    const residual = level - slot.level;
    // One day of growth must not pass for a habit of varying; days that do vary let it widen step by step.
    const width = Math.min(Math.abs(residual), Math.max(RISE_LIMIT_LOG, 2 * slot.deviation));
    slot.deviation = Math.round(slot.deviation + (width - slot.deviation) / (slot.days - 1));
    const most = slot.days > SLOT_TRUSTED_COUNT ? RISE_LIMIT_LOG : Infinity;
    slot.level = Math.round(slot.level + Math.max(-DROP_LIMIT_LOG, Math.min(most, residual)) / slot.days);
  } else slot.level = level;
}

/** Sets where the window's calls begin to be too many: by the quarter of the day, or a neighbour, that allows most. */
function expect(stretch: Stretch, hourlyDeviation: number, floors: Floors): void {
  const { window } = stretch;
  const slots = slotsOf(stretch);
  stretch.high = stretch.expected = 0;
  const at = slotAt(window);
  const kind = at - (at % PER_DAY);
  const near = (from: number): Slot[] =>
    [PER_DAY - 1, 0, 1].map((step) => slots[from + ((at + step) % PER_DAY)]!);
  const known = [kind, PER_DAY - kind]
    .map(near)
    .find((three) => three.some(({ days }) => days >= SLOT_TRUSTED_COUNT));
  for (const { level, deviation, days } of known ?? []) {
    if (days === 0) continue;
    const margin = Math.max(
      floors.factorLog,
      floors.deviations * deviation,
      (floors.deviations - HOURLY_FEWER) * hourlyDeviation,
    );
    const high = Math.max(LEAST_TIMES * floors.least[2] * CALL_WEIGHT, countOf(level + margin));
    if (high < stretch.high) continue;
    stretch.high = high;
    stretch.expected = countOf(level);
  }
}

function countOf(level: number): number {
  return Math.floor(Math.expm1(level / LOG_SCALE) * CALL_WEIGHT);
}

/** Counts a call at `atMs`; true if it is one too many. A call of an earlier hour counts for nothing. */
export function countStretch(stretch: Stretch, atMs: number, weight: number): boolean {
  const hour = Math.floor(atMs / HOUR_MS);
  if (hour !== stretch.hour) {
    if (hour < stretch.hour) return false;
    stretch.hour = hour;
    stretch.hourCount = 0;
  }
  const { high } = stretch;
  stretch.count += weight;
  stretch.hourCount += weight;
  if (stretch.hourCount <= high * HOUR_SHARE_MOST) stretch.steady += weight;
  return high > 0 && stretch.steady > high;
}

/** Of the current window, which has too many calls. `size` is the excess's, `learntHours` what the actor's baseline has. */
export function stretchExcess(stretch: Stretch, size: number, learntHours: number): Excess {
  const { window, count, high, expected } = stretch;
  return {
    size,
    startsAt: window * STRETCH_MS,
    count,
    high,
    expected,
    factor: count / high,
    learning: 'seasonal',
    learntHours,
  };
}

/** Numbers of the window under way and of the open episode as numerals; the slots' text. */
export type EncodedStretch = [numbers: string, slots: string];

export function encodeStretch(stretch: Stretch): EncodedStretch {
  const { window, count, high, expected, steady, hour, hourCount, inSpike, excesses } = stretch;
  const numbers = [window + 1, hour - window * HOURS, count, count - steady, hourCount, high, expected];
  numbers.push(inSpike ? 1 : 0, ...excesses.map(unsigned));
  stretch.slots = typeof stretch.slots === 'string' ? stretch.slots : encodeSlots(stretch.slots);
  return [toNumerals(numbers), stretch.slots];
}

export function decodeStretch([text, slots]: EncodedStretch): Stretch {
  const [next, hourIn, count, unsteady, hourCount, high, expected, inSpike, ...excesses] = fromNumerals(
    text,
  ) as [number, number, number, number, number, number, number, number, ...number[]];
  const window = next - 1;
  return {
    window,
    count,
    high,
    expected,
    steady: count - unsteady,
    hour: hourIn + window * HOURS,
    hourCount,
    inSpike: inSpike === 1,
    slots,
    excesses: excesses.map(signed),
  };
}

function encodeSlots(slots: readonly Slot[]): string {
  return toNumerals(slots.flatMap(({ level, deviation, days }) => [level, deviation, days]));
}

function slotsOf(stretch: Stretch): Slot[] {
  if (typeof stretch.slots === 'string') {
    const numbers = fromNumerals(stretch.slots);
    stretch.slots = [];
    for (let at = 0; at < numbers.length; at += 3)
      stretch.slots.push({ level: numbers[at]!, deviation: numbers[at + 1]!, days: numbers[at + 2]! });
  }
  return stretch.slots;
}
