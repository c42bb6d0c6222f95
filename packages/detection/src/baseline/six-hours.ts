import {
  CALL_WEIGHT,
  DROP_LIMIT_LOG,
  HOUR_MS,
  LOG_SCALE,
  SLOT_MEMORY,
  SLOT_TRUSTED_COUNT,
  STEP_GROWTH_LOG,
} from './limits.ts';
import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';
import { levelOf, slotOf, type Floors } from './profile.ts';
import type { Excess } from './window-counts.ts';

/** A quarter of a day (UTC): so long that a fourfold is no chance, however few calls a minute they are. */
export const SIX_HOURS_MS = 6 * HOUR_MS;
/** Fewer calls than so many times the least of ten minutes are never too many: four a minute, where ten minutes must have thirty. */
const LEAST_TIMES = 5;
/**
 * Of an hour no more than this share of what is too many counts, so that nearly all six must be high: bursts, jobs and busy
 * afternoons are for shorter windows, which know of peaks that come again.
 */
const HOUR_SHARE_MOST = 1 / 5;
const HOURS = SIX_HOURS_MS / HOUR_MS;
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
export interface SixHours {
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
  readonly slots: Slot[];
  /** By how much the latest windows of the open episode were above what is usual, as logarithms. */
  excesses: number[];
}

export function newSixHours(): SixHours {
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

/** Is a call at `atMs` the first one of a new window? Then `settleSixHours` is due. */
export function sixHoursEnd(state: SixHours, atMs: number): boolean {
  return Math.floor(atMs / SIX_HOURS_MS) > state.window;
}

/**
 * Ends the window and begins the one of `atMs`. `inEpisode`: an alert of the actor is open. `hourlyDeviation`: that of its profile.
 */
export function settleSixHours(
  state: SixHours,
  atMs: number,
  inEpisode: boolean,
  hourlyDeviation: number,
  floors: Floors,
): void {
  const { window, count, steady, high, excesses } = state;
  if (count > 0) {
    const slot = state.slots[slotAt(window)]!;
    const level = levelOf(count);
    if (inEpisode && slot.days > 0) {
      excesses.push(level - slot.level);
      if (excesses.length > REMEMBERED) excesses.shift();
    } else if (!inEpisode && !state.inSpike && (high === 0 || steady <= high)) learn(slot, level);
  }
  if (!inEpisode) state.excesses = [];
  state.window = Math.floor(atMs / SIX_HOURS_MS);
  state.count = state.steady = state.hourCount = 0;
  state.inSpike = false;
  expect(state, hourlyDeviation, floors);
}

/** Has the level of the open episode stayed the same for a day? */
export function sixHoursStay({ excesses }: SixHours): boolean {
  return excesses.length === REMEMBERED && !grows(excesses);
}

/** The level of the open episode is the new normal. */
export function adoptSixHours(state: SixHours, hourlyDeviation: number, floors: Floors): void {
  const { excesses } = state;
  if (excesses.length === 0) return;
  const shift = Math.max(0, Math.round(excesses.reduce((sum, one) => sum + one, 0) / excesses.length));
  for (const slot of state.slots) if (slot.days > 0) slot.level += shift;
  state.excesses = [];
  expect(state, hourlyDeviation, floors);
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
function expect(state: SixHours, hourlyDeviation: number, floors: Floors): void {
  const { window } = state;
  const slots = state.slots;
  state.high = state.expected = 0;
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
    if (high < state.high) continue;
    state.high = high;
    state.expected = countOf(level);
  }
}

function countOf(level: number): number {
  return Math.floor(Math.expm1(level / LOG_SCALE) * CALL_WEIGHT);
}

/** Counts a call at `atMs`; true if it is one too many. A call of an earlier hour counts for nothing. */
export function countInSixHours(state: SixHours, atMs: number, weight: number): boolean {
  const hour = Math.floor(atMs / HOUR_MS);
  if (hour !== state.hour) {
    if (hour < state.hour) return false;
    state.hour = hour;
    state.hourCount = 0;
  }
  const { high } = state;
  state.count += weight;
  state.hourCount += weight;
  if (state.hourCount <= high * HOUR_SHARE_MOST) state.steady += weight;
  return high > 0 && state.steady > high;
}

/** Of the current window, which has too many calls. `size` is the excess's, `learntHours` what the actor's baseline has. */
export function sixHoursExcess(state: SixHours, size: number, learntHours: number): Excess {
  const { window, count, high, expected } = state;
  return {
    size,
    startsAt: window * SIX_HOURS_MS,
    count,
    high,
    expected,
    factor: count / high,
    learning: 'seasonal',
    learntHours,
  };
}

export function encodeSixHours(state: SixHours, writer: ByteWriter): void {
  const { window, count, steady, hour, inSpike, excesses } = state;
  writer.uint(window + 1);
  writer.uint(hour - window * HOURS);
  writer.uint(count);
  writer.uint(count - steady);
  writer.uint(state.hourCount);
  writer.number(state.high);
  writer.number(state.expected);
  writer.boolean(inSpike);
  writer.ints(excesses);
  for (const { level, deviation, days } of state.slots) {
    writer.uint(days);
    if (days === 0) continue;
    writer.uint(level);
    writer.uint(deviation);
  }
}

export function decodeSixHours(reader: ByteReader): SixHours {
  const state = newSixHours();
  state.window = reader.uint() - 1;
  state.hour = reader.uint() + state.window * HOURS;
  state.count = reader.uint();
  state.steady = state.count - reader.uint();
  state.hourCount = reader.uint();
  state.high = reader.number();
  state.expected = reader.number();
  state.inSpike = reader.boolean();
  state.excesses = reader.ints();
  for (const slot of state.slots) {
    slot.days = reader.uint();
    if (slot.days === 0) continue;
    slot.level = reader.uint();
    slot.deviation = reader.uint();
  }
  return state;
}
