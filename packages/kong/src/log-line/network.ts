/**
 * The /64 of an IPv6 address, `2001:db8:1:2::/64`; undefined for IPv4. A client is given a whole /64 and can use another address
 * of it for each request, so that the address alone tells nothing. `ip` must be a valid address.
 */
export function ipv6NetworkOf(ip: string): string | undefined {
  if (!ip.includes(':')) return undefined;
  const [head, tail] = ip.split('::', 2) as [string, string?];
  const groups = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  // An IPv4 address at the end stands for two groups.
  const afterCount = after.length + (after.at(-1)?.includes('.') ? 1 : 0);
  if (tail !== undefined) while (groups.length + afterCount < 8) groups.push('0');
  const first = [...groups, ...after].slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  while (first.at(-1) === '0') first.pop();
  return `${first.join(':')}::/64`;
}

/** The IPv4 address in an IPv4-mapped (`::ffff:192.0.2.1`) or NAT64 address (`64:ff9b::192.0.2.1`, RFC 6052); else `ip` itself. */
export function withoutIpv6Prefix(ip: string): string {
  const embedded = /^(?:::ffff:|64:ff9b::)(?:(\d+\.\d+\.\d+\.\d+)|([0-9a-f]{1,4}):([0-9a-f]{1,4}))$/i.exec(
    ip,
  );
  if (!embedded) return ip;
  const [, dotted, high, low] = embedded;
  if (dotted !== undefined) return dotted;
  const [upper, lower] = [Number.parseInt(high!, 16), Number.parseInt(low!, 16)];
  return `${upper >> 8}.${upper & 255}.${lower >> 8}.${lower & 255}`;
}
