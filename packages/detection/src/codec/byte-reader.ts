/**
 * Reads what a `ByteWriter` wrote, field by field in the same order. Each method throws an Error if the bytes end too early or cannot
 * come from a `ByteWriter`, so that a damaged state is never read as a wrong one without notice where that can be seen.
 */
export class ByteReader {
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;

  constructor(bytes: Buffer, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  /** Number of bytes that were not read yet. */
  get left(): number {
    return this.#end - this.#at;
  }

  /** Throws if there are bytes that nobody read. */
  expectEnd(): void {
    if (this.#at !== this.#end) throw new Error(`the state has ${this.left} bytes more than expected`);
  }

  uint(): number {
    const bytes = this.#bytes;
    if (this.#at >= this.#end) this.#endsEarly();
    let byte = bytes[this.#at++]!;
    if (byte < 128) return byte;
    let value = byte & 127;
    let unit = 128;
    do {
      if (this.#at >= this.#end) this.#endsEarly();
      byte = bytes[this.#at++]!;
      value += (byte & 127) * unit;
      unit *= 128;
    } while (byte >= 128 && unit <= 2 ** 49);
    if (byte >= 128 || value > Number.MAX_SAFE_INTEGER)
      throw new Error('the state has a number of more than 53 bits');
    return value;
  }

  int(): number {
    const value = this.uint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  double(): number {
    const at = this.#take(8);
    return this.#bytes.readDoubleLE(at);
  }

  number(): number {
    const value = this.uint();
    if (value === 1) return this.double();
    return value % 2 === 0 ? value / 2 : (1 - value) / 2;
  }

  boolean(): boolean {
    const value = this.uint();
    if (value > 1) throw new Error(`the state has ${value} instead of yes (1) or no (0)`);
    return value === 1;
  }

  /** `count`: as many as were written. */
  flags(count: number): boolean[] {
    let bits = this.uint();
    if (bits >= 2 ** count) throw new Error(`the state has more than ${count} flags`);
    const values: boolean[] = [];
    for (let index = 0; index < count; index++) {
      values.push(bits % 2 === 1);
      bits = Math.floor(bits / 2);
    }
    return values;
  }

  text(): string {
    const byteLength = this.uint();
    const at = this.#take(byteLength);
    return this.#bytes.toString('utf8', at, at + byteLength);
  }

  optionalText(): string | undefined {
    return this.boolean() ? this.text() : undefined;
  }

  texts(): string[] {
    const values: string[] = [];
    for (let left = this.count(); left > 0; left--) values.push(this.text());
    return values;
  }

  /**
   * The number of entries that follow, each of at least `leastBytes`. A count that the bytes left cannot hold is refused before anything
   * is allocated for it.
   */
  count(leastBytes = 1): number {
    const count = this.uint();
    if (count * leastBytes > this.left) this.#endsEarly();
    return count;
  }

  uints(): number[] {
    const values: number[] = [];
    for (let left = this.count(); left > 0; left--) values.push(this.uint());
    return values;
  }

  ints(): number[] {
    const values: number[] = [];
    for (let left = this.count(); left > 0; left--) values.push(this.int());
    return values;
  }

  numbers(): number[] {
    const values: number[] = [];
    for (let left = this.count(); left > 0; left--) values.push(this.number());
    return values;
  }

  sortedUints(): number[] {
    const values: number[] = [];
    let value = 0;
    for (let left = this.count(); left > 0; left--) values.push((value += this.uint()));
    return values;
  }

  hashes32(): number[] {
    const values: number[] = [];
    for (let left = this.count(4); left > 0; left--) values.push(this.hash32());
    return values;
  }

  hash32(): number {
    return this.#bytes.readUInt32LE(this.#take(4));
  }

  hashes24(): number[] {
    const values: number[] = [];
    for (let left = this.count(3); left > 0; left--) values.push(this.hash24());
    return values;
  }

  hash24(): number {
    return this.#bytes.readUIntLE(this.#take(3), 3);
  }

  uint48(): number {
    return this.#bytes.readUIntLE(this.#take(6), 6);
  }

  /** A section as a reader of its own; this one goes on behind it. */
  section(): ByteReader {
    const byteLength = this.uint();
    const at = this.#take(byteLength);
    return new ByteReader(this.#bytes, at, at + byteLength);
  }

  /** A section as bytes, a view on those of the reader. */
  sectionBytes(): Buffer {
    return this.raw(this.uint());
  }

  /** `byteLength` bytes, a view on those of the reader. */
  raw(byteLength: number): Buffer {
    const at = this.#take(byteLength);
    return this.#bytes.subarray(at, at + byteLength);
  }

  /** Passes over so many bytes. */
  skip(byteLength: number): void {
    this.#take(byteLength);
  }

  /** As `skip`; returns where they begin. */
  #take(byteLength: number): number {
    const at = this.#at;
    if (byteLength > this.#end - at) this.#endsEarly();
    this.#at = at + byteLength;
    return at;
  }

  #endsEarly(): never {
    throw new Error('the state ends in the middle of a field');
  }
}
