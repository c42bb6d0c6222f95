import type { Stage } from '../stage.ts';
import { addOddParameters } from './abnormal-parameter.ts';
import { addShared } from './credential-sharing.ts';
import { addFailedLogins } from './credential-stuffing.ts';
import { addTravels } from './impossible-travel.ts';
import { addReaders } from './object-enumeration.ts';
import { addBusyMoments } from './request-spike.ts';

/** Every harmless oddity that the catalogue says must not alert. Those that happen to everybody are in `Stage`. */
export function addBenign(stage: Stage): void {
  addBusyMoments(stage);
  addFailedLogins(stage);
  addTravels(stage);
  addShared(stage);
  addReaders(stage);
  addOddParameters(stage);
}
