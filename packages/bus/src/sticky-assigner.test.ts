import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { shareOut } from './sticky-assigner.ts';

describe('sharing partitions out', () => {
  const members = fc.uniqueArray(
    fc.record({ id: fc.string({ minLength: 1 }), owned: fc.array(fc.integer({ min: -2, max: 40 })) }),
    { minLength: 1, maxLength: 12, selector: ({ id }) => id },
  );
  const partitions = fc.integer({ min: 1, max: 36 });

  it('gives every partition to exactly one member, evenly, whatever they claim', () => {
    fc.assert(
      fc.property(members, partitions, (claims, count) => {
        const shares = [...shareOut(claims, count).values()];
        expect(shares.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
        const sizes = shares.map((share) => share.length);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('moves nothing when nobody comes or goes', () => {
    fc.assert(
      fc.property(members, partitions, (claims, count) => {
        const once = shareOut(claims, count);
        const again = shareOut(
          [...once].map(([id, owned]) => ({ id, owned })),
          count,
        );
        expect(again).toEqual(once);
      }),
    );
  });

  it('takes only what a newcomer needs, and gives back only what one who left had', () => {
    const alone = shareOut([{ id: 'a', owned: [] }], 6);
    expect(alone.get('a')).toEqual([0, 1, 2, 3, 4, 5]);
    const two = shareOut(
      [
        { id: 'a', owned: [0, 1, 2, 3, 4, 5] },
        { id: 'b', owned: [] },
      ],
      6,
    );
    expect(two.get('a')).toEqual([0, 1, 2]);
    expect(two.get('b')).toEqual([3, 4, 5]);
    const left = shareOut(
      [
        { id: 'b', owned: [3, 4, 5] },
        { id: 'c', owned: [] },
      ],
      6,
    );
    expect(left.get('b')).toEqual([3, 4, 5]);
  });
});
