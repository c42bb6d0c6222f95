import { ENDPOINT_WINDOW_MS } from '../../across-actors/limits.ts';
import { COLD_DECAY, COLD_HOURS, HOUR_MS, LATENESS_MS } from '../../baseline/limits.ts';
import { floorsAt, type Floors } from '../../baseline/profile.ts';
import { toleranceOf, type Tolerance } from '../../baseline/sensitivity.ts';
import {
  ATTEMPT_FLOORS,
  DAY_HOURS,
  ODDS_COLD,
  ODDS_LEAST,
  ODDS_SHIFT,
  USUAL_MEMORY_HOURS,
} from './limits.ts';
import { addCounts, noCounts, type Counts, type StuffingState, type Usual } from './stuffing-state.ts';

const MINUTES_KEPT = LATENESS_MS / ENDPOINT_WINDOW_MS + 1;

/**
 * Adds the counts of the minute that begins at `atMs` to the kept minutes and to their hour. Returns true if another hour began; the
 * one before it is then learnt, unless it is suspect.
 */
export function countMinute(
  state: StuffingState,
  atMs: number,
  counts: Counts,
  tolerance: Tolerance,
): boolean {
  const { minutes } = state;
  const known = minutes.get(atMs);
  if (known) addCounts(known, counts);
  else minutes.set(atMs, { ...counts });
  for (const startsAt of minutes.keys())
    if (startsAt <= state.newestMs - MINUTES_KEPT * ENDPOINT_WINDOW_MS) minutes.delete(startsAt);

  const number = Math.floor(state.newestMs / HOUR_MS);
  const isNewHour = number !== state.hour.number;
  if (isNewHour) beginHour(state, number, tolerance);
  addCounts(state.hour, counts);
  return isNewHour;
}

function beginHour(state: StuffingState, number: number, tolerance: Tolerance): void {
  const { usual, hour, hours, episode, windows } = state;
  const hasLogins = hour.failures + hour.successes > 0;
  if (hour.suspect === 'no' && hasLogins) {
    usual.hours++;
    for (const what of ['unexplained', 'failures', 'successes'] as const) learnUsual(usual, what, hour[what]);
  }
  // A burst has an alert of its own: the day is judged without it.
  if (hour.suspect !== 'burst' && hasLogins)
    hours.set(hour.number, {
      unexplained: hour.unexplained,
      fresh: Math.round(hour.fresh * 10) / 10,
      failures: hour.failures,
      successes: hour.successes,
    });
  for (const [old, { fresh }] of hours) {
    if (old >= number - DAY_HOURS) continue;
    hours.delete(old);
    // An episode stays open for longer than a day after its last excess.
    if (episode) continue;
    usual.freshHours++;
    learnUsual(usual, 'fresh', fresh);
  }
  windows.floors = attemptFloors(usual.hours, tolerance);
  const isNewDay = Math.floor(number / DAY_HOURS) !== Math.floor(hour.number / DAY_HOURS);
  if (isNewDay && !episode) state.dayPool = null;
  state.hour = { number, suspect: episode ? 'open' : 'no', ...noCounts() };
}

function learnUsual(usual: Usual, what: keyof Counts, value: number): void {
  usual[what] = Math.round((usual[what] * (1 - 1 / USUAL_MEMORY_HOURS) + value) * 100) / 100;
}

/** The sum of the weights that so many hours have in `Usual`. */
export function weightOfHours(hours: number): number {
  return USUAL_MEMORY_HOURS * (1 - (1 - 1 / USUAL_MEMORY_HOURS) ** hours);
}

/**
 * Floors of unexplained attempts after so many hours of logins. An endpoint without unexplained attempts learns no level of them, so
 * what is accepted without a baseline sinks with its hours of logins, as it does with the learnt hours of other scopes.
 */
export function attemptFloors(hours: number, tolerance: Tolerance): Floors {
  const { least: normal } = ATTEMPT_FLOORS;
  const [leastShort, leastMinute, leastLong] = [
    tolerance.count(normal[0], normal[0]),
    tolerance.count(normal[1], normal[1]),
    tolerance.count(normal[2], normal[2]),
  ];
  const least = [leastShort, leastMinute, leastLong] as const;
  const floors: Floors = { ...floorsAt(ATTEMPT_FLOORS, tolerance), least };
  if (tolerance.isStrict) floors.normal = attemptFloors(hours, toleranceOf('normal'));
  if (hours < COLD_HOURS) return floors;
  const share = (COLD_HOURS / hours) ** COLD_DECAY;
  const [short, minute, long] = floors.cold;
  const sunk = (cold: number, lowest: number): number => Math.max(lowest, Math.round(cold * share));
  return {
    ...floors,
    cold: [sunk(short, leastShort), sunk(minute, leastMinute), sunk(long, leastLong)],
  };
}

/** Counts of the latest hours without a burst. */
export function countsOfDay(state: StuffingState): Counts {
  const sum = noCounts();
  for (const counts of state.hours.values()) addCounts(sum, counts);
  return sum;
}

/** Counts of the minutes from `startsAt` on, up to `endsAt`. */
export function countsWithin(state: StuffingState, startsAt: number, endsAt: number): Counts {
  const sum = noCounts();
  for (const [atMs, counts] of state.minutes) if (atMs >= startsAt && atMs < endsAt) addCounts(sum, counts);
  return sum;
}

/** Whether the ratio of attempts to successes is clearly above what it usually is. */
export function isShifted({ hours }: Usual, odds: number, usualOdds: number): boolean {
  return odds >= ODDS_SHIFT * Math.max(hours < COLD_HOURS ? ODDS_COLD : ODDS_LEAST, usualOdds);
}

export function oddsOf(attempts: number, successes: number): number {
  return attempts / (successes + 1);
}

/** Share of failures among failures and successes, to three decimals. */
export function failureRatio({ failures, successes }: Counts): number {
  return Math.round((failures / Math.max(1, failures + successes)) * 1_000) / 1_000;
}
