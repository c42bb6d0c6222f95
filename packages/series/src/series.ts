import {
  ADOPT_DAY_ROWS,
  ADOPT_LEAST_ROWS,
  ALERT_DECADES,
  ALERTS_FREE,
  ALERTS_HALF_LIFE_MS,
  CALM_SHARE,
  COMES_AGAIN_TIMES,
  EPISODES_KEPT,
  PERIODS_MS,
  TAIL_ROWS,
  YOUNG_DAYS,
  YOUNG_MOST,
  ANOMALY_WEIGHT,
  DAY_SLOTS,
  DEVIATION_ROWS,
  ERROR_POWER,
  ERROR_ROWS,
  FAST_RATE,
  FLOOR,
  FLOOR_AT_ZERO,
  FLOOR_WIDTH,
  GATE_OVER,
  GATE_EPISODE,
  HOUR_MS,
  LASTING_SHARE,
  MEAN_RATE,
  MEDIUM_RATE,
  QUIET_ROWS,
  RATE_DECADES,
  RESCALE_EVERY_ROWS,
  RESCALE_FACTOR,
  SLOT_DAYS,
  SLOT_DEVIATION_ROWS,
  SLOT_TRUST_HOURS,
  SLOW_ROWS,
  TYPICAL_RATE,
  TYPICAL_TIMES,
  WARM_UP_ROWS,
  WEEK_SLOTS,
  Z_MOST,
} from './constants.ts';
import { learnDeviation, newDeviation } from './deviation.ts';
import { addToTail, decadesOf, newTail, type Tail } from './tail.ts';

/** What is said of one row, before anything of it is learnt. */
export interface SeriesRow {
  /** In the unit of the values. */
  expected: number;
  low: number;
  high: number;
  /** 0 to 1, comparable across series: 0.5 is the threshold of an alert. */
  score: number;
  /** An episode begins: told once per episode. */
  alert: boolean;
}

/** The baseline of one plain series, in constant memory (about 10 KB). */
export interface Series {
  /**
   * Judges the next row by all rows before it, then learns from it. Times are ms since the epoch and should not fall; steps may be
   * regular or not, and rows may be missing. A value that is not finite is judged as nothing and not learnt.
   */
  observe(timestampMs: number, value: number): SeriesRow;
}

/**
 * The predictions, each right for another kind of series: the latest values, their longer mean, the same by hour of day and
 * by hour of week, and the long mean. What is expected is their mean, weighted by how well each did lately.
 */
const FAST = 0;
const MEDIUM = 1;
const FAST_OF_DAY = 2;
const SLOW_OF_DAY = 3;
const FAST_OF_WEEK = 4;
const SLOW_OF_WEEK = 5;
const SLOW = 6;
const PREDICTIONS = 7;
const ALL = [FAST, MEDIUM, FAST_OF_DAY, SLOW_OF_DAY, FAST_OF_WEEK, SLOW_OF_WEEK];
const LASTING = [SLOW_OF_DAY, SLOW_OF_WEEK, SLOW];

/** The views under which a row may be unusual: against all predictions, against the lasting ones, and the last few rows together. */
const VIEWS = 3;

/** Beyond these sizes all values are the same, so that no computation overflows. */
const VALUE_MOST = 1e150;
const SCALED_MOST = 700;

export function createSeries(): Series {
  const typicalOfStart: number[] = [];
  /** Values are compared as asinh(value / unit): linear around 0, logarithmic beyond `unit`, and signed. 0: not known yet. */
  let unit = 0;
  /** Running median of what is not 0. */
  let typical = 0;
  let rows = 0;
  let lastMs = NaN;
  let stepMs = 0;
  let counts = true;
  let negative = false;

  const levels = new Float64Array(PREDICTIONS);
  const errors = new Float64Array(PREDICTIONS);
  let errorRows = 0;
  /** Mean over about a day; what the slots of hours are relative to. */
  let base = 0;
  const day = { offsets: new Float64Array(DAY_SLOTS), rows: new Float64Array(DAY_SLOTS) };
  const week = { offsets: new Float64Array(WEEK_SLOTS), rows: new Float64Array(WEEK_SLOTS) };
  const deviations = [newDeviation(DEVIATION_ROWS), newDeviation(DEVIATION_ROWS)] as const;
  const slotDeviations = deviations.map(() =>
    Array.from({ length: DAY_SLOTS }, () => newDeviation(SLOT_DEVIATION_ROWS)),
  );
  const tails: Tail[] = Array.from({ length: VIEWS }, newTail);
  let meanZ = 0;
  /** Alerts so far, fading. */
  let alertsLately = 0;

  let open = false;
  let openRows = 0;
  let quietRows = 0;
  /** What the level is while it is not learnt. */
  let shadow = 0;
  let peaks: number[] = [];
  /** The episode comes again, as it did three times before. */
  let foreseen = false;
  let largest = 0;
  /** Beginnings and largest deviations of the latest episodes. */
  const episodes: { atMs: number; deviation: number }[] = [];

  const scaled = (value: number): number =>
    Math.asinh(Math.max(-VALUE_MOST, Math.min(VALUE_MOST, value)) / unit);
  const unscaled = (scaledValue: number): number =>
    Math.sinh(Math.max(-SCALED_MOST, Math.min(SCALED_MOST, scaledValue))) * unit;
  const rowsPerHour = (): number => Math.max(1, HOUR_MS / Math.max(stepMs, 1_000));

  function start(): boolean {
    const sorted = typicalOfStart.map(Math.abs).sort((a, b) => a - b);
    const largest = sorted.at(-1)!;
    if (largest === 0) return false;
    // What is silent and then speaks: how loud is usual is not known yet, so the first word counts as a loud one.
    typical = sorted[sorted.length >> 1]! || (rows > WARM_UP_ROWS ? largest / 4 : largest);
    unit = unitFor(typical);
    const values = typicalOfStart.map(scaled).sort((a, b) => a - b);
    const level = values[values.length >> 1]!;
    levels.fill(level);
    base = level;
    for (const value of values) {
      for (const deviation of deviations) learnDeviation(deviation, value - level, floorAt(level));
    }
    if (rows > WARM_UP_ROWS) {
      // All rows before this one were zeros.
      for (const deviation of deviations) Object.assign(deviation, { mean: 0, rows });
      for (const tail of tails) addToTail(tail, 0, Math.min(rows, TAIL_ROWS));
    }
    errorRows = 1;
    errors.fill(deviations[0].mean + 0.01);
    return true;
  }

  /** Offset of the time's slot; between the middles of two hours for series with shorter steps. Undefined before two days. */
  function offsetAt({ offsets, rows: slotRows }: typeof day, timestampMs: number): number | undefined {
    const hour = Math.floor(timestampMs / HOUR_MS);
    const slot = slotOf(hour, offsets.length);
    const known = slotRows[slot]! >= Math.max(2, rowsPerHour());
    if (!known) return undefined;
    if (rowsPerHour() <= 2) return offsets[slot]!;
    const fromMiddle = timestampMs / HOUR_MS - hour - 0.5;
    const neighbour = slotOf(hour + (fromMiddle < 0 ? -1 : 1), offsets.length);
    if (slotRows[neighbour]! < rowsPerHour() / 2) return offsets[slot]!;
    return offsets[slot]! + Math.abs(fromMiddle) * (offsets[neighbour]! - offsets[slot]!);
  }

  /** Per prediction: what its level is without. Undefined where a prediction has none yet. */
  function offsetsAt(timestampMs: number): (number | undefined)[] {
    const ofDay = offsetAt(day, timestampMs);
    const ofWeek = offsetAt(week, timestampMs);
    return [0, 0, ofDay, ofDay, ofWeek, ofWeek, 0];
  }

  /** Least deviation that counts: a share of the level, more around 0, and for counts what chance alone does. */
  function floorAt(level: number): number {
    const floor = FLOOR + FLOOR_AT_ZERO * Math.exp(-((level / FLOOR_WIDTH) ** 2));
    if (!counts) return floor;
    const value = Math.abs(unscaled(level));
    return Math.max(floor, (0.8 * Math.sqrt(value + 1)) / Math.hypot(value, unit));
  }

  /** The unit follows the size of the values, and all that is known in the old one is expressed in the new one. */
  function rescale(timestampMs: number): void {
    const wanted = unitFor(typical);
    if (wanted < unit * RESCALE_FACTOR && wanted > unit / RESCALE_FACTOR) return;
    const before = unit;
    const convert = (scaledValue: number): number => Math.asinh(unscaled(scaledValue) / wanted);
    const value = unscaled(base);
    const slope = Math.hypot(value, before) / Math.hypot(value, wanted);
    const newBase = convert(base);
    const offsetsBefore = offsetsAt(timestampMs);
    for (const { offsets } of [day, week]) {
      for (let slot = 0; slot < offsets.length; slot++) {
        offsets[slot] = convert(base + offsets[slot]!) - newBase;
      }
    }
    const offsetsAfter = offsetsAt(timestampMs);
    for (let at = 0; at < PREDICTIONS; at++) {
      levels[at] = convert(levels[at]! + (offsetsBefore[at] ?? 0)) - (offsetsAfter[at] ?? 0);
      errors[at]! *= slope;
    }
    for (const deviation of [...deviations, ...slotDeviations.flat()]) deviation.mean *= slope;
    shadow = convert(shadow);
    base = newBase;
    unit = wanted;
  }

  function takeTime(timestampMs: number): void {
    const passedMs = timestampMs - lastMs;
    if (passedMs > 0) {
      alertsLately *= 2 ** (-passedMs / ALERTS_HALF_LIFE_MS);
      // A gap moves the usual step by a tenth at most.
      const limit = stepMs / 10;
      stepMs =
        stepMs === 0
          ? passedMs
          : stepMs + Math.max(-limit, Math.min(limit, passedMs - stepMs)) * (rows < 20 ? 1 : 0.3);
    }
    if (!(timestampMs < lastMs)) lastMs = timestampMs;
  }

  /** Standard deviation for the time of day, as far as it is known apart from that of all times. */
  function spreadOf(which: 0 | 1, slot: number, level: number): number {
    const ofSlot = slotDeviations[which]![slot]!;
    const whole = deviations[which];
    const trust = ofSlot.rows / (ofSlot.rows + SLOT_TRUST_HOURS * rowsPerHour());
    const mean = whole.mean + trust * (ofSlot.mean - whole.mean);
    // A mean absolute deviation is 0.8 standard deviations; few rows say little.
    return 1.25 * Math.max(mean, floorAt(level)) * (1 + 3 / (whole.rows + 1));
  }

  /** Did an episode as large begin one, two and three hours, days or weeks ago? */
  function comesAgain(timestampMs: number, deviation: number): boolean {
    return PERIODS_MS.some((periodMs) => {
      if (periodMs < 4 * stepMs) return false;
      const toleranceMs = Math.max(1.5 * stepMs, periodMs / 48);
      return [1, 2, 3].every((times) =>
        episodes.some(
          (one) =>
            Math.abs(timestampMs - times * periodMs - one.atMs) <= toleranceMs &&
            deviation <= COMES_AGAIN_TIMES * one.deviation,
        ),
      );
    });
  }

  return {
    observe(timestampMs, value) {
      if (!Number.isFinite(value) || !Number.isFinite(timestampMs)) return nothing(NaN);
      takeTime(timestampMs);
      rows++;
      if (!Number.isInteger(value) || value < 0) counts = false;
      if (value < 0) negative = true;
      if (unit === 0) {
        const before = typicalOfStart.toSorted((a, b) => a - b);
        const middle = before[before.length >> 1] ?? value;
        typicalOfStart.push(value);
        if (typicalOfStart.length < WARM_UP_ROWS) return nothing(middle);
        if (!start()) {
          typicalOfStart.shift();
          return nothing(middle);
        }
        if (rows === WARM_UP_ROWS) return nothing(middle);
      }
      if (value !== 0) {
        typical *= Math.exp(Math.sign(Math.abs(value) - typical) * Math.max(TYPICAL_RATE, 1 / rows));
      }
      if (rows % RESCALE_EVERY_ROWS === 0) rescale(timestampMs);

      const scaledValue = scaled(value);
      const hour = Math.floor(timestampMs / HOUR_MS);
      const slot = slotOf(hour, DAY_SLOTS);
      const offsets = offsetsAt(timestampMs);
      const predicted = (at: number): number => levels[at]! + (offsets[at] ?? 0);
      const mean = (which: readonly number[]): number => {
        let sum = 0;
        let weights = 0;
        for (const at of which) {
          if (offsets[at] === undefined) continue;
          const weight = (errors[at]! + 0.003) ** -ERROR_POWER;
          sum += weight * predicted(at);
          weights += weight;
        }
        return sum / weights;
      };
      const expected = mean(ALL);
      const lasting = mean(LASTING);
      const spread = spreadOf(0, slot, expected);
      const lastingSpread = spreadOf(1, slot, lasting);
      const z = (scaledValue - expected) / spread;
      meanZ += MEAN_RATE * (Math.max(-Z_MOST, Math.min(Z_MOST, z)) - meanZ);
      const views = [
        Math.abs(z),
        (LASTING_SHARE * Math.abs(scaledValue - lasting)) / lastingSpread,
        Math.abs(meanZ) / Math.sqrt(MEAN_RATE / (2 - MEAN_RATE)),
      ];
      let decades = 0;
      for (const [view, one] of views.entries()) decades = Math.max(decades, decadesOf(tails[view]!, one));
      // So many rows an hour give so many chances to be unusual: what counts is how seldom it is in time.
      decades = Math.max(0, decades - RATE_DECADES * Math.log10(rowsPerHour()));

      const threshold = ALERT_DECADES + Math.log2(Math.max(1, (1 + alertsLately) / ALERTS_FREE));
      const over = decades >= threshold;
      const deviation = Math.abs(scaledValue - expected);
      const begins = over && !open;
      if (begins) foreseen = comesAgain(timestampMs, deviation);
      const alert = begins && !foreseen;
      const close = (): void => {
        open = false;
        episodes.at(-1)!.deviation = largest;
        for (const [view, peak] of peaks.entries()) addToTail(tails[view]!, peak, ANOMALY_WEIGHT);
      };
      if (begins) {
        open = true;
        if (alert) alertsLately++;
        largest = 0;
        episodes.push({ atMs: timestampMs, deviation });
        if (episodes.length > EPISODES_KEPT) episodes.shift();
        openRows = 0;
        shadow = scaledValue;
        peaks = views.map(() => 0);
      }
      if (decades >= CALM_SHARE * threshold) quietRows = 0;
      else if (open && ++quietRows >= QUIET_ROWS) close();
      if (open) {
        openRows++;
        largest = Math.max(largest, deviation);
        shadow += 0.1 * (scaledValue - shadow);
        peaks = peaks.map((peak, view) => Math.max(peak, views[view]!));
        // The level stayed: it is the new normal.
        if (openRows >= Math.max(ADOPT_LEAST_ROWS, Math.min(ADOPT_DAY_ROWS, 24 * rowsPerHour()))) {
          for (let at = 0; at < PREDICTIONS; at++) levels[at] = shadow - (offsets[at] ?? 0);
          base += shadow - expected;
          meanZ = 0;
          close();
        }
      }
      learn(over ? GATE_OVER : open ? GATE_EPISODE : 1, over);

      /** `gate`: how much of the usual rates, next to nothing from what is under alert. */
      function learn(gate: number, unusual: boolean): void {
        const errorRate = Math.max(1 / (errorRows + 1), 1 / ERROR_ROWS);
        errorRows++;
        const slowRate = Math.max(1 / (rows + 1), 1 / SLOW_ROWS);
        for (let at = 0; at < PREDICTIONS; at++) {
          const error = scaledValue - predicted(at);
          if (offsets[at] !== undefined) {
            errors[at]! += errorRate * (Math.min(Math.abs(error), 4 * spread) - errors[at]!);
          }
          const rate =
            at === MEDIUM
              ? MEDIUM_RATE
              : at === FAST || at === FAST_OF_DAY || at === FAST_OF_WEEK
                ? FAST_RATE
                : slowRate;
          levels[at]! += rate * gate * error;
        }
        base += Math.max(1 / (rows + 1), 1 / (24 * rowsPerHour())) * gate * (scaledValue - base);
        for (const slots of [day, week]) {
          const its = slotOf(hour, slots.offsets.length);
          slots.rows[its]!++;
          const rate = Math.max(1 / slots.rows[its]!, 1 / (SLOT_DAYS * rowsPerHour()));
          const difference = scaledValue - base - slots.offsets[its]!;
          // A slot that was seen on few days takes what a day's peak may be, or the first peaks would never be learnt.
          const young = slots.rows[its]! <= YOUNG_DAYS * rowsPerHour();
          const most = young ? Math.max(-YOUNG_MOST, Math.min(YOUNG_MOST, difference)) : 0;
          slots.offsets[its]! +=
            rate * (Math.abs(most) > Math.abs(gate * difference) ? most : gate * difference);
        }
        if (unusual) return;
        const residuals = [
          [scaledValue - expected, floorAt(expected)],
          [scaledValue - lasting, floorAt(lasting)],
        ] as const;
        for (const [which, [residual, floor]] of residuals.entries()) {
          learnDeviation(deviations[which]!, residual, floor);
          learnDeviation(slotDeviations[which]![slot]!, residual, floor);
        }
        for (const [view, one] of views.entries()) addToTail(tails[view]!, one, 1);
      }

      return {
        expected: unscaled(expected),
        low: Math.max(negative ? -Infinity : 0, unscaled(expected - 3 * spread)),
        high: unscaled(expected + 3 * spread),
        score: 1 - 2 ** (-(open && foreseen ? Math.min(decades, 0.9 * threshold) : decades) / threshold),
        alert,
      };
    },
  };
}

function nothing(value: number): SeriesRow {
  return { expected: value, low: value, high: value, score: 0, alert: false };
}

function unitFor(typical: number): number {
  return Math.max(1 / VALUE_MOST, Math.min(VALUE_MOST, typical * TYPICAL_TIMES));
}

/** Hour of the day (24 slots) or of the week (168), UTC. */
function slotOf(hour: number, slots: number): number {
  return ((hour % slots) + slots) % slots;
}
