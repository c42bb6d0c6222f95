import type { Alert, ApiCall } from '@tripline/model';
import { ByteReader } from '../src/codec/byte-reader.ts';
import { ByteWriter } from '../src/codec/byte-writer.ts';
import type { ActorProfileKind } from '../src/detector.ts';
import { detectionConfigSchema } from '../src/index.ts';
import { newPeersState } from '../src/peers.ts';
import { registry, settingsOf } from '../src/registry.ts';
import { alertsFrom } from './collect.ts';

/** A profile of one actor, driven step by step: each step returns its alerts. */
export interface DrivenProfile<State> {
  create(call: ApiCall): State | undefined;
  fold(state: State, call: ApiCall, inSpike?: boolean): Alert[];
  close(state: State, nowMs: number): Alert[];
  encode(state: State): Buffer;
  decode(bytes: Buffer): State;
}

/** The profile with these settings of detectors. */
export function driven<State>(kind: ActorProfileKind<State>, settings: unknown = {}): DrivenProfile<State> {
  const profile = kind.create(settingsOf(detectionConfigSchema.parse(settings), registry));
  const peers = newPeersState();
  const writer = new ByteWriter();
  return {
    create: (call) => profile.create(call),
    fold: (state, call, inSpike = false) =>
      alertsFrom((out) => profile.fold(state, call, { peers, inSpike }, out)),
    close: (state, nowMs) => alertsFrom((out) => profile.close(state, nowMs, out)),
    encode(state) {
      profile.encode(state, writer);
      return writer.take();
    },
    decode(bytes) {
      const reader = new ByteReader(bytes);
      const state = profile.decode(reader);
      reader.expectEnd();
      return state;
    },
  };
}

/**
 * The alert revisions of one actor's calls, up to the end of every episode. Before each call of which `renew` says so, the state
 * goes through its bytes.
 */
export function detectorRevisions<State>(
  detector: DrivenProfile<State>,
  calls: readonly ApiCall[],
  renew: (index: number) => boolean = () => false,
): Alert[] {
  const alerts: Alert[] = [];
  let state: State | undefined;
  for (const [index, call] of calls.entries()) {
    if (state !== undefined && renew(index)) state = detector.decode(detector.encode(state));
    state ??= detector.create(call);
    if (state !== undefined) alerts.push(...detector.fold(state, call));
  }
  if (state !== undefined) alerts.push(...detector.close(state, Infinity));
  return alerts;
}
