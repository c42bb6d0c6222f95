import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromDigits, fromNumerals, signed, toDigits, toNumerals, unsigned } from './digits.ts';

describe('numbers as text', () => {
  it('gives whole numbers back from numerals, however large they are', () => {
    const numbers = fc.array(
      fc.oneof(fc.nat(100), fc.maxSafeNat(), fc.constantFrom(31, 32, 1_023, 1_024, 2 ** 60)),
    );
    fc.assert(
      fc.property(numbers, (some) => {
        expect(fromNumerals(toNumerals(some))).toEqual(some);
      }),
    );
  });

  it.each([-1, 0.5, NaN, Infinity])('refuses %d, which would be read back as another number', (number) => {
    expect(() => toNumerals([1, number])).toThrow(RangeError);
  });

  it('gives numbers below 0 back', () => {
    fc.assert(
      fc.property(fc.integer(), (number) => {
        expect(signed(unsigned(number))).toBe(number);
      }),
    );
    expect([0, -1, 1, -2, 2].map(unsigned)).toEqual([0, 1, 2, 3, 4]);
  });

  it('gives numbers back from digits of one width', () => {
    const numbers = fc.array(fc.nat(2 ** 18 - 1));
    fc.assert(
      fc.property(numbers, (some) => {
        expect(fromDigits(toDigits(some, 3), 3)).toEqual(some);
      }),
    );
  });

  it('needs one character for a number below 32, and none that JSON escapes', () => {
    expect(toNumerals([0, 31])).toHaveLength(2);
    const numbers = Array.from({ length: 2_000 }, (_, number) => number);
    expect(JSON.stringify(toNumerals(numbers))).toHaveLength(toNumerals(numbers).length + 2);
  });
});
