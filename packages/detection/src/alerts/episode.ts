import { createHash } from 'node:crypto';
import { severities, severityOf, type AlertActor, type AlertType } from '@tripline/model';
import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';
import { decodeAlertActor, encodeAlertActor } from './alert-actor.ts';
import { QUIET_LEAST_MS, QUIET_MOST_MS, REVISION_LEAST_MS, REVISION_SHARE } from '../baseline/limits.ts';

/**
 * The life of one alert, the same for every detector. It opens with the first window that exceeds what is normal, grows in place while
 * windows exceed, is published again when there is news (`isNews`), and closes once it has been quiet for long enough, or early when
 * too many episodes are open. Times are event time.
 */
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

/** Whether there is something to publish at `nowMs`: a higher severity, or growth after a pause. */
export function isNews(episode: Growing, score: number, nowMs: number): boolean {
  if (rankOf(score) > episode.publishedRank) return true;
  const pauseMs = Math.max(REVISION_LEAST_MS, REVISION_SHARE * (nowMs - episode.raisedAt));
  return nowMs - episode.publishedAt >= pauseMs && episode.count > episode.publishedCount;
}

/** Counts the next revision, which is published at `nowMs`. */
export function markPublished(episode: Growing, score: number, nowMs: number): void {
  episode.revision++;
  episode.publishedAt = nowMs;
  episode.publishedCount = episode.count;
  episode.publishedRank = rankOf(score);
}

/** The growth of an episode that begins at `raisedAt`; nothing is published yet. */
export function beginGrowing(
  startedAt: number,
  raisedAt: number,
  lastSeenAt: number,
  count: number,
): Growing {
  return {
    startedAt,
    raisedAt,
    lastSeenAt,
    count,
    revision: 0,
    publishedAt: 0,
    publishedCount: 0,
    publishedRank: -1,
  };
}

export function encodeGrowing(episode: Growing, writer: ByteWriter): void {
  writer.uint(episode.startedAt);
  writer.int(episode.raisedAt - episode.startedAt);
  writer.int(episode.lastSeenAt - episode.startedAt);
  writer.uint(episode.count);
  writer.uint(episode.revision);
  writer.number(episode.publishedAt);
  writer.uint(episode.publishedCount);
  writer.int(episode.publishedRank);
}

export function decodeGrowing(reader: ByteReader): Growing {
  const startedAt = reader.uint();
  return {
    startedAt,
    raisedAt: startedAt + reader.int(),
    lastSeenAt: startedAt + reader.int(),
    count: reader.uint(),
    revision: reader.uint(),
    publishedAt: reader.number(),
    publishedCount: reader.uint(),
    publishedRank: reader.int(),
  };
}

/** An episode of one actor: the alert's id and whom it is about do not change while it grows. */
export interface ActorEpisode extends Growing {
  readonly id: string;
  readonly actor: AlertActor;
}

export function encodeActorEpisode(episode: ActorEpisode, writer: ByteWriter): void {
  writer.text(episode.id);
  encodeAlertActor(episode.actor, writer);
  encodeGrowing(episode, writer);
}

export function decodeActorEpisode(reader: ByteReader): ActorEpisode {
  return { id: reader.text(), actor: decodeAlertActor(reader), ...decodeGrowing(reader) };
}

function rankOf(score: number): number {
  return severities.indexOf(severityOf(score));
}
