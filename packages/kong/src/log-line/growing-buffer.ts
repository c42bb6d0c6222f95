const empty: Buffer = Buffer.alloc(0);

/**
 * Bytes that arrive in pieces, kept in one piece: many small pieces cost no more memory than a few large ones, at most
 * twice their bytes.
 */
export class GrowingBuffer {
  #bytes = empty;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Bytes of memory that it holds. */
  get capacity(): number {
    return this.#bytes.length;
  }

  /** All bytes so far; valid until the next `append`. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Copies the piece, so that a few bytes do not hold the chunk that they came in. */
  append(piece: Uint8Array): void {
    const needed = this.#length + piece.length;
    if (needed > this.#bytes.length) {
      // Not from Node's pool: a slice of it would hold the whole pool.
      const grown = Buffer.allocUnsafeSlow(
        this.#length === 0 ? needed : Math.max(needed, 2 * this.#bytes.length),
      );
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    this.#bytes.set(piece, this.#length);
    this.#length = needed;
  }

  /** Hands all bytes over and is empty afterwards. */
  take(): Buffer {
    const taken = this.bytes;
    this.clear();
    return taken;
  }

  clear(): void {
    this.#bytes = empty;
    this.#length = 0;
  }
}
