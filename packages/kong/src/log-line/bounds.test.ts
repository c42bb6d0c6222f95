import { expect, it } from 'vitest';
import { createAddressSuccesses } from './address-successes.ts';
import { createCredentialAges } from './credential-ages.ts';
import { createVerifyingEndpoints } from './verifying-endpoints.ts';

const hourMs = 3_600_000;

it('of endpoints the 5,000 noted last are kept; the callers of others count by their address again', () => {
  const verifying = createVerifyingEndpoints();
  const refuse = (endpoint: string): void => {
    for (let n = 0; n < 6; n++) verifying.note(endpoint, `198.51.100.${n}`, 'refused', n);
  };
  refuse('first');
  refuse('second');
  expect(verifying.verifies('first')).toBe(true);
  for (let n = 0; n < 4_998; n++) verifying.note(`invented-${n}`, '203.0.113.9', 'refused', n);
  refuse('second');
  verifying.note('one more', '203.0.113.9', 'refused', 1);
  expect(verifying.learnt()).toHaveLength(5_000);
  expect([verifying.verifies('first'), verifying.verifies('second')]).toEqual([false, true]);
});

it('what was learnt of endpoints is the same after it was saved and read', () => {
  const verifying = createVerifyingEndpoints();
  for (let n = 0; n < 6; n++) verifying.note('checked', `198.51.100.${n}`, 'refused', n);
  verifying.note('public', '198.51.100.1', 'served', 7);
  const again = createVerifyingEndpoints(
    JSON.parse(JSON.stringify(verifying.learnt())) as ReturnType<typeof verifying.learnt>,
  );
  expect([again.verifies('checked'), again.isPublic('public'), again.verifies('public')]).toEqual([
    true,
    true,
    false,
  ]);
});

it('of credentials 100,000 are kept; the first of them begins anew', () => {
  const ages = createCredentialAges();
  for (let n = 0; n <= 100_000; n++) ages.served(`c${n}`, 0);
  expect(ages.isEstablished('c0', 2 * hourMs)).toBe(false);
  expect(ages.isEstablished('c1', 2 * hourMs)).toBe(true);
});

it('new callers are counted up to 32 per address and day', () => {
  const ages = createCredentialAges();
  for (let n = 0; n < 1_000; n++) ages.newcomersOf('203.0.113.9', `c${n}`, n);
  expect(ages.newcomersOf('203.0.113.9', 'another', 1)).toBe(32);
  expect(ages.newcomersOf('203.0.113.9', 'c3', 1)).toBe(4);
  expect(ages.newcomersOf('203.0.113.9', 'another', 24 * hourMs)).toBe(1);
  for (let n = 0; n < 10_000; n++) ages.newcomersOf(`address-${n}`, 'c', 1);
  expect(ages.newcomersOf('203.0.113.9', 'another', 24 * hourMs)).toBe(1);
});

it('successes are counted of 50,000 addresses, the last hour in proportion', () => {
  const successes = createAddressSuccesses();
  for (let n = 0; n < 60; n++) successes.add('203.0.113.9', 'shop', n * 60_000);
  expect(successes.count('203.0.113.9', 'shop', hourMs + hourMs / 2)).toBe(30);
  expect(successes.count('203.0.113.9', 'shop', 3 * hourMs)).toBe(0);
  for (let n = 0; n < 50_000; n++) successes.add(`address-${n}`, 'shop', hourMs);
  expect(successes.count('203.0.113.9', 'shop', hourMs)).toBe(0);
  expect(successes.count('address-0', 'shop', hourMs)).toBe(1);
});
