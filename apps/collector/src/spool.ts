import { mkdir, open, readdir, readFile, rename, stat, truncate, unlink, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { BusRecord } from '@tripline/bus';

export interface SpoolOptions {
  /** Made if absent. One process at a time. */
  dir: string;
  /** Upper bound of the files' size together, in bytes. */
  maxBytes: number;
}

/** How many of the records are on disk, counted from the first one, and why the others are not. */
export type Appended =
  | { taken: number; reason?: undefined }
  | { taken: number; reason: 'spool-full' | 'spool-error'; problem: string };

/** The oldest records that are not committed. */
export interface SpooledBatch {
  records: BusRecord[];
  /** Lost records: their checksum is wrong, or their file has gone. */
  damaged: number;
  segment: number;
  /** Where the next batch begins in that segment. */
  nextOffset: number;
}

interface Segment {
  number: number;
  /** Bytes that are written and flushed. */
  bytes: number;
  /** Records that are not committed. */
  records: number;
}

interface Waiting {
  records: readonly BusRecord[];
  resolve: (appended: Appended) => void;
}

const maxSegmentBytes = 16 * 2 ** 20;
/** About so much goes to the disk in one flush, and so much is read at once. */
const chunkBytes = 2 ** 20;
const positionFile = 'position';
const segmentName = /^([0-9]{10})\.spool$/;

/**
 * A bounded queue of records on disk, for the time in which the bus takes none. Segments are files that are only appended
 * to; a record is one line: CRC-32, key, value. A small file holds the position of the oldest record that is not
 * committed; a segment whose records are all committed is deleted.
 *
 * A record that `append` took is flushed to the disk (`fdatasync`, once for all records that came during the flush before)
 * and survives a kill and a power failure. After a crash between publishing and `commit`, records are read again; their
 * ids make that harmless. A full spool refuses the newest records, as the older ones were promised to their senders.
 *
 * `append` reports a disk that fails; the next append tries it again.
 */
export class Spool {
  /** Records that are not committed. */
  records = 0;
  /** Size of the files together. */
  bytes = 0;
  /** Records that an earlier process left. */
  restored = 0;
  readonly dir: string;
  readonly #maxBytes: number;
  readonly #segmentBytes: number;
  /** Oldest first. One of an earlier process is never appended to, since its end may be torn. */
  readonly #segments: Segment[] = [];
  /** Where the oldest segment is read from. */
  #offset = 0;
  #nextNumber = 1;
  #loaded = false;
  /** The segment that is appended to, which is the last one. */
  #tail: { file: FileHandle; segment: Segment } | undefined;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;

  constructor(options: SpoolOptions) {
    this.dir = options.dir;
    this.#maxBytes = options.maxBytes;
    // Room is gained by whole segments only.
    this.#segmentBytes = Math.min(maxSegmentBytes, Math.ceil(options.maxBytes / 16));
  }

  /** Finds what an earlier process left. Rejects if the directory cannot be made or read; `append` tries it again. */
  async load(): Promise<void> {
    if (this.#loaded) return;
    await mkdir(this.dir, { recursive: true, mode: 0o700 });
    const numbers = (await readdir(this.dir))
      .map((name) => Number(segmentName.exec(name)?.[1] ?? 0))
      .filter((number) => number > 0)
      .sort((a, b) => a - b);
    const position = await this.#readPosition();
    const found: Segment[] = [];
    for (const number of numbers) {
      const { size } = await stat(this.#path(number));
      const from = number === position?.segment ? position.offset : 0;
      found.push({ number, bytes: size, records: await countLines(this.#path(number), from, size) });
    }
    const [first] = found;
    this.#segments.push(...found);
    this.#offset = first && first.number === position?.segment ? Math.min(position.offset, first.bytes) : 0;
    // Above the number in the position file too: a new segment of that number would be read from its middle.
    this.#nextNumber = Math.max(numbers.at(-1) ?? 0, position?.segment ?? 0) + 1;
    for (const { bytes, records } of found) {
      this.bytes += bytes;
      this.records += records;
      this.restored += records;
    }
    this.#loaded = true;
    await this.#removeCommitted();
  }

  /** Resolves when the records are on disk, or with why not all of them are. Never rejects. */
  append(records: readonly BusRecord[]): Promise<Appended> {
    return new Promise((resolve) => {
      this.#waiting.push({ records, resolve });
      this.#writing ??= this.#write();
    });
  }

  /** Reads the oldest records, about 1 MB of them; undefined if there are none. Rejects if the disk cannot be read. */
  async peek(): Promise<SpooledBatch | undefined> {
    const [segment] = this.#segments;
    if (!segment || this.records === 0) return undefined;
    const { bytes: end, records: expected } = segment;
    const offset = this.#offset;
    for (let wantedBytes = chunkBytes; ; wantedBytes *= 2) {
      const length = Math.min(wantedBytes, end - offset);
      const chunk = await readChunk(this.#path(segment.number), offset, length);
      if (!chunk) return { records: [], damaged: expected, segment: segment.number, nextOffset: end };
      const lines = chunk.subarray(0, chunk.lastIndexOf(10) + 1);
      // Bytes behind the last line feed of a segment were not flushed when their process ended: no sender was promised those.
      const toEnd = length === end - offset;
      if (lines.length === 0 && !toEnd) continue;
      const { records, damaged } = decode(lines);
      return toEnd
        ? { records, damaged: expected - records.length, segment: segment.number, nextOffset: end }
        : { records, damaged, segment: segment.number, nextOffset: offset + lines.length };
    }
  }

  /**
   * The batch from `peek` is published and need not be kept. `records` changes before the first await. If the disk fails, a
   * later process publishes the batch again.
   */
  async commit(batch: SpooledBatch): Promise<void> {
    const [segment] = this.#segments;
    // The writer may have removed a segment without records since `peek`.
    if (segment?.number !== batch.segment) return;
    const count = Math.min(segment.records, batch.records.length + batch.damaged);
    segment.records -= count;
    this.records -= count;
    this.#offset = batch.nextOffset;
    if (await this.#removeCommitted()) return;
    const path = join(this.dir, positionFile);
    await writeFile(`${path}.new`, JSON.stringify({ segment: segment.number, offset: batch.nextOffset }))
      .then(() => rename(`${path}.new`, path))
      .catch(() => undefined);
  }

  /** Closes the files when the appends under way have ended. */
  async close(): Promise<void> {
    await this.#writing;
    await this.#tail?.file.close();
    this.#tail = undefined;
  }

  /** The one writer. Each flush takes the records that came during the flush before. */
  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group: { waiting: Waiting; taken: number }[] = [];
      const lines: Buffer[] = [];
      let problem: string | undefined;
      try {
        await this.load();
        let bytes = 0;
        while (this.#waiting.length > 0 && bytes < chunkBytes) {
          const waiting = this.#waiting.shift()!;
          const entry = { waiting, taken: 0 };
          group.push(entry);
          for (const record of waiting.records) {
            const line = encode(record);
            if (this.bytes + bytes + line.length > this.#maxBytes) break;
            bytes += line.length;
            lines.push(line);
            entry.taken++;
          }
        }
        if (lines.length > 0) await this.#flush(Buffer.concat(lines), lines.length);
      } catch (error) {
        problem = `the spool ${this.dir} cannot be written: ${(error as Error).message}`;
        if (group.length === 0) group.push({ waiting: this.#waiting.shift()!, taken: 0 });
      }
      for (const { waiting, taken } of group) {
        if (problem !== undefined) waiting.resolve({ taken: 0, reason: 'spool-error', problem });
        else if (taken === waiting.records.length) waiting.resolve({ taken });
        else {
          const full = `the spool ${this.dir} holds ${this.bytes} bytes, and may hold ${this.#maxBytes} (collector.spool.maxBytes)`;
          waiting.resolve({ taken, reason: 'spool-full', problem: full });
        }
      }
    }
    // In the same turn as the last check of `#waiting`: an append from now on starts a new writer.
    this.#writing = undefined;
    await this.#removeCommitted();
  }

  async #flush(lines: Buffer, records: number): Promise<void> {
    if (this.#tail && this.#tail.segment.bytes >= this.#segmentBytes) {
      const { file } = this.#tail;
      this.#tail = undefined;
      await file.close();
    }
    const tail = this.#tail ?? (await this.#newSegment());
    const { file, segment } = tail;
    try {
      for (let written = 0; written < lines.length;) {
        const { bytesWritten } = await file.write(lines, written, null, segment.bytes + written);
        written += bytesWritten;
      }
      await file.datasync();
    } catch (error) {
      // A failed flush leaves unknown bytes: the segment ends before them, and the next append makes a new one.
      this.#tail = undefined;
      await file.close().catch(() => undefined);
      await truncate(this.#path(segment.number), segment.bytes).catch(() => undefined);
      throw error;
    }
    if (this.#tail === undefined) {
      this.#tail = tail;
      this.#segments.push(segment);
      this.#nextNumber++;
    }
    segment.bytes += lines.length;
    segment.records += records;
    this.bytes += lines.length;
    this.records += records;
  }

  async #newSegment(): Promise<{ file: FileHandle; segment: Segment }> {
    const number = this.#nextNumber;
    const file = await open(this.#path(number), 'w', 0o600);
    try {
      // The name of the file must survive a power failure too.
      const directory = await open(this.dir, 'r');
      await directory.sync().finally(() => directory.close());
    } catch (error) {
      await file.close();
      throw error;
    }
    return { file, segment: { number, bytes: 0, records: 0 } };
  }

  /** Deletes segments whose records are all committed; false if the oldest has others. */
  async #removeCommitted(): Promise<boolean> {
    let removed = false;
    for (;;) {
      const [segment] = this.#segments;
      if (!segment || segment.records > 0) return removed;
      // Records may be on their way into the last one.
      if (this.#segments.length === 1 && this.#writing) return removed;
      this.#segments.shift();
      this.#offset = 0;
      this.bytes -= segment.bytes;
      removed = true;
      const tail = this.#tail?.segment === segment ? this.#tail : undefined;
      if (tail) this.#tail = undefined;
      await tail?.file.close().catch(() => undefined);
      await unlink(this.#path(segment.number)).catch(() => undefined);
    }
  }

  async #readPosition(): Promise<{ segment: number; offset: number } | undefined> {
    try {
      const { segment, offset } = JSON.parse(await readFile(join(this.dir, positionFile), 'utf8')) as {
        segment: unknown;
        offset: unknown;
      };
      if (Number.isSafeInteger(segment) && Number.isSafeInteger(offset))
        return { segment: segment as number, offset: offset as number };
    } catch {
      // No file yet, or torn by a power failure: reading from the beginning repeats records and loses none.
    }
    return undefined;
  }

  #path(number: number): string {
    return join(this.dir, `${String(number).padStart(10, '0')}.spool`);
  }
}

function encode({ key, value }: BusRecord): Buffer {
  // Neither has a tab or a line feed: one is JSON, the other base64.
  const text = `${JSON.stringify(key)}\t${value.toString('base64')}`;
  return Buffer.from(`${checksum(text)}\t${text}\n`);
}

function decode(lines: Buffer): { records: BusRecord[]; damaged: number } {
  const records: BusRecord[] = [];
  let damaged = 0;
  for (const line of lines.toString().split('\n').slice(0, -1)) {
    const text = line.slice(9);
    const tab = text.indexOf('\t');
    if (tab < 0 || line[8] !== '\t' || line.slice(0, 8) !== checksum(text)) damaged++;
    else records.push({ key: JSON.parse(text.slice(0, tab)) as string, value: valueOf(text.slice(tab + 1)) });
  }
  return { records, damaged };
}

/** Up to version 0.1 the value was written as the JSON that it was. */
function valueOf(text: string): Buffer {
  return text.startsWith('{') ? Buffer.from(text) : Buffer.from(text, 'base64');
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, '0');
}

/** Undefined if there is no such file. */
async function readChunk(path: string, offset: number, length: number): Promise<Buffer | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const chunk = Buffer.allocUnsafe(length);
    const { bytesRead } = await file.read(chunk, 0, length, offset);
    return chunk.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

async function countLines(path: string, from: number, end: number): Promise<number> {
  let count = 0;
  for (let offset = from; offset < end;) {
    const chunk = await readChunk(path, offset, Math.min(chunkBytes, end - offset));
    if (!chunk || chunk.length === 0) break;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) count++;
    offset += chunk.length;
  }
  return count;
}
