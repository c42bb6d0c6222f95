import type { Stage } from '../stage.ts';
import { addParameters } from './abnormal-parameter.ts';
import { addSharing } from './credential-sharing.ts';
import { addStuffing } from './credential-stuffing.ts';
import { addTravel } from './impossible-travel.ts';
import { addScraping } from './object-enumeration.ts';
import { addSpikes } from './request-spike.ts';

/** Every attack that the catalogue says must alert, each once, with intensity and evasion drawn from the seed. */
export function addAttacks(stage: Stage): void {
  addSpikes(stage);
  addStuffing(stage);
  addTravel(stage);
  addSharing(stage);
  addScraping(stage);
  addParameters(stage);
}
