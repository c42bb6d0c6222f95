import { actorKey, severityOf, type Alert, type AlertActor, type ApiCall } from '@tripline/model';
import type { ActorDetector, ActorDetectorSettings } from '../actor-detector.ts';
import { alertActor } from '../alert-actor.ts';
import { HOUR_MS, LATENESS_MS } from '../constants.ts';
import {
  alertId,
  closesAt,
  decodeGrowing,
  encodeGrowing,
  isNews,
  markPublished,
  scoreOf,
  type EncodedGrowing,
  type Growing,
} from '../episode.ts';
import { compileExceptions } from '../exception.ts';
import { decodeHashes, encodeHashes, objectHash } from '../objects/seen.ts';
import { toleranceOf } from '../sensitivity.ts';
import {
  decodeTally,
  dominant,
  encodeTally,
  newTally,
  statusClasses,
  tallyCall,
  topEndpoints,
  topSources,
  type EncodedTally,
  type Tally,
} from '../tally.ts';

/** Distinct paths within an hour that nobody serves: a renamed API of a client's is 1 or 10 of them, a scanner's list 1,000. */
const PATHS_HIGH = 25;
/**
 * Share of the actor's calls in the hour, from its first such path on, that failed so. Crawlers and offices behind one
 * address follow some dead links, too; scanners meet little else.
 */
const SHARE_LEAST = 0.6;
/** Paths counted one by one; more say nothing more. */
const PATHS_MOST = 200;

interface Episode extends Growing {
  id: string;
  actor: AlertActor;
  paths: number;
  /** So many were allowed when it began. */
  high: number;
}

/** One hour of an actor, from its first call on for a path that is not there. */
export interface ProbingState {
  /** Event time of the newest such call. */
  newestMs: number;
  late: number;
  /** Hours since the epoch. */
  hour: number;
  calls: number;
  failures: number;
  /** Hashes of the distinct paths. */
  paths: number[];
  tally: Tally | null;
  episode: Episode | null;
}

/**
 * Does an actor try path after path that nobody serves, as vulnerability scanners do? A path counts if Kong has no route for
 * it, or if the upstream answers 404, 403, 400 or 405 and it has no id in it (missing objects are another detector's).
 */
export function createPathProbingDetector(settings: ActorDetectorSettings): ActorDetector<ProbingState> {
  const isExcepted = compileExceptions(settings);
  const high = toleranceOf(settings.sensitivity).count(PATHS_HIGH);
  return {
    name: 'pathProbing',
    key: 'p',
    create: (call) =>
      isProbe(call) && !isExcepted(call)
        ? { newestMs: 0, late: 0, hour: 0, calls: 0, failures: 0, paths: [], tally: null, episode: null }
        : undefined,
    fold: (state, call) => (isExcepted(call) ? close(state, call.startedAt) : fold(state, call, high)),
    close,
    closesAt: ({ episode }) => (episode ? closesAt(episode) : undefined),
    encode,
    decode: (encoded) => decode(encoded as EncodedProbing),
  };
}

function isProbe({ status, route, source, endpoint }: ApiCall): boolean {
  if (status !== 404 && status !== 403 && status !== 400 && status !== 405) return false;
  return route === undefined || (source === 'upstream' && !endpoint.includes('{'));
}

/** `high`: distinct paths within an hour that are allowed. */
function fold(state: ProbingState, call: ApiCall, high: number): Alert[] {
  const atMs = call.startedAt;
  const hour = Math.floor(atMs / HOUR_MS);
  const probe = isProbe(call);
  if (hour <= state.hour) state.calls++;
  if (!probe) return [];
  if (atMs < state.newestMs - LATENESS_MS) {
    state.late++;
    return [];
  }
  const alerts = close(state, atMs);
  state.newestMs = Math.max(state.newestMs, atMs);
  if (hour > state.hour) {
    state.hour = hour;
    state.calls = 1;
    state.failures = 0;
    state.paths = [];
    if (!state.episode) state.tally = null;
  }
  state.failures++;
  const hash = objectHash(call.path, 0);
  const { paths } = state;
  if (paths.length < PATHS_MOST && !paths.includes(hash)) paths.push(hash);
  // An address or two that follow a dead link need no evidence.
  if (paths.length > high / 5 || state.episode) tallyCall((state.tally ??= newTally()), call, false);
  if (paths.length <= high || state.failures < SHARE_LEAST * state.calls) return alerts;

  const { episode } = state;
  if (!episode) {
    const startedAt = state.hour * HOUR_MS;
    state.episode = {
      id: alertId('path-probing', actorKey(call), '', startedAt),
      actor: alertActor(call),
      paths: paths.length,
      high,
      startedAt,
      raisedAt: state.newestMs,
      lastSeenAt: atMs,
      count: state.failures,
      revision: 0,
      publishedAt: 0,
      publishedCount: 0,
      publishedRank: 0,
    };
    alerts.push(publish(state, 'open'));
    return alerts;
  }
  episode.lastSeenAt = Math.max(episode.lastSeenAt, atMs);
  episode.count++;
  episode.paths = Math.max(episode.paths, paths.length);
  if (isNews(episode, scoreOf(episode.paths / episode.high), state.newestMs))
    alerts.push(publish(state, 'open'));
  return alerts;
}

function close(state: ProbingState, nowMs: number): Alert[] {
  if (!state.episode || nowMs < closesAt(state.episode)) return [];
  const alert = publish(state, 'closed');
  state.episode = null;
  state.tally = null;
  // What the hour counted was told; else its rest would raise the next alert with its first call.
  state.paths = [];
  return [alert];
}

/** The next published state of the open episode. */
function publish(state: ProbingState, status: Alert['status']): Alert {
  const episode = state.episode!;
  const tally = state.tally!;
  const { paths, high, actor } = episode;
  const factor = paths / high;
  const score = scoreOf(factor);
  markPublished(episode, score, state.newestMs);
  const many = `${paths}${paths === PATHS_MOST ? ' or more' : ''}`;
  return {
    id: episode.id,
    revision: episode.revision,
    type: 'path-probing',
    severity: severityOf(score),
    score,
    actor,
    service: dominant(tally, tally.services) || null,
    route: dominant(tally, tally.routes) || null,
    endpoint: dominant(tally, tally.endpoints),
    raisedAt: episode.raisedAt,
    startedAt: episode.startedAt,
    lastSeenAt: episode.lastSeenAt,
    count: episode.count,
    status,
    observed: { value: paths, unit: 'unknown paths/h' },
    expected: { value: 0, low: 0, high, unit: 'unknown paths/h' },
    summary: `${actor.name} asked for ${many} different paths that nobody serves within an hour; up to ${high} are accepted.`,
    sources: topSources(tally),
    evidence: {
      // Nothing is learnt: no actor asks for so many such paths by habit.
      learning: 'fixed',
      factor: Math.round(factor * 100) / 100,
      statuses: statusClasses(tally),
      endpoints: topEndpoints(tally),
      examinedCalls: tally.calls,
      lateCalls: state.late,
    },
    sampleCallIds: [...tally.sampleCallIds],
    references: ['OWASP API9:2023', 'MITRE ATT&CK T1595.003'],
  };
}

type EncodedEpisode = [
  id: string,
  actor: AlertActor,
  numbers: [...EncodedGrowing, paths: number, high?: number],
];
export type EncodedProbing = [
  numbers: number[],
  paths: string,
  tally?: EncodedTally | 0,
  episode?: EncodedEpisode,
];

function encode(state: ProbingState): EncodedProbing {
  const { newestMs, late, hour, calls, failures, tally, episode } = state;
  const encoded: EncodedProbing = [[newestMs, late, hour, calls, failures], encodeHashes(state.paths)];
  if (tally) encoded.push(encodeTally(tally));
  if (episode)
    encoded.push([episode.id, episode.actor, [...encodeGrowing(episode), episode.paths, episode.high]]);
  return encoded;
}

function decode([numbers, paths, tally, episode]: EncodedProbing): ProbingState {
  const [newestMs, late, hour, calls, failures] = numbers as [number, number, number, number, number];
  return {
    newestMs,
    late,
    hour,
    calls,
    failures,
    paths: decodeHashes(paths),
    tally: tally ? decodeTally(tally) : null,
    episode: episode ? decodeEpisode(episode) : null,
  };
}

function decodeEpisode([id, actor, numbers]: EncodedEpisode): Episode {
  // Episodes that were written without it are from when there was one for all.
  return { id, actor, ...decodeGrowing(numbers), paths: numbers[8], high: numbers[9] ?? PATHS_HIGH };
}
