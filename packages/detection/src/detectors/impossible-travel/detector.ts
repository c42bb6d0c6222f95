import type { Detector } from '../../detector.ts';
import { actorSettings } from '../../settings.ts';
import { whereabouts } from '../../places/whereabouts.ts';

export const impossibleTravel = {
  alertType: 'impossible-travel',
  setting: 'impossibleTravel',
  title: 'Impossible travel',
  summary: 'An actor is used from a strange place that its owner, just seen elsewhere, cannot have reached.',
  settings: actorSettings,
  ofActor: [whereabouts],
} as const satisfies Detector;
