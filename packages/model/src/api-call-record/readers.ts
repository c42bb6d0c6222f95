import type { ApiCallColumn } from './fields.ts';
import { frequentText } from './texts.ts';

export type Value = number | string | boolean | object | undefined;

/** Reads what begins at a position, which `walk` has checked. */
type Reader = (bytes: Buffer, at: number) => Exclude<Value, number>;

/** Of the columns whose values `walk` only passes over. */
export const readers: Partial<Record<ApiCallColumn, Reader>> = {
  String: (bytes, at) => readText(bytes, at),
  'LowCardinality(String)': (bytes, at) => readFrequentText(bytes, at),
  'Array(String)': (bytes, at) => readTexts(bytes, at),
  'Map(String, String)': (bytes, at) => readMap(bytes, at, readText),
  'Map(String, Array(String))': (bytes, at) => readMap(bytes, at, readTexts),
};

/** Behind what was read last. */
let next = 0;

/** A number of 7 bits a byte, lowest first. */
function readVarint(bytes: Buffer, at: number): number {
  let value = bytes[at]!;
  next = at + 1;
  if (value < 0x80) return value;
  value &= 0x7f;
  for (let shift = 7; ; shift += 7) {
    const byte = bytes[next++]!;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
}

export function readText(bytes: Buffer, at: number): string {
  const length = readVarint(bytes, at);
  const begin = next;
  next = begin + length;
  return bytes.toString('utf8', begin, next);
}

export function readFrequentText(bytes: Buffer, at: number): string {
  const length = readVarint(bytes, at);
  const begin = next;
  next = begin + length;
  return frequentText(bytes, begin, next);
}

function readTexts(bytes: Buffer, at: number): string[] {
  const count = readVarint(bytes, at);
  const texts: string[] = [];
  for (let n = 0; n < count; n++) texts.push(readText(bytes, next));
  return texts;
}

function readMap<Item>(
  bytes: Buffer,
  at: number,
  read: (bytes: Buffer, at: number) => Item,
): Record<string, Item> {
  const count = readVarint(bytes, at);
  const map: Record<string, Item> = {};
  for (let n = 0; n < count; n++) {
    const name = readFrequentText(bytes, next);
    const value = read(bytes, next);
    // Assigned, it would become the object's prototype.
    if (name === '__proto__')
      Object.defineProperty(map, name, { value, enumerable: true, configurable: true, writable: true });
    else map[name] = value;
  }
  return map;
}
