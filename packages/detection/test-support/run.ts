import {
  idHash,
  RecentIds,
  type ActorState,
  type Detection,
  type ParametersState,
  type PeersState,
} from '../src/index.ts';
import type { Alert, ApiCall } from '@tripline/model';

export interface Run {
  /** All revisions in the order in which they were published. */
  revisions: Alert[];
  /** The last revision of each alert. */
  alerts: Alert[];
  calls: number;
  actors: Map<string, ActorState>;
}

/**
 * What the processor does, without its transport: drop duplicates, load states, fold, close what is over at each minute
 * of event time, and everything at the end of the input. `everyCall` sees each call before it is folded; `report` takes alerts
 * that are passed on to the endpoint, if it says so.
 */
export function run(
  detection: Detection,
  calls: Iterable<ApiCall>,
  everyCall?: (call: ApiCall, actors: Map<string, ActorState>, peers: Map<string, PeersState>) => void,
  report: (alert: Alert) => boolean = () => false,
): Run {
  const actors = new Map<string, ActorState>();
  const peers = new Map<string, PeersState>();
  const endpoints = new Map<string, ParametersState>();
  const episodes = detection.decodeParameterEpisodes(undefined);
  /** Those with an open episode. */
  const open = new Set<ActorState>();
  const recent = new RecentIds(100_000);
  const revisions: Alert[] = [];
  let count = 0;
  let watermarkMs = 0;
  let closedMinute = 0;
  const raise = (alerts: readonly Alert[]): void => {
    for (const alert of alerts) if (!report(alert)) revisions.push(alert);
  };
  const close = (nowMs: number): void => {
    for (const state of open) {
      raise(detection.close(state, nowMs));
      if (detection.closesAt(state) === undefined) open.delete(state);
    }
    for (const state of endpoints.values())
      revisions.push(...detection.releaseParameters(state, episodes, nowMs));
    revisions.push(...detection.closeParameterEpisodes(episodes, nowMs));
  };

  for (const call of calls) {
    if (recent.seen(idHash(call.id))) continue;
    count++;
    everyCall?.(call, actors, peers);
    const actorKey = detection.actorStateKey(call);
    let actor = actors.get(actorKey);
    if (!actor) actors.set(actorKey, (actor = detection.decodeActor(undefined)));
    const peersKey = detection.peersStateKey(call);
    let ofService = peers.get(peersKey);
    if (!ofService) peers.set(peersKey, (ofService = detection.decodePeers(undefined)));
    raise(detection.fold(actor, ofService, call));
    if (detection.closesAt(actor) === undefined) open.delete(actor);
    else open.add(actor);
    const endpointKey = detection.parametersStateKey(call);
    if (endpointKey !== undefined) {
      let endpoint = endpoints.get(endpointKey);
      if (!endpoint) endpoints.set(endpointKey, (endpoint = detection.decodeParameters(undefined)));
      revisions.push(...detection.foldParameters(endpoint, episodes, call));
    }

    watermarkMs = Math.max(watermarkMs, call.startedAt);
    const minute = Math.floor(watermarkMs / 60_000);
    if (minute !== closedMinute) {
      closedMinute = minute;
      // Ten minutes behind, as calls may be late by so much.
      close((minute - 10) * 60_000);
    }
  }
  close(Infinity);
  const last = new Map<string, Alert>();
  for (const alert of revisions) last.set(alert.id, alert);
  return { revisions, alerts: [...last.values()], calls: count, actors };
}
