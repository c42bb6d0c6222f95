/** Finishes an FNV-1a hash to 24 bits: few values of one actor are told apart, and they are kept as text. Never 0. */
export function finishHash(hash: number): number {
  let h = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 8 || 1;
}

/** Hash of a user agent without its version numbers, 24 bits, never 0: of the letters and signs, as digits and dots are versions. */
export function clientFamily(userAgent: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < userAgent.length && at < 256; at++) {
    const code = userAgent.charCodeAt(at);
    if ((code >= 48 && code <= 57) || code === 46) continue;
    hash = Math.imul(hash ^ code, 0x01000193);
  }
  return finishHash(hash);
}
