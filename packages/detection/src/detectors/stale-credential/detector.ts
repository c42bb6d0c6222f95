import type { Detector } from '../../detector.ts';
import { actorSettings } from '../../settings.ts';
import { refusals } from '../brute-force/refusals.ts';

export const staleCredential = {
  alertType: 'stale-credential',
  setting: 'staleCredential',
  title: 'Stale credential',
  summary: 'A client repeats one credential that is expired, withdrawn or skewed, again and again.',
  settings: actorSettings,
  // Who guesses and who repeats a stale credential is told apart over the same refusals.
  ofActor: [refusals],
} as const satisfies Detector;
