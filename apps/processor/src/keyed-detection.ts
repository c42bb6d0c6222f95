import {
  isOneOfMany,
  type ActorState,
  type Detection,
  type ParameterEpisodes,
  type ParametersState,
  type PeersState,
} from '@tripline/detection';
import type { Alert, ApiCall } from '@tripline/model';
import type { StateKind } from './state-cache.ts';

export interface DetectionOutput {
  alert(alert: Alert): void;
  toEndpoint(alert: Alert): void;
}

export interface KeyedDetection {
  readonly actors: StateKind<ActorState>;
  readonly peers: StateKind<PeersState>;
  readonly endpoints: StateKind<ParametersState>;
  readonly endpointEpisodes: StateKind<ParameterEpisodes>;
  keysOf(call: ApiCall): { actor: string; peers: string; endpoint: string | undefined };
  fold(actor: ActorState, peers: PeersState, call: ApiCall, out: DetectionOutput): void;
  close(actor: ActorState, nowMs: number, out: DetectionOutput): void;
  closeEarly(actor: ActorState, out: DetectionOutput): void;
  closesAt(actor: ActorState): number | undefined;
  foldEndpoint(
    endpoint: ParametersState,
    episodes: ParameterEpisodes,
    call: ApiCall,
    out: DetectionOutput,
  ): void;
  releaseEndpoint(
    endpoint: ParametersState,
    episodes: ParameterEpisodes,
    nowMs: number,
    out: DetectionOutput,
  ): void;
  endpointReleasesAt(endpoint: ParametersState): number | undefined;
  closeEndpointEpisodes(episodes: ParameterEpisodes, nowMs: number, out: DetectionOutput): void;
  endpointEpisodesCloseAt(episodes: ParameterEpisodes): number | undefined;
}

/** Today's facade of text states, as kinds of keyed state. */
export function keyed(detection: Detection): KeyedDetection {
  const emit = (alerts: Alert[], out: DetectionOutput): void => {
    for (const alert of alerts)
      if (isOneOfMany(alert)) out.toEndpoint(alert);
      else out.alert(alert);
  };
  return {
    actors: textKind(
      (text) => detection.decodeActor(text),
      (state) => detection.encodeActor(state),
    ),
    peers: textKind(
      (text) => detection.decodePeers(text),
      (state) => detection.encodePeers(state),
    ),
    endpoints: textKind(
      (text) => detection.decodeParameters(text),
      (state) => detection.encodeParameters(state),
    ),
    endpointEpisodes: textKind(
      (text) => detection.decodeParameterEpisodes(text),
      (state) => detection.encodeParameterEpisodes(state),
    ),
    keysOf: (call) => ({
      actor: detection.actorStateKey(call),
      peers: detection.peersStateKey(call),
      endpoint: detection.parametersStateKey(call),
    }),
    fold: (actor, peers, call, out) => emit(detection.fold(actor, peers, call), out),
    close: (actor, nowMs, out) => emit(detection.close(actor, nowMs), out),
    closeEarly: (actor, out) => emit(detection.closeEarly(actor), out),
    closesAt: (actor) => detection.closesAt(actor),
    foldEndpoint: (endpoint, episodes, call, out) =>
      emit(detection.foldParameters(endpoint, episodes, call), out),
    releaseEndpoint: (endpoint, episodes, nowMs, out) =>
      emit(detection.releaseParameters(endpoint, episodes, nowMs), out),
    endpointReleasesAt: (endpoint) => detection.parametersReleaseAt(endpoint),
    closeEndpointEpisodes: (episodes, nowMs, out) =>
      emit(detection.closeParameterEpisodes(episodes, nowMs), out),
    endpointEpisodesCloseAt: (episodes) => detection.parameterEpisodesCloseAt(episodes),
  };
}

export function textKind<State>(
  decode: (text: string | undefined) => State,
  encode: (state: State) => string | null,
): StateKind<State> {
  return {
    decode: (bytes) => decode(bytes?.toString()),
    encode: (state) => {
      const text = encode(state);
      return text === null ? null : Buffer.from(text);
    },
  };
}
