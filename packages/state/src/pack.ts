/**
 * States are JSON in ASCII: seven bits a character instead of eight, so that an actor stays under 1 KB of Redis. What
 * compresses better costs a multiple of the CPU (figures in the README).
 *
 * First byte of a packed value: `asItIs` for text as UTF-8; else `sevenBits` and the number of characters behind the last
 * eight.
 */
const asItIs = 0;
const sevenBits = 8;

/** Room to work in, which grows with the largest value; nothing stays in it from one call to the next. */
let plain = Buffer.alloc(4_096);

/**
 * Text as bytes for the store; at most one byte longer than its UTF-8. Eight characters in seven bytes: each keeps its own
 * seven bits, those of the eighth are spread over their highest ones.
 */
export function pack(value: string): Buffer {
  // A value is copied before it is looked at: what JSON is written to is a string of pieces, slow to read by characters.
  if (plain.length < value.length * 3) plain = Buffer.alloc(value.length * 6);
  const from = plain;
  const length = from.write(value);
  if (length !== value.length) {
    const text = Buffer.allocUnsafe(1 + length);
    text[0] = asItIs;
    from.copy(text, 1, 0, length);
    return text;
  }
  const rest = length & 7;
  const packed = Buffer.allocUnsafe(1 + (length >> 3) * 7 + rest);
  packed[0] = sevenBits + rest;
  let end = 1;
  let at = 0;
  for (; at < length - rest; at += 8) {
    const spread = from[at + 7]!;
    packed[end] = from[at]! | ((spread & 1) << 7);
    packed[end + 1] = from[at + 1]! | ((spread & 2) << 6);
    packed[end + 2] = from[at + 2]! | ((spread & 4) << 5);
    packed[end + 3] = from[at + 3]! | ((spread & 8) << 4);
    packed[end + 4] = from[at + 4]! | ((spread & 16) << 3);
    packed[end + 5] = from[at + 5]! | ((spread & 32) << 2);
    packed[end + 6] = from[at + 6]! | ((spread & 64) << 1);
    end += 7;
  }
  for (; at < length; at++) packed[end++] = from[at]!;
  return packed;
}

/** The text that was packed. Bytes that `pack` did not write come back as they are: whoever reads them finds no state. */
export function unpack(packed: Buffer): string {
  const format = packed[0];
  if (format === asItIs) return packed.toString('utf8', 1);
  const rest = (format ?? 0) - sevenBits;
  const groupsEnd = packed.length - rest;
  if (rest < 0 || rest > 7 || groupsEnd < 1 || (groupsEnd - 1) % 7 !== 0) return packed.toString('utf8');
  if (plain.length < packed.length * 2) plain = Buffer.alloc(packed.length * 4);
  const to = plain;
  let length = 0;
  let at = 1;
  for (; at < groupsEnd; at += 7) {
    const a = packed[at]!;
    const b = packed[at + 1]!;
    const c = packed[at + 2]!;
    const d = packed[at + 3]!;
    const e = packed[at + 4]!;
    const f = packed[at + 5]!;
    const g = packed[at + 6]!;
    to[length] = a & 127;
    to[length + 1] = b & 127;
    to[length + 2] = c & 127;
    to[length + 3] = d & 127;
    to[length + 4] = e & 127;
    to[length + 5] = f & 127;
    to[length + 6] = g & 127;
    to[length + 7] =
      (a >> 7) |
      ((b >> 7) << 1) |
      ((c >> 7) << 2) |
      ((d >> 7) << 3) |
      ((e >> 7) << 4) |
      ((f >> 7) << 5) |
      ((g >> 7) << 6);
    length += 8;
  }
  for (; at < packed.length; at++) to[length++] = packed[at]!;
  return to.toString('latin1', 0, length);
}
