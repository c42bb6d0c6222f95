/** An address as its bytes: 4 for IPv4 (also where it was written as IPv4-mapped IPv6), 16 for IPv6. */
type Address = readonly number[];

/** A network: its first `prefixBits` bits count. */
export interface Network {
  address: Address;
  prefixBits: number;
}

function parseV4(text: string): Address | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  // No leading zeros: some programs read them as octal.
  if (!parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255)) return undefined;
  return parts.map(Number);
}

function parseV6(text: string): Address | undefined {
  let groups = text;
  const lastColon = text.lastIndexOf(':');
  if (text.includes('.')) {
    const v4 = parseV4(text.slice(lastColon + 1));
    if (!v4) return undefined;
    const hex = [0, 2].map((at) => (v4[at]! * 256 + v4[at + 1]!).toString(16));
    groups = `${text.slice(0, lastColon + 1)}${hex.join(':')}`;
  }
  const halves = groups.split('::');
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half) => (half === '' ? [] : half.split(':')));
  const given = [...head!, ...(tail ?? [])];
  if (!given.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return undefined;
  // `::` stands for at least one group of zeros.
  if (tail ? given.length > 7 : given.length !== 8) return undefined;
  const zeros = Array.from({ length: 8 - given.length }, () => '0');
  return [...head!, ...zeros, ...(tail ?? [])].flatMap((group) => {
    const number = Number.parseInt(group, 16);
    return [number >> 8, number & 255];
  });
}

const mappedPrefix = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255];

/** Undefined if the text is no address. An IPv4-mapped IPv6 address is the IPv4 address. */
export function parseAddress(text: string): Address | undefined {
  if (!text.includes(':')) return parseV4(text);
  const bytes = parseV6(text);
  return bytes && mappedPrefix.every((byte, at) => bytes[at] === byte) ? bytes.slice(12) : bytes;
}

/** `"203.0.113.0/24"`, `"2001:db8::/32"` or a single address; otherwise what is wrong with it. */
export function parseNetwork(text: string): Network | string {
  const slash = text.indexOf('/');
  const address = parseAddress(slash === -1 ? text : text.slice(0, slash));
  if (!address) return 'this is neither an IP address nor a network';
  const bits = address.length * 8;
  if (slash === -1) return { address, prefixBits: bits };
  const suffix = text.slice(slash + 1);
  // A mapped network is counted in the 128 bits it was written in.
  const mapped = bits === 32 && text.includes(':');
  const written = mapped ? 128 : bits;
  if (!/^(0|[1-9][0-9]{0,2})$/.test(suffix) || Number(suffix) > written) {
    return `the number behind / must be 0 to ${written}`;
  }
  const prefixBits = mapped ? Number(suffix) - 96 : Number(suffix);
  if (prefixBits < 0) return 'an IPv4-mapped network needs at least /96';
  const first = address.map((byte, at) => byte & maskByte(prefixBits, at));
  if (!first.every((byte, at) => byte === address[at])) {
    return `the address has bits behind /${suffix}; did you mean ${showNetwork(first, prefixBits)}?`;
  }
  return { address, prefixBits };
}

function showNetwork(bytes: readonly number[], prefixBits: number): string {
  if (bytes.length === 4) return `${bytes.join('.')}/${prefixBits}`;
  const groups = Array.from({ length: 8 }, (_, at) =>
    (bytes[at * 2]! * 256 + bytes[at * 2 + 1]!).toString(16),
  );
  return `${groups.join(':').replace(/(^|:)0(:0)+$/, '::')}/${prefixBits}`;
}

function maskByte(prefixBits: number, at: number): number {
  const bits = Math.min(Math.max(prefixBits - at * 8, 0), 8);
  return (0xff << (8 - bits)) & 0xff;
}

/** True if one of the networks lies in the other; a single address is a network. IPv4 and IPv6 never do. */
export function networksOverlap(a: Network, b: Network): boolean {
  const prefixBits = Math.min(a.prefixBits, b.prefixBits);
  return (
    a.address.length === b.address.length &&
    a.address.every((byte, at) => ((byte ^ b.address[at]!) & maskByte(prefixBits, at)) === 0)
  );
}
