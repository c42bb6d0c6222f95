import { actorKey, type Alert, type ApiCall } from '@tripline/model';
import type { DetectionConfig, Exception } from './config.ts';
import { globToRegExp } from './glob.ts';
import { parseState } from './state-text.ts';
import type { PeersState } from './profile.ts';
import {
  closeSpike,
  decodeSpike,
  encodeSpike,
  foldSpike,
  newSpikeState,
  spikeClosesAt,
  type EncodedSpike,
  type SpikeState,
} from './request-spike.ts';

export type { PeersState };

/** What is kept per actor: one part per detector. Opaque to the caller; mutated by `fold` and `close`. */
export interface ActorState {
  /** Event time of the newest call, counted or not. */
  lastSeenAt: number;
  requestSpike: SpikeState;
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
  /** State from its text; `undefined` for an actor never seen. Throws on text that `encodeActor` did not write. */
  decodeActor(text: string | undefined): ActorState;
  /** Compact JSON, at most about 1 KB for an idle actor with one service. */
  encodeActor(state: ActorState): string;
  /** As `decodeActor`, for the state of a service's actors. */
  decodePeers(text: string | undefined): PeersState;
  encodePeers(state: PeersState): string;
  /** Folds one call in, mutating both states; returns the alert revisions to publish now, oldest first (usually none). */
  fold(actor: ActorState, peers: PeersState, call: ApiCall): Alert[];
  /** Ends the actor's episodes that are over at event time `nowMs`. What it returns does not depend on how late it is called. */
  close(actor: ActorState, nowMs: number): Alert[];
  /** Event time from which `close` has something to do; undefined if no episode is open. */
  closesAt(actor: ActorState): number | undefined;
  /** Event time (ms) of the actor's newest call; 0 if there was none. */
  lastSeenAt(actor: ActorState): number;
}

/** Version of the states' text; a change that old text cannot be read by must raise it. */
const STATE_VERSION = 1;

type EncodedActor = [version: number, lastSeenAt: number, requestSpike: EncodedSpike];
type EncodedPeers = [version: number, hours: number, mean: number, deviation: number];

/** `config` must have passed `detectionConfigSchema`. */
export function createDetection(config: DetectionConfig): Detection {
  const { enabled } = config.requestSpike;
  const exceptions = config.requestSpike.exceptions.map(compileException);

  return {
    actorStateKey: (call) => `a:${actorKey(call)}`,
    peersStateKey: (call) => `p:${call.service ?? ''}`,

    decodeActor(text) {
      if (text === undefined) return { lastSeenAt: 0, requestSpike: newSpikeState() };
      const [, lastSeenAt, requestSpike] = parseState(text, STATE_VERSION, 'an actor') as EncodedActor;
      return { lastSeenAt, requestSpike: decodeSpike(requestSpike) };
    },
    encodeActor(state) {
      const encoded: EncodedActor = [STATE_VERSION, state.lastSeenAt, encodeSpike(state.requestSpike)];
      return JSON.stringify(encoded);
    },
    decodePeers(text) {
      if (text === undefined) return { hours: 0, mean: 0, deviation: 0 };
      const [, hours, mean, deviation] = parseState(text, STATE_VERSION, 'peers') as EncodedPeers;
      return { hours, mean, deviation };
    },
    encodePeers({ hours, mean, deviation }) {
      const encoded: EncodedPeers = [STATE_VERSION, hours, mean, deviation];
      return JSON.stringify(encoded);
    },

    fold(actor, peers, call) {
      if (call.startedAt > actor.lastSeenAt) actor.lastSeenAt = call.startedAt;
      // What Kong turned away is neither judged nor learnt from: it may well be our own block.
      if (!enabled || call.refused === true) return closeSpike(actor.requestSpike, call.startedAt);
      for (const excepted of exceptions) {
        if (excepted(call)) return closeSpike(actor.requestSpike, call.startedAt);
      }
      return foldSpike(actor.requestSpike, peers, call);
    },
    close: (actor, nowMs) => closeSpike(actor.requestSpike, nowMs),
    closesAt: (actor) => spikeClosesAt(actor.requestSpike),
    lastSeenAt: (actor) => actor.lastSeenAt,
  };
}

function compileException(exception: Exception): (call: ApiCall) => boolean {
  const fromMs = Date.parse(exception.from);
  const untilMs = Date.parse(exception.until);
  const patterns = exception.consumers.map(globToRegExp);
  return (call) => {
    if (call.startedAt < fromMs || call.startedAt >= untilMs || call.consumerId === undefined) return false;
    const names = [call.consumerId, call.consumerUsername, call.consumerCustomId];
    return names.some((name) => name !== undefined && patterns.some((pattern) => pattern.test(name)));
  };
}
