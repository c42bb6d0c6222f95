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
  const rest = value.length & 7;
  const whole = value.length - rest;
  const packed = Buffer.allocUnsafe(1 + (whole >> 3) * 7 + rest);
  packed[0] = sevenBits + rest;
  let end = 1;
  let bits = 0;
  for (let at = 0; at < whole; at += 8) {
    const a = value.charCodeAt(at);
    const b = value.charCodeAt(at + 1);
    const c = value.charCodeAt(at + 2);
    const d = value.charCodeAt(at + 3);
    const e = value.charCodeAt(at + 4);
    const f = value.charCodeAt(at + 5);
    const g = value.charCodeAt(at + 6);
    const spread = value.charCodeAt(at + 7);
    bits |= a | b | c | d | e | f | g | spread;
    packed[end] = a | ((spread & 1) << 7);
    packed[end + 1] = b | ((spread & 2) << 6);
    packed[end + 2] = c | ((spread & 4) << 5);
    packed[end + 3] = d | ((spread & 8) << 4);
    packed[end + 4] = e | ((spread & 16) << 3);
    packed[end + 5] = f | ((spread & 32) << 2);
    packed[end + 6] = g | ((spread & 64) << 1);
    end += 7;
  }
  for (let at = whole; at < value.length; at++) {
    const code = value.charCodeAt(at);
    bits |= code;
    packed[end++] = code;
  }
  return bits < 128 ? packed : Buffer.concat([Buffer.of(asItIs), Buffer.from(value)]);
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
