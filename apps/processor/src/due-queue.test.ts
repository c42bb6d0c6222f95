import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DueQueue } from './due-queue.ts';

const change = fc.record({
  key: fc.nat(20).map((n) => `k${n}`),
  dueMs: fc.option(fc.nat(12), { nil: undefined }),
});

/** What the queue should hold, in the order in which it is due. */
function inOrder(entries: ReadonlyMap<string, number>): string[] {
  return [...entries].sort((a, b) => a[1] - b[1] || (a[0] < b[0] ? -1 : 1)).map(([key]) => key);
}

describe('the due queue', () => {
  it('gives what is due in order of time and key after any adding, moving and removing', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 80 }), fc.nat(12), fc.nat(20), (changes, nowMs, count) => {
        const queue = new DueQueue();
        const expected = new Map<string, number>();
        for (const { key, dueMs } of changes) {
          if (dueMs === undefined) {
            expect(queue.delete(key)).toBe(expected.delete(key));
          } else {
            queue.set(key, dueMs);
            expected.set(key, dueMs);
          }
          expect(queue.nextMs).toBe(Math.min(Infinity, ...expected.values()));
          expect(queue.dueMs(key)).toBe(dueMs);
        }
        expect(queue.size).toBe(expected.size);
        expect(queue.dueBy(nowMs)).toEqual(inOrder(expected).filter((key) => expected.get(key)! <= nowMs));
        expect(queue.takeFirst(count)).toEqual(inOrder(expected).slice(0, count));
        expect(queue.dueBy(Infinity)).toEqual(inOrder(expected).slice(count));
      }),
      { seed: 1 },
    );
  });

  it('takes 200,000 keys, which are too many for the arguments of one call', () => {
    const queue = new DueQueue();
    for (let n = 0; n < 200_000; n++) queue.set(`k${n}`, 1_000_000 - n);
    expect(queue.nextMs).toBe(800_001);
    expect(queue.dueBy(800_003)).toEqual(['k199999', 'k199998', 'k199997']);
    expect(queue.dueBy(Infinity).length).toBe(200_000);
  });
});
