import { lookup as dnsLookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/** Thrown for an address that a channel must not reach unless its settings allow it. */
export class PrivateTargetError extends Error {
  override name = 'PrivateTargetError';
}

/** IPv4 that is not the public internet (IANA special-purpose registry), the clouds' metadata address included. */
const specialV4 = new BlockList();
for (const network of [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/3',
]) {
  const [address, bits] = network.split('/');
  specialV4.addSubnet(address!, Number(bits), 'ipv4');
}

/** All public IPv6 lies in 2000::/3, except networks there that carry an IPv4 address or are for documentation. */
const publicV6 = new BlockList();
publicV6.addSubnet('2000::', 3, 'ipv6');
const specialV6 = new BlockList();
for (const [address, bits] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const) {
  specialV6.addSubnet(address, bits, 'ipv6');
}

/** True if the address is one of the public internet. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !specialV4.check(address, 'ipv4');
  // IPv4-mapped addresses (::ffff:0:0/96) lie outside of 2000::/3, so they are not public either way they are written.
  return family === 6 && publicV6.check(address, 'ipv6') && !specialV6.check(address, 'ipv6');
}

function refusal(host: string, address: string): PrivateTargetError {
  const resolved = host === address ? '' : `, which resolves to ${address}`;
  return new PrivateTargetError(
    `${host}${resolved} is not an address of the public internet; ` +
      'set "allowPrivate": true for this webhook if it is meant to be reached there',
  );
}

/** Throws if the host of the URL is a private address. Names are checked when they are resolved. */
export function assertPublicUrl(url: URL): void {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  if (isIP(host) && !isPublicAddress(host)) throw refusal(host, host);
}

/** Endings of names that lead into a private network, whoever resolves them (RFC 6761, 6762, 8375 and common use). */
const privateEndings = ['localhost', 'local', 'internal', 'intranet', 'private', 'corp', 'lan', 'home.arpa'];

/**
 * Throws if the host of the URL is a name that only a private network knows: one label (`vault`), or one of the endings
 * above. Used where a proxy resolves names, so that their addresses cannot be checked here.
 */
export function assertPublicName(url: URL): void {
  const host = url.hostname.replace(/\.$/, '');
  if (isIP(host.replace(/^\[(.*)\]$/, '$1'))) return;
  const isPrivate =
    !host.includes('.') || privateEndings.some((ending) => host === ending || host.endsWith(`.${ending}`));
  if (isPrivate) throw refusal(host, host);
}

/**
 * Makes a name lookup that fails if any of the addresses is private. The connection is made to the addresses that were
 * checked, so that a name which resolves differently the second time gains nothing.
 */
export function publicLookup(resolve: LookupFunction = dnsLookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, found) => {
      if (error) {
        callback(error, [], 0);
        return;
      }
      const addresses = typeof found === 'string' ? [{ address: found, family: isIP(found) }] : found;
      const hidden = addresses.find(({ address }) => !isPublicAddress(address));
      const first = addresses[0];
      if (hidden) callback(refusal(hostname, hidden.address), [], 0);
      else if (!first) callback(new Error(`${hostname} has no address`), [], 0);
      else if (options.all) callback(null, addresses, 0);
      else callback(null, first.address, first.family);
    });
  };
}
