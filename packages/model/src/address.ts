/**
 * Loopback, private (RFC 1918, RFC 4193), link-local or carrier-grade (RFC 6598): nobody on the internet calls from such an
 * address, so that Kong sees a proxy's, or a client of the operator's own network.
 */
export function isPrivateAddress(ip: string): boolean {
  return /^(127\.|10\.|192\.168\.|172\.(1[6-9]|2[0-9]|3[01])\.|169\.254\.|100\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.|::1$|f[cd]|fe80:)/i.test(
    ip,
  );
}
