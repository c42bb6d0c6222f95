import { CALL_WEIGHT, COLD_HOURS, HOUR_MS } from '../../baseline/limits.ts';
import { noPeers } from '../../baseline/profile.ts';
import { countCall, EXCEEDED, markHourNormal, WARM, worstExcess } from '../../baseline/window-counts.ts';
import { ownersShare } from './accounts.ts';
import { DAY_ATTEMPTS_LEAST, DAY_HOURS, DAY_LEARNT_HOURS, DAY_TIMES, SHARE_LEAST } from './limits.ts';
import { mergeOutcomes, newOutcomes } from './logins.ts';
import { attemptExcess, MEASURES, type StuffingExcess } from './measures.ts';
import { exceed } from './stuffing-episode.ts';
import type { Counts, Judgement, StuffingState } from './stuffing-state.ts';
import { unexplainedAmong, unexplainedOf, type AttemptFilter } from './unexplained.ts';
import { countsOfDay, countsWithin, isShifted, oddsOf, weightOfHours } from './usual-attempts.ts';

/** Counts the minute's attempts. Owners who mistype their own passwords, be it four times as often as usual, are no attack. */
export function countAttempts(state: StuffingState, { logins, covered }: Judgement): Counts {
  const { failures, successes, tried } = logins;
  const owners = failures > 0 && tried ? ownersShare(state.memory, tried) : 0;
  return {
    unexplained: Math.round(unexplainedOf(logins, covered).attempts * (1 - owners)),
    fresh: freshAttempts(state, logins, covered),
    failures,
    successes,
  };
}

/**
 * How many of the minute's unexplained attempts were not made before, as far as `dayPool` goes back: a client that repeats itself
 * is one attempt a day, not one a minute, and says nothing about the others of its minutes. Where samples are full, those that
 * both would have kept stand for all.
 */
function freshAttempts(
  { dayPool, memory }: StuffingState,
  logins: Judgement['logins'],
  covered: ReadonlySet<string>,
): number {
  const { failing, tried } = logins;
  if (!failing) return 0;
  const before = dayPool?.failing?.attempts;
  const isFresh: AttemptFilter = (pair, hash) =>
    before === undefined || (hash <= before.completeTo && before.get(pair) === undefined);
  const unexplained = unexplainedAmong(logins, covered, isFresh);
  if (unexplained === 0) return 0;
  const owners = tried ? ownersShare(memory, tried, isFresh) : 0;
  return (unexplained * (1 - owners)) / Math.min(before?.rate ?? 1, failing.attempts.rate);
}

/** Judges the attempts of a minute and of ten: too many of them, and not in proportion to the successes. */
export function judgeWindows(state: StuffingState, judgement: Judgement, unexplained: number): void {
  const { minute, logins, covered } = judgement;
  const { windows } = state;
  const atMs = minute.startsAt;
  const heat = countCall(windows, noPeers(), atMs, unexplained * CALL_WEIGHT);
  const { episode } = state;
  if (episode && atMs >= episode.startedAt) episode.seen += logins.failures;
  if (heat < WARM) return;
  mergeOutcomes((state.pool ??= newOutcomes()), logins);
  if (heat < EXCEEDED) return;

  const excess = attemptExcess(worstExcess(windows, atMs));
  if (excess.learning === 'cold' && state.usual.hours >= COLD_HOURS) {
    excess.learning = 'overall';
    excess.learntHours = state.usual.hours;
  }
  const within = countsWithin(state, excess.startsAt, excess.startsAt + MEASURES[excess.measure].spanMs);
  const odds = oddsOf(within.unexplained, within.successes);
  const usualOdds = oddsOf(state.usual.unexplained, state.usual.successes);
  if (!isShifted(state.usual, odds, usualOdds) || unexplainedOf(state.pool, covered).share < SHARE_LEAST) {
    if (!episode) markHourNormal(windows, atMs);
    return;
  }
  state.hour.suspect = 'burst';
  exceed(state, judgement, excess, within, Math.max(atMs, logins.failing?.newestAt ?? 0));
}

/** Judges, once an hour, whether the attempts of the last 24 h are far more than a day's, although no ten minutes were too many. */
export function judgeDay(state: StuffingState, judgement: Judgement): void {
  const { usual } = state;
  const { tolerance } = judgement;
  if (usual.hours < DAY_LEARNT_HOURS) return;
  const within = countsOfDay(state);
  const perHour = usual.freshHours === 0 ? 0 : usual.fresh / weightOfHours(usual.freshHours);
  const expected = perHour * DAY_HOURS;
  const high = Math.max(
    tolerance.count(DAY_ATTEMPTS_LEAST),
    Math.ceil(tolerance.factor(DAY_TIMES) * expected),
  );
  const value = Math.round(within.fresh);
  const usualOdds = oddsOf(perHour * weightOfHours(usual.hours), usual.successes);
  const isMore = value > high && isShifted(usual, oddsOf(within.fresh, within.successes), usualOdds);
  if (!isMore || state.dayPool === null) return;
  const excess: StuffingExcess = {
    measure: 'attempts/day',
    startsAt: Math.min(...state.hours.keys()) * HOUR_MS,
    count: value * CALL_WEIGHT,
    high: high * CALL_WEIGHT,
    expected: Math.round(expected * CALL_WEIGHT),
    factor: value / high,
    learning: 'overall',
    learntHours: usual.hours,
  };
  state.hour.suspect = 'open';
  exceed(state, judgement, excess, within, state.newestMs);
}
