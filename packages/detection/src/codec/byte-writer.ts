const FIRST_BYTES = 4_096;
/** Up to here numbers are written with 32-bit arithmetic, beyond with divisions. */
const SMALL_END = 0x8000_0000;

/**
 * Writes the fields of a state one behind the other, without names or types: `ByteReader` reads them in the same order. One writer
 * serves for many states, as its buffer is used again. Whole numbers are LEB128: seven bits a byte, the lowest first.
 */
export class ByteWriter {
  #bytes = Buffer.allocUnsafe(FIRST_BYTES);
  #length = 0;

  /** Number of bytes written since the last `take` or `clear`. */
  get length(): number {
    return this.#length;
  }

  /** A copy of all that was written; the writer is empty afterwards. */
  take(): Buffer {
    const taken = Buffer.from(this.#bytes.subarray(0, this.#length));
    this.#length = 0;
    return taken;
  }

  /** Forgets what was written, such as the part of a state before an error. */
  clear(): void {
    this.#length = 0;
  }

  /** A whole number from 0 to 2^53 - 1, in 1 to 8 bytes. Throws a RangeError on any other number. */
  uint(value: number): void {
    if (!(value >= 0 && Number.isSafeInteger(value)))
      throw new RangeError(`cannot write ${value}: allowed are whole numbers from 0 to 2^53 - 1`);
    if (this.#length + 8 > this.#bytes.length) this.#grow(8);
    const bytes = this.#bytes;
    let at = this.#length;
    let left = value;
    while (left >= SMALL_END) {
      bytes[at++] = (left % 128) + 128;
      left = Math.floor(left / 128);
    }
    while (left >= 128) {
      bytes[at++] = (left & 127) | 128;
      left >>>= 7;
    }
    bytes[at++] = left;
    this.#length = at;
  }

  /** A whole number from -2^52 to 2^52 - 1, near 0 in one byte: 0, -1, 1, -2, … are written as 0, 1, 2, 3, … */
  int(value: number): void {
    this.uint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  /** Any number, exactly, in 8 bytes. */
  double(value: number): void {
    if (this.#length + 8 > this.#bytes.length) this.#grow(8);
    this.#length = this.#bytes.writeDoubleLE(value, this.#length);
  }

  /** Any number, exactly: whole ones from -2^51 to 2^51 as small as `int`, others in 9 bytes. */
  number(value: number): void {
    if (Number.isInteger(value) && Math.abs(value) <= 2 ** 51 && !Object.is(value, -0)) {
      this.uint(value < 0 ? 1 - 2 * value : 2 * value);
      return;
    }
    this.uint(1);
    this.double(value);
  }

  boolean(value: boolean): void {
    this.uint(value ? 1 : 0);
  }

  /** Up to 50 answers of yes or no, seven a byte. */
  flags(...values: boolean[]): void {
    let bits = 0;
    for (let index = values.length - 1; index >= 0; index--) bits = bits * 2 + (values[index] ? 1 : 0);
    this.uint(bits);
  }

  /** UTF-8, after its length in bytes. Half a surrogate pair becomes U+FFFD. */
  text(value: string): void {
    const byteLength = Buffer.byteLength(value);
    this.uint(byteLength);
    if (this.#length + byteLength > this.#bytes.length) this.#grow(byteLength);
    this.#length += this.#bytes.write(value, this.#length, 'utf8');
  }

  /** Writes a text or undefined. Undefined and the empty text are written differently. */
  optionalText(value: string | undefined): void {
    this.boolean(value !== undefined);
    if (value !== undefined) this.text(value);
  }

  texts(values: ReadonlyArray<string>): void {
    this.uint(values.length);
    for (const value of values) this.text(value);
  }

  /** An array of what `uint` writes. */
  uints(values: ReadonlyArray<number>): void {
    this.uint(values.length);
    for (let index = 0; index < values.length; index++) this.uint(values[index]!);
  }

  /** An array of what `int` writes. */
  ints(values: ReadonlyArray<number>): void {
    this.uint(values.length);
    for (let index = 0; index < values.length; index++) this.int(values[index]!);
  }

  /** An array of what `number` writes. */
  numbers(values: ReadonlyArray<number>): void {
    this.uint(values.length);
    for (let index = 0; index < values.length; index++) this.number(values[index]!);
  }

  /** Whole numbers in rising order, each as its distance from the one before. Throws a RangeError if one is out of order. */
  sortedUints(values: ReadonlyArray<number>): void {
    this.uint(values.length);
    let before = 0;
    for (let index = 0; index < values.length; index++) {
      const value = values[index]!;
      this.uint(value - before);
      before = value;
    }
  }

  /** Whole numbers below 2^32, four bytes each: for hashes, of which a varint takes five. */
  hashes32(values: ReadonlyArray<number>): void {
    this.uint(values.length);
    for (let index = 0; index < values.length; index++) this.hash32(values[index]!);
  }

  /** A whole number below 2^32, in four bytes. */
  hash32(value: number): void {
    if (this.#length + 4 > this.#bytes.length) this.#grow(4);
    this.#length = this.#bytes.writeUInt32LE(value, this.#length);
  }

  /** Whole numbers below 2^24, three bytes each. */
  hashes24(values: ReadonlyArray<number>): void {
    this.uint(values.length);
    for (let index = 0; index < values.length; index++) this.hash24(values[index]!);
  }

  /** A whole number below 2^24, in three bytes. */
  hash24(value: number): void {
    if (this.#length + 3 > this.#bytes.length) this.#grow(3);
    this.#length = this.#bytes.writeUIntLE(value, this.#length, 3);
  }

  /** A whole number below 2^48, in six bytes. */
  uint48(value: number): void {
    if (this.#length + 6 > this.#bytes.length) this.#grow(6);
    this.#length = this.#bytes.writeUIntLE(value, this.#length, 6);
  }

  /** Bytes that were written before, after their length. */
  section(bytes: Uint8Array): void {
    this.uint(bytes.length);
    this.raw(bytes);
  }

  /** Bytes that were written before, without their length. */
  raw(bytes: Uint8Array): void {
    if (this.#length + bytes.length > this.#bytes.length) this.#grow(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Begins a section whose length is not known yet; give what it returns to `endSection`. Sections may lie within sections. */
  beginSection(): number {
    if (this.#length + 1 > this.#bytes.length) this.#grow(1);
    return ++this.#length;
  }

  /** Ends the section that began at `start`, and writes its length before it. */
  endSection(start: number): void {
    const byteLength = this.#length - start;
    if (byteLength < 128) {
      this.#bytes[start - 1] = byteLength;
      return;
    }
    // The length takes more than the one byte that was left for it.
    let lengthBytes = 1;
    for (let left = byteLength; left >= 128; left >>>= 7) lengthBytes++;
    const moved = lengthBytes - 1;
    if (this.#length + moved > this.#bytes.length) this.#grow(moved);
    this.#bytes.copyWithin(start + moved, start, this.#length);
    this.#length = start - 1;
    this.uint(byteLength);
    this.#length += byteLength;
  }

  #grow(byteLength: number): void {
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.#length + byteLength));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}
