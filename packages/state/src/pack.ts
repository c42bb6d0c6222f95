/**
 * States are JSON, mostly of digits and lower-case letters: six bits a character instead of eight. What compresses better
 * costs a multiple of the CPU (figures in the README).
 */
const alphabet = '0123456789abcdefghijklmnopqrstuvwxyz,.[]":{}-_ /~ACDEGILMNOPRST';
/** Followed by the two halves of a byte that is not of the alphabet. */
const escape = 63;

const codes = new Uint8Array(256).fill(escape);
const bytes = new Uint8Array(64);
for (let code = 0; code < escape; code++) {
  codes[alphabet.charCodeAt(code)] = code;
  bytes[code] = alphabet.charCodeAt(code);
}

/** First byte of a packed value: this for text as it is, else 1 and the number of codes that only fill the last group. */
const asItIs = 0;

/** Room to work in, which grows with the largest value; nothing stays in it from one call to the next. */
let text = Buffer.alloc(4_096);
let sixes = new Uint8Array(4_096);

/** Text as bytes for the store; at most one byte longer than its UTF-8. */
export function pack(value: string): Buffer {
  if (text.length < value.length * 3) text = Buffer.alloc(value.length * 6);
  const length = text.write(value);
  if (sixes.length < length * 3 + 3) sixes = new Uint8Array(length * 6 + 3);
  const [from, to] = [text, sixes];
  let count = 0;
  for (let at = 0; at < length; at++) {
    const byte = from[at]!;
    const code = codes[byte]!;
    to[count++] = code;
    if (code === escape) {
      to[count++] = byte >> 4;
      to[count++] = byte & 15;
    }
  }
  const filling = -count & 3;
  for (let fill = 0; fill < filling; fill++) to[count++] = 0;
  if ((count / 4) * 3 >= length) {
    const plain = Buffer.allocUnsafe(length + 1);
    plain[0] = asItIs;
    from.copy(plain, 1, 0, length);
    return plain;
  }
  const packed = Buffer.allocUnsafe((count / 4) * 3 + 1);
  packed[0] = 1 + filling;
  let end = 1;
  for (let at = 0; at < count; at += 4) {
    const group = (to[at]! << 18) | (to[at + 1]! << 12) | (to[at + 2]! << 6) | to[at + 3]!;
    packed[end] = group >> 16;
    packed[end + 1] = group >> 8;
    packed[end + 2] = group;
    end += 3;
  }
  return packed;
}

/** The text that was packed. Bytes that `pack` did not write come back as they are: whoever reads them finds no state. */
export function unpack(packed: Buffer): string {
  const format = packed[0];
  if (format === asItIs) return packed.toString('utf8', 1);
  const groups = (packed.length - 1) / 3;
  if (format === undefined || format > 4 || !Number.isInteger(groups)) return packed.toString('utf8');
  const count = groups * 4 - (format - 1);
  if (text.length < groups * 4) text = Buffer.alloc(groups * 8);
  const to = text;
  let length = 0;
  let end = 1;
  for (let at = 0; at < groups; at++) {
    const group = (packed[end]! << 16) | (packed[end + 1]! << 8) | packed[end + 2]!;
    end += 3;
    to[length] = group >> 18;
    to[length + 1] = (group >> 12) & 63;
    to[length + 2] = (group >> 6) & 63;
    to[length + 3] = group & 63;
    length += 4;
  }
  // In place: what is written never overtakes what is read.
  length = 0;
  for (let at = 0; at < count; at++) {
    const code = to[at]!;
    if (code !== escape) to[length++] = bytes[code]!;
    else {
      to[length++] = (to[at + 1]! << 4) | to[at + 2]!;
      at += 2;
    }
  }
  return to.toString('utf8', 0, length);
}
