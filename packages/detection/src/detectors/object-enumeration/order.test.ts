import { describe, expect, it } from 'vitest';
import { newOrder, orderOf, step } from './order.ts';

function of(numbers: number[]): string {
  const order = newOrder();
  for (const number of numbers) step(order, number);
  return orderOf(order);
}

const range = (count: number, at: (index: number) => number): number[] =>
  Array.from({ length: count }, (_, index) => at(index));

describe('order of ids', () => {
  it('names the walk through the ids', () => {
    expect(of(range(100, (at) => 1_000 + at))).toBe('sequential');
    expect(of(range(100, (at) => 1_000 - at))).toBe('reversed');
    expect(of(range(100, (at) => 1_000 + 7 * at))).toBe('strided');
    expect(of(range(100, (at) => at * at))).toBe('ascending');
    expect(of(range(100, (at) => -at * at))).toBe('descending');
    expect(of(range(100, (at) => (at * at * 37) % 101))).toBe('random');
  });

  it('says nothing of few ids, or of ids that are no numbers', () => {
    expect(of(range(8, (at) => at))).toBe('unknown');
    expect(of(range(100, () => NaN))).toBe('unknown');
  });

  it('keeps its word when strays follow, and when each id is asked for at two endpoints', () => {
    expect(of([...range(100, (at) => 1_000 - 3 * at), 5, 6, 7, 8])).toBe('strided');
    expect(of(range(100, (at) => 1_000 + (at >> 1)))).toBe('sequential');
  });
});
