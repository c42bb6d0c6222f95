import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { idHash, RecentIds } from './recent-ids.ts';

describe('RecentIds', () => {
  it('tells a new id from one seen before', () => {
    const ids = new RecentIds(10);
    expect(ids.seen(idHash('a'))).toBe(false);
    expect(ids.seen(idHash('b'))).toBe(false);
    expect(ids.seen(idHash('a'))).toBe(true);
    expect(ids.seen(idHash(''))).toBe(false);
    expect(ids.seen(idHash(''))).toBe(true);
  });

  it('remembers an id for at least the next `capacity` others and forgets it after at most twice as many', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 0, max: 200 }), (capacity, before) => {
        const remembers = (others: number): boolean => {
          const ids = new RecentIds(capacity);
          for (let i = 0; i < before; i++) ids.seen(idHash(`before-${i}`));
          ids.seen(idHash('it'));
          for (let i = 0; i < others; i++) ids.seen(idHash(`other-${i}`));
          return ids.seen(idHash('it'));
        };
        expect(remembers(capacity)).toBe(true);
        expect(remembers(2 * capacity + 1)).toBe(false);
      }),
    );
  });

  it('behaves as an exact set as long as its capacity is not exceeded', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 6 }), { maxLength: 300 }), (texts) => {
        const ids = new RecentIds(300);
        const model = new Set<string>();
        for (const text of texts) {
          expect(ids.seen(idHash(text))).toBe(model.has(text));
          model.add(text);
        }
      }),
    );
  });

  it('takes none of 200,000 different ids of Kong for a duplicate', () => {
    const ids = new RecentIds(200_000);
    let duplicates = 0;
    for (let i = 0; i < 200_000; i++) {
      if (
        ids.seen(
          idHash(
            `${(i * 2_654_435_761).toString(16).padStart(16, '0')}${i.toString(16).padStart(16, '0')}-1795303000000`,
          ),
        )
      )
        duplicates++;
    }
    expect(duplicates).toBe(0);
  });

  it('refuses a capacity that it cannot keep', () => {
    for (const capacity of [0, -1, 1.5, NaN, 2 ** 27]) {
      expect(() => new RecentIds(capacity)).toThrow(/allowed is an integer/);
    }
  });
});
