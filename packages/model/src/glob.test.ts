import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileGlob, isLiteral, matchesGlob } from './glob.ts';

describe('a pattern', () => {
  test.each([
    ['orders', 'orders', true],
    ['orders', 'Orders', false],
    ['ord*', 'orders', true],
    ['*ders', 'orders', true],
    ['o*d*s', 'orders', true],
    ['o?ders', 'orders', true],
    ['?', '😀', true],
    ['*?', 'a😀', true],
    ['😀*b', '😀😀ab', true],
    ['*', '', true],
    ['?', '', false],
    ['a*b', 'a', false],
    ['GET /orders/{id}*', 'GET /orders/{id}/items', true],
    ['a.c', 'abc', false],
    ['[a-z]*', '[a-z]x', true],
    ['a*', 'a\nb', true],
  ])('%s on %s: %s', (pattern, text, expected) => {
    expect(matchesGlob(pattern, text)).toBe(expected);
  });

  test('agrees with the textbook definition', () => {
    const slow = (p: string, t: string): boolean =>
      p === ''
        ? t === ''
        : p[0] === '*'
          ? slow(p.slice(1), t) || (t !== '' && slow(p, t.slice(1)))
          : t !== '' && (p[0] === '?' || p[0] === t[0]) && slow(p.slice(1), t.slice(1));
    const short = (unit: string) =>
      fc.array(fc.constantFrom(...Array.from(unit)), { maxLength: 9 }).map((chars) => chars.join(''));
    fc.assert(
      fc.property(short('ab*?'), fc.array(short('ab'), { maxLength: 3 }), (pattern, texts) => {
        const matches = compileGlob(pattern);
        for (const text of texts) expect(matches(text)).toBe(slow(pattern, text));
      }),
      { numRuns: 2_000 },
    );
  });

  test('made to backtrack costs at most its length times that of the text', () => {
    // 2^40 steps if it did backtrack: the test would not end.
    expect(matchesGlob('a*'.repeat(40) + 'b', 'a'.repeat(5_000))).toBe(false);
  });

  test('is literal if it has no wildcard', () => {
    expect(['orders', 'a.b', 'or*', 'o?'].map(isLiteral)).toEqual([true, true, false, false]);
  });
});
