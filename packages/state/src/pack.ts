import { isAscii } from 'node:buffer';

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

/**
 * First byte of a packed value: this for text as it is; from this on for seven bits a character, and the number of characters
 * behind the last eight; else 1 and the number of codes that only fill the last group.
 */
const asItIs = 0;
const sevenBits = 8;
/** With more than this share of bytes that are not of the alphabet, seven bits for each are less. */
const escapesMost = 1 / 12;

/** Room to work in, which grows with the largest value; nothing stays in it from one call to the next. */
let plain = Buffer.alloc(4_096);
let dense = Buffer.alloc(4_096);

/** Text as bytes for the store; at most one byte longer than its UTF-8. */
export function pack(value: string): Buffer {
  if (plain.length < value.length * 3) plain = Buffer.alloc(value.length * 6);
  const from = plain;
  const length = from.write(value);
  // At worst three codes a byte, of which four make three bytes.
  if (dense.length < length * 2.25 + 4) dense = Buffer.alloc(Math.ceil(length * 4.5) + 4);
  const to = dense;
  let end = 1;
  let group = 0;
  let held = 0;
  let escapesLeft = Math.floor(length * escapesMost);
  const add = (code: number): void => {
    group = (group << 6) | code;
    if (++held < 4) return;
    to[end] = group >> 16;
    to[end + 1] = group >> 8;
    to[end + 2] = group;
    end += 3;
    group = held = 0;
  };
  for (let at = 0; at < length;) {
    // Nearly all of a state goes this way: four characters of the alphabet at once.
    if (held === 0 && at + 4 <= length) {
      const a = codes[from[at]!]!;
      const b = codes[from[at + 1]!]!;
      const c = codes[from[at + 2]!]!;
      const d = codes[from[at + 3]!]!;
      if (a !== escape && b !== escape && c !== escape && d !== escape) {
        const four = (a << 18) | (b << 12) | (c << 6) | d;
        to[end] = four >> 16;
        to[end + 1] = four >> 8;
        to[end + 2] = four;
        end += 3;
        at += 4;
        continue;
      }
    }
    const byte = from[at++]!;
    const code = codes[byte]!;
    add(code);
    if (code !== escape) continue;
    if (--escapesLeft === -1 && isAscii(from.subarray(0, length))) return packSeven(from, length);
    add(byte >> 4);
    add(byte & 15);
  }
  const filling = -held & 3;
  for (let fill = 0; fill < filling; fill++) add(0);
  if (end - 1 >= length) {
    to[0] = asItIs;
    from.copy(to, 1, 0, length);
    return Buffer.from(to.subarray(0, length + 1));
  }
  to[0] = 1 + filling;
  return Buffer.from(to.subarray(0, end));
}

/** Eight characters in seven bytes: each keeps its own seven bits, the eighth is spread over their highest ones. */
function packSeven(from: Buffer, length: number): Buffer {
  const whole = length >> 3;
  const rest = length & 7;
  const packed = Buffer.allocUnsafe(1 + whole * 7 + rest);
  packed[0] = sevenBits + rest;
  let end = 1;
  for (let at = 0; at < whole * 8; at += 8) {
    const spread = from[at + 7]!;
    for (let one = 0; one < 7; one++) packed[end++] = from[at + one]! | (((spread >> one) & 1) << 7);
  }
  for (let one = 0; one < rest; one++) packed[end++] = from[whole * 8 + one]!;
  return packed;
}

function unpackSeven(packed: Buffer): string {
  const whole = (packed.length - 1 - (packed[0]! - sevenBits)) / 7;
  if (plain.length < whole * 8 + 7) plain = Buffer.alloc(whole * 16 + 14);
  const to = plain;
  let count = 0;
  let at = 1;
  for (let group = 0; group < whole; group++) {
    let spread = 0;
    for (let one = 0; one < 7; one++) {
      const byte = packed[at++]!;
      to[count++] = byte & 127;
      spread |= (byte >> 7) << one;
    }
    to[count++] = spread;
  }
  while (at < packed.length) to[count++] = packed[at++]!;
  return to.toString('latin1', 0, count);
}

/** The text that was packed. Bytes that `pack` did not write come back as they are: whoever reads them finds no state. */
export function unpack(packed: Buffer): string {
  const format = packed[0];
  if (format === asItIs) return packed.toString('utf8', 1);
  if (
    format !== undefined &&
    format >= sevenBits &&
    (packed.length - 1 - (format & 7)) % 7 === 0 &&
    format < 16
  )
    return unpackSeven(packed);
  const groups = (packed.length - 1) / 3;
  if (format === undefined || format > 4 || !Number.isInteger(groups)) return packed.toString('utf8');
  let left = groups * 4 - (format - 1);
  if (plain.length < groups * 4) plain = Buffer.alloc(groups * 8);
  const to = plain;
  let length = 0;
  /** Codes of an escaped byte that are still to come, and the one that came. */
  let expected = 0;
  let half = 0;
  const add = (code: number): void => {
    if (left-- <= 0) return;
    if (expected === 2) half = code;
    else if (expected === 1) to[length++] = (half << 4) | code;
    else if (code !== escape) to[length++] = bytes[code]!;
    expected = expected > 0 ? expected - 1 : code === escape ? 2 : 0;
  };
  for (let at = 1; at < packed.length; at += 3) {
    const group = (packed[at]! << 16) | (packed[at + 1]! << 8) | packed[at + 2]!;
    const a = group >> 18;
    const b = (group >> 12) & 63;
    const c = (group >> 6) & 63;
    const d = group & 63;
    if (expected === 0 && left >= 4 && a !== escape && b !== escape && c !== escape && d !== escape) {
      to[length] = bytes[a]!;
      to[length + 1] = bytes[b]!;
      to[length + 2] = bytes[c]!;
      to[length + 3] = bytes[d]!;
      length += 4;
      left -= 4;
    } else {
      add(a);
      add(b);
      add(c);
      add(d);
    }
  }
  return to.toString('utf8', 0, length);
}
