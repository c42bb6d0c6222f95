import { actorKey, isPrivateAddress, type AlertType, type ApiCall } from '@tripline/model';
import { ActorCodec, type ActorState, type ConfiguredProfile, type OnRelearn } from './actor-state.ts';
import { dryRunTypesOf } from './alerts/dry-run.ts';
import { addClosedEarly } from './alerts/early-close.ts';
import { ByteReader } from './codec/byte-reader.ts';
import { ByteWriter } from './codec/byte-writer.ts';
import type {
  ActorProfileKind,
  CallContext,
  DetectionOutput,
  Detector,
  EndpointProfile,
  SettingsOf,
} from './detector.ts';
import { HeldOutput } from './output.ts';
import { decodePeers, encodePeers, newPeersState, type PeersState } from './peers.ts';
import { restsAtOnePlace } from './places/one-place.ts';
import { isSharedAddress, newSharedAddress } from './places/shared-address.ts';
import { registry, settingsOf } from './registry.ts';
import type { DetectorSettings } from './settings.ts';

export type { ActorState, PeersState };
/** What is known of the calls of one endpoint, whoever makes them. Opaque to the caller. */
export interface EndpointProfileState {
  readonly endpoint: unique symbol;
}
/** What is open on all endpoints of a partition. Opaque to the caller. */
export interface EndpointEpisodes {
  readonly episodes: unique symbol;
}

/** How a kind of state is kept. */
export interface StateKind<State, Bytes extends Buffer | null = Buffer | null> {
  /** `undefined` is a state never seen. Throws on bytes that `encode` did not write, such as those of another version. */
  decode(bytes: Buffer | undefined): State;
  /** null: there is nothing to keep. */
  encode(state: State): Bytes;
}

/** Keys of the states that a call is folded into. */
export interface CallKeys {
  actor: string;
  /** Of the actors of the call's service. */
  peers: string;
  /** undefined if the call concerns no endpoint that is kept. */
  endpoint: string | undefined;
}

/**
 * All profiles of actors and endpoints behind one boundary: pure functions of state and call, by event time only. The same calls in the
 * same order give the same alerts, in whatever batches they come and wherever the states are encoded in between.
 */
export interface Detection {
  /** At most 560 bytes for an idle actor with one service. */
  readonly actors: StateKind<ActorState, Buffer>;
  readonly peers: StateKind<PeersState, Buffer>;
  /** 1 to 2 KB per parameter of the endpoint. */
  readonly endpoints: StateKind<EndpointProfileState>;
  /** About 1 KB per open episode. One state per partition: alerts are about actors, whichever endpoints they try. */
  readonly endpointEpisodes: StateKind<EndpointEpisodes, Buffer>;
  keysOf(call: ApiCall): CallKeys;
  /** Folds one call in, mutating both states; puts out the alert revisions to publish now, oldest first (usually none). */
  fold(actor: ActorState, peers: PeersState, call: ApiCall, out: DetectionOutput): void;
  /** Ends the actor's episodes that are over at event time `nowMs`. What it puts out does not depend on how late it is called. */
  close(actor: ActorState, nowMs: number, out: DetectionOutput): void;
  /** Ends all episodes of the actor before their time: for when more are open than can be kept. */
  closeEarly(actor: ActorState, out: DetectionOutput): void;
  /** Event time from which `close` has something to do; undefined if no episode is open. */
  closesAt(actor: ActorState): number | undefined;
  /** Folds a call of the endpoint in, beside `fold`. */
  foldEndpoint(
    endpoint: EndpointProfileState,
    episodes: EndpointEpisodes,
    call: ApiCall,
    out: DetectionOutput,
  ): void;
  /** Raises what has waited on the endpoint for long enough; before `closeEndpointEpisodes` of the same time. */
  releaseEndpoint(
    endpoint: EndpointProfileState,
    episodes: EndpointEpisodes,
    nowMs: number,
    out: DetectionOutput,
  ): void;
  /** Event time from which `releaseEndpoint` has something to do; undefined if nothing waits. */
  endpointReleasesAt(endpoint: EndpointProfileState): number | undefined;
  /** As `close` and `closesAt`, for the episodes of all endpoints. */
  closeEndpointEpisodes(episodes: EndpointEpisodes, nowMs: number, out: DetectionOutput): void;
  endpointEpisodesCloseAt(episodes: EndpointEpisodes): number | undefined;
}

export interface DetectionOptions {
  detectors?: readonly Detector[];
  /** A part of an actor's state could not be read and is learnt anew. Each problem is reported once. */
  onRelearn?: OnRelearn;
}

/** Versions of the states other than those of actors. */
const PEERS_VERSION = 5;
const ENDPOINT_VERSION = 3;
const EPISODES_VERSION = 1;

/** `config` must have passed the schema of the detectors' settings, by default `detectionConfigSchema`. */
export function createDetection(
  config: Readonly<Record<string, DetectorSettings>>,
  { detectors = registry, onRelearn = () => undefined }: DetectionOptions = {},
): Detection {
  const settings = settingsOf(config, detectors);
  const dryRunTypes = dryRunTypesOf(detectors, settings);
  const actors = new ActorDetection(actorProfiles(detectors, settings), dryRunTypes, onRelearn);
  const endpointProfile = endpointProfileOf(detectors, settings);
  const held = new HeldOutput(dryRunTypes);
  /** Puts out what a step on endpoints finds once the step is done. */
  const putOut = (out: DetectionOutput, step: () => void): void => {
    held.clear();
    step();
    held.release(out, undefined);
  };

  return {
    actors: {
      decode: (bytes) => (bytes === undefined ? actors.codec.create() : actors.codec.decode(bytes)),
      encode: (state) => actors.codec.encode(state),
    },
    peers: stateKind('the peers of a service', PEERS_VERSION, newPeersState, decodePeers, (state, writer) => {
      encodePeers(state, writer);
      return writer.take();
    }),
    endpoints: stateKind(
      'an endpoint',
      ENDPOINT_VERSION,
      () => endpointProfile.create() as EndpointProfileState,
      (reader) => endpointProfile.decode(reader) as EndpointProfileState,
      (state, writer) => (endpointProfile.encode(state, writer) ? writer.take() : null),
    ),
    endpointEpisodes: stateKind(
      'the open episodes of endpoints',
      EPISODES_VERSION,
      () => endpointProfile.createEpisodes() as EndpointEpisodes,
      (reader) => endpointProfile.decodeEpisodes(reader) as EndpointEpisodes,
      (episodes, writer) => {
        endpointProfile.encodeEpisodes(episodes, writer);
        return writer.take();
      },
    ),
    keysOf: (call) => ({
      actor: `a:${actorKey(call)}`,
      peers: `p:${call.service ?? ''}`,
      endpoint: endpointProfile.keyOf(call),
    }),
    fold: (actor, peers, call, out) => actors.fold(actor, peers, call, out),
    close: (actor, nowMs, out) => actors.close(actor, nowMs, out),
    closeEarly: (actor, out) => actors.closeEarly(actor, out),
    closesAt: (actor) => actors.closesAt(actor),
    foldEndpoint: (endpoint, episodes, call, out) =>
      putOut(out, () => endpointProfile.fold(endpoint, episodes, call, held)),
    releaseEndpoint: (endpoint, episodes, nowMs, out) =>
      putOut(out, () => endpointProfile.release(endpoint, episodes, nowMs, held)),
    endpointReleasesAt: (endpoint) => endpointProfile.releasesAt(endpoint),
    closeEndpointEpisodes: (episodes, nowMs, out) =>
      putOut(out, () => endpointProfile.close(episodes, nowMs, held)),
    endpointEpisodesCloseAt: (episodes) => endpointProfile.closesAt(episodes),
  };
}

/** The profiles of the detectors that are switched on, each once, in the order in which they see a call. */
function actorProfiles(detectors: readonly Detector[], settings: SettingsOf): ConfiguredProfile[] {
  const kinds = new Map<number, ActorProfileKind>();
  for (const { alertType, ofActor = [] } of detectors) {
    if (!settings(alertType).enabled) continue;
    for (const kind of ofActor) {
      const known = kinds.get(kind.id) ?? kind;
      if (known !== kind) throw new Error(`two profiles of actors have the id ${kind.id}; needed: one each`);
      kinds.set(kind.id, kind);
    }
  }
  return [...kinds.values()]
    .sort((a, b) => a.id - b.id)
    .map((kind) => ({ kind, profile: kind.create(settings) }));
}

function endpointProfileOf(detectors: readonly Detector[], settings: SettingsOf): EndpointProfile {
  const [only, another] = detectors.filter(({ ofEndpoint }) => ofEndpoint !== undefined);
  if (another)
    throw new Error(
      `${only!.alertType} and ${another.alertType} both have a profile of endpoints; one detector may`,
    );
  return only && settings(only.alertType).enabled ? only.ofEndpoint!.create(settings) : noEndpoints;
}

/** For when no detector looks at endpoints. */
const noEndpoints: EndpointProfile = {
  keyOf: () => undefined,
  create: () => null,
  createEpisodes: () => null,
  fold: () => undefined,
  release: () => undefined,
  releasesAt: () => undefined,
  close: () => undefined,
  closesAt: () => undefined,
  encode: () => false,
  decode: () => null,
  encodeEpisodes: () => undefined,
  decodeEpisodes: () => null,
};

function stateKind<State, Bytes extends Buffer | null>(
  whose: string,
  version: number,
  create: () => State,
  decode: (reader: ByteReader) => State,
  encode: (state: State, writer: ByteWriter) => Bytes,
): StateKind<State, Bytes> {
  const writer = new ByteWriter();
  return {
    decode(bytes) {
      if (bytes === undefined) return create();
      const reader = new ByteReader(bytes);
      const found = reader.uint();
      if (found !== version)
        throw new Error(`expected version ${version} of the state of ${whose}, got ${found}`);
      const state = decode(reader);
      reader.expectEnd();
      return state;
    },
    encode(state) {
      writer.clear();
      writer.uint(version);
      return encode(state, writer);
    },
  };
}

/** The profiles of actors, over the state of one actor at a time. */
class ActorDetection {
  readonly codec: ActorCodec;
  readonly #profiles: readonly ConfiguredProfile[];
  readonly #needsPlaces: boolean;
  readonly #held: HeldOutput;
  /** One for all calls. */
  readonly #context: CallContext = { peers: newPeersState(), inSpike: false };

  constructor(
    profiles: readonly ConfiguredProfile[],
    dryRunTypes: ReadonlySet<AlertType>,
    onRelearn: OnRelearn,
  ) {
    this.codec = new ActorCodec(profiles, onRelearn);
    this.#profiles = profiles;
    this.#needsPlaces = profiles.some(({ kind }) => kind.needsPlaces === true);
    this.#held = new HeldOutput(dryRunTypes);
  }

  fold(actor: ActorState, peers: PeersState, call: ApiCall, out: DetectionOutput): void {
    if (call.startedAt > actor.lastSeenAt) actor.lastSeenAt = call.startedAt;
    // Neither judged nor learnt from, by any detector: open episodes are ended by `close`.
    if (isOfManyClients(actor, call)) return;
    const isRefused = call.refused === true;
    const isOnePlace = !isRefused && this.#needsPlaces && restsAtOnePlace(peers.onePlace, call);
    const context = this.#context;
    context.peers = peers;
    context.inSpike = false;
    this.#held.clear();
    for (let at = 0; at < this.#profiles.length; at++) {
      const { kind } = this.#profiles[at]!;
      // Open episodes are ended by `close`.
      if ((isRefused && kind.seesRefused !== true) || (isOnePlace && kind.needsPlaces)) continue;
      this.#foldInto(at, actor, call);
    }
    this.#held.release(out, actor.closedEarly);
  }

  #foldInto(at: number, actor: ActorState, call: ApiCall): void {
    const { profile } = this.#profiles[at]!;
    const isConcerned = profile.concerns?.(call) ?? true;
    let part = actor.parts[at];
    if (part === undefined && (isConcerned || this.codec.isOpen(actor, at)))
      part = this.codec.part(actor, at) ?? (actor.parts[at] = profile.create(call));
    if (part === undefined || (!isConcerned && profile.closesAt(part) === undefined)) return;
    profile.fold(part, call, this.#context, this.#held);
  }

  close(actor: ActorState, nowMs: number, out: DetectionOutput): void {
    this.#held.clear();
    this.#closeAll(actor, nowMs);
    this.#held.release(out, actor.closedEarly);
  }

  closeEarly(actor: ActorState, out: DetectionOutput): void {
    this.#held.clear();
    this.#closeAll(actor, Infinity);
    const closed = [...this.#held.alerts];
    this.#held.release(out, actor.closedEarly);
    if (closed.length > 0) actor.closedEarly = addClosedEarly(actor.closedEarly, closed);
  }

  #closeAll(actor: ActorState, nowMs: number): void {
    for (let at = 0; at < this.#profiles.length; at++) {
      const part = this.#openPart(actor, at);
      if (part !== undefined) this.#profiles[at]!.profile.close(part, nowMs, this.#held);
    }
  }

  closesAt(actor: ActorState): number | undefined {
    let earliest: number | undefined;
    for (let at = 0; at < this.#profiles.length; at++) {
      const part = this.#openPart(actor, at);
      const closesAt = part === undefined ? undefined : this.#profiles[at]!.profile.closesAt(part);
      if (closesAt !== undefined && (earliest === undefined || closesAt < earliest)) earliest = closesAt;
    }
    return earliest;
  }

  /** The profile's part of the state, unless it is not decoded and nothing is open in it. */
  #openPart(actor: ActorState, at: number): unknown {
    return actor.parts[at] ?? (this.codec.isOpen(actor, at) ? this.codec.part(actor, at) : undefined);
  }
}

/** Notes a call of a private address, or without any; true if many clients share the address. */
function isOfManyClients(actor: ActorState, call: ApiCall): boolean {
  if (call.actorKind !== 'address') return false;
  if (call.ip !== undefined && !isPrivateAddress(call.ip)) return false;
  return isSharedAddress((actor.shared ??= newSharedAddress()), call);
}
