import { expect, test } from 'vitest';
import { createCache } from './cache.ts';

test('no more than 50,000 entries are kept, and the latest 25,000 are among them', () => {
  const cache = createCache<number>();
  let largest = 0;
  for (let index = 0; index < 120_000; index++) {
    cache.set(`key ${index}`, index, 1);
    largest = Math.max(largest, cache.size);
  }
  expect(largest).toBeLessThanOrEqual(50_000);
  let kept = 0;
  for (let index = 95_000; index < 120_000; index++) if (cache.get(`key ${index}`) === index) kept++;
  expect(kept).toBe(25_000);
});

test('an entry that is used stays while others go', () => {
  const cache = createCache<string>();
  cache.set('used', 'value', 5);
  let found = 0;
  for (let index = 0; index < 120_000; index++) {
    cache.set(`key ${index}`, '', 0);
    if (cache.get('used') === 'value') found++;
  }
  expect(found).toBe(120_000);
  expect(cache.get('key 0')).toBeUndefined();
});

test('no more than 4 Mi characters of keys and values are kept', () => {
  const cache = createCache<string>();
  for (let index = 0; index < 5_000; index++) cache.set(`key ${index}`.padEnd(300), 'x'.repeat(8_192), 8_192);
  expect(cache.size * (300 + 8_192)).toBeLessThanOrEqual(4 * 1024 * 1024);
  expect(cache.get('key 4999'.padEnd(300))).toHaveLength(8_192);
});

test('a key of more than 300 characters is not kept', () => {
  const cache = createCache<number>();
  cache.set('x'.repeat(301), 1, 0);
  cache.set('x'.repeat(300), 2, 0);
  expect(cache.get('x'.repeat(301))).toBeUndefined();
  expect(cache.get('x'.repeat(300))).toBe(2);
});
