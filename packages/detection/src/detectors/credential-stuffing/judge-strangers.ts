import { ENDPOINT_WINDOW_MS } from '../../across-actors/limits.ts';
import { CALL_WEIGHT } from '../../baseline/limits.ts';
import { judgeTries, strangersExcess } from './accounts.ts';
import { DAY_HOURS } from './limits.ts';
import type { StuffingExcess } from './measures.ts';
import { exceed } from './stuffing-episode.ts';
import type { Judgement, StuffingState } from './stuffing-state.ts';
import type { Tried } from './tries.ts';
import { countsOfDay } from './usual-attempts.ts';

/** Judges whether many accounts were tried from origins that they never came from, within an hour or a day. */
export function judgeStrangers(state: StuffingState, judgement: Judgement, tried: Tried): void {
  const { memory, episode } = state;
  const atMs = judgement.minute.startsAt;
  const seen = judgeTries(memory, tried, atMs, episode !== null);
  // Refused tries count among the failures.
  if (episode) episode.seen += seen.accepted;
  if (seen.strangers === 0) return;
  const found = strangersExcess(memory, atMs + ENDPOINT_WINDOW_MS, judgement.tolerance);
  if (!found) return;
  const { span, startsAt, value, high, expected, daysLearnt } = found;
  const excess: StuffingExcess = {
    measure: span === 'hour' ? 'accounts/h' : 'accounts/day',
    startsAt,
    count: value * CALL_WEIGHT,
    high: high * CALL_WEIGHT,
    expected: Math.round(expected * CALL_WEIGHT),
    factor: value / high,
    learning: 'overall',
    learntHours: daysLearnt * DAY_HOURS,
  };
  if (state.hour.suspect === 'no') state.hour.suspect = 'open';
  exceed(state, judgement, excess, countsOfDay(state), atMs);
}
