import type { Alert, ApiCall } from '@tripline/model';
import type { ActorProfile } from './detector.ts';
import type { Selection } from './exception.ts';
import type { Sensitivity } from './baseline/sensitivity.ts';

export interface ActorDetectorSettings extends Selection {
  sensitivity: Sensitivity;
}

export interface ActorDetector<State = unknown> {
  create(call: ApiCall): State | undefined;
  fold(state: State, call: ApiCall, inSpike: boolean): Alert[];
  close(state: State, nowMs: number): Alert[];
  closesAt(state: State): number | undefined;
  encode(state: State, lastSeenAt: number): unknown;
  decode(encoded: unknown, lastSeenAt: number): State;
}

const LATEST = 2 ** 42;

/** Until the detector is converted. */
export function adapt<State>(
  detector: ActorDetector<State>,
  isForEndpoint: (alert: Alert) => boolean = () => false,
): ActorProfile<State> {
  return {
    create: (call) => detector.create(call),
    fold(state, call, { inSpike }, out) {
      for (const alert of detector.fold(state, call, inSpike))
        if (isForEndpoint(alert)) out.toEndpoint(alert);
        else out.alert(alert);
    },
    close(state, nowMs, out) {
      for (const alert of detector.close(state, nowMs))
        if (isForEndpoint(alert)) out.toEndpoint(alert);
        else out.alert(alert);
    },
    closesAt: (state) => detector.closesAt(state),
    encode: (state, writer) => writer.text(JSON.stringify(detector.encode(state, LATEST))),
    decode: (reader) => detector.decode(JSON.parse(reader.text()), LATEST),
  };
}
