export type Frame =
  /** One line with its line feed, as the log line reader likes it. Only valid until the next `push`. */
  | { kind: 'line'; line: Buffer }
  /** A line beyond the limit: its first bytes. Told once, when the limit is passed; the rest of it is skipped. */
  | { kind: 'too-long'; beginning: Buffer };

/** How much of a line that is too long is kept for inspection. */
const beginningBytes = 10_000;

const lineFeed = Buffer.of(10);

/**
 * Cuts a stream of bytes into lines. Blank lines are no lines. Memory is bounded by `maxLineBytes` plus one chunk.
 */
export class FrameSplitter {
  readonly #maxLineBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;
  #skipping = false;

  constructor(maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes;
  }

  /** Bytes of a line that has begun and not ended. */
  get pendingBytes(): number {
    return this.#skipping ? 1 : this.#bytes;
  }

  /** Takes the next bytes and hands each line that ends in them to `take`. */
  push(chunk: Buffer, take: (frame: Frame) => void): void {
    let begin = 0;
    while (begin < chunk.length) {
      const end = chunk.indexOf(10, begin);
      if (end < 0) {
        this.#keep(chunk.subarray(begin), take);
        return;
      }
      if (this.#skipping) this.#skipping = false;
      else if (this.#bytes === 0) this.#give(chunk.subarray(begin, end + 1), take);
      else {
        this.#parts.push(chunk.subarray(begin, end + 1));
        const line = Buffer.concat(this.#parts);
        this.#parts = [];
        this.#bytes = 0;
        this.#give(line, take);
      }
      begin = end + 1;
    }
  }

  /** Forgets a line that has begun: whoever sent it took too long. */
  drop(): void {
    this.#parts = [];
    this.#bytes = 0;
    this.#skipping = false;
  }

  /** The stream has ended: what is left is a line too, since whoever cut it off may have sent all but the line feed. */
  end(take: (frame: Frame) => void): void {
    if (this.#bytes > 0) this.#give(Buffer.concat([...this.#parts, lineFeed]), take);
    this.#parts = [];
    this.#bytes = 0;
  }

  #keep(rest: Buffer, take: (frame: Frame) => void): void {
    if (this.#skipping) return;
    // A copy, so that a few bytes do not hold a whole chunk.
    this.#parts.push(Buffer.from(rest));
    this.#bytes += rest.length;
    // One more for the carriage return that may follow.
    if (this.#bytes > this.#maxLineBytes + 1) {
      const beginning = Buffer.concat(this.#parts).subarray(0, beginningBytes);
      this.#parts = [];
      this.#bytes = 0;
      this.#skipping = true;
      take({ kind: 'too-long', beginning });
    }
  }

  #give(line: Buffer, take: (frame: Frame) => void): void {
    // Without its line feed, and without a carriage return before that.
    const length = line.length - (line[line.length - 2] === 13 ? 2 : 1);
    if (length <= 0 || (line[0]! <= 32 && isBlank(line))) return;
    if (length > this.#maxLineBytes) take({ kind: 'too-long', beginning: line.subarray(0, beginningBytes) });
    else take({ kind: 'line', line });
  }
}

function isBlank(line: Buffer): boolean {
  return line.every((byte) => byte === 32 || byte === 9 || byte === 10 || byte === 13);
}
