import type { Alert, AlertType, ApiCall } from '@tripline/model';
import type { z } from 'zod';
import type { MinutePartKind } from './across-actors/minute-part.ts';
import type { ByteReader } from './codec/byte-reader.ts';
import type { ByteWriter } from './codec/byte-writer.ts';
import type { PeersState } from './peers.ts';
import type { DetectorSettings, SettingsOf } from './settings.ts';

export type { SettingsOf };

/**
 * Everything of one type of alert: its name, its settings, and how calls become alerts of that type. A detector is one folder under
 * `detectors/` and one line in `registry.ts`; configuration schema, switch, dry run, documentation and consoles follow from this object.
 */
export interface Detector {
  /** In kebab case; part of each alert's id. */
  readonly alertType: AlertType;
  /** Name in the configuration: `alertType` in camel case. It switches exactly the alerts of this type. */
  readonly setting: string;
  readonly title: string;
  /** One sentence about what it finds, for documentation and consoles. */
  readonly summary: string;
  /** Schema of its settings, which must accept `{}`; see `settings.ts` for what detectors share. */
  readonly settings: z.ZodType<DetectorSettings>;
  /**
   * Profiles of one actor's own calls. Detectors that name the same object share its state: it is kept once, and told the settings of
   * all of them.
   */
  readonly ofActor?: readonly ActorProfileKind[];
  /** Profile of one endpoint's calls, whoever makes them. At most one detector has it. */
  readonly ofEndpoint?: EndpointProfileKind;
  /** Its part of what all actors together did on an endpoint within a minute. */
  readonly acrossActors?: MinutePartKind;
}

/** Takes what a profile finds, in order. Alerts are new objects, which the receiver may change. */
export interface DetectionOutput {
  /** A revision of an alert to be published. */
  alert(alert: Alert): void;
  /**
   * A revision of an alert about one address among many that may do the same on the same endpoint. It is handed to the `acrossActors`
   * part of its type, which publishes instead; where nothing is put together across actors, it is published as it is.
   */
  toEndpoint(alert: Alert): void;
}

/** What a profile knows besides its own state and the call. */
export interface CallContext {
  /** What the actors of the call's service share. */
  peers: PeersState;
  /** A request spike of the actor is open; set by the profile of its own traffic, which sees each call first. */
  inSpike: boolean;
}

/** A profile of one actor's own calls, before it is configured. */
export interface ActorProfileKind<State = unknown> {
  /** Marks its section in an actor's state, 1 to 127, never used again for another one. Profiles see a call in the order of their ids. */
  readonly id: number;
  /** Version of the section's bytes, 0 to 63. A section of another version is dropped and learnt anew, alone. */
  readonly version: number;
  /** Whether calls that Kong refused to a known consumer come to `fold`, too. They may be our own block: never learn from them. */
  readonly seesRefused?: true;
  /** Whether it judges where calls come from; it rests while nearly all clients of a service are seen at one place. */
  readonly needsPlaces?: true;
  create(settingsOf: SettingsOf): ActorProfile<State>;
}

/**
 * A profile of one actor's own calls. Pure: the same calls in the same order give the same alerts, wherever the state is encoded in
 * between. Times are event time, ms.
 */
export interface ActorProfile<State = unknown> {
  /** State of an actor whose first call this is; undefined if the call does not concern the profile. */
  create(call: ApiCall): State | undefined;
  /**
   * Whether `fold` has something to do with the call if no episode is open; without it, with every call. The state of an actor is not
   * decoded for other calls.
   */
  concerns?(call: ApiCall): boolean;
  /** Folds one call in, mutating the state, and puts out the alert revisions to publish now, oldest first (usually none). */
  fold(state: State, call: ApiCall, context: CallContext, out: DetectionOutput): void;
  /** Ends the episodes that are over at event time `nowMs`. What it puts out does not depend on how late it is called. */
  close(state: State, nowMs: number, out: DetectionOutput): void;
  /** Event time from which `close` has something to do; undefined if no episode is open. */
  closesAt(state: State): number | undefined;
  /** As few bytes as can be: states of idle actors are what the store is full of. */
  encode(state: State, writer: ByteWriter): void;
  /** Throws on bytes that `encode` did not write. */
  decode(reader: ByteReader): State;
}

/** A profile of one endpoint's calls, before it is configured. */
export interface EndpointProfileKind<State = unknown, Episodes = unknown> {
  create(settingsOf: SettingsOf): EndpointProfile<State, Episodes>;
}

/**
 * A profile of one endpoint's calls. Its alerts are about actors, whichever endpoints they try, so what is open is kept apart, once for
 * all endpoints of a partition.
 */
export interface EndpointProfile<State = unknown, Episodes = unknown> {
  /** Key of the endpoint's state, the same for all calls that belong together; undefined if the call does not concern the profile. */
  keyOf(call: ApiCall): string | undefined;
  create(): State;
  createEpisodes(): Episodes;
  /** Folds a call of the endpoint in. */
  fold(state: State, episodes: Episodes, call: ApiCall, out: DetectionOutput): void;
  /** Raises what has waited on the endpoint for long enough; before `close` of the same time. */
  release(state: State, episodes: Episodes, nowMs: number, out: DetectionOutput): void;
  /** Event time from which `release` has something to do; undefined if nothing waits. */
  releasesAt(state: State): number | undefined;
  /** As `ActorProfile.close`, for the episodes of all endpoints. */
  close(episodes: Episodes, nowMs: number, out: DetectionOutput): void;
  closesAt(episodes: Episodes): number | undefined;
  /** False: there is nothing to keep. */
  encode(state: State, writer: ByteWriter): boolean;
  decode(reader: ByteReader): State;
  encodeEpisodes(episodes: Episodes, writer: ByteWriter): void;
  decodeEpisodes(reader: ByteReader): Episodes;
}
