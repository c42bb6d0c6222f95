import type { Detector } from '../../detector.ts';
import { actorSettings } from '../../settings.ts';
import { whereabouts } from '../../places/whereabouts.ts';

export const credentialSharing = {
  alertType: 'credential-sharing',
  setting: 'credentialSharing',
  title: 'Credential sharing',
  summary:
    'One credential is used by several parties: at many networks at once, in turn, or with two kinds of clients.',
  settings: actorSettings,
  ofActor: [whereabouts],
} as const satisfies Detector;
