import type { Detector } from '../../detector.ts';
import { actorSettings } from '../../settings.ts';
import { ownTraffic } from './own-traffic.ts';
import { requestMix } from './request-mix.ts';
import { crowdAcrossActors } from './crowd.ts';

export const requestSpike = {
  alertType: 'request-spike',
  setting: 'requestSpike',
  title: 'Request spike',
  summary:
    'An actor sends far more calls than is usual for it at this time, or calls of another kind: gathered on one endpoint, or with much larger responses.',
  settings: actorSettings,
  ofActor: [ownTraffic, requestMix],
  acrossActors: crowdAcrossActors,
} as const satisfies Detector;
