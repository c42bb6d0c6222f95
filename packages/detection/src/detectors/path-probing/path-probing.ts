import { actorKey, severityOf, type Alert, type AlertActor, type ApiCall } from '@tripline/model';
import { adapt, type ActorDetector, type ActorDetectorSettings } from '../../legacy.ts';
import { asActorSettings } from '../../settings.ts';
import type { ActorProfileKind } from '../../detector.ts';
import { alertActor } from '../../alerts/alert-actor.ts';
import { DAY_MS, HOUR_MS, LATENESS_MS, MINUTE_MS } from '../../baseline/limits.ts';
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
} from '../../alerts/episode.ts';
import { compileExceptions } from '../../exception.ts';
import { decodeHashes, encodeHashes, objectHash } from '../../sketches/seen.ts';
import { toleranceOf } from '../../baseline/sensitivity.ts';
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
} from '../../alerts/tally.ts';

/** Paths counted one by one; more say nothing more. */
const PATHS_MOST = 200;
/** Distinct paths that nobody was served, within an hour: a renamed API of a client's is 1 or 10 of them, a scanner's list 1,000. */
const PATHS_HIGH = 25;
/** And within a day, for who takes his time. */
const PATHS_HIGH_DAY = 75;
/**
 * Share of the actor's calls in the window, from its first such path on, that failed so, at the paths that are allowed; at n
 * times as many paths an n-th of it. Crawlers and offices behind one address follow some dead links, too; scanners meet
 * little else, and one that does other things besides still collects many paths.
 */
const SHARE_LEAST = 0.6;
/**
 * A crawler after a relaunch asks for old addresses by the hundred, and there is nothing to do about it: its alert is low. It only
 * reads, meets a page that is there for at most so many that are not, asks for no hidden files, as nobody links to them, …
 */
const CRAWLER_PATHS_PER_PAGE = 10;
/** Pages counted one by one: more are not needed. */
const PAGES_MOST = PATHS_MOST / CRAWLER_PATHS_PER_PAGE;
/** … and for at most so many missing paths within a minute. */
const CRAWLER_PER_MINUTE = 30;
const CRAWLER_SCORE = 30;

const WINDOWS = [
  { lengthMs: HOUR_MS, high: PATHS_HIGH, unit: 'unknown paths/h', word: 'an hour' },
  { lengthMs: DAY_MS, high: PATHS_HIGH_DAY, unit: 'unknown paths/day', word: 'a day' },
] as const;

/** A tumbling window of an actor, from its first call on for a path that nobody was served. */
interface Window {
  /** Windows since the epoch. */
  index: number;
  calls: number;
  failures: number;
  /** Hashes of the distinct paths that nobody was served. */
  paths: number[];
}

interface Episode extends Growing {
  id: string;
  actor: AlertActor;
  paths: number;
  /** So many were allowed when it began. */
  high: number;
  /** Position in WINDOWS. */
  window: number;
  score: number;
}

export interface ProbingState {
  /** Event time of the newest such call. */
  newestMs: number;
  late: number;
  /** As WINDOWS. */
  windows: [Window, Window];
  /** Hashes of distinct pages that were there today. */
  pages: number[];
  /** Since the epoch, and the missing paths in it. */
  minute: number;
  perMinute: number;
  /** It did today what crawlers do not do. */
  isNoCrawler: boolean;
  tally: Tally | null;
  episode: Episode | null;
}

const newWindow = (index = 0): Window => ({ index, calls: 0, failures: 0, paths: [] });

function newState(): ProbingState {
  return {
    newestMs: 0,
    late: 0,
    windows: [newWindow(), newWindow()],
    pages: [],
    minute: 0,
    perMinute: 0,
    isNoCrawler: false,
    tally: null,
    episode: null,
  };
}

export const unservedPaths: ActorProfileKind<ProbingState> = {
  id: 4,
  version: 1,
  create: (settingsOf) => adapt(createPathProbingDetector(asActorSettings(settingsOf('path-probing')))),
};

/**
 * Does an actor try path after path that nobody was served, as vulnerability scanners do? A path counts if Kong has no route for
 * it, or if the upstream answers 404, 403, 400 or 405 and it has no id in it (missing objects are another detector's). What
 * the collector knows to be gone does not count: it was served lately, or everybody has lost the routes.
 */
export function createPathProbingDetector(settings: ActorDetectorSettings): ActorDetector<ProbingState> {
  const isExcepted = compileExceptions(settings);
  const tolerance = toleranceOf(settings.sensitivity);
  const highs = WINDOWS.map(({ high }) => tolerance.count(high));
  return {
    create: (call) => (isProbe(call) && !isExcepted(call) ? newState() : undefined),
    fold: (state, call) => (isExcepted(call) ? close(state, call.startedAt) : fold(state, call, highs)),
    close,
    closesAt: ({ episode }) => (episode ? closesAt(episode) : undefined),
    encode,
    decode: (encoded) => decode(encoded as EncodedProbing),
  };
}

/** An operator can have routes and services left out of the lines: then only that Kong answers 404 itself tells its lack of one. */
function isProbe({ status, source, route, service, endpoint, pathGone }: ApiCall): boolean {
  if (pathGone === true) return false;
  if (source === 'upstream')
    return (status === 404 || status === 403 || status === 400 || status === 405) && !endpoint.includes('{');
  return (status === 404 || status === 400 || status === 405) && route === undefined && service === undefined;
}

/** `highs`: distinct paths that are allowed, by window. */
function fold(state: ProbingState, call: ApiCall, highs: readonly number[]): Alert[] {
  const atMs = call.startedAt;
  const { windows } = state;
  const probe = isProbe(call);
  noteOther(state, call, probe);
  if (!probe) return [];
  if (atMs < state.newestMs - LATENESS_MS) {
    state.late++;
    return [];
  }
  const alerts = close(state, atMs);
  state.newestMs = Math.max(state.newestMs, atMs);
  const hash = objectHash(call.path, 0);
  for (const [at, { lengthMs }] of WINDOWS.entries()) {
    const index = Math.floor(atMs / lengthMs);
    if (index > windows[at]!.index) begin(state, at, index);
    const window = windows[at]!;
    window.failures++;
    const { paths } = window;
    if (paths.length < PATHS_MOST && !paths.includes(hash)) paths.push(hash);
  }
  notePace(state, call);
  // An address or two that follow a dead link need no evidence.
  if (windows.some(({ paths }, at) => paths.length > highs[at]! / 5) || state.episode)
    tallyCall((state.tally ??= newTally()), call, false);
  const worst = worstOf(state, highs);
  if (worst < 0) return alerts;

  const { paths, failures, index } = windows[worst]!;
  const high = highs[worst]!;
  const { episode } = state;
  if (!episode) {
    const startedAt = index * WINDOWS[worst]!.lengthMs;
    state.episode = {
      id: alertId('path-probing', actorKey(call), '', startedAt),
      actor: alertActor(call),
      paths: paths.length,
      high,
      window: worst,
      score: scoreOf(paths.length / high),
      startedAt,
      raisedAt: state.newestMs,
      lastSeenAt: atMs,
      count: failures,
      revision: 0,
      publishedAt: 0,
      publishedCount: 0,
      publishedRank: 0,
    };
    state.episode.score = scoreNow(state);
    alerts.push(publish(state, 'open'));
    return alerts;
  }
  episode.lastSeenAt = Math.max(episode.lastSeenAt, atMs);
  episode.count++;
  if (paths.length / high > episode.paths / episode.high)
    Object.assign(episode, { paths: paths.length, high, window: worst });
  episode.score = scoreNow(state);
  if (isNews(episode, episode.score, state.newestMs)) alerts.push(publish(state, 'open'));
  return alerts;
}

/** What any call tells: how many there are, and whether a crawler makes them. */
function noteOther(state: ProbingState, call: ApiCall, probe: boolean): void {
  const { status, source, path, startedAt } = call;
  const { windows, pages } = state;
  for (const [at, { lengthMs }] of WINDOWS.entries())
    if (Math.floor(startedAt / lengthMs) <= windows[at]!.index) windows[at]!.calls++;
  if (probe || Math.floor(startedAt / DAY_MS) > windows[1].index) return;
  if (!isReading(call)) state.isNoCrawler = true;
  if (status >= 400 || source === 'kong' || pages.length >= PAGES_MOST) return;
  const hash = objectHash(path, 0);
  if (!pages.includes(hash)) pages.push(hash);
}

function begin(state: ProbingState, at: number, index: number): void {
  state.windows[at] = { ...newWindow(index), calls: 1 };
  if (WINDOWS[at]!.lengthMs === DAY_MS) {
    state.isNoCrawler = false;
    state.pages = [];
  }
  if (!state.episode && state.windows.every(({ paths }) => paths.length === 0)) state.tally = null;
}

function notePace(state: ProbingState, call: ApiCall): void {
  const minute = Math.floor(call.startedAt / MINUTE_MS);
  if (minute !== state.minute) state.perMinute = 0;
  state.minute = minute;
  state.perMinute++;
  if (state.perMinute > CRAWLER_PER_MINUTE || /\/\.(?!well-known)/.test(call.path) || !isReading(call))
    state.isNoCrawler = true;
}

const isReading = ({ method }: ApiCall): boolean =>
  method === 'GET' || method === 'HEAD' || method === 'OPTIONS';

/** The window that has the most times what is allowed; -1 if none has more than that. */
function worstOf({ windows }: ProbingState, highs: readonly number[]): number {
  let worst = -1;
  let most = 1;
  for (const [at, { paths, failures, calls }] of windows.entries()) {
    const factor = paths.length / highs[at]!;
    if (factor <= most || failures < (SHARE_LEAST / factor) * calls) continue;
    worst = at;
    most = factor;
  }
  return worst;
}

/** Of the open episode. */
function scoreNow({ episode, pages, isNoCrawler }: ProbingState): number {
  const { paths, high } = episode!;
  const score = scoreOf(paths / high);
  const isCrawler = !isNoCrawler && pages.length * CRAWLER_PATHS_PER_PAGE >= paths;
  return isCrawler ? Math.min(score, CRAWLER_SCORE) : score;
}

function close(state: ProbingState, nowMs: number): Alert[] {
  if (!state.episode || nowMs < closesAt(state.episode)) return [];
  const alert = publish(state, 'closed');
  state.episode = null;
  state.tally = null;
  // What the windows counted is in that alert; else their rest would raise the next one with its first call.
  for (const window of state.windows) window.paths = [];
  return [alert];
}

/** The next published state of the open episode. */
function publish(state: ProbingState, status: Alert['status']): Alert {
  const episode = state.episode!;
  const tally = state.tally!;
  const { paths, high, score, actor } = episode;
  const { unit, word } = WINDOWS[episode.window]!;
  const factor = paths / high;
  markPublished(episode, score, state.newestMs);
  const many = `${paths}${paths === PATHS_MOST ? ' or more' : ''}`;
  const isCrawler = score < Math.min(CRAWLER_SCORE + 1, scoreOf(factor));
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
    observed: { value: paths, unit },
    expected: { value: 0, low: 0, high, unit },
    summary:
      `${actor.name} asked for ${many} different paths that nobody was served within ${word}; up to ${high} are accepted.` +
      (isCrawler ? ' It reads pages at a moderate pace, as a crawler with old links does.' : ''),
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
  numbers: [...EncodedGrowing, paths: number, high?: number, window?: number, score?: number],
];
/** The numbers of the hour stand before those of the day, which states that were written before it do not have. */
export type EncodedProbing = [
  numbers: number[],
  paths: string | [hour: string, day: string, pages: string],
  tally?: EncodedTally | 0,
  episode?: EncodedEpisode,
];

function encode(state: ProbingState): EncodedProbing {
  const { newestMs, late, windows, pages, minute, perMinute, isNoCrawler, tally, episode } = state;
  const [hour, day] = windows;
  const encoded: EncodedProbing = [
    [
      ...[newestMs, late, hour.index, hour.calls, hour.failures],
      ...[day.index, day.calls, day.failures, minute, perMinute, isNoCrawler ? 1 : 0],
    ],
    [encodeHashes(hour.paths), encodeHashes(day.paths), encodeHashes(pages)],
  ];
  if (tally || episode) encoded.push(tally ? encodeTally(tally) : 0);
  if (episode) {
    const { paths, high, window, score } = episode;
    encoded.push([episode.id, episode.actor, [...encodeGrowing(episode), paths, high, window, score]]);
  }
  return encoded;
}

function decode([numbers, hashes, tally, episode]: EncodedProbing): ProbingState {
  const [newestMs = 0, late = 0, hour = 0, calls = 0, failures = 0] = numbers;
  const [day = 0, dayCalls = 0, dayFailures = 0, minute = 0, perMinute = 0, isNoCrawler = 0] =
    numbers.slice(5);
  const [hourPaths, dayPaths, pages] = typeof hashes === 'string' ? [hashes, '', ''] : hashes;
  return {
    newestMs,
    late,
    windows: [
      { index: hour, calls, failures, paths: decodeHashes(hourPaths) },
      { index: day, calls: dayCalls, failures: dayFailures, paths: decodeHashes(dayPaths) },
    ],
    pages: decodeHashes(pages),
    minute,
    perMinute,
    isNoCrawler: isNoCrawler === 1,
    tally: tally ? decodeTally(tally) : null,
    episode: episode ? decodeEpisode(episode) : null,
  };
}

function decodeEpisode([id, actor, numbers]: EncodedEpisode): Episode {
  // Episodes that were written without it are from when there was one for all.
  const [paths, high = PATHS_HIGH, window = 0, score = scoreOf(paths / high)] = numbers.slice(8) as [
    number,
    ...(number | undefined)[],
  ];
  return { id, actor, ...decodeGrowing(numbers), paths, high, window, score };
}
