import { actorKey, severities, severityOf, type Alert, type ApiCall } from '@tripline/model';
import { alertActor } from '../../alerts/alert-actor.ts';
import { alertId, beginGrowing } from '../../alerts/episode.ts';
import { newTally, tallyCall } from '../../alerts/tally.ts';
import { LATENESS_MS } from '../../baseline/limits.ts';
import { toleranceOf, type Tolerance } from '../../baseline/sensitivity.ts';
import type { EndpointProfileKind } from '../../detector.ts';
import { compileExceptions } from '../../exception.ts';
import { asActorSettings } from '../../settings.ts';
import { publishParameters } from './abnormal-parameter-alert.ts';
import {
  decodeAbnormalParameter,
  decodeParameterEpisodes,
  encodeAbnormalParameter,
  encodeParameterEpisodes,
  newAbnormalParameterState,
  newParameterEpisodes,
  type AbnormalParameterState,
  type Episode,
  type ParameterEpisodes,
} from './abnormal-parameter-state.ts';
import {
  ALERT_DECADES,
  HEADER_PREFIX,
  judgeParameters,
  learnParameters,
  scoreOf,
  seeParameters,
  type ParameterFinding,
  type SeenParameters,
} from './parameters.ts';
import { hashOf } from './value.ts';

const MINUTE_MS = 60_000;
/** Successful calls of an endpoint before any of its calls is judged, at first only by what looks like an attack. */
const LEARNING_CALLS = 30;
/**
 * What is merely unusual is judged once so many calls of so many actors over so long are known: a client that comes on the
 * second day has ways of its own, and the night does not ask as the day does.
 */
const MATURE_CALLS = 200;
const MATURE_ACTORS = 5;
const MATURE_MS = 24 * 60 * MINUTE_MS;
/**
 * A new value or name that so many actors bring within an hour is a rollout: learnt, and no alert. Until then what is merely new
 * waits ten minutes for the others; what has anything else unusual about it does not wait.
 */
const ROLLOUT_ACTORS = 4;
const ROLLOUT_MS = 60 * MINUTE_MS;
const HOLD_MS = 10 * MINUTE_MS;
/** What is merely new and still comes after so long is how that client works. It was told of once. */
const ADOPT_MS = 24 * 60 * MINUTE_MS;
/** Of calls without anything unusual every fourth is learnt once so many are: more would tell little, and learning costs. */
const WELL_KNOWN_CALLS = 1_000;
const LEARN_EVERY = 4;
const HELD_MOST = 32;
const NEWS_KEPT = 64;
const EPISODES_MOST = 256;
/** So many addresses are told of one by one per endpoint; more of them at the same time are one alert about the endpoint. */
const ADDRESSES_MOST = 5;
const QUIET_MS = 60 * MINUTE_MS;
const REVISION_MS = MINUTE_MS;
const REASONS_KEPT = 10;
/** Surprises below this are no part of the reason for an alert. */
const LEAST_DECADES = 0.5;

export const parameters: EndpointProfileKind<AbnormalParameterState, ParameterEpisodes> = {
  create(settingsOf) {
    const settings = asActorSettings(settingsOf('abnormal-parameter'));
    const limits = parameterLimitsAt(toleranceOf(settings.sensitivity));
    const isExcepted = compileExceptions(settings);
    const putOut = (alerts: Alert[], out: { alert(alert: Alert): void }): void => {
      for (const alert of alerts) out.alert(alert);
    };
    return {
      keyOf: (call) => (isExcepted(call) ? undefined : abnormalParameterStateKey(call)),
      create: newAbnormalParameterState,
      createEpisodes: newParameterEpisodes,
      fold: (state, episodes, call, out) => putOut(foldAbnormalParameter(state, episodes, call, limits), out),
      release: (state, episodes, nowMs, out) =>
        putOut(releaseAbnormalParameter(state, episodes, nowMs, limits), out),
      releasesAt: abnormalParameterReleasesAt,
      close: (episodes, nowMs, out) => putOut(closeParameterEpisodes(episodes, nowMs), out),
      closesAt: parameterEpisodesCloseAt,
      encode: encodeAbnormalParameter,
      decode: decodeAbnormalParameter,
      encodeEpisodes: encodeParameterEpisodes,
      decodeEpisodes: decodeParameterEpisodes,
    };
  },
};

/** How much it takes, at the sensitivity that is set: of surprise, and of calls learnt before. */
export interface ParameterLimits {
  decades: number;
  learningCalls: number;
  matureCalls: number;
}

export function parameterLimitsAt(tolerance: Tolerance): ParameterLimits {
  return {
    decades: tolerance.decades(ALERT_DECADES),
    learningCalls: tolerance.count(LEARNING_CALLS),
    matureCalls: tolerance.count(MATURE_CALLS),
  };
}

/** What editors and administrators leave beside a file: it is asked for by who looks for forgotten copies. */
const leftover = /(\.(bak|backup|old|orig|save|swp|tmp|copy)|~)$/i;

/** Key of the state: one per endpoint of a service. A forgotten copy belongs to what it would be a copy of. */
export function abnormalParameterStateKey(call: ApiCall): string {
  return `q:${call.service ?? ''}|${call.endpoint.replace(leftover, '')}`;
}

/**
 * Folds one call of the state's endpoint in: judges its parameters, and learns them if it succeeded, nothing is
 * unusual, and its actor is not under alert. Returns the alert revisions to publish, oldest first. By event time only; a call that
 * comes hours late says as much about its parameters as any, and counts as seen ten minutes ago.
 */
export function foldAbnormalParameter(
  state: AbnormalParameterState,
  episodes: ParameterEpisodes,
  call: ApiCall,
  limits: ParameterLimits,
): Alert[] {
  if (call.refused === true) return [];
  const succeeded = call.status < 400;
  // An endpoint that has never answered well is none: a scanner must not fill the store with its guesses.
  if (!succeeded && state.profile.calls === 0) return [];
  const alerts = releaseAbnormalParameter(state, episodes, call.startedAt, limits);
  state.newestMs = Math.max(state.newestMs, call.startedAt);
  episodes.newestMs = Math.max(episodes.newestMs, call.startedAt);
  const seenMs = Math.max(call.startedAt, episodes.newestMs - LATENESS_MS);
  const parameters = parametersOf(call);
  const isUnderAlert = isOpen(episodes.open.get(actorKey(call)), seenMs);
  if (state.profile.calls < limits.learningCalls) {
    if (succeeded && !isUnderAlert && !leftover.test(call.endpoint)) learn(state, call, parameters);
    return alerts;
  }
  const finding = leftoverFinding(call) ?? judgeParameters(state.profile, parameters);
  if (finding.decades < limits.decades || (!isMature(state, limits) && !looksLikeAttack(finding))) {
    const known = finding.score < 0.25 && state.profile.calls >= WELL_KNOWN_CALLS;
    if (known) state.unlearnt = (state.unlearnt + 1) % LEARN_EVERY;
    if (succeeded && !isUnderAlert && (!known || state.unlearnt === 0)) learn(state, call, parameters);
    return alerts;
  }
  const news = merelyNew(finding);
  if (news.length > 0 && isUsualByNow(state, news, call)) {
    const same = state.held.filter((one) => one.news.every((key) => news.includes(key)));
    state.held = state.held.filter((one) => !same.includes(one));
    for (const one of [...same.map((held) => held.call), call]) learn(state, one, parametersOf(one));
    return alerts;
  }
  if (news.length === 0 || isUnderAlert) {
    alerts.push(...raise(state, episodes, call, finding, seenMs, seenMs, limits));
    return alerts;
  }
  state.held.push({ dueMs: seenMs + HOLD_MS, news, call });
  // Too many at once: the oldest has waited long enough.
  if (state.held.length > HELD_MOST) alerts.push(...release(state, episodes, seenMs, limits));
  return alerts;
}

/**
 * Raises what has waited for others in vain until event time `nowMs`. What is returned does not depend on how late it is called, as
 * long as that is before episodes are closed.
 */
export function releaseAbnormalParameter(
  state: AbnormalParameterState,
  episodes: ParameterEpisodes,
  nowMs: number,
  limits: ParameterLimits,
): Alert[] {
  const alerts: Alert[] = [];
  while (state.held.length > 0 && state.held[0]!.dueMs <= nowMs)
    alerts.push(...release(state, episodes, state.held[0]!.dueMs, limits));
  return alerts;
}

/** Event time from which `releaseAbnormalParameter` has something to do; undefined if nothing waits. */
export function abnormalParameterReleasesAt(state: AbnormalParameterState): number | undefined {
  return state.held[0]?.dueMs;
}

/** Ends the episodes that are over at event time `nowMs`. What is returned does not depend on how late it is called. */
export function closeParameterEpisodes(episodes: ParameterEpisodes, nowMs: number): Alert[] {
  const alerts: Alert[] = [];
  for (const [key, episode] of episodes.open) {
    if (isOpen(episode, nowMs)) continue;
    alerts.push(publishParameters(episode, 'closed', episode.quietFromMs + QUIET_MS));
    episodes.open.delete(key);
  }
  return alerts;
}

/** Event time from which `closeParameterEpisodes` has something to do; undefined if no episode is open. */
export function parameterEpisodesCloseAt(episodes: ParameterEpisodes): number | undefined {
  let atMs: number | undefined;
  for (const { quietFromMs } of episodes.open.values()) {
    if (atMs === undefined || quietFromMs + QUIET_MS < atMs) atMs = quietFromMs + QUIET_MS;
  }
  return atMs;
}

function isOpen(episode: Episode | undefined, atMs: number): boolean {
  return episode !== undefined && atMs < episode.quietFromMs + QUIET_MS;
}

function leftoverFinding(call: ApiCall): ParameterFinding | undefined {
  const suffix = leftover.exec(call.endpoint)?.[0];
  if (suffix === undefined) return undefined;
  const reason = `the path ends in "${suffix}", as a forgotten copy of a file does`;
  const surprise = { decades: 2.5, reason, news: undefined, supports: true, weakness: 'CWE-530' } as const;
  const { decades } = surprise;
  return { score: 0.58, decades, alert: true, reasons: [reason], surprises: [surprise] };
}

function learn(state: AbnormalParameterState, call: ApiCall, parameters: SeenParameters): void {
  learnParameters(state.profile, parameters);
  if (state.sinceMs === 0) state.sinceMs = call.startedAt;
  if (state.actors.length >= MATURE_ACTORS) return;
  const actor = hashOf(actorKey(call));
  if (!state.actors.includes(actor)) state.actors.push(actor);
}

function isMature(
  { profile, actors, sinceMs, newestMs }: AbnormalParameterState,
  { matureCalls }: ParameterLimits,
): boolean {
  return profile.calls >= matureCalls && actors.length >= MATURE_ACTORS && newestMs - sinceMs >= MATURE_MS;
}

function looksLikeAttack({ surprises }: ParameterFinding): boolean {
  return surprises.some(({ supports }) => supports === true);
}

/**
 * Query parameters by name, the path's segments that the endpoint's template leaves open as `{0}`, `{1}`, …, and the headers that
 * the operator chose to keep.
 */
function parametersOf(call: ApiCall): SeenParameters {
  const { headers } = call;
  if (headers === undefined && !call.endpoint.includes('{')) return seeParameters(call.query ?? {});
  const parameters: Record<string, unknown> = { ...call.query };
  for (const name in headers) parameters[`${HEADER_PREFIX}${name}`] = headers[name];
  const template = call.endpoint.slice(call.endpoint.indexOf(' ') + 1).split('/');
  const path = call.path.split('/');
  let at = 0;
  for (const [index, segment] of template.entries()) {
    if (segment.startsWith('{') && segment.endsWith('}')) parameters[`{${at++}}`] = path[index] ?? '';
  }
  return seeParameters(parameters);
}

/** The news of a finding that consists of nothing else: new names and values without anything suspicious. */
function merelyNew(finding: ParameterFinding): string[] {
  const news: string[] = [];
  for (const { decades, news: key, supports, mild } of finding.surprises) {
    if (supports === true) return [];
    // A release that renames a parameter leaves the old one out.
    if (decades < LEAST_DECADES || mild === true) continue;
    if (key === undefined) return [];
    news.push(key);
  }
  return news;
}

/** Notes that the call's actor brings these news; have enough others, too, or has it gone on for long enough? */
function isUsualByNow(state: AbnormalParameterState, news: readonly string[], call: ApiCall): boolean {
  const actor = hashOf(actorKey(call));
  let all = true;
  for (const key of news) {
    let known = state.news.get(key);
    if (!known || call.startedAt - known.sinceMs > ROLLOUT_MS) {
      known = { firstMs: known?.firstMs ?? call.startedAt, sinceMs: call.startedAt, actors: [] };
      state.news.delete(key);
      state.news.set(key, known);
      if (state.news.size > NEWS_KEPT) {
        const [oldest] = state.news.keys();
        state.news.delete(oldest!);
      }
    }
    if (!known.actors.includes(actor) && known.actors.length < ROLLOUT_ACTORS) known.actors.push(actor);
    all &&= known.actors.length >= ROLLOUT_ACTORS || call.startedAt - known.firstMs >= ADOPT_MS;
  }
  return all;
}

/** The oldest held call: an alert, unless what is new about it has been learnt meanwhile. */
function release(
  state: AbnormalParameterState,
  episodes: ParameterEpisodes,
  atMs: number,
  limits: ParameterLimits,
): Alert[] {
  const { call, dueMs } = state.held.shift()!;
  const finding = judgeParameters(state.profile, parametersOf(call));
  if (finding.decades < limits.decades) return [];
  return raise(state, episodes, call, finding, dueMs - HOLD_MS, atMs, limits);
}

function endpointOf({ service = '', endpoint }: ApiCall): string {
  return `${service} ${endpoint}`;
}

/** Is the call's an address without an alert of its own, where enough others of its endpoint have one? */
function isOneOfMany(episodes: ParameterEpisodes, call: ApiCall, atMs: number): boolean {
  if (call.actorKind !== 'address' || isOpen(episodes.open.get(actorKey(call)), atMs)) return false;
  const endpoint = endpointOf(call);
  let addresses = 0;
  for (const episode of episodes.open.values())
    if (episode.actor.kind === 'address' && episode.endpoint === endpoint && isOpen(episode, atMs))
      addresses++;
  return addresses >= ADDRESSES_MOST;
}

function raise(
  state: AbnormalParameterState,
  episodes: ParameterEpisodes,
  call: ApiCall,
  finding: ParameterFinding,
  seenMs: number,
  atMs: number,
  limits: ParameterLimits,
): Alert[] {
  const alerts: Alert[] = [];
  const endpoint = endpointOf(call);
  const actor = isOneOfMany(episodes, call, seenMs)
    ? { kind: 'endpoint' as const, id: endpoint, name: endpoint }
    : alertActor(call);
  const key = actor.kind === 'endpoint' ? `endpoint:${endpoint}` : actorKey(call);
  let episode = episodes.open.get(key);
  if (episode && !isOpen(episode, seenMs)) {
    alerts.push(publishParameters(episode, 'closed', episode.quietFromMs + QUIET_MS));
    episodes.open.delete(key);
    episode = undefined;
  }
  if (!episode) {
    if (episodes.open.size >= EPISODES_MOST) {
      const [[oldest, its]] = [...episodes.open].sort((a, b) => a[1].quietFromMs - b[1].quietFromMs) as [
        [string, Episode],
      ];
      alerts.push(publishParameters(its, 'closed', atMs));
      episodes.open.delete(oldest);
    }
    episode = {
      id: alertId('abnormal-parameter', key, `${call.service ?? ''}|${call.endpoint}`, call.startedAt),
      actor,
      endpoint,
      ...beginGrowing(call.startedAt, atMs, call.startedAt, 0),
      quietFromMs: seenMs,
      score: 0,
      high: Math.round(100 * scoreOf(limits.decades)) - 1,
      reasons: [],
      weaknesses: [],
      learntCalls: state.profile.calls,
      learntSince: state.sinceMs,
      mature: isMature(state, limits),
      tally: newTally(),
    };
    episodes.open.set(key, episode);
  }
  episode.count++;
  episode.startedAt = Math.min(episode.startedAt, call.startedAt);
  episode.lastSeenAt = Math.max(episode.lastSeenAt, call.startedAt);
  episode.quietFromMs = Math.max(episode.quietFromMs, seenMs);
  tallyCall(episode.tally, call, call.status >= 500);
  const score = Math.round(finding.score * 100);
  // The reasons of the worst call come first.
  const reasons =
    score > episode.score
      ? [...finding.reasons, ...episode.reasons]
      : [...episode.reasons, ...finding.reasons];
  episode.reasons = [...new Set(reasons)].slice(0, REASONS_KEPT);
  const weaknesses = finding.surprises.flatMap(({ weakness }) => weakness ?? []);
  episode.weaknesses = [...new Set([...episode.weaknesses, ...weaknesses])];
  episode.score = Math.max(episode.score, score);
  const graver = severities.indexOf(severityOf(episode.score)) > episode.publishedRank;
  if (graver || atMs - episode.publishedAt >= REVISION_MS)
    alerts.push(publishParameters(episode, 'open', atMs));
  return alerts;
}
