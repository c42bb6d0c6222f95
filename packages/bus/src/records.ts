import type { BusRecord } from './bus.ts';

/*
 * A body is the concatenation of records: each its length in bytes (32 bits, little-endian) and its bytes. Both buses
 * store exactly this, so that a batch is read and handed on without touching its records.
 */
const lengthBytes = 4;

/** Bytes that a record takes in a body. */
export function framedBytes({ value }: Pick<BusRecord, 'value'>): number {
  return lengthBytes + value.length;
}

/** The records of a body, in order, each a view of its bytes. Ends at the first record that does not end within the body. */
export function* recordsOf(body: Buffer): Generator<Buffer, void, undefined> {
  for (let at = 0; at + lengthBytes <= body.length;) {
    const begin = at + lengthBytes;
    at = begin + body.readUInt32LE(at);
    if (at > body.length) return;
    yield body.subarray(begin, at);
  }
}

/** Writes the values as a body into `target`, from `at` on; `target` must have the room (`framedBytes`). */
export function writeBody(values: readonly Buffer[], target: Buffer, at = 0): void {
  for (const value of values) {
    target.writeUInt32LE(value.length, at);
    target.set(value, at + lengthBytes);
    at += lengthBytes + value.length;
  }
}

/** The values as a body. */
export function bodyOf(values: readonly Buffer[]): Buffer {
  const body = Buffer.allocUnsafe(values.reduce((sum, { length }) => sum + lengthBytes + length, 0));
  writeBody(values, body);
  return body;
}

/** Where the first `records` records of a body end, and how many of them there are up to there. */
export function measureBody(body: Buffer, records = Infinity): { count: number; end: number } {
  let count = 0;
  let end = 0;
  while (count < records && end + lengthBytes <= body.length) {
    const next = end + lengthBytes + body.readUInt32LE(end);
    if (next > body.length) break;
    end = next;
    count++;
  }
  return { count, end };
}

/** The body without its first `records` records. */
export function skipRecords(body: Buffer, records: number): Buffer {
  return records === 0 ? body : body.subarray(measureBody(body, records).end);
}

/** The lines of a text as a body: how records were stored up to version 0.1. */
export function bodyOfLines(text: Buffer): Buffer {
  const lines: Buffer[] = [];
  for (let at = 0; at < text.length;) {
    const found = text.indexOf(10, at);
    const end = found < 0 ? text.length : found;
    lines.push(text.subarray(at, end));
    at = end + 1;
  }
  return bodyOf(lines);
}

/** A record whose value is JSON. */
export function jsonRecord(key: string, value: unknown): BusRecord {
  return { key, value: Buffer.from(JSON.stringify(value)) };
}
