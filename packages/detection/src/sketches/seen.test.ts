import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeHashes,
  decodeSeen,
  encodeHashes,
  encodeSeen,
  KNOWN,
  look,
  newSeen,
  objectHash,
  rotate,
} from './seen.ts';

const hashOf = (number: number): number => objectHash(`/orders/${number}`, 0);

/** Objects that are taken for new, as estimated. */
function news(seen: ReturnType<typeof newSeen>, from: number, count: number): number {
  let sum = 0;
  for (let number = from; number < from + count; number++) sum += Math.max(0, look(seen, hashOf(number)));
  return sum;
}

describe('objects seen', () => {
  it('counts exactly up to 48, and each object once', () => {
    const seen = newSeen();
    rotate(seen, 1);
    expect(news(seen, 0, 48)).toBe(48);
    expect(news(seen, 0, 48)).toBe(0);
    expect(look(seen, hashOf(0))).toBe(KNOWN);
  });

  it('estimates thousands within a quarter, in bounded memory', () => {
    for (const count of [500, 5_000, 50_000]) {
      const seen = newSeen();
      rotate(seen, 1);
      expect(Math.abs(news(seen, 0, count) / count - 1)).toBeLessThan(0.25);
      expect(JSON.stringify(encodeSeen(seen)).length).toBeLessThan(450);
    }
  });

  it('takes the same catalogue for known a week later, and for new after two weeks without it', () => {
    const seen = newSeen();
    rotate(seen, 1);
    news(seen, 0, 2_000);
    rotate(seen, 2);
    expect(news(seen, 0, 2_000)).toBe(0);
    rotate(seen, 4);
    expect(news(seen, 0, 2_000)).toBeGreaterThan(1_500);
  });

  it('gives the hashes back from their text', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 2 ** 24 - 1 })), (hashes) => {
        expect(decodeHashes(encodeHashes(hashes))).toEqual(hashes);
      }),
    );
    const seen = newSeen();
    rotate(seen, 3);
    news(seen, 0, 300);
    rotate(seen, 4);
    news(seen, 200, 300);
    expect(decodeSeen(encodeSeen(seen))).toEqual(seen);
  });
});
