import type { Detector } from '../../detector.ts';
import { actorSettings } from '../../settings.ts';
import { idCoverage } from './id-coverage.ts';
import { requestedObjects } from './requested-objects.ts';

export const objectEnumeration = {
  alertType: 'object-enumeration',
  setting: 'objectEnumeration',
  title: 'Object enumeration',
  summary: 'An actor, or many together, go through ids of objects that they never asked for before.',
  settings: actorSettings,
  ofActor: [requestedObjects],
  acrossActors: idCoverage,
} as const satisfies Detector;
