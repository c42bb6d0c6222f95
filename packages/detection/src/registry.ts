import type { AlertType } from '@tripline/model';
import { z } from 'zod';
import type { Detector, SettingsOf } from './detector.ts';
import { abnormalParameter } from './detectors/abnormal-parameter/detector.ts';
import { bruteForce } from './detectors/brute-force/detector.ts';
import { credentialSharing } from './detectors/credential-sharing/detector.ts';
import { credentialStuffing } from './detectors/credential-stuffing/detector.ts';
import { dataScraping } from './detectors/data-scraping/detector.ts';
import { impossibleTravel } from './detectors/impossible-travel/detector.ts';
import { objectEnumeration } from './detectors/object-enumeration/detector.ts';
import { pathProbing } from './detectors/path-probing/detector.ts';
import { requestSpike } from './detectors/request-spike/detector.ts';
import { staleCredential } from './detectors/stale-credential/detector.ts';
import type { DetectorSettings } from './settings.ts';

/** Every detector. Whatever lists detectors, their settings or their types of alerts derives it from here. */
export const registry = [
  requestSpike,
  credentialStuffing,
  bruteForce,
  staleCredential,
  impossibleTravel,
  credentialSharing,
  dataScraping,
  objectEnumeration,
  abnormalParameter,
  pathProbing,
] as const satisfies readonly Detector[];

type Registered = (typeof registry)[number];

/** Settings of all detectors, each under its name. */
export type DetectionConfig = { [Each in Registered as Each['setting']]: z.infer<Each['settings']> };

export const alertTypes: readonly AlertType[] = registry.map(({ alertType }) => alertType);

/** The schema of the settings of these detectors: the section `detectors` of the configuration. */
export function configSchemaOf(
  detectors: readonly Detector[],
): z.ZodObject<Record<string, z.ZodType<DetectorSettings>>, z.core.$strict> {
  return z
    .strictObject(
      Object.fromEntries(
        detectors.map(({ setting, settings, summary }) => [setting, settings.describe(summary)]),
      ),
    )
    .describe('What the detectors look for.');
}

export const detectionConfigSchema = configSchemaOf(registry) as unknown as z.ZodType<DetectionConfig>;

/** The settings by type of alert, as profiles ask for them; `config` must have passed `configSchemaOf(detectors)`. */
export function settingsOf(
  config: Readonly<Record<string, DetectorSettings>>,
  detectors: readonly Detector[],
): SettingsOf {
  const byType = new Map(detectors.map(({ alertType, setting }) => [alertType, config[setting]]));
  return (alertType) => byType.get(alertType) ?? disabled;
}

const disabled: DetectorSettings = { enabled: false, dryRun: false, sensitivity: 'normal', exceptions: [] };

/** What a console or a page of documentation shows of a detector. */
export interface DetectorDescription {
  alertType: AlertType;
  setting: string;
  title: string;
  summary: string;
}

export function describeDetectors(detectors: readonly Detector[] = registry): DetectorDescription[] {
  return detectors.map(({ alertType, setting, title, summary }) => ({ alertType, setting, title, summary }));
}

/** The detectors as a table in Markdown, for the README of this package. */
export function detectorTable(detectors: readonly Detector[] = registry): string {
  const rows = detectors.map(
    ({ alertType, setting, summary }) =>
      `| [\`${alertType}\`](src/detectors/${alertType}/README.md) | \`${setting}\` | ${summary} |`,
  );
  return ['| alert type | setting | what it finds |', '|---|---|---|', ...rows].join('\n');
}
