import { createHash } from 'node:crypto';
import type { Bus, BusBatch } from '@tripline/bus';
import { LakeRefusedError } from '@tripline/lake';
import type { DeadLetter, Topic } from '@tripline/model';

/** Consecutive records of one partition on their way to the lake. */
interface Stretch {
  firstOffset: number;
  nextOffset: number;
  /** Batches, or what is left of them; each has its records at consecutive offsets. */
  pieces: Piece[];
}

interface Piece {
  firstOffset: number;
  nextOffset: number;
  count: number;
  /** NDJSON, one line per record. */
  body: Buffer;
}

/** What is noted before a stretch goes to the lake: where it begins and ends, and what its first record is. */
interface Note {
  firstOffset: number;
  nextOffset: number;
  mark: string;
}

export interface LaneOptions {
  topic: Topic;
  partition: number;
  bus: Bus;
  /** The note of this lane as it was last saved. */
  load: () => Promise<string | undefined>;
  /** Tries until the note is kept: rejects when the role stops, or when the partition is another's now. */
  save: (note: string) => Promise<void>;
  /** Tries until it succeeds: rejects only with `LakeRefusedError`, or when the role stops. */
  insert: (ndjson: readonly Buffer[], token: string) => Promise<void>;
  now: () => number;
  on: {
    archived: (records: number, bytes: number) => void;
    /** A record that the lake does not take went to the dead letters; with `problem` if not even that. */
    refused: (offset: number, detail: string, problem?: unknown) => void;
    /** The bus went on elsewhere than the lane expected: records are gone, or it is another bus. */
    jumped: (expected: number, found: number) => void;
  };
}

/**
 * One partition of one topic on its way to the lake, exactly once.
 *
 * Where a batch ends depends on the moment, so after a crash the same records would be cut elsewhere, and a token made
 * from the cut would not be recognised. So the cut is noted first:
 *
 * 1. note (first and next offset) in the state,
 * 2. insert, with a token made from topic, partition, these offsets and the first record,
 * 3. the next stretch begins: its note replaces this one, and says thereby that this one is in the lake.
 *
 * A crash before 2, within it or after it all look the same at the next start: the noted stretch is read from the bus
 * again, cut where the note says (however many records have come since), and inserted again. Not with the same token: a
 * table that is not replicated notes the token before the rows (a part's rename), so a kill between the two would make it
 * drop rows that it does not have. Rows that it does have are replaced by their equals. Records on the bus do not change, so
 * equal offsets are equal records; the mark tells a bus that was replaced by another, whose offsets begin anew.
 *
 * A stretch that the lake refuses is halved, and each half is a stretch of its own with a note of its own, down to the
 * record at fault, which goes to the dead letters. (A crash right after that may send it there a second time.)
 */
export class Lane {
  readonly options: LaneOptions;
  #pending: Piece[] = [];
  #pendingRecords = 0;
  #pendingBytes = 0;
  #expected: number | undefined;
  /** Noted before the last stop or crash, not known to be in the lake. */
  #unsure: Note | undefined;

  constructor(options: LaneOptions) {
    this.options = options;
  }

  /** Where to begin; undefined for the oldest record. */
  async open(): Promise<number | undefined> {
    const noted = await this.options.load();
    this.#unsure = noted === undefined ? undefined : (JSON.parse(noted) as Note);
    this.#expected = this.#unsure?.firstOffset;
    return this.#expected;
  }

  /** Takes the batch. False if it does not follow what is pending: write that first. */
  add(batch: BusBatch): boolean {
    if (this.#expected !== undefined && batch.firstOffset !== this.#expected) {
      if (this.#pending.length > 0 && !this.#unsure) return false;
      this.options.on.jumped(this.#expected, batch.firstOffset);
      this.#setPending([]);
      this.#unsure = undefined;
    }
    if (this.#unsure && this.#pending.length === 0 && markOf(batch.body) !== this.#unsure.mark) {
      this.options.on.jumped(batch.firstOffset, batch.firstOffset);
      this.#unsure = undefined;
    }
    const { firstOffset, nextOffset, count } = batch;
    this.#pending.push({ firstOffset, nextOffset, count, body: batch.body });
    this.#pendingRecords += count;
    this.#pendingBytes += batch.body.length;
    this.#expected = nextOffset;
    return true;
  }

  /** What waits to be written. */
  get pending(): { records: number; bytes: number } {
    return { records: this.#pendingRecords, bytes: this.#pendingBytes };
  }

  /**
   * Writes what is pending; gives the offset up to which all is in the lake, undefined if nothing could be written yet.
   * What it could not write stays on the bus and is read again after a restart.
   */
  async flush(): Promise<number | undefined> {
    const isAgain = this.#unsure !== undefined;
    const stretch = this.#take();
    if (!stretch) return undefined;
    await this.#write(stretch, isAgain ? `/${this.options.now()}` : '');
    return stretch.nextOffset;
  }

  #setPending(pieces: Piece[]): void {
    this.#pending = pieces;
    this.#pendingRecords = countOf(pieces);
    this.#pendingBytes = bytesOf(pieces.map(({ body }) => body));
  }

  #take(): Stretch | undefined {
    const last = this.#pending.at(-1);
    const first = this.#pending[0];
    if (!first || !last) return undefined;
    const end = this.#unsure?.nextOffset ?? last.nextOffset;
    if (end > last.nextOffset) return undefined;
    this.#unsure = undefined;
    const all = { firstOffset: first.firstOffset, nextOffset: last.nextOffset, pieces: this.#pending };
    const [head, tail] = cutAt(all, end);
    this.#setPending(tail.pieces);
    return head;
  }

  /** `again` makes the token of a stretch that may be in the lake another one. */
  async #write(stretch: Stretch, again: string): Promise<void> {
    const { topic, partition, save, insert, on } = this.options;
    const { firstOffset, nextOffset, pieces } = stretch;
    const bodies = pieces.map(({ body }) => body);
    const count = countOf(pieces);
    const note: Note = { firstOffset, nextOffset, mark: markOf(bodies[0]!) };
    await save(JSON.stringify(note));
    try {
      await insert(bodies, `${topic}/${partition}/${firstOffset}-${nextOffset}/${note.mark}${again}`);
    } catch (error) {
      if (!(error instanceof LakeRefusedError)) throw error;
      if (count === 1) return this.#bury(firstOffset, bodies[0]!, error);
      const [left, right] = cutAt(stretch, offsetOf(stretch, count >> 1));
      await this.#write(left, again);
      return this.#write(right, again);
    }
    on.archived(count, bytesOf(bodies));
  }

  async #bury(firstOffset: number, body: Buffer, error: LakeRefusedError): Promise<void> {
    const { bus, topic, partition, now, on } = this.options;
    const letter: DeadLetter = {
      receivedAt: now(),
      reason: 'lake-refused',
      detail: `${topic}/${partition} at ${firstOffset}: ${error.message}`,
      sample: body.toString('utf8').trimEnd().slice(0, 2_000),
    };
    try {
      await bus.publish('dead-letters', [{ key: letter.reason, value: JSON.stringify(letter) }]);
      on.refused(firstOffset, error.message);
    } catch (problem) {
      // A full bus waits for this very lane to go on, so it goes on.
      on.refused(firstOffset, error.message, problem);
    }
  }
}

function countOf(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, { count }) => sum + count, 0);
}

function bytesOf(bodies: readonly Buffer[]): number {
  return bodies.reduce((sum, { length }) => sum + length, 0);
}

/** Offset of the `n`-th record of a stretch. */
function offsetOf({ pieces, nextOffset }: Stretch, n: number): number {
  let left = n;
  for (const { firstOffset, count } of pieces) {
    if (left < count) return firstOffset + left;
    left -= count;
  }
  return nextOffset;
}

/** What lies before an offset, and the rest. */
function cutAt({ firstOffset, nextOffset, pieces }: Stretch, offset: number): [Stretch, Stretch] {
  const before: Piece[] = [];
  const after: Piece[] = [];
  for (const piece of pieces) {
    const head = Math.min(Math.max(offset - piece.firstOffset, 0), piece.count);
    if (head === piece.count) before.push(piece);
    else if (head === 0) after.push(piece);
    else {
      let at = 0;
      for (let line = 0; line < head; line++) at = piece.body.indexOf(10, at) + 1;
      before.push({ ...piece, nextOffset: offset, count: head, body: piece.body.subarray(0, at) });
      after.push({ ...piece, firstOffset: offset, count: piece.count - head, body: piece.body.subarray(at) });
    }
  }
  return [
    { firstOffset, nextOffset: offset, pieces: before },
    { firstOffset: after[0]?.firstOffset ?? nextOffset, nextOffset, pieces: after },
  ];
}

/** Tells records apart by the first of them: each has an id. */
function markOf(body: Buffer): string {
  return createHash('sha256')
    .update(body.subarray(0, body.indexOf(10)))
    .digest('base64url')
    .slice(0, 16);
}
