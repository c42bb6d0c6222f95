import {
  idHash,
  RecentIds,
  type ActorState,
  type Detection,
  type DetectionOutput,
  type EndpointProfileState,
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
 * of event time, and everything at the end of the input. `everyCall` sees each call before it is folded; `toEndpoint` takes alerts
 * that go to their endpoint, without it they are published.
 */
export function run(
  detection: Detection,
  calls: Iterable<ApiCall>,
  everyCall?: (call: ApiCall, actors: Map<string, ActorState>, peers: Map<string, PeersState>) => void,
  toEndpoint?: (alert: Alert) => void,
): Run {
  const actors = new Map<string, ActorState>();
  const peers = new Map<string, PeersState>();
  const endpoints = new Map<string, EndpointProfileState>();
  const episodes = detection.endpointEpisodes.decode(undefined);
  /** Those with an open episode. */
  const open = new Set<ActorState>();
  const recent = new RecentIds(100_000);
  const revisions: Alert[] = [];
  let count = 0;
  let watermarkMs = 0;
  let closedMinute = 0;
  const publish = (alert: Alert): void => void revisions.push(alert);
  const out: DetectionOutput = { alert: publish, toEndpoint: toEndpoint ?? publish };
  const close = (nowMs: number): void => {
    for (const state of open) {
      detection.close(state, nowMs, out);
      if (detection.closesAt(state) === undefined) open.delete(state);
    }
    for (const state of endpoints.values()) detection.releaseEndpoint(state, episodes, nowMs, out);
    detection.closeEndpointEpisodes(episodes, nowMs, out);
  };

  for (const call of calls) {
    if (recent.seen(idHash(call.id))) continue;
    count++;
    everyCall?.(call, actors, peers);
    const keys = detection.keysOf(call);
    let actor = actors.get(keys.actor);
    if (!actor) actors.set(keys.actor, (actor = detection.actors.decode(undefined)));
    let ofService = peers.get(keys.peers);
    if (!ofService) peers.set(keys.peers, (ofService = detection.peers.decode(undefined)));
    detection.fold(actor, ofService, call, out);
    if (detection.closesAt(actor) === undefined) open.delete(actor);
    else open.add(actor);
    if (keys.endpoint !== undefined) {
      let endpoint = endpoints.get(keys.endpoint);
      if (!endpoint) endpoints.set(keys.endpoint, (endpoint = detection.endpoints.decode(undefined)));
      detection.foldEndpoint(endpoint, episodes, call, out);
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
