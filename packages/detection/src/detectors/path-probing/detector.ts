import type { Detector } from '../../detector.ts';
import { actorSettings } from '../../settings.ts';
import { unservedPaths } from './unserved-paths.ts';

export const pathProbing = {
  alertType: 'path-probing',
  setting: 'pathProbing',
  title: 'Path probing',
  summary: 'An actor asks for path after path that nobody was ever served, as vulnerability scanners do.',
  settings: actorSettings,
  ofActor: [unservedPaths],
} as const satisfies Detector;
