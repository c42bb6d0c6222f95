import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { matches } from './match.ts';
import { parseAddress, parseNetwork } from './network.ts';
import type { PolicyMatch } from './policy-match.ts';
import { anAlert } from './test-support.ts';

describe('networks', () => {
  test.each([
    ['203.0.113.0/24', '203.0.113.255', true],
    ['203.0.113.0/24', '203.0.114.0', false],
    ['203.0.113.9', '203.0.113.9', true],
    ['203.0.113.9', '::ffff:203.0.113.9', true],
    ['::ffff:203.0.113.0/120', '203.0.113.9', true],
    ['0.0.0.0/0', '203.0.113.9', true],
    ['::/0', '203.0.113.9', false],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['2001:db8::/32', '2001:DB8:0:1::5', true],
    ['2001:db8::/33', '2001:db8:8000::', false],
    ['fe80::1', 'fe80:0:0:0:0:0:0:1', true],
    ['2001:db8:77::/48', '2001:db8:77:1::/64', true],
    ['2001:db8:77:1::/64', '2001:db8:77:1::/64', true],
    ['2001:db8:77:1::5', '2001:db8:77:1::/64', true],
    ['2001:db8:77:2::5', '2001:db8:77:1::/64', false],
    ['2001:db8:78::/48', '2001:db8:77:1::/64', false],
    ['::/0', '2001:db8:77:1::/64', true],
    ['0.0.0.0/0', '2001:db8:77:1::/64', false],
    ['203.0.113.9', 'not an address', false],
  ])('%s holds %s: %s', (network, ip, expected) => {
    expect(matches({ network }, anAlert({ sources: [{ ip, count: 1 }] }))).toBe(expected);
  });

  test.each([
    '',
    '1.2.3',
    '1.2.3.04',
    '1.2.3.256',
    '1.2.3.4/33',
    '1.2.3.4/',
    '1.2.3.4/08',
    'x',
    '::1::',
    ':::',
    '1:2',
    'fe80::1%eth0',
    '2001:db8::/129',
    '::ffff:1.2.3.4/24',
    '1:2:3:4:5:6:7:8::',
    '1.2.3.4:80',
  ])('"%s" is refused', (text) => {
    expect(parseNetwork(text)).toBeTypeOf('string');
  });

  test('any IPv6 address is read the same however it is written', () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        const canonical = new URL(`http://[${text}]/`).hostname.slice(1, -1);
        expect(parseAddress(text)).toEqual(parseAddress(canonical));
        expect(parseAddress(text)).toBeDefined();
      }),
    );
  });
});

describe('conditions', () => {
  test.each<[PolicyMatch, boolean]>([
    [{}, true],
    [{ type: 'request-spike' }, true],
    [{ type: ['brute-force', 'request-spike'] }, true],
    [{ type: 'brute-force' }, false],
    [{ severityAtLeast: 'medium' }, true],
    [{ severityAtLeast: 'high' }, true],
    [{ severityAtLeast: 'critical' }, false],
    [{ service: ['x', 'ord*'] }, true],
    [{ route: '*' }, false],
    [{ not: { route: '*' } }, true],
    [{ endpoint: 'GET /orders/{id}' }, true],
    [{ consumer: {} }, true],
    [{ consumer: { id: 'c-1', username: 'ac*', customId: 'ACME/?', tags: 'gold' } }, true],
    [{ consumer: { id: 'c-1', tags: 'silver' } }, false],
    [{ not: { consumer: { tags: 'gold' } } }, false],
    [{ country: ['SE', 'NO'] }, true],
    [{ country: 'SE' }, false],
    [{ any: [{ country: 'SE' }, { service: 'orders' }] }, true],
    [{ all: [{ country: 'NO' }, { service: 'orders' }] }, true],
    [{ all: [{ country: 'NO' }, { service: 'users' }] }, false],
    [{ type: 'request-spike', any: [{ country: 'SE' }] }, false],
  ])('%j: %s', (match, expected) => {
    expect(matches(match, anAlert())).toBe(expected);
  });

  test('a condition on the consumer never holds for an alert about anything else', () => {
    const alert = anAlert({
      actor: { kind: 'address', id: 'c-1', name: 'acme', username: 'acme', tags: ['gold'] },
    });
    expect(matches({ consumer: { id: '*' } }, alert)).toBe(false);
    expect(matches({ consumer: {} }, alert)).toBe(false);
  });
});
