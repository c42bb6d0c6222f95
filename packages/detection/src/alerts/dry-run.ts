import type { Alert, AlertType } from '@tripline/model';
import type { DetectionConfig } from '../config.ts';

/** The settings that alerts of a type answer to. */
const settingsOf: Record<AlertType, keyof DetectionConfig> = {
  'request-spike': 'requestSpike',
  'credential-stuffing': 'credentialStuffing',
  'brute-force': 'bruteForce',
  'stale-credential': 'staleCredential',
  'impossible-travel': 'impossibleTravel',
  'credential-sharing': 'credentialSharing',
  'data-scraping': 'objectEnumeration',
  'object-enumeration': 'objectEnumeration',
  'path-probing': 'pathProbing',
  'abnormal-parameter': 'abnormalParameters',
};

/**
 * Marks the alerts of the types that are only tried out. By type, not by detector: one detector may raise several. Alerts are
 * what a detector just made and nobody else has, so they are marked in place.
 */
export function dryRunMarker(config: DetectionConfig): (alerts: Alert[]) => Alert[] {
  return (alerts) => {
    for (const alert of alerts) if (config[settingsOf[alert.type]].dryRun) alert.dryRun = true;
    return alerts;
  };
}
