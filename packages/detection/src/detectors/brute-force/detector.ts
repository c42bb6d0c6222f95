import type { Detector } from '../../detector.ts';
import { actorSettings } from '../../settings.ts';
import { bruteForceGroup } from './group.ts';
import { refusals } from './refusals.ts';

export const bruteForce = {
  alertType: 'brute-force',
  setting: 'bruteForce',
  title: 'Brute force',
  summary:
    'One address, or a client that logs others in, guesses passwords of one account, or tries many accounts or keys.',
  settings: actorSettings,
  ofActor: [refusals],
  acrossActors: bruteForceGroup,
} as const satisfies Detector;
