import { LOG_SCALE } from './limits.ts';

export const sensitivities = ['low', 'normal', 'high'] as const;
export type Sensitivity = (typeof sensitivities)[number];

/** How many times as much as at `normal` a detector allows. The README says what that means for each of them. */
const TOLERANCE: Record<Sensitivity, number> = { low: 2, normal: 1, high: 0.5 };
/** At no sensitivity less than so many times the usual is too many: a campaign (+30 %) is business. */
const FACTOR_LEAST = 1.5;

/**
 * A detector's limits, as functions of what they are at `normal`. What tells an attack from business (a share, a ratio, a
 * second fact) is no limit: it is the same at every sensitivity.
 */
export interface Tolerance {
  /**
   * It allows less than `normal`. What is an alert then, but would be none at `normal`, is learnt all the same: else what is
   * usual, but not yet known, would be an alert each time.
   */
  isStrict: boolean;
  /** Of a count that is never too many, whatever is usual; never below `least`, which is known to be harmless. */
  count(normal: number, least?: number): number;
  /** Of the factor above what is usual. */
  factor(normal: number): number;
  /** The same, as 1,000 ln of the factor. */
  factorLog(normal: number): number;
  /** Of a margin in mean absolute deviations: one more, one less. Half of them would be chance. */
  deviations(normal: number): number;
  /** Of a surprise in decades (-log10 of a probability): half as likely. Never less, as what is harmless lies just below it. */
  decades(normal: number): number;
}

export function toleranceOf(sensitivity: Sensitivity): Tolerance {
  const times = TOLERANCE[sensitivity];
  const factor = (normal: number): number => Math.max(FACTOR_LEAST, normal * times);
  return {
    isStrict: times < TOLERANCE.normal,
    count: (normal, least = 0) => Math.max(least, Math.floor(normal * times)),
    factor,
    factorLog: (normal) => Math.round(Math.log(factor(Math.exp(normal / LOG_SCALE))) * LOG_SCALE),
    deviations: (normal) => normal + Math.log2(times),
    decades: (normal) => normal + Math.max(0, Math.log10(times)),
  };
}
