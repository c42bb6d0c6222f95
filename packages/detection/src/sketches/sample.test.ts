import { describe, expect, it } from 'vitest';
import { Sample, sampleHash } from './sample.ts';

describe('a sample', () => {
  it('estimates the number of distinct keys to 13 % standard error, exact below its size', () => {
    for (const [distinct, within] of [
      [40, 0],
      [2_000, 0.4],
      [100_000, 0.4],
    ] as const) {
      let squares = 0;
      for (let run = 0; run < 40; run++) {
        const sample = new Sample<null>(64);
        for (let n = 0; n < distinct; n++) {
          const key = `${run}-${n}`;
          for (let twice = 0; twice < 2; twice++) sample.pick(key, sampleHash(key), () => null);
        }
        const error = sample.distinct() / distinct - 1;
        squares += error * error;
        expect(Math.abs(error)).toBeLessThanOrEqual(within);
      }
      expect(Math.sqrt(squares / 40)).toBeLessThanOrEqual(distinct < 64 ? 0 : 0.16);
    }
  });
});
