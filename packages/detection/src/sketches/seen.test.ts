import { describe, expect, it } from 'vitest';
import { ByteReader } from '../codec/byte-reader.ts';
import { ByteWriter } from '../codec/byte-writer.ts';
import { decodeSeen, encodeSeen, KNOWN, look, newSeen, objectHash, rotate } from './seen.ts';

const hashOf = (number: number): number => objectHash(`/orders/${number}`, 0);

function bytesOf(seen: ReturnType<typeof newSeen>): Buffer {
  const writer = new ByteWriter();
  encodeSeen(seen, writer);
  return writer.take();
}

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
      expect(bytesOf(seen).length).toBeLessThan(300);
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

  it('is the same after its bytes were written and read', () => {
    const seen = newSeen();
    rotate(seen, 3);
    news(seen, 0, 300);
    rotate(seen, 4);
    news(seen, 200, 300);
    expect(decodeSeen(new ByteReader(bytesOf(seen)))).toEqual(seen);
  });
});
