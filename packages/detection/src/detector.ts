import type { Alert, ApiCall } from '@tripline/model';
import { createBruteForceDetector } from './detectors/brute-force/brute-force.ts';
import type { DetectionConfig } from './config.ts';
import type { Selection } from './exception.ts';
import { createCallMixDetector } from './detectors/request-spike/request-mix.ts';
import { createObjectEnumerationDetector } from './detectors/object-enumeration/object-enumeration.ts';
import { createPlacesDetector } from './places/places-detector.ts';
import { createPathProbingDetector } from './detectors/path-probing/path-probing.ts';
import type { Sensitivity } from './baseline/sensitivity.ts';

/** What of its settings such a detector looks at. */
export interface ActorDetectorSettings extends Selection {
  sensitivity: Sensitivity;
}

/**
 * A detector over one actor's own calls. Pure: the same calls in the same order give the same alerts, wherever the state is
 * encoded in between. Calls that Kong refused to a known consumer do not come here.
 */
export interface ActorDetector<State = unknown> {
  /** Of its settings. */
  readonly name: string;
  /** Of its part of an actor's state: one letter, as there are millions of them. */
  readonly key: string;
  /** It judges where calls come from, and rests while nearly all clients of the service are seen at one place. */
  readonly needsPlaces?: true;
  /** State of an actor whose first call this is; undefined if the call does not concern the detector. */
  create(call: ApiCall): State | undefined;
  /**
   * Folds one call in, mutating the state; returns the alert revisions to publish now, oldest first (usually none). `inSpike`
   * tells that a request spike of the actor is open.
   */
  fold(state: State, call: ApiCall, inSpike: boolean): Alert[];
  /** Ends the episodes that are over at event time `nowMs`. What it returns does not depend on how late it is called. */
  close(state: State, nowMs: number): Alert[];
  /** Event time from which `close` has something to do; undefined if no episode is open. */
  closesAt(state: State): number | undefined;
  /**
   * As compact JSON as can be: states of idle actors are what the store is full of. `lastSeenAt` is the event time of the
   * actor's newest call, the same for both.
   */
  encode(state: State, lastSeenAt: number): unknown;
  decode(encoded: unknown, lastSeenAt: number): State;
}

/** Those that the configuration switches on, in the order in which they see a call. */
export function actorDetectors(config: DetectionConfig): readonly ActorDetector[] {
  const detectors: ActorDetector[] = [];
  // Each knows its own state only, as the states are kept by the detector's name.
  const add = <State>(detector: ActorDetector<State>): void => {
    detectors.push(detector);
  };
  if (config.bruteForce.enabled || config.staleCredential.enabled) add(createBruteForceDetector(config));
  if (config.objectEnumeration.enabled) add(createObjectEnumerationDetector(config.objectEnumeration));
  if (config.pathProbing.enabled) add(createPathProbingDetector(config.pathProbing));
  if (config.impossibleTravel.enabled || config.credentialSharing.enabled) add(createPlacesDetector(config));
  if (config.requestSpike.enabled) add(createCallMixDetector(config.requestSpike));
  return detectors;
}
