import type { Alert, ApiCall } from '@tripline/model';
import type { ActorDetector } from '../src/legacy.ts';

/**
 * The alert revisions of one actor's calls, up to the end of every episode. Before each call of which `renew` says so, the state
 * goes through its text.
 */
export function detectorRevisions<State>(
  detector: ActorDetector<State>,
  calls: readonly ApiCall[],
  renew: (index: number) => boolean = () => false,
): Alert[] {
  const alerts: Alert[] = [];
  let state: State | undefined;
  let lastSeenAt = 0;
  for (const [index, call] of calls.entries()) {
    if (state !== undefined && renew(index))
      state = detector.decode(JSON.parse(JSON.stringify(detector.encode(state, lastSeenAt))), lastSeenAt);
    lastSeenAt = Math.max(lastSeenAt, call.startedAt);
    state ??= detector.create(call);
    if (state !== undefined) alerts.push(...detector.fold(state, call, false));
  }
  if (state !== undefined) alerts.push(...detector.close(state, Infinity));
  return alerts;
}
