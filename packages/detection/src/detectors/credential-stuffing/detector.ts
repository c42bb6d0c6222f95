import type { Detector } from '../../detector.ts';
import { endpointSettings } from '../../settings.ts';
import { loginsAcrossActors } from './credential-stuffing.ts';

export const credentialStuffing = {
  alertType: 'credential-stuffing',
  setting: 'credentialStuffing',
  title: 'Credential stuffing',
  summary: 'Many accounts or keys are tried on one endpoint from many addresses.',
  settings: endpointSettings,
  acrossActors: loginsAcrossActors,
} as const satisfies Detector;
