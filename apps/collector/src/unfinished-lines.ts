import type { Socket } from 'node:net';

/** Bounds the memory of unfinished lines, for all connections together. */
export class UnfinishedLines {
  readonly #maxBytes: number;
  readonly #held = new Map<Socket, number>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Records how many bytes the unfinished line of a connection holds now; 0 forgets the connection. Returns the
   * connections to close so that all together hold no more than allowed: those with the largest unfinished lines. Kong's
   * lines are short and come in one piece, so the connection with the most is the least likely to be Kong's.
   */
  update(socket: Socket, heldBytes: number): Socket[] {
    this.#bytes += heldBytes - (this.#held.get(socket) ?? 0);
    if (heldBytes > 0) this.#held.set(socket, heldBytes);
    else this.#held.delete(socket);
    const excess: Socket[] = [];
    while (this.#bytes > this.#maxBytes) {
      const largest = this.#largest();
      excess.push(largest);
      this.update(largest, 0);
    }
    return excess;
  }

  #largest(): Socket {
    let found: [Socket, number] | undefined;
    for (const entry of this.#held) if (!found || entry[1] > found[1]) found = entry;
    return found![0];
  }
}
