import type { Alert, AlertType } from '@tripline/model';
import { markDryRuns } from './alerts/dry-run.ts';
import { continueRevisions, type ClosedEarly } from './alerts/early-close.ts';
import type { DetectionOutput } from './detector.ts';

/**
 * Holds back what profiles find until all of them have seen the call, so that nothing comes of a call that cannot be folded, and
 * completes it: dry runs are marked, and alerts that go on after they were closed early keep counting their revisions.
 */
export class HeldOutput implements DetectionOutput {
  readonly #dryRunTypes: ReadonlySet<AlertType>;
  #alerts: Alert[] = [];
  #toEndpoint: boolean[] = [];

  /** `dryRunTypes`: types of alerts that are only tried out. */
  constructor(dryRunTypes: ReadonlySet<AlertType>) {
    this.#dryRunTypes = dryRunTypes;
  }

  /** Alerts held back. */
  get alerts(): readonly Alert[] {
    return this.#alerts;
  }

  alert(alert: Alert): void {
    this.#alerts.push(alert);
    this.#toEndpoint.push(false);
  }

  toEndpoint(alert: Alert): void {
    this.#alerts.push(alert);
    this.#toEndpoint.push(true);
  }

  /** Forgets what an earlier call left behind when it could not be folded. */
  clear(): void {
    if (this.#alerts.length === 0) return;
    this.#alerts = [];
    this.#toEndpoint = [];
  }

  /** Passes on what was held back, in order. */
  release(out: DetectionOutput, closedEarly: ClosedEarly | undefined): void {
    if (this.#alerts.length === 0) return;
    const alerts = this.#alerts;
    const toEndpoint = this.#toEndpoint;
    this.clear();
    continueRevisions(closedEarly, markDryRuns(alerts, this.#dryRunTypes));
    for (const [at, alert] of alerts.entries())
      if (toEndpoint[at]) out.toEndpoint(alert);
      else out.alert(alert);
  }
}
