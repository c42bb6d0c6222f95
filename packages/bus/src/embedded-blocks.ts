import { bodyOfLines, framedBytes, writeBody } from './records.ts';

/*
 * A block is what one commit of the embedded bus appends to a partition: a header, and records.
 */

/** In front of the records of a block: their number (24 bits, little-endian) and the version of the block. */
const headerBytes = 4;
const countMask = 0xff_ffff;
/** The version of a block whose records are a body, see `recordsOf`. Version 0 has one record a line, and is still read. */
const framedVersion = 1;

/** The size of a block of these values. */
export function blockBytes(values: readonly Buffer[]): number {
  return values.reduce((sum, value) => sum + framedBytes({ value }), headerBytes);
}

/** The values as a block. */
export function encodeBlock(values: readonly Buffer[]): Buffer {
  const block = Buffer.allocUnsafe(blockBytes(values));
  block.writeUIntLE(values.length, 0, 3);
  block[3] = framedVersion;
  writeBody(values, block, headerBytes);
  return block;
}

/** How many records a block has. */
export function countOf(block: Buffer): number {
  return block.readUInt32LE(0) & countMask;
}

/** The records of a block, as `recordsOf` reads them. */
export function bodyOfBlock(block: Buffer): Buffer {
  const body = block.subarray(headerBytes);
  return block[3] === framedVersion ? body : bodyOfLines(body);
}
