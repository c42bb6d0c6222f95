import { createHash } from 'node:crypto';
import { severities, severityOf, type AlertType } from '@tripline/model';
import { QUIET_LEAST_MS, QUIET_MOST_MS, REVISION_LEAST_MS, REVISION_SHARE } from '../baseline/limits.ts';

/** What every detector's episode has: one run of exceeded windows, one alert that grows in place. Times are event time. */
export interface Growing {
  startedAt: number;
  raisedAt: number;
  /** Newest call in a window that exceeded. */
  lastSeenAt: number;
  /** Calls up to the latest that exceeded. */
  count: number;
  revision: number;
  publishedAt: number;
  publishedCount: number;
  publishedRank: number;
}

/** Deterministic, so that a replay raises the same alert: detector, actor, scope and first window. */
export function alertId(type: AlertType, actor: string, scope: string, startsAt: number): string {
  return createHash('sha256').update(`${type}|${actor}|${scope}|${startsAt}`).digest('hex').slice(0, 32);
}

/** Quiet time grows with the episode: one minute in ten is one episode, and so are the days of a migration. */
export function closesAt(episode: Growing): number {
  const durationMs = episode.lastSeenAt - episode.startedAt;
  return episode.lastSeenAt + Math.min(QUIET_MOST_MS, Math.max(QUIET_LEAST_MS, 2 * durationMs));
}

/** 50 at the threshold, 100 at ten times the threshold. */
export function scoreOf(factor: number): number {
  return Math.min(100, Math.round(50 + 50 * Math.log10(factor)));
}

/** Is there something to publish at `nowMs`: a higher severity, or growth after a pause? */
export function isNews(episode: Growing, score: number, nowMs: number): boolean {
  if (rankOf(score) > episode.publishedRank) return true;
  const pauseMs = Math.max(REVISION_LEAST_MS, REVISION_SHARE * (nowMs - episode.raisedAt));
  return nowMs - episode.publishedAt >= pauseMs && episode.count > episode.publishedCount;
}

/** Takes note that the next revision is published at `nowMs`. */
export function markPublished(episode: Growing, score: number, nowMs: number): void {
  episode.revision++;
  episode.publishedAt = nowMs;
  episode.publishedCount = episode.count;
  episode.publishedRank = rankOf(score);
}

/** The first numbers of an episode's encoded state; a detector's own may follow. */
export type EncodedGrowing = [
  startedAt: number,
  raisedAt: number,
  lastSeenAt: number,
  count: number,
  revision: number,
  publishedAt: number,
  publishedCount: number,
  publishedRank: number,
];

export function encodeGrowing(episode: Growing): EncodedGrowing {
  const { startedAt, raisedAt, lastSeenAt, count } = episode;
  const { revision, publishedAt, publishedCount, publishedRank } = episode;
  return [startedAt, raisedAt, lastSeenAt, count, revision, publishedAt, publishedCount, publishedRank];
}

/** Reads what `encodeGrowing` wrote, whatever follows it. */
export function decodeGrowing(numbers: readonly [...EncodedGrowing, ...unknown[]]): Growing {
  const [startedAt, raisedAt, lastSeenAt, count, revision, publishedAt, publishedCount, publishedRank] =
    numbers;
  return { startedAt, raisedAt, lastSeenAt, count, revision, publishedAt, publishedCount, publishedRank };
}

function rankOf(score: number): number {
  return severities.indexOf(severityOf(score));
}
