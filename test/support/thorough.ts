/** Whether tests repeat what they do with more seeds and more often. The gate sets it; by hand: TEST_THOROUGH=1. */
const isThorough = process.env.TEST_THOROUGH === '1';

/** A number of repetitions: the smaller one, unless the run is to be thorough. */
export const repeats = (quick: number, thorough: number): number => (isThorough ? thorough : quick);
