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

/** How many of the records, from the first one on, are on the disk; why the others are not. */
export type Appended =
  | { taken: number; reason?: undefined }
  | { taken: number; reason: 'spool-full' | 'spool-error'; problem: string };

/** The oldest records that were not passed yet. */
export interface SpooledBatch {
  records: BusRecord[];
  /** Records that do not read as they were written, or whose file has gone: lost. */
  damaged: number;
  segment: number;
  /** Behind the last of them in that segment. */
  nextOffset: number;
}

interface Segment {
  number: number;
  /** What is written and flushed. */
  bytes: number;
  /** Records that were not passed yet. */
  records: number;
}

interface Waiting {
  records: readonly BusRecord[];
  resolve: (appended: Appended) => void;
}

const maxSegmentBytes = 16 * 2 ** 20;
/** Of what one flush takes to the disk, and of one batch that is read. */
const chunkBytes = 2 ** 20;
const positionFile = 'position';
const segmentName = /^([0-9]{10})\.spool$/;

/**
 * A bounded queue of records on disk, for the time in which the bus does not answer. Segments are files that are only
 * appended to; a record is one line: CRC-32, key, value. A small file keeps the position up to which the oldest segment was
 * read; a segment that was read is deleted.
 *
 * A record that `append` took is flushed to the disk (`fdatasync`, one for all that came during the one before) and
 * survives a kill and a power failure. A crash between publishing and `pass` gives records again; their ids make that
 * harmless. When it is full the newest are refused, since the older ones were promised to somebody.
 *
 * A disk that fails is reported by `append`, and tried again with the next one.
 */
export class Spool {
  /** Records that wait. */
  records = 0;
  /** Size of the files. */
  bytes = 0;
  /** Records that an earlier process left. */
  restored = 0;
  readonly dir: string;
  readonly #maxBytes: number;
  readonly #segmentBytes: number;
  /** Oldest first; none of an earlier process is written to again, since its end may be torn. */
  readonly #segments: Segment[] = [];
  /** Where the oldest one is read from. */
  #offset = 0;
  #nextNumber = 1;
  #loaded = false;
  /** The segment that is written to, which is the last one. */
  #tail: { file: FileHandle; segment: Segment } | undefined;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;

  constructor(options: SpoolOptions) {
    this.dir = options.dir;
    this.#maxBytes = options.maxBytes;
    // Room is only gained by whole segments.
    this.#segmentBytes = Math.min(maxSegmentBytes, Math.ceil(options.maxBytes / 16));
  }

  /**
   * Finds what an earlier process left. Rejects if the directory cannot be made or read; `append` tries it again.
   */
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
    // Above the position's too: a new segment of that number would be read from the middle.
    this.#nextNumber = Math.max(numbers.at(-1) ?? 0, position?.segment ?? 0) + 1;
    for (const { bytes, records } of found) {
      this.bytes += bytes;
      this.records += records;
      this.restored += records;
    }
    this.#loaded = true;
    await this.#removeRead();
  }

  /** Resolves when the records that it took are on the disk. Never rejects. */
  append(records: readonly BusRecord[]): Promise<Appended> {
    return new Promise((resolve) => {
      this.#waiting.push({ records, resolve });
      this.#writing ??= this.#write();
    });
  }

  /** The oldest records, about 1 MB of them; undefined if there are none. Rejects if the disk does not give them. */
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
      // Behind the last line feed of a whole segment is what a process wrote in its last moment: nobody was promised that.
      const toEnd = length === end - offset;
      if (lines.length === 0 && !toEnd) continue;
      const { records, damaged } = decode(lines);
      return toEnd
        ? { records, damaged: expected - records.length, segment: segment.number, nextOffset: end }
        : { records, damaged, segment: segment.number, nextOffset: offset + lines.length };
    }
  }

  /**
   * The batch that `peek` gave is published, and need not be kept; `records` is right at once. A failure of the disk only
   * makes a later process publish it again.
   */
  async pass(batch: SpooledBatch): Promise<void> {
    const [segment] = this.#segments;
    // One without records may have been removed by the writer since it was looked at.
    if (segment?.number !== batch.segment) return;
    const count = Math.min(segment.records, batch.records.length + batch.damaged);
    segment.records -= count;
    this.records -= count;
    this.#offset = batch.nextOffset;
    if (await this.#removeRead()) return;
    const path = join(this.dir, positionFile);
    await writeFile(`${path}.new`, JSON.stringify({ segment: segment.number, offset: batch.nextOffset }))
      .then(() => rename(`${path}.new`, path))
      .catch(() => undefined);
  }

  /** Waits for the appends under way. */
  async close(): Promise<void> {
    await this.#writing;
    await this.#tail?.file.close();
    this.#tail = undefined;
  }

  /** One writer; each flush takes everything that has come meanwhile. */
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
    // In the same turn as the last look at `#waiting`: an append from now on starts a new writer.
    this.#writing = undefined;
    await this.#removeRead();
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
      // What a failed flush has left is unknown: the segment ends where it was good, and the next append makes a new one.
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
      // Its name must survive a power failure too.
      const directory = await open(this.dir, 'r');
      await directory.sync().finally(() => directory.close());
    } catch (error) {
      await file.close();
      throw error;
    }
    return { file, segment: { number, bytes: 0, records: 0 } };
  }

  /** Deletes segments that were read to their end; false if the oldest is not. */
  async #removeRead(): Promise<boolean> {
    let removed = false;
    for (;;) {
      const [segment] = this.#segments;
      if (!segment || segment.records > 0) return removed;
      // More may be on its way into the last one.
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
      // None yet, or torn by a power failure: from the beginning, which repeats records and loses none.
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
