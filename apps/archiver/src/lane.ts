import { randomBytes } from 'node:crypto';
import { jsonRecord, recordsOf, type Bus, type BusBatch } from '@tripline/bus';
import { LakeRefusedError } from '@tripline/lake';
import type { DeadLetter, Topic } from '@tripline/model';
import { createSanitizer, outline } from '@tripline/sanitize';

/** How much of a record that the lake refuses its outline is made of. */
const maxSampledBytes = 10_000;

/** A batch of the bus, or what is left of it: records at consecutive offsets. */
interface Piece {
  firstOffset: number;
  records: readonly Buffer[];
}

export interface LaneOptions {
  topic: Topic;
  partition: number;
  bus: Bus;
  /** Tries until it succeeds: rejects only with `LakeRefusedError`, or when the role stops. */
  insert: (records: readonly Buffer[]) => Promise<void>;
  now: () => number;
  on: {
    archived: (records: number, bytes: number) => void;
    /** A record that the lake does not take went to the dead letters; with `problem` if not even that. */
    refused: (offset: number, detail: string, problem?: unknown) => void;
  };
}

/**
 * One partition of one topic on its way to the lake, each record at least once, which the lake makes once.
 *
 * 1. insert what is pending,
 * 2. the group's position on the bus moves behind it.
 *
 * A crash before 2 makes the records come again, cut otherwise as may be, and a lost answer makes the archiver send them
 * again. The lake takes rows of one id together, so neither shows.
 *
 * What the lake refuses is halved, down to the record at fault, which goes to the dead letters. (A crash among the halves may
 * send it there a second time.)
 */
export class Lane {
  readonly options: LaneOptions;
  /** No call has its tokens: they stand in dead letters only. */
  readonly #sanitizer = createSanitizer({ key: randomBytes(32) });
  #pending: Piece[] = [];
  #pendingRecords = 0;
  #pendingBytes = 0;
  #nextOffset = 0;

  constructor(options: LaneOptions) {
    this.options = options;
  }

  /** Takes the batch. */
  add({ firstOffset, nextOffset, body }: BusBatch): void {
    const piece = { firstOffset, records: [...recordsOf(body)] };
    this.#pending.push(piece);
    this.#pendingRecords += piece.records.length;
    this.#pendingBytes += bytesOf([piece]);
    this.#nextOffset = nextOffset;
  }

  /** What waits to be written. */
  get pending(): { records: number; bytes: number } {
    return { records: this.#pendingRecords, bytes: this.#pendingBytes };
  }

  /**
   * Writes what is pending; gives the offset up to which all is in the lake, undefined if nothing was pending. What it could
   * not write is pending still, before all that came meanwhile: the position never passes what is not in the lake.
   */
  async flush(): Promise<number | undefined> {
    const pieces = this.#pending;
    if (pieces.length === 0) return undefined;
    const nextOffset = this.#nextOffset;
    this.#setPending([]);
    try {
      await this.#write(pieces);
    } catch (error) {
      this.#setPending([...pieces, ...this.#pending]);
      throw error;
    }
    return nextOffset;
  }

  #setPending(pieces: Piece[]): void {
    this.#pending = pieces;
    this.#pendingRecords = countOf(pieces);
    this.#pendingBytes = bytesOf(pieces);
  }

  async #write(pieces: readonly Piece[]): Promise<void> {
    const { insert, on } = this.options;
    const count = countOf(pieces);
    try {
      await insert(pieces.flatMap(({ records }) => records));
    } catch (error) {
      if (!(error instanceof LakeRefusedError)) throw error;
      if (count === 1) return this.#bury(pieces[0]!, error);
      const [left, right] = cutAfter(pieces, count >> 1);
      await this.#write(left);
      return this.#write(right);
    }
    on.archived(count, bytesOf(pieces));
  }

  async #bury({ firstOffset, records }: Piece, error: LakeRefusedError): Promise<void> {
    const { bus, topic, partition, now, on } = this.options;
    const letter: DeadLetter = {
      receivedAt: now(),
      reason: 'lake-refused',
      detail: `${topic}/${partition} at ${firstOffset}: ${error.message}`,
      sample: outline(records[0]!.subarray(0, maxSampledBytes).toString(), this.#sanitizer),
    };
    try {
      await bus.publish('dead-letters', [jsonRecord(letter.reason, letter)]);
      on.refused(firstOffset, error.message);
    } catch (problem) {
      // A full bus waits for this very lane to go on, so it goes on.
      on.refused(firstOffset, error.message, problem);
    }
  }
}

function countOf(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, { records }) => sum + records.length, 0);
}

function bytesOf(pieces: readonly Piece[]): number {
  let bytes = 0;
  for (const { records } of pieces) for (const { length } of records) bytes += length;
  return bytes;
}

/** The first `count` records, and the rest. */
function cutAfter(pieces: readonly Piece[], count: number): [Piece[], Piece[]] {
  const before: Piece[] = [];
  const after: Piece[] = [];
  let left = count;
  for (const { firstOffset, records } of pieces) {
    const head = Math.min(left, records.length);
    left -= head;
    if (head > 0) before.push({ firstOffset, records: records.slice(0, head) });
    if (head < records.length) after.push({ firstOffset: firstOffset + head, records: records.slice(head) });
  }
  return [before, after];
}
