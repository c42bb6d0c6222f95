import type { Alert, AlertType } from '@tripline/model';
import type { Detector, SettingsOf } from '../detector.ts';

/** The types of alerts that are only tried out. */
export function dryRunTypesOf(detectors: readonly Detector[], settingsOf: SettingsOf): Set<AlertType> {
  return new Set(
    detectors.map(({ alertType }) => alertType).filter((alertType) => settingsOf(alertType).dryRun),
  );
}

/** Marks alerts of types that are only tried out. They are marked in place: nobody else has them yet. */
export function markDryRuns(alerts: Alert[], dryRunTypes: ReadonlySet<AlertType>): Alert[] {
  for (const alert of alerts) if (dryRunTypes.has(alert.type)) alert.dryRun = true;
  return alerts;
}
