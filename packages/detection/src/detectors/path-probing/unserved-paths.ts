import { actorKey, type ApiCall } from '@tripline/model';
import { alertActor } from '../../alerts/alert-actor.ts';
import { alertId, beginGrowing, closesAt, isNews, scoreOf } from '../../alerts/episode.ts';
import { newTally, tallyCall } from '../../alerts/tally.ts';
import { DAY_MS, LATENESS_MS, MINUTE_MS } from '../../baseline/limits.ts';
import { toleranceOf } from '../../baseline/sensitivity.ts';
import type { ActorProfileKind, DetectionOutput } from '../../detector.ts';
import { compileExceptions } from '../../exception.ts';
import { asActorSettings } from '../../settings.ts';
import { objectHash } from '../../sketches/seen.ts';
import {
  CRAWLER_PATHS_PER_PAGE,
  CRAWLER_PER_MINUTE,
  CRAWLER_SCORE,
  PAGES_MOST,
  PATHS_MOST,
  SHARE_LEAST,
  WINDOWS,
} from './limits.ts';
import { publishProbing } from './probing-alert.ts';
import { decodeProbing, encodeProbing, newProbing, newWindow, type ProbingState } from './probing-state.ts';

/**
 * Whether an actor tries path after path that nobody was served, as vulnerability scanners do. A path counts if Kong has no route for
 * it, or if the upstream answers 404, 403, 400 or 405 and it has no id in it (missing objects are another detector's). Paths that the
 * collector knows to be gone do not count: they were served lately, or everybody has lost the routes.
 */
export const unservedPaths: ActorProfileKind<ProbingState> = {
  id: 4,
  version: 2,
  create(settingsOf) {
    const settings = asActorSettings(settingsOf('path-probing'));
    const isExcepted = compileExceptions(settings);
    const tolerance = toleranceOf(settings.sensitivity);
    const highs = WINDOWS.map(({ high }) => tolerance.count(high));
    return {
      create: (call) => (isProbe(call) && !isExcepted(call) ? newProbing() : undefined),
      fold(state, call, _, out) {
        if (isExcepted(call)) close(state, call.startedAt, out);
        else fold(state, call, highs, out);
      },
      close,
      closesAt: ({ episode }) => (episode ? closesAt(episode) : undefined),
      encode: encodeProbing,
      decode: decodeProbing,
    };
  },
};

/** An operator can have routes and services left out of the lines: then only that Kong answers 404 itself tells its lack of one. */
function isProbe({ status, source, route, service, endpoint, pathGone }: ApiCall): boolean {
  if (pathGone === true) return false;
  if (source === 'upstream')
    return (status === 404 || status === 403 || status === 400 || status === 405) && !endpoint.includes('{');
  return (status === 404 || status === 400 || status === 405) && route === undefined && service === undefined;
}

/** `highs`: distinct paths that are allowed, by window. */
function fold(state: ProbingState, call: ApiCall, highs: readonly number[], out: DetectionOutput): void {
  const atMs = call.startedAt;
  const probe = isProbe(call);
  noteOther(state, call, probe);
  if (!probe) return;
  if (atMs < state.newestMs - LATENESS_MS) {
    state.late++;
    return;
  }
  close(state, atMs, out);
  state.newestMs = Math.max(state.newestMs, atMs);
  countPath(state, call);
  notePace(state, call);
  // An address or two that follow a dead link need no evidence.
  if (state.windows.some(({ paths }, at) => paths.length > highs[at]! / 5) || state.episode)
    tallyCall((state.tally ??= newTally()), call, false);
  const worst = worstOf(state, highs);
  if (worst >= 0) exceeded(state, call, worst, highs[worst]!, out);
}

/** Counts a path that nobody was served in the hour and in the day. */
function countPath(state: ProbingState, call: ApiCall): void {
  const hash = objectHash(call.path, 0);
  for (const [at, { lengthMs }] of WINDOWS.entries()) {
    const index = Math.floor(call.startedAt / lengthMs);
    if (index > state.windows[at]!.index) begin(state, at, index);
    const window = state.windows[at]!;
    window.failures++;
    const { paths } = window;
    if (paths.length < PATHS_MOST && !paths.includes(hash)) paths.push(hash);
  }
}

/** Raises an alert because of the window `worst`, or lets the open one grow. */
function exceeded(
  state: ProbingState,
  call: ApiCall,
  worst: number,
  high: number,
  out: DetectionOutput,
): void {
  const { paths, failures, index } = state.windows[worst]!;
  const { episode } = state;
  if (!episode) {
    const startedAt = index * WINDOWS[worst]!.lengthMs;
    state.episode = {
      id: alertId('path-probing', actorKey(call), '', startedAt),
      actor: alertActor(call),
      ...beginGrowing(startedAt, state.newestMs, call.startedAt, failures),
      paths: paths.length,
      high,
      window: worst,
      score: 0,
    };
    state.episode.score = scoreNow(state);
    out.alert(publishProbing(state, 'open'));
    return;
  }
  episode.lastSeenAt = Math.max(episode.lastSeenAt, call.startedAt);
  episode.count++;
  if (paths.length / high > episode.paths / episode.high)
    Object.assign(episode, { paths: paths.length, high, window: worst });
  episode.score = scoreNow(state);
  if (isNews(episode, episode.score, state.newestMs)) out.alert(publishProbing(state, 'open'));
}

/** Counts a call of any kind, and notes whether a crawler would make it. */
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

function close(state: ProbingState, nowMs: number, out: DetectionOutput): void {
  if (!state.episode || nowMs < closesAt(state.episode)) return;
  out.alert(publishProbing(state, 'closed'));
  state.episode = null;
  state.tally = null;
  // What the windows counted is in that alert; else their rest would raise the next one with its first call.
  for (const window of state.windows) window.paths = [];
}
