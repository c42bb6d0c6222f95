import { actorKey, isPrivateAddress, type Alert, type ApiCall } from '@tripline/model';
import { actorDetectors } from './detector.ts';
import type { DetectionConfig } from './config.ts';
import { dryRunMarker } from './alerts/dry-run.ts';
import { addClosedEarly, continueRevisions, type ClosedEarly } from './alerts/early-close.ts';
import { compileExceptions } from './exception.ts';
import {
  abnormalParameterReleasesAt,
  abnormalParameterStateKey,
  closeParameterEpisodes,
  decodeAbnormalParameter,
  decodeParameterEpisodes,
  encodeAbnormalParameter,
  encodeParameterEpisodes,
  foldAbnormalParameter,
  parameterEpisodesCloseAt,
  parameterLimitsAt,
  releaseAbnormalParameter,
  type AbnormalParameterState,
  type ParameterEpisodes,
} from './detectors/abnormal-parameter/abnormal-parameter.ts';
import { parseState } from './codec/state-text.ts';
import {
  decodeOnePlace,
  encodeOnePlace,
  newOnePlace,
  restsAtOnePlace,
  type EncodedOnePlace,
  type OnePlace,
} from './places/one-place.ts';
import {
  decodeSharedAddress,
  encodeSharedAddress,
  isSharedAddress,
  newSharedAddress,
  type EncodedSharedAddress,
  type SharedAddress,
} from './places/shared-address.ts';
import { REQUEST_FLOORS } from './baseline/limits.ts';
import { floorsAt, type PeersState as SpikePeers } from './baseline/profile.ts';
import {
  closeSpike,
  decodeSpike,
  encodeSpike,
  foldSpike,
  newSpikeState,
  spikeClosesAt,
  type EncodedSpike,
  type SpikeState,
} from './detectors/request-spike/own-traffic.ts';
import { toleranceOf } from './baseline/sensitivity.ts';

export type { ParameterEpisodes };
/** What the actors of a service share. Opaque to the caller; mutated by `fold`. */
export interface PeersState extends SpikePeers {
  onePlace: OnePlace;
}
/** What is known of the calls of one endpoint, whoever makes them. */
export type ParametersState = AbnormalParameterState;

/** What is kept per actor: one part per detector. Opaque to the caller; mutated by `fold` and `close`. */
export interface ActorState {
  /** Event time of the newest call, counted or not. */
  lastSeenAt: number;
  requestSpike: SpikeState;
  /** In the order of the detectors; those that the actor's calls have not concerned yet are undefined. */
  others: unknown[];
  /** Of a private address. */
  shared?: SharedAddress;
  closedEarly?: ClosedEarly;
}

/**
 * All detectors behind one boundary: pure functions of state and call, by event time only. The same calls in the same
 * order give the same alerts, in whatever batches they come and wherever the states are encoded in between.
 */
export interface Detection {
  /** Key of the state of the call's actor. */
  actorStateKey(call: ApiCall): string;
  /** Key of the state that the actors of the call's service share. */
  peersStateKey(call: ApiCall): string;
  /** Key of the state of the call's endpoint; undefined if the call concerns none that is kept. */
  parametersStateKey(call: ApiCall): string | undefined;
  /** Whether a key is one of `parametersStateKey`. */
  isParametersKey(key: string): boolean;
  /** State from its text; `undefined` for an actor never seen. Throws on text that `encodeActor` did not write. */
  decodeActor(text: string | undefined): ActorState;
  /** Compact JSON, at most 750 bytes for an idle actor with one service. */
  encodeActor(state: ActorState): string;
  /** As `decodeActor`, for the state of a service's actors. */
  decodePeers(text: string | undefined): PeersState;
  encodePeers(state: PeersState): string;
  /** As `decodeActor`, for the state of an endpoint. */
  decodeParameters(text: string | undefined): ParametersState;
  /** Compact JSON, 1 to 2 KB per parameter of the endpoint; null if there is nothing to keep. */
  encodeParameters(state: ParametersState): string | null;
  /** As `decodeActor`, for what is open on all endpoints: alerts are about actors, whichever endpoints they try. */
  decodeParameterEpisodes(text: string | undefined): ParameterEpisodes;
  /** Compact JSON, about 1 KB per open episode. */
  encodeParameterEpisodes(episodes: ParameterEpisodes): string;
  /** Folds one call in, mutating both states; returns the alert revisions to publish now, oldest first (usually none). */
  fold(actor: ActorState, peers: PeersState, call: ApiCall): Alert[];
  /** Folds a call of the endpoint in, beside `fold`. */
  foldParameters(endpoint: ParametersState, episodes: ParameterEpisodes, call: ApiCall): Alert[];
  /** Raises what has waited on the endpoint for long enough; before `closeParameterEpisodes` of the same time. */
  releaseParameters(endpoint: ParametersState, episodes: ParameterEpisodes, nowMs: number): Alert[];
  /** Event time from which `releaseParameters` has something to do; undefined if nothing waits. */
  parametersReleaseAt(endpoint: ParametersState): number | undefined;
  /** As `close` and `closesAt`, for the episodes of all endpoints. */
  closeParameterEpisodes(episodes: ParameterEpisodes, nowMs: number): Alert[];
  parameterEpisodesCloseAt(episodes: ParameterEpisodes): number | undefined;
  /** Ends the actor's episodes that are over at event time `nowMs`. What it returns does not depend on how late it is called. */
  close(actor: ActorState, nowMs: number): Alert[];
  /** Ends all episodes of the actor before their time: for when more are open than can be kept. */
  closeEarly(actor: ActorState): Alert[];
  /** Event time from which `close` has something to do; undefined if no episode is open. */
  closesAt(actor: ActorState): number | undefined;
  /** Event time (ms) of the actor's newest call; 0 if there was none. */
  lastSeenAt(actor: ActorState): number;
}

/** Version of the states' text; a change that old text cannot be read by must raise it. */
const STATE_VERSION = 4;

type EncodedActor = [
  version: number,
  lastSeenAt: number,
  requestSpike: EncodedSpike,
  others?: Record<string, unknown>,
  shared?: EncodedSharedAddress | 0,
  closedEarly?: ClosedEarly,
];
type EncodedPeers = [
  version: number,
  hours: number,
  mean: number,
  deviation: number,
  onePlace?: EncodedOnePlace,
];

/** `config` must have passed `detectionConfigSchema`. */
export function createDetection(config: DetectionConfig): Detection {
  const { enabled, sensitivity } = config.requestSpike;
  const parameterLimits = parameterLimitsAt(toleranceOf(config.abnormalParameters.sensitivity));
  const floors = floorsAt(REQUEST_FLOORS, toleranceOf(sensitivity));
  const isExcepted = compileExceptions(config.requestSpike);
  const others = actorDetectors(config);
  const anyNeedsPlaces = others.some(({ needsPlaces }) => needsPlaces);
  const isExceptedFromParameters = compileExceptions(config.abnormalParameters);
  const marked = dryRunMarker(config);

  const closeAll = (actor: ActorState, nowMs: number): Alert[] => {
    const alerts = closeSpike(actor.requestSpike, nowMs);
    for (const [at, detector] of others.entries()) {
      const state = actor.others[at];
      if (state !== undefined) for (const alert of detector.close(state, nowMs)) alerts.push(alert);
    }
    return continueRevisions(actor.closedEarly, marked(alerts));
  };

  const foldSpikes = (actor: ActorState, peers: PeersState, call: ApiCall): Alert[] => {
    // What Kong turned away is neither judged nor learnt from: it may well be our own block.
    if (!enabled || call.refused === true || isExcepted(call))
      return closeSpike(actor.requestSpike, call.startedAt);
    return foldSpike(actor.requestSpike, peers, call);
  };

  const restsForShared = (actor: ActorState, call: ApiCall): boolean => {
    if (call.actorKind !== 'address') return false;
    if (call.ip !== undefined && !isPrivateAddress(call.ip)) return false;
    return isSharedAddress((actor.shared ??= newSharedAddress()), call);
  };

  return {
    actorStateKey: (call) => `a:${actorKey(call)}`,
    peersStateKey: (call) => `p:${call.service ?? ''}`,
    parametersStateKey: (call) =>
      config.abnormalParameters.enabled && !isExceptedFromParameters(call)
        ? abnormalParameterStateKey(call)
        : undefined,

    decodeActor(text) {
      if (text === undefined)
        return { lastSeenAt: 0, requestSpike: newSpikeState(floors), others: others.map(() => undefined) };
      const encoded = parseState(text, STATE_VERSION, 'an actor') as EncodedActor;
      const [, lastSeenAt, requestSpike, parts, shared, closedEarly] = encoded;
      return {
        ...(shared ? { shared: decodeSharedAddress(shared) } : {}),
        lastSeenAt,
        requestSpike: decodeSpike(requestSpike, lastSeenAt, floors),
        others: others.map((detector) => {
          const part = parts?.[detector.key];
          return part === undefined ? undefined : detector.decode(part, lastSeenAt);
        }),
        ...(closedEarly ? { closedEarly } : {}),
      };
    },
    encodeActor(state) {
      const { lastSeenAt } = state;
      const encoded: EncodedActor = [STATE_VERSION, lastSeenAt, encodeSpike(state.requestSpike, lastSeenAt)];
      for (let at = 0; at < others.length; at++) {
        const part = state.others[at];
        if (part === undefined) continue;
        const detector = others[at]!;
        (encoded[3] ??= {})[detector.key] = detector.encode(part, lastSeenAt);
      }
      if (state.shared || state.closedEarly) {
        encoded[3] ??= {};
        encoded[4] = state.shared ? encodeSharedAddress(state.shared) : 0;
        if (state.closedEarly) encoded[5] = state.closedEarly;
      }
      return JSON.stringify(encoded);
    },
    decodePeers(text) {
      if (text === undefined) return { hours: 0, mean: 0, deviation: 0, onePlace: newOnePlace() };
      const [, hours, mean, deviation, onePlace] = parseState(text, STATE_VERSION, 'peers') as EncodedPeers;
      return { hours, mean, deviation, onePlace: onePlace ? decodeOnePlace(onePlace) : newOnePlace() };
    },
    encodePeers({ hours, mean, deviation, onePlace }) {
      const encoded: EncodedPeers = [STATE_VERSION, hours, mean, deviation];
      // Without databases it stays as it began.
      if (onePlace.lastActor !== 0) encoded.push(encodeOnePlace(onePlace));
      return JSON.stringify(encoded);
    },

    isParametersKey: (key) => key.startsWith('q:'),
    decodeParameters: decodeAbnormalParameter,
    encodeParameters: encodeAbnormalParameter,
    decodeParameterEpisodes,
    encodeParameterEpisodes,
    foldParameters: (state, episodes, call) =>
      marked(foldAbnormalParameter(state, episodes, call, parameterLimits)),
    releaseParameters: (state, episodes, nowMs) =>
      marked(releaseAbnormalParameter(state, episodes, nowMs, parameterLimits)),
    parametersReleaseAt: abnormalParameterReleasesAt,
    closeParameterEpisodes: (episodes, nowMs) => marked(closeParameterEpisodes(episodes, nowMs)),
    parameterEpisodesCloseAt,

    fold(actor, peers, call) {
      if (call.startedAt > actor.lastSeenAt) actor.lastSeenAt = call.startedAt;
      // Neither judged nor learnt from, by any detector: their open episodes are ended by `close`.
      if (restsForShared(actor, call)) return [];
      const alerts = foldSpikes(actor, peers, call);
      if (call.refused === true) return continueRevisions(actor.closedEarly, marked(alerts));
      const inSpike = spikeClosesAt(actor.requestSpike) !== undefined;
      const isOnePlace = anyNeedsPlaces && restsAtOnePlace(peers.onePlace, call);
      for (let at = 0; at < others.length; at++) {
        const detector = others[at]!;
        // Its open episodes are ended by `close`.
        if (isOnePlace && detector.needsPlaces) continue;
        const state = (actor.others[at] ??= detector.create(call));
        if (state === undefined) continue;
        for (const alert of detector.fold(state, call, inSpike)) alerts.push(alert);
      }
      return continueRevisions(actor.closedEarly, marked(alerts));
    },
    close: closeAll,
    closeEarly(actor) {
      const alerts = closeAll(actor, Infinity);
      if (alerts.length > 0) actor.closedEarly = addClosedEarly(actor.closedEarly, alerts);
      return alerts;
    },
    closesAt(actor) {
      let earliest = spikeClosesAt(actor.requestSpike);
      for (let index = 0; index < others.length; index++) {
        const state = actor.others[index];
        const at = state === undefined ? undefined : others[index]!.closesAt(state);
        if (at !== undefined && (earliest === undefined || at < earliest)) earliest = at;
      }
      return earliest;
    },
    lastSeenAt: (actor) => actor.lastSeenAt,
  };
}
