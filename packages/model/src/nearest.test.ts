import { expect, it } from 'vitest';
import { editDistance, nearestOf } from './nearest.ts';

it.each([
  ['', '', 0],
  ['kitten', 'sitting', 3],
  ['abc', '', 3],
  ['', 'abc', 3],
  ['same', 'same', 0],
])('counts the edits from "%s" to "%s": %i', (given, wanted, expected) => {
  expect(editDistance(given, wanted)).toBe(expected);
});

it('takes the costs of each kind of edit', () => {
  expect(editDistance('ab', 'abcd', { insert: 5 })).toBe(10);
  expect(editDistance('abcd', 'ab', { remove: 5 })).toBe(10);
  expect(editDistance('a', 'b', { replace: 5 })).toBe(2);
});

it('finds the candidate that was meant, whatever its case and punctuation', () => {
  const known = ['collector.port', 'kong.adminUrl', 'kong.adminToken'];
  expect(nearestOf('ADMIN_URL', known)).toBe('kong.adminUrl');
  expect(nearestOf('collector_prot', known)).toBe('collector.port');
  expect(nearestOf('anything', [])).toBeUndefined();
});
