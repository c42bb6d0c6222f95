import { addAttacks } from './attacks.ts';
import { addBenign } from './benign.ts';
import { addCrowd } from './crowd.ts';
import { createLocate } from './geo.ts';
import { Stage } from './stage.ts';

export interface TrafficOptions {
  /** Seeds of the report begin at 1001; 1 to 99 are for tuning. */
  seed: number;
  /** Days before 8 April 2026, from 10 on, so that clock change, first of the month and Easter are in them. */
  days: number;
  /** Consumers of the crowd; scenarios bring about 350 of their own. */
  consumers: number;
}

/** A population with its harmless oddities and labelled attacks, by event time; see `Stage.blocks`. */
export function createTraffic(options: TrafficOptions): {
  stage: Stage;
  locate: ReturnType<typeof createLocate>;
} {
  const stage = new Stage(options);
  addCrowd(stage);
  addBenign(stage);
  addAttacks(stage);
  return { stage, locate: createLocate(stage.world.databaseUpdateMs) };
}
