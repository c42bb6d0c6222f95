const placeBits = 12;
/** Longer text is not kept: comparing it would cost more than making it anew. */
const keptBytesMax = 40;

/** Texts that were read lately, each at the place that its bytes hash to: their number is bounded, the latest one wins. */
const kept: (string | undefined)[] = Array.from({ length: 2 ** placeBits }, () => undefined);

/**
 * The UTF-8 text of some bytes, for text that comes again and again (methods, endpoints, services): the same string each
 * time, which saves making it and lets maps find it faster.
 */
export function frequentText(bytes: Buffer, begin: number, end: number): string {
  const length = end - begin;
  if (length > keptBytesMax) return bytes.toString('utf8', begin, end);
  let hash = length;
  for (let at = begin; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
  const place = (hash ^ (hash >>> placeBits)) & (2 ** placeBits - 1);
  const found = kept[place];
  if (found?.length === length && isSame(found, bytes, begin)) return found;
  const text = bytes.toString('utf8', begin, end);
  // Of another length only if it is not ASCII: then its characters are not its bytes.
  if (text.length === length) kept[place] = text;
  return text;
}

function isSame(text: string, bytes: Buffer, begin: number): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== bytes[begin + i]) return false;
  return true;
}
