import { ipv6NetworkOf, withoutIpv6Prefix } from './network.ts';
import { isIP } from 'node:net';

/** The address that a line gives for its client. */
export interface ClientAddress {
  ip: string;
  /** The /64 of an IPv6 address; undefined for IPv4. */
  network: string | undefined;
}

const maxAddresses = 10_000;
const maxAddressChars = 45;

/**
 * Reads `client_ip` of log lines. The same addresses come again and again, and parsing is slow: up to 10,000 are remembered, and
 * all are forgotten when there are more.
 */
export class ClientAddresses {
  /** By text; null for what is no address. */
  #known = new Map<string, ClientAddress | null>();

  /** Undefined for what is no address. An IPv6 address that stands for an IPv4 address becomes that one. */
  read(value: unknown): ClientAddress | undefined {
    if (typeof value !== 'string' || value.length > maxAddressChars) return undefined;
    const known = this.#known.get(value);
    if (known !== undefined) return known ?? undefined;
    const address = parse(value);
    if (this.#known.size >= maxAddresses) this.#known = new Map();
    this.#known.set(copyOf(value), address ?? null);
    return address;
  }
}

function parse(text: string): ClientAddress | undefined {
  const ip = withoutIpv6Prefix(text);
  return isIP(ip) === 0 ? undefined : { ip: copyOf(ip), network: ipv6NetworkOf(ip) };
}

/** A piece of a line would keep all the bytes that came with it in memory. */
function copyOf(text: string): string {
  return Buffer.from(text).toString();
}
