import type { EndpointName } from '../../across-actors/endpoint-id.ts';
import { endpointId } from '../../across-actors/endpoint-id.ts';
import { alertId, beginGrowing, isNews, scoreOf } from '../../alerts/episode.ts';
import { CALL_WEIGHT, HOUR_MS } from '../../baseline/limits.ts';
import type { Alert } from '@tripline/model';
import { beginOpened } from './accounts.ts';
import { PAUSE_MS, QUIET_MS, SUCCESSOR_TIMES } from './limits.ts';
import { mergeOutcomes, newOutcomes } from './logins.ts';
import { MEASURES, perHourOf, type StuffingExcess } from './measures.ts';
import { stuffingAlert } from './stuffing-alert.ts';
import type { Counts, Judgement, StuffingEpisode, StuffingState } from './stuffing-state.ts';
import { failureRatio } from './usual-attempts.ts';

/** Begins the episode, or goes on with it. `within`: counts of the window that exceeded; `lastSeenAt`: its newest call, ms. */
export function exceed(
  state: StuffingState,
  { minute, logins, out }: Judgement,
  excess: StuffingExcess,
  within: Counts,
  lastSeenAt: number,
): void {
  const nowMs = minute.judgedAt;
  if (state.episode && isSuccessor(state.episode, excess, lastSeenAt)) {
    out.alert(endEpisode(state, minute, nowMs));
    // The minute belongs to the new episode.
    mergeOutcomes((state.dayPool = newOutcomes()), logins);
    if (!MEASURES[excess.measure].isOfDay) mergeOutcomes((state.pool = newOutcomes()), logins);
  }
  let { episode } = state;
  if (!episode) {
    episode = state.episode = newEpisode(state, minute, excess, within, lastSeenAt, nowMs);
    beginOpened(state.memory, excess.startsAt);
  } else {
    goOn(episode, lastSeenAt);
    episode.mostPerHour = Math.max(episode.mostPerHour, perHourOf(excess));
    episode.count = episode.seen;
    episode.late = state.late;
    if (excess.factor > episode.worst.factor) {
      episode.worst = excess;
      episode.ratio = failureRatio(within);
    }
  }
  if (isNews(episode, scoreOf(episode.worst.factor), nowMs))
    out.alert(stuffingAlert(state, episode, minute, 'open', nowMs));
}

function newEpisode(
  state: StuffingState,
  of: EndpointName,
  excess: StuffingExcess,
  within: Counts,
  lastSeenAt: number,
  nowMs: number,
): StuffingEpisode {
  const failures = Math.max(within.failures, Math.round(excess.count / CALL_WEIGHT));
  return {
    ...beginGrowing(excess.startsAt, nowMs, lastSeenAt, failures),
    id: alertId('credential-stuffing', `endpoint:${endpointId(of)}`, '', excess.startsAt),
    seen: failures,
    late: state.late,
    worst: excess,
    ratio: failureRatio(within),
    usualRatio: state.usual.hours > 0 ? failureRatio(state.usual) : null,
    mostPerHour: perHourOf(excess),
    resumedAt: 0,
  };
}

/** Whether an excess at `atMs` belongs to another incident than the open episode, which paused and was far smaller. */
function isSuccessor(episode: StuffingEpisode, excess: StuffingExcess, atMs: number): boolean {
  const resumedAt = atMs >= episode.lastSeenAt + PAUSE_MS ? atMs : episode.resumedAt;
  return (
    MEASURES[excess.measure].spanMs <= HOUR_MS &&
    resumedAt > 0 &&
    atMs < resumedAt + HOUR_MS &&
    perHourOf(excess) >= SUCCESSOR_TIMES * episode.mostPerHour
  );
}

/** Extends the episode, which is not over at `atMs`. */
export function goOn(episode: StuffingEpisode, atMs: number): void {
  if (atMs >= episode.lastSeenAt + PAUSE_MS) episode.resumedAt = atMs;
  episode.lastSeenAt = Math.max(episode.lastSeenAt, atMs);
}

/** Event time from which the episode is over. */
export function episodeEndsAt({ lastSeenAt }: StuffingEpisode): number {
  return lastSeenAt + QUIET_MS;
}

/** Ends the open episode; returns the last revision of its alert. */
export function endEpisode(state: StuffingState, of: EndpointName, nowMs: number): Alert {
  const alert = stuffingAlert(state, state.episode!, of, 'closed', nowMs);
  state.episode = null;
  state.pool = state.dayPool = null;
  state.windows.shadow = [];
  return alert;
}
