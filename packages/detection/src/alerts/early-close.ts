import type { Alert } from '@tripline/model';

/** Alerts that were closed before their time, with their last revision; the latest last. */
export type ClosedEarly = [id: string, revision: number][];

const ALERTS_KEPT = 8;

/** `known` and the alerts that were closed early now. */
export function addClosedEarly(known: ClosedEarly | undefined, closed: readonly Alert[]): ClosedEarly {
  const added = closed.map(({ id, revision }): ClosedEarly[number] => [id, revision]);
  const others = (known ?? []).filter(([id]) => !added.some(([same]) => same === id));
  return [...others, ...added].slice(-ALERTS_KEPT);
}

/**
 * The id of an alert is made of its first window. If that window goes on after the alert was closed early, the alert is raised
 * again under the same id: its revisions then follow on the earlier ones, as readers pass over those that they had.
 */
export function continueRevisions(known: ClosedEarly | undefined, alerts: Alert[]): Alert[] {
  if (known === undefined) return alerts;
  for (const alert of alerts) {
    const earlier = known.find(([id]) => id === alert.id);
    if (earlier) alert.revision += earlier[1];
  }
  return alerts;
}
