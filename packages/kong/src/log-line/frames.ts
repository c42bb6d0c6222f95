import { GrowingBuffer } from './growing-buffer.ts';

/**
 * Where a line stands: the bytes from `begin` to behind its line feed at `end`. A piece of the stream holds many lines;
 * cutting each out of it would cost more than reading it. Only valid until the next `push`.
 */
export interface LineBytes {
  bytes: Buffer;
  begin: number;
  end: number;
  /** All of `bytes` with one character per byte, so that it is decoded once for all lines in it. */
  latin1: string;
}

export type Frame =
  | ({ kind: 'line' } & LineBytes)
  /** A line beyond the limit: its first bytes. Told once, when the limit is passed; the rest of it is skipped. */
  | { kind: 'too-long'; beginning: Buffer };

/** A line that stands alone; a line feed is added if there is none. */
export function lineOf(line: Buffer): LineBytes {
  const bytes = line[line.length - 1] === 10 ? line : Buffer.concat([line, lineFeed]);
  return { bytes, begin: 0, end: bytes.length, latin1: bytes.toString('latin1') };
}

/** The bytes of a line without what ends it. */
export function bytesOf({ bytes, begin, end }: LineBytes): Buffer {
  let last = end;
  while (last > begin && (bytes[last - 1] === 10 || bytes[last - 1] === 13)) last--;
  return bytes.subarray(begin, last);
}

/** How much of a line that is too long is kept for inspection. */
const beginningBytes = 10_000;

const lineFeed = Buffer.of(10);

/**
 * Cuts a stream of bytes into lines. Blank lines are no lines. Memory is bounded by twice `maxLineBytes` plus one chunk,
 * in however small pieces the bytes come.
 */
export class FrameSplitter {
  readonly #maxLineBytes: number;
  readonly #begun = new GrowingBuffer();
  #skipping = false;

  constructor(maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes;
  }

  /** Bytes of a line that has begun and not ended. */
  get pendingBytes(): number {
    return this.#skipping ? 1 : this.#begun.length;
  }

  /** Bytes of memory that the unfinished line holds. */
  get heldBytes(): number {
    return this.#begun.capacity;
  }

  /** Takes the next bytes and hands each line that ends in them to `take`. */
  push(chunk: Buffer, take: (frame: Frame) => void): void {
    let begin = 0;
    let latin1: string | undefined;
    while (begin < chunk.length) {
      const end = chunk.indexOf(10, begin);
      if (end < 0) {
        this.#keep(chunk.subarray(begin), take);
        return;
      }
      if (this.#skipping) this.#skipping = false;
      else if (this.#begun.length === 0) {
        latin1 ??= chunk.toString('latin1');
        this.#give(chunk, begin, end + 1, latin1, take);
      } else {
        this.#begun.append(chunk.subarray(begin, end + 1));
        this.#giveBegun(take);
      }
      begin = end + 1;
    }
  }

  /** Forgets a line that has begun: whoever sent it took too long. */
  drop(): void {
    this.#begun.clear();
    this.#skipping = false;
  }

  /** The stream has ended: what is left is a line too, since whoever cut it off may have sent all but the line feed. */
  end(take: (frame: Frame) => void): void {
    if (this.#begun.length === 0) return;
    this.#begun.append(lineFeed);
    this.#giveBegun(take);
  }

  #keep(rest: Buffer, take: (frame: Frame) => void): void {
    if (this.#skipping) return;
    this.#begun.append(rest);
    // One more for the carriage return that may follow.
    if (this.#begun.length > this.#maxLineBytes + 1) {
      const beginning = this.#begun.take().subarray(0, beginningBytes);
      this.#skipping = true;
      take({ kind: 'too-long', beginning });
    }
  }

  #giveBegun(take: (frame: Frame) => void): void {
    const line = this.#begun.take();
    this.#give(line, 0, line.length, line.toString('latin1'), take);
  }

  #give(bytes: Buffer, begin: number, end: number, latin1: string, take: (frame: Frame) => void): void {
    // Without its line feed, and without a carriage return before that.
    const length = end - begin - (end - begin > 1 && bytes[end - 2] === 13 ? 2 : 1);
    if (length <= 0 || (bytes[begin]! <= 32 && isBlank(bytes, begin, end))) return;
    if (length > this.#maxLineBytes) {
      take({ kind: 'too-long', beginning: bytes.subarray(begin, Math.min(end, begin + beginningBytes)) });
    } else take({ kind: 'line', bytes, begin, end, latin1 });
  }
}

function isBlank(bytes: Buffer, begin: number, end: number): boolean {
  for (let at = begin; at < end; at++) {
    const byte = bytes[at];
    if (byte !== 32 && byte !== 9 && byte !== 10 && byte !== 13) return false;
  }
  return true;
}
