import fc from 'fast-check';
import { isIPv6 } from 'node:net';
import { describe, expect, it } from 'vitest';
import { ipv6NetworkOf, withoutIpv6Prefix } from './network.ts';

describe('the /64 of an address', () => {
  it.each([
    ['192.0.2.1', undefined],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8::/64'],
    ['2001:0:0:1::5', '2001:0:0:1::/64'],
    ['2001:db8:0:0:1:2:3:4', '2001:db8::/64'],
    ['::1', '::/64'],
    ['::', '::/64'],
    ['fe80::1:2:3:4', 'fe80::/64'],
    ['64:ff9b:1::192.0.2.1', '64:ff9b:1::/64'],
    ['2001:db8:1:2:3:4:192.0.2.1', '2001:db8:1:2::/64'],
  ])('of %s is %s', (ip, network) => {
    expect(ipv6NetworkOf(ip)).toBe(network);
  });

  it('is the same for all addresses of the network, and another for another network', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(0xffff), { minLength: 12, maxLength: 12 }), (groups) => {
        const text = (parts: number[]): string => parts.map((part) => part.toString(16)).join(':');
        const network = groups.slice(0, 4);
        const one = ipv6NetworkOf(text([...network, ...groups.slice(4, 8)]));
        expect(ipv6NetworkOf(text([...network, ...groups.slice(8, 12)]))).toBe(one);
        expect(isIPv6(one!.slice(0, -3))).toBe(true);
        const other = [...network.slice(0, 3), network[3]! ^ 1, ...groups.slice(4, 8)];
        expect(ipv6NetworkOf(text(other))).not.toBe(one);
      }),
    );
  });
});

it.each([
  ['::ffff:198.51.100.23', '198.51.100.23'],
  ['::ffff:c633:6417', '198.51.100.23'],
  ['64:ff9b::198.51.100.23', '198.51.100.23'],
  ['64:ff9b::c633:6417', '198.51.100.23'],
  ['2001:db8::1', '2001:db8::1'],
  ['198.51.100.23', '198.51.100.23'],
])('an address that stands for an IPv4 address is that one: %s is %s', (ip, plain) => {
  expect(withoutIpv6Prefix(ip)).toBe(plain);
});
