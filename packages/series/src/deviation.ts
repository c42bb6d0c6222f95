import { DEVIATION_CLIP } from './constants.ts';

/** Mean absolute deviation with a memory, in which a single large deviation counts as a few usual ones at most. */
export interface Deviation {
  mean: number;
  rows: number;
  readonly memoryRows: number;
}

export function newDeviation(memoryRows: number): Deviation {
  return { mean: 0, rows: 0, memoryRows };
}

export function learnDeviation(deviation: Deviation, residual: number, floor: number): void {
  const rate = Math.max(1 / (deviation.rows + 1), 1 / deviation.memoryRows);
  const most = deviation.rows < 3 ? Infinity : DEVIATION_CLIP * Math.max(deviation.mean, floor);
  deviation.mean += rate * (Math.min(Math.abs(residual), most) - deviation.mean);
  deviation.rows++;
}
