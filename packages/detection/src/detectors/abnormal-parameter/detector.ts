import type { Detector } from '../../detector.ts';
import { actorSettings } from '../../settings.ts';
import { parameters } from './abnormal-parameter.ts';

export const abnormalParameter = {
  alertType: 'abnormal-parameter',
  setting: 'abnormalParameter',
  title: 'Abnormal parameter',
  summary:
    'A call has parameters unlike those that the endpoint has learnt: other types, sizes, names, or shapes of attacks.',
  settings: actorSettings,
  ofEndpoint: parameters,
} as const satisfies Detector;
