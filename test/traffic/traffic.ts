import { addAttacks } from './attacks/index.ts';
import { addBenign } from './benign/index.ts';
import { addCrowd } from './crowd.ts';
import { createLocate } from './geo.ts';
import { Stage, type TrafficOptions } from './stage.ts';

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
