/** Text up to this length is written by character, which costs less than a call into native code. */
const byCharacterMax = 80;
const slabBytes = 64 * 1024;
const utf8BytesMax = 3;
const varintBytesMax = 5;
const uint32Max = 2 ** 32 - 1;

/**
 * Writes rows in ClickHouse's RowBinary format, one after the other. Rows are views of slabs that they share, so that a row
 * costs no allocation of its own.
 */
export class RowWriter {
  #bytes = Buffer.allocUnsafe(slabBytes);
  #begin = 0;
  #at = 0;

  /** The bytes that were written since the last call. */
  take(): Buffer {
    const row = this.#bytes.subarray(this.#begin, this.#at);
    this.#begin = this.#at;
    return row;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#at++] = value;
  }

  uint16(value: number): void {
    this.#reserve(2);
    const whole = clamped(value, 0xffff);
    this.#bytes[this.#at++] = whole;
    this.#bytes[this.#at++] = whole >>> 8;
  }

  uint32(value: number): void {
    this.#reserve(4);
    this.#fourBytes(clamped(value, uint32Max));
  }

  /** Also the bytes of an Int64 that is not negative. */
  uint64(value: number): void {
    this.#reserve(8);
    const whole = clamped(value, Number.MAX_SAFE_INTEGER);
    this.#fourBytes(whole);
    this.#fourBytes(whole / 2 ** 32);
  }

  float64(value: number): void {
    this.#reserve(8);
    this.#at = this.#bytes.writeDoubleLE(value, this.#at);
  }

  /** Text as UTF-8 behind its length. Half a surrogate pair becomes U+FFFD. */
  text(text: string): void {
    const { length } = text;
    this.#reserve(length * utf8BytesMax + varintBytesMax);
    if (length <= byCharacterMax && this.#ascii(text)) return;
    // Most text is ASCII, so that its length in bytes takes no more room than its length.
    const expected = varintBytes(length);
    const written = this.#bytes.write(text, this.#at + expected);
    const needed = varintBytes(written);
    const from = this.#at + expected;
    if (needed !== expected) this.#bytes.copyWithin(this.#at + needed, from, from + written);
    this.varint(written);
    this.#at += written;
  }

  varint(value: number): void {
    this.#reserve(varintBytesMax);
    let left = value;
    while (left > 0x7f) {
      this.#bytes[this.#at++] = (left & 0x7f) | 0x80;
      left >>>= 7;
    }
    this.#bytes[this.#at++] = left;
  }

  /** False if it is not ASCII: then nothing is written. */
  #ascii(text: string): boolean {
    const bytes = this.#bytes;
    const begin = this.#at + 1;
    const { length } = text;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) return false;
      bytes[begin + i] = code;
    }
    bytes[this.#at] = length;
    this.#at = begin + length;
    return true;
  }

  #fourBytes(value: number): void {
    const bytes = this.#bytes;
    bytes[this.#at++] = value;
    bytes[this.#at++] = value >>> 8;
    bytes[this.#at++] = value >>> 16;
    bytes[this.#at++] = value >>> 24;
  }

  /** The row that has begun moves on to another slab where this one has no room. */
  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return;
    const begun = this.#bytes.subarray(this.#begin, this.#at);
    const grown = Buffer.allocUnsafe(Math.max(slabBytes, 2 * (begun.length + bytes)));
    grown.set(begun);
    this.#bytes = grown;
    this.#begin = 0;
    this.#at = begun.length;
  }
}

function clamped(value: number, max: number): number {
  return value >= 0 ? Math.min(Math.trunc(value), max) : 0;
}

function varintBytes(value: number): number {
  return value < 2 ** 7 ? 1 : value < 2 ** 14 ? 2 : value < 2 ** 21 ? 3 : value < 2 ** 28 ? 4 : 5;
}
