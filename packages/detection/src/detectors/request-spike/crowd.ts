import type { Alert } from '@tripline/model';
import { endpointId, type EndpointName } from '../../across-actors/endpoint-id.ts';
import type {
  AlertOutput,
  EndpointJudge,
  JudgedMinute,
  MinutePartKind,
} from '../../across-actors/minute-part.ts';
import { alertId, beginGrowing, closesAt, isNews, scoreOf } from '../../alerts/episode.ts';
import {
  CALL_WEIGHT,
  HOUR_MS,
  LATENESS_MS,
  LEAST_FACTOR_LOG,
  MARGIN_DEVIATIONS,
  STEP_MS,
  WINDOW_MS,
} from '../../baseline/limits.ts';
import { floorsAt, noPeers, type Floors } from '../../baseline/profile.ts';
import { toleranceOf } from '../../baseline/sensitivity.ts';
import {
  adoptShadow,
  countCall,
  EXCEEDED,
  levelStays,
  markHourNormal,
  settle,
  settlesAt,
  WARM,
  worstExcess,
  type Excess,
} from '../../baseline/window-counts.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { globToRegExp } from '../../glob.ts';
import { asActorSettings, type ActorSettings } from '../../settings.ts';
import { crowdAlert } from './crowd-alert.ts';
import {
  addCaller,
  mergeCallers,
  newCallers,
  readCallers,
  writeCallers,
  type Callers,
} from './crowd-callers.ts';
import {
  CALLS_PER_ACTOR,
  fadeNetworks,
  gatheredIn,
  learnNetworks,
  type CrowdNetwork,
} from './crowd-networks.ts';
import {
  CROWD_STATE_VERSION,
  newCrowdState,
  readCrowd,
  writeCrowd,
  type CrowdEpisode,
  type CrowdState,
} from './crowd-state.ts';

/** An endpoint gets a state from its first minute with so many callers on: paths that somebody makes up have one. */
const CALLERS_OF_NOTE = 2;
/**
 * Calls per 60 s and 600 s below which no crowd is a spike, with history and without any: it takes 20 actors to make them. The
 * baseline is fed once a minute, so its 10 s windows count the same as those of 60 s; theirs is the lower threshold and therefore
 * the one that decides.
 */
const CROWD_FLOORS = {
  least: [100, 150, 1_000],
  cold: [600, 900, 4_000],
  factorLog: LEAST_FACTOR_LOG,
  deviations: MARGIN_DEVIATIONS,
  // However much an endpoint varies, more than this is a crowd if it gathers in one network.
  marginMost: Math.round(1_000 * Math.log(3)),
} as const;

/**
 * Callers of an endpoint: do many actors of one network together send far more than is usual there at this time, each of them too
 * little for a spike of its own?
 */
export const crowdAcrossActors: MinutePartKind<Callers, CrowdState> = {
  id: 4,
  partVersion: 1,
  stateVersion: CROWD_STATE_VERSION,
  newPart: newCallers,
  createCounter: () => ({ add: addCaller }),
  merge: mergeCallers,
  encode: (callers, writer) => writeCallers(writer, callers),
  decode: readCallers,
  createJudge: (settingsOf) => new CrowdJudge(asActorSettings(settingsOf('request-spike'))),
};

class CrowdJudge implements EndpointJudge<Callers, CrowdState> {
  readonly enabled: boolean;
  readonly #floors: Floors;
  readonly #judges: (service: string) => boolean;

  constructor(settings: ActorSettings) {
    this.enabled = settings.enabled;
    this.#floors = floorsAt(CROWD_FLOORS, toleranceOf(settings.sensitivity));
    this.#judges = serviceSelection(settings);
  }

  isOfNote(callers: Callers, { service }: JudgedMinute): boolean {
    return callers.size >= CALLERS_OF_NOTE && this.#judges(service);
  }

  newState(): CrowdState {
    return newCrowdState(this.#floors);
  }

  judge(state: CrowdState, callers: Callers | undefined, minute: JudgedMinute, out: AlertOutput): void {
    if (callers && this.#judges(minute.service)) judgeMinute(state, callers, minute, out);
  }

  close(state: CrowdState, of: EndpointName, nowMs: number, out: AlertOutput): void {
    closeIfOver(state, of, nowMs, out);
  }

  closesAt({ episode }: CrowdState): number | undefined {
    return episode ? closesAt(episode) : undefined;
  }

  encode(state: CrowdState, writer: ByteWriter): void {
    writeCrowd(writer, state);
  }

  decode(reader: ByteReader): CrowdState {
    return readCrowd(reader, this.#floors);
  }
}

/** Which services have their crowds judged. Settings that select consumers or routes leave no crowd to judge. */
function serviceSelection({ enabled, scope }: ActorSettings): (service: string) => boolean {
  if (!enabled || scope?.consumers || scope?.routes) return () => false;
  const services = scope?.services?.map(globToRegExp);
  return (service) => services?.some((pattern) => pattern.test(service)) ?? true;
}

function judgeMinute(state: CrowdState, callers: Callers, minute: JudgedMinute, out: AlertOutput): void {
  const { startsAt: atMs, judgedAt: nowMs } = minute;
  if (atMs < state.newestMs - LATENESS_MS) return;
  closeIfOver(state, minute, atMs, out);
  advanceTo(state, minute, out);

  const { windows } = state;
  const calls = estimateCalls(callers);
  const heat = countCall(windows, noPeers(), atMs, calls * CALL_WEIGHT);
  if (state.episode && atMs >= state.episode.startedAt) state.episode.seen += calls;
  if (heat < WARM) {
    learnNetworks(state.networks, callers);
    return;
  }
  const pool = (state.pool ??= newCallers());
  mergeCallers(pool, callers);
  if (heat < EXCEEDED) return;
  const network = gatheredIn(pool, state.networks);
  if (!network) {
    if (!state.episode) markHourNormal(windows, atMs);
    return;
  }

  const excess = worstExcess(windows, atMs);
  const episode = (state.episode ??= newEpisode(minute, excess, network));
  episode.lastSeenAt = Math.max(episode.lastSeenAt, atMs);
  episode.count = episode.seen;
  if (excess.factor > episode.worst.factor) Object.assign(episode, { worst: excess, network });
  if (isNews(episode, scoreOf(episode.worst.factor), nowMs))
    out.alert(crowdAlert(episode, pool, minute, 'open', nowMs));
}

/** Moves event time on to the minute: hours that are over are learnt, and a level that has stayed is adopted. */
function advanceTo(state: CrowdState, minute: JudgedMinute, out: AlertOutput): void {
  const { startsAt: atMs, judgedAt: nowMs } = minute;
  const { windows } = state;
  if (atMs > state.newestMs) {
    if (!state.episode && longWindowOf(atMs) !== longWindowOf(state.newestMs)) state.pool = null;
    fadeNetworks(state.networks, Math.floor(atMs / HOUR_MS) - Math.floor(state.newestMs / HOUR_MS));
    state.newestMs = atMs;
  }
  if (state.newestMs < settlesAt(windows)) return;
  settle(windows, noPeers(), state.newestMs, state.episode?.startedAt ?? Infinity, false);
  if (!hasStayed(state)) return;
  adoptShadow(windows, noPeers());
  out.alert(endEpisode(state, minute, nowMs));
}

/** An estimate of the calls of all callers, of each at most CALLS_PER_ACTOR. */
function estimateCalls(callers: Callers): number {
  let sum = 0;
  for (const [, { value }] of callers.entries()) sum += Math.min(CALLS_PER_ACTOR, value.calls);
  return Math.round((sum * callers.distinct()) / callers.size);
}

function newEpisode(minute: JudgedMinute, excess: Excess, network: CrowdNetwork): CrowdEpisode {
  const calls = Math.round(excess.count / CALL_WEIGHT);
  return {
    ...beginGrowing(excess.startsAt, minute.judgedAt, excess.startsAt, calls),
    id: alertId('request-spike', `campaign:${endpointId(minute)}`, '', excess.startsAt),
    seen: calls,
    worst: excess,
    network,
  };
}

/** Whether the level has become the new normal. */
function hasStayed({ episode, windows }: CrowdState): boolean {
  return episode !== null && episode.lastSeenAt - episode.startedAt >= STEP_MS && levelStays(windows);
}

function closeIfOver(state: CrowdState, of: EndpointName, nowMs: number, out: AlertOutput): void {
  if (state.episode && nowMs >= closesAt(state.episode)) out.alert(endEpisode(state, of, nowMs));
}

/** Ends the open episode; returns the last revision of its alert. */
function endEpisode(state: CrowdState, of: EndpointName, nowMs: number): Alert {
  const alert = crowdAlert(state.episode!, state.pool!, of, 'closed', nowMs);
  state.episode = null;
  state.pool = null;
  state.windows.shadow = [];
  return alert;
}

function longWindowOf(atMs: number): number {
  return Math.floor(atMs / WINDOW_MS[2]);
}
