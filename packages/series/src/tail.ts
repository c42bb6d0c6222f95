import { PRIOR_FREEDOM, PRIOR_ROWS, TAIL_ROWS } from './constants.ts';

/**
 * How often a detector's own deviations were how large: a histogram in logarithmic bins with a memory. It makes scores
 * comparable: where large deviations are usual, they say little.
 */
export interface Tail {
  readonly bins: Float64Array;
  rows: number;
}

const BINS = 80;
const BINS_PER_UNIT = 14;

export function newTail(): Tail {
  return { bins: new Float64Array(BINS), rows: 0 };
}

function binOf(z: number): number {
  return Math.min(BINS - 1, Math.floor(Math.log1p(z) * BINS_PER_UNIT));
}

/**
 * -log10 of the probability of a deviation of at least `z`: by the histogram, and by a prior with heavy tails that counts as
 * a few rows and decides beyond what was seen.
 */
export function decadesOf(tail: Tail, z: number): number {
  const bin = binOf(z);
  let above = 0;
  for (let at = bin + 1; at < BINS; at++) above += tail.bins[at]!;
  const from = Math.expm1(bin / BINS_PER_UNIT);
  const to = Math.expm1((bin + 1) / BINS_PER_UNIT);
  above += tail.bins[bin]! * Math.max(0, Math.min(1, (to - z) / (to - from)));
  const prior = (1 + (z * z) / PRIOR_FREEDOM) ** (-PRIOR_FREEDOM / 2);
  return -Math.log10((above + PRIOR_ROWS * prior) / (tail.rows + PRIOR_ROWS));
}

/** Counts a deviation as `weight` rows. */
export function addToTail(tail: Tail, z: number, weight: number): void {
  if (tail.rows > TAIL_ROWS / 2) {
    const keep = 1 - 1 / TAIL_ROWS;
    for (let at = 0; at < BINS; at++) tail.bins[at]! *= keep;
    tail.rows *= keep;
  }
  tail.bins[binOf(z)]! += weight;
  tail.rows += weight;
}
