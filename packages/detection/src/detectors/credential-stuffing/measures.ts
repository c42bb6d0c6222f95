import { ENDPOINT_WINDOW_MS } from '../../across-actors/limits.ts';
import { CALL_WEIGHT, DAY_MS, HOUR_MS, WINDOW_MS } from '../../baseline/limits.ts';
import type { Excess } from '../../baseline/window-counts.ts';

/** What is compared with a limit: attempts that nothing harmless explains, or accounts that strangers tried. */
export const measures = [
  'attempts/min',
  'attempts/10min',
  'attempts/day',
  'accounts/h',
  'accounts/day',
] as const;
export type Measure = (typeof measures)[number];

interface MeasureFacts {
  spanMs: number;
  /** The span in the words of a summary. */
  span: string;
  /** Accounts that strangers tried are counted, not attempts. */
  isOfStrangers: boolean;
  /** The alert describes the logins of the whole day, not only those of windows near a threshold. */
  isOfDay: boolean;
}

export const MEASURES: Record<Measure, MeasureFacts> = {
  'attempts/min': { spanMs: ENDPOINT_WINDOW_MS, span: '1 min', isOfStrangers: false, isOfDay: false },
  'attempts/10min': { spanMs: WINDOW_MS[2], span: '10 min', isOfStrangers: false, isOfDay: false },
  'attempts/day': { spanMs: DAY_MS, span: '24 h', isOfStrangers: false, isOfDay: true },
  'accounts/h': { spanMs: HOUR_MS, span: '1 h', isOfStrangers: true, isOfDay: true },
  'accounts/day': { spanMs: DAY_MS, span: '24 h', isOfStrangers: true, isOfDay: true },
};

/** A measure above its limit. Numbers are in 64ths (CALL_WEIGHT), as those of windows. */
export interface StuffingExcess extends Omit<Excess, 'size'> {
  measure: Measure;
}

/** The excess of a window of attempts. Those of 10 s and of 60 s are the same here, see ATTEMPT_FLOORS. */
export function attemptExcess({ size, ...excess }: Excess): StuffingExcess {
  return { measure: size === 2 ? 'attempts/10min' : 'attempts/min', ...excess };
}

export function perHourOf({ measure, count }: StuffingExcess): number {
  return (count / CALL_WEIGHT) * (HOUR_MS / MEASURES[measure].spanMs);
}
