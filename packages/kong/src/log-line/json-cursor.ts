import { isFieldAt, type Field, type FieldTable } from './field-table.ts';
import type { LineBytes } from './frames.ts';

/** Why a text is no log line: `not-json`, `too-deep` or `not-a-log-line`. */
export class LogLineError extends Error {
  override name = 'LogLineError';
  readonly reason: 'not-json' | 'too-deep' | 'not-a-log-line';
  constructor(reason: LogLineError['reason'], detail: string) {
    super(detail);
    this.reason = reason;
  }
}

export const lineFeed = 10;
export const quote = 34;
export const comma = 44;
export const digit0 = 48;
export const digit9 = 57;
export const colon = 58;
export const openBracket = 91;
export const backslash = 92;
export const closeBracket = 93;
export const openBrace = 123;
export const closeBrace = 125;

const numberShape = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
/** With so many digits a whole number is exact. */
const maxPlainDigits = 15;

/**
 * A position in the JSON text of one log line, with the steps that a reader takes from there. Everything that it steps over is
 * checked to be well-formed JSON; values are made only where a caller asks for them. Throws `LogLineError`. Invalid UTF-8 is
 * read as U+FFFD.
 */
export class JsonCursor {
  /**
   * A copy of the line's bytes from index 0 on, so that the same few pages are read for every line: they stay in the processor's
   * cache, and what is read them through stays the same object.
   */
  bytes = Buffer.alloc(usualLineBytes);
  /** The same bytes, to be read four at a time. */
  view = viewOf(this.bytes);
  /** Index into `bytes` of the next byte to read. */
  at = 0;
  /** Index of the line feed that ends the line. */
  end = 0;
  readonly maxDepth: number;
  /** The text that the line stands in from `#begin` on, one character per byte: it is fast to cut. */
  #text = '';
  #begin = 0;
  readonly #marks = stringMarks();

  constructor(maxDepth: number) {
    this.maxDepth = maxDepth;
  }

  /** Moves to the beginning of a line. A byte order mark is no JSON, but no sign of an attack either: it is skipped. */
  enter({ bytes, latin1, begin, end }: LineBytes): void {
    const length = end - begin;
    if (length + wordBytes > this.bytes.length) {
      this.bytes = Buffer.alloc(2 * length + wordBytes);
      this.view = viewOf(this.bytes);
    }
    this.bytes.set(length === bytes.length ? bytes : bytes.subarray(begin, end));
    this.#text = latin1;
    this.#begin = begin;
    this.at = 0;
    this.end = length - 1;
    if (bytes[begin] === 0xef && bytes[begin + 1] === 0xbb && bytes[begin + 2] === 0xbf) this.at = 3;
  }

  /** The line's text from one index into `bytes` to another, one character per byte. */
  textAt(from: number, to: number): string {
    return this.#text.slice(this.#begin + from, this.#begin + to);
  }

  fail(what: string): never {
    throw new LogLineError('not-json', `${what} at character ${this.at + 1} of the line`);
  }

  /** Called for each object and array, `depth` levels below the line itself. */
  checkDepth(depth: number): void {
    if (depth > this.maxDepth)
      throw new LogLineError('too-deep', `nested deeper than ${this.maxDepth} levels`);
  }

  /** Skips white space, which Kong writes none of. Returns the byte after it, at the very end the line feed. */
  skipSpace(): number {
    const code = this.bytes[this.at]!;
    return code > 32 ? code : this.#skipSpaces();
  }

  #skipSpaces(): number {
    let code = this.bytes[this.at]!;
    while (code <= 32 && this.at < this.end) {
      if (code !== 32 && code !== 9 && code !== 10 && code !== 13) this.fail('a raw control character');
      code = this.bytes[++this.at]!;
    }
    return code;
  }

  /** Skips a string from its opening quote on. Returns true if its characters need decoding: escapes, or bytes of 128 and more. */
  skipString(): boolean {
    const { bytes, view } = this;
    let index = this.at + 1;
    // The line feed is no plain byte: this ends with the line at the latest.
    while (isPlainWord(view.getInt32(index, true))) index += wordBytes;
    const marks = this.#marks;
    while (marks[bytes[index]!] === 0) index++;
    if (bytes[index] === quote) {
      this.at = index + 1;
      return false;
    }
    this.#skipRestOfString(index);
    return true;
  }

  /** Continues from a byte that ends the string or needs decoding. */
  #skipRestOfString(from: number): void {
    const { bytes } = this;
    let index = from;
    for (;;) {
      const code = bytes[index]!;
      if (code === quote) {
        this.at = index + 1;
        return;
      }
      if (code === backslash) {
        index++;
        if (!isEscape(bytes, index)) {
          this.at = index;
          this.fail('a wrong escape');
        }
      } else if (code < 32) {
        // The line ends with a line feed: no string runs past it.
        this.at = index;
        this.fail('a string without an end, or a raw control character in it,');
      }
      index++;
    }
  }

  /** Reads a string from its opening quote on. */
  readString(): string {
    const begin = this.at;
    return this.skipString() ? this.decode(begin) : this.textAt(begin + 1, this.at - 1);
  }

  /** The string from the opening quote at `begin` to the closing one before `at`, decoded. */
  decode(begin: number): string {
    // Invalid UTF-8 becomes U+FFFD here.
    const piece = this.bytes.toString('utf8', begin, this.at);
    if (!piece.includes('\\')) return piece.slice(1, -1);
    try {
      return JSON.parse(piece) as string;
    } catch {
      this.at = begin;
      return this.fail('a string with a wrong escape');
    }
  }

  /** Reads a number, `true`, `false` or `null`. */
  readScalar(): unknown {
    const { bytes, at: begin } = this;
    // Nearly all numbers of a log line are whole, positive and short.
    let index = begin;
    let value = 0;
    let code = bytes[index]!;
    while (code >= digit0 && code <= digit9) {
      value = value * 10 + (code - digit0);
      code = bytes[++index]!;
    }
    const isEnd = code === comma || code === closeBrace || code === closeBracket;
    const digits = index - begin;
    if (isEnd && digits > 0 && digits <= maxPlainDigits && (digits === 1 || bytes[begin] !== digit0)) {
      this.at = index;
      return value;
    }
    return this.#readWord();
  }

  #readWord(): unknown {
    const { bytes, at: begin } = this;
    let index = begin + 1;
    let code = bytes[index]!;
    while (code !== comma && code !== closeBrace && code !== closeBracket && code > 32)
      code = bytes[++index]!;
    const word = this.textAt(begin, index);
    this.at = index;
    if (word === 'true') return true;
    if (word === 'false') return false;
    if (word === 'null') return null;
    if (!numberShape.test(word)) {
      this.at = begin;
      this.fail('neither a value nor an end');
    }
    return Number(word);
  }

  /** Reads a value. Objects inside become `{}`: no field that is read has one, so they only have to be well-formed. */
  readValue(depth: number): unknown {
    const code = this.bytes[this.at];
    if (code === quote) return this.readString();
    if (code === openBrace) {
      this.skipObject(depth + 1);
      return {};
    }
    if (code !== openBracket) return this.readScalar();
    const items: unknown[] = [];
    if (this.enterArray(depth + 1))
      do items.push(this.readValue(depth + 1));
      while (this.hasNextItem());
    return items;
  }

  /** Skips a value. */
  skipValue(depth: number): void {
    const code = this.bytes[this.at];
    if (code === quote) this.skipString();
    else if (code === openBrace) this.skipObject(depth + 1);
    else if (code !== openBracket) this.readScalar();
    else if (this.enterArray(depth + 1))
      do this.skipValue(depth + 1);
      while (this.hasNextItem());
  }

  skipObject(depth: number): void {
    if (!this.enterObject(depth)) return;
    do {
      this.skipString();
      this.skipColon();
      this.skipValue(depth);
    } while (this.hasNextMember());
  }

  /** Reads the object at the cursor: the members that `fields` has, into `target`; the others are skipped. */
  readObject<Target>(fields: FieldTable<Target, JsonCursor>, target: Target, depth: number): void {
    if (depth > this.maxDepth) this.checkDepth(depth);
    let before: Field<Target, JsonCursor> | undefined = fields.opening;
    let isFirst = true;
    for (;;) {
      const expected: Field<Target, JsonCursor> | undefined = before?.follower;
      // Here the cursor is at the opening brace, or at the comma behind a member.
      const hasMore = isFirst || this.bytes[this.at] === comma;
      let field: Field<Target, JsonCursor> | undefined;
      if (hasMore && expected !== undefined && this.#isAt(expected, this.at + 1)) {
        field = expected;
        this.at += 1 + expected.byteLength;
        if (this.bytes[this.at]! <= 32) this.skipSpace();
      } else {
        if (isFirst ? !this.enterObject(depth) : !this.hasNextMember()) return;
        field = this.#readName(fields);
        if (before !== undefined) before.follower = field;
      }
      const member = field?.member;
      if (member === undefined) this.skipValue(depth);
      else if (member.set !== undefined) member.set(target, this.readValue(depth));
      else member.read(this, target, depth);
      before = field;
      isFirst = false;
    }
  }

  #isAt(field: Field<never, never>, at: number): boolean {
    return at + field.byteLength <= this.end && isFieldAt(field, this.view, at);
  }

  /** Reads a member's name, and moves to its value. */
  #readName<Target>(fields: FieldTable<Target, JsonCursor>): Field<Target, JsonCursor> | undefined {
    const name = this.readString();
    this.skipColon();
    return fields.field(name);
  }

  /** Moves from the brace of an object to the quote of its first member's name; false, and behind the object, if it has none. */
  enterObject(depth: number): boolean {
    this.checkDepth(depth);
    this.at++;
    const code = this.skipSpace();
    if (code === quote) return true;
    if (code !== closeBrace) this.fail('no member name');
    this.at++;
    return false;
  }

  /** Moves from behind a member's name to its value. */
  skipColon(): void {
    if (this.skipSpace() !== colon) this.fail('no colon after a member name');
    this.at++;
    this.skipSpace();
  }

  /** Moves from behind a member to the name of the next one; false, and behind the object, if there is none. */
  hasNextMember(): boolean {
    const code = this.skipSpace();
    this.at++;
    if (code === closeBrace) return false;
    if (code !== comma) this.fail('neither comma nor closing brace');
    if (this.skipSpace() !== quote) this.fail('no member name');
    return true;
  }

  /** Moves from the bracket of an array to its first item; false, and behind the array, if it has none. */
  enterArray(depth: number): boolean {
    this.checkDepth(depth);
    this.at++;
    if (this.skipSpace() !== closeBracket) return true;
    this.at++;
    return false;
  }

  /** Moves from behind an item to the next one; false, and behind the array, if there is none. */
  hasNextItem(): boolean {
    const code = this.skipSpace();
    this.at++;
    if (code === closeBracket) return false;
    if (code !== comma) this.fail('neither comma nor closing bracket');
    this.skipSpace();
    return true;
  }
}

const wordBytes = 4;
const usualLineBytes = 16_384;

function viewOf({ buffer, byteOffset, length }: Buffer): DataView {
  return new DataView(buffer, byteOffset, length);
}

/**
 * Whether four bytes may stand in a string as they are: none is a quote, a backslash, a control character, or 128 and more.
 * Each term has the highest bit of a byte set if that byte is one of these; a subtraction that borrows can only report a
 * character too many, which the caller then looks at by itself.
 */
function isPlainWord(word: number): boolean {
  const noQuote = (word ^ 0x22222222) - 0x01010101;
  const noBackslash = (word ^ 0x5c5c5c5c) - 0x01010101;
  return (((word - 0x20202020) | noQuote | noBackslash | word) & 0x80808080) === 0;
}

/** By byte: 1 for what ends a string, or stands in one only for something else. */
function stringMarks(): Uint8Array {
  const marks = new Uint8Array(256);
  for (let code = 0; code < 256; code++)
    if (code < 32 || code >= 128 || code === quote || code === backslash) marks[code] = 1;
  return marks;
}

/** Whether a backslash and what stands at `at` are an escape of JSON. */
function isEscape(bytes: Uint8Array, at: number): boolean {
  const code = bytes[at]!;
  if (code !== 117) return '"\\/bfnrt'.includes(String.fromCharCode(code));
  for (let index = at + 1; index <= at + 4; index++) {
    const digit = bytes[index]! | 32;
    const isDigit = bytes[index]! >= digit0 && bytes[index]! <= digit9;
    if (!isDigit && !(digit >= 97 && digit <= 102)) return false;
  }
  return true;
}
