import type { Detector } from '../../detector.ts';
import { actorSettings } from '../../settings.ts';
import { requestedObjects } from '../object-enumeration/requested-objects.ts';

export const dataScraping = {
  alertType: 'data-scraping',
  setting: 'dataScraping',
  title: 'Data scraping',
  summary: 'An actor fetches lists page by page, or many objects per call, far beyond what it usually reads.',
  settings: actorSettings,
  // Objects and pages are counted together; what exceeds decides the type of the alert.
  ofActor: [requestedObjects],
} as const satisfies Detector;
