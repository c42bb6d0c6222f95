import { apiCallFields } from './fields.ts';
import { readFrequentText, type Value } from './readers.ts';

const columns = apiCallFields.map(({ column }) => column);
const isRequired = apiCallFields.map((field) => field.isRequired === true);
const lastRequired = isRequired.lastIndexOf(true);
const emptySlots: readonly Value[] = apiCallFields.map(() => undefined);
const latestTimeMs = 8.64e15;
const varintShiftMax = 28;

/** What a record holds: a slot per field, see `ApiCallRecord`, and where the last field that is known ends. */
interface Walked {
  slots: Value[];
  end: number;
}

/**
 * Goes once through a record of the bus and checks every length and value; gives in words what is wrong. Allocates the
 * slots, and nothing that the record could make large.
 */
export function walk(record: Buffer): Walked | string {
  const count = record[0] ?? 0;
  if (count <= lastRequired) return 'no API call: it does not begin with a number of fields';
  const slots = emptySlots.slice();
  const known = Math.min(count, columns.length);
  let at = 1;
  for (let index = 0; index < known; index++) {
    at = fill(slots, index, record, at);
    if (!(at >= 0 && at <= record.length)) return problemOf(index);
  }
  if (at !== record.length && count <= columns.length)
    return 'no API call: there is more behind its last field';
  for (const index of checkedFields) if (!isAllowed(slots, index, record)) return problemOf(index);
  return { slots, end: at };
}

function problemOf(index: number): string {
  return `no API call: ${apiCallFields[index]!.name} is cut off or has a value that it cannot have`;
}

/** Fields that may not be empty or have only certain values. */
const checkedFields = [...apiCallFields.keys()].filter((index) => {
  const { isFilled, values } = apiCallFields[index]!;
  return isFilled === true || values !== undefined;
});

function isAllowed(slots: Value[], index: number, record: Buffer): boolean {
  const { values } = apiCallFields[index]!;
  const at = slots[index];
  if (at === undefined || at === '') return !isRequired[index];
  if (values === undefined) return true;
  const value = readFrequentText(record, at as number);
  slots[index] = value;
  return values.includes(value);
}

/** Fills the slot of a field, and gives the position behind it: behind the record or negative if it is cut off or cannot be. */
function fill(slots: Value[], index: number, bytes: Buffer, at: number): number {
  switch (columns[index]!) {
    case 'String':
    case 'LowCardinality(String)':
      if (bytes[at] !== 0) slots[index] = at;
      else if (isRequired[index]) slots[index] = '';
      return skipText(bytes, at);
    case 'Array(String)':
      if (bytes[at] !== 0) slots[index] = at;
      return skipTexts(bytes, at);
    case 'Map(String, String)':
    case 'Map(String, Array(String))':
      if (bytes[at] !== 0) slots[index] = at;
      return skipMap(bytes, at, columns[index] === 'Map(String, String)' ? skipText : skipTexts);
    case 'Bool':
      if (bytes[at] === 1) slots[index] = true;
      return bytes[at]! > 1 ? -1 : at + 1;
    case 'UInt16':
      slots[index] = readUInt16(bytes, at);
      return at + 2;
    case 'UInt32':
      slots[index] = readUInt32(bytes, at);
      if (slots[index] === 0 && !isRequired[index]) slots[index] = undefined;
      return at + 4;
    case 'UInt64':
      slots[index] = readUInt64(bytes, at);
      return Number.isSafeInteger(slots[index]) ? at + 8 : -1;
    case 'DateTime64(3)':
      slots[index] = readUInt64(bytes, at);
      return slots[index] <= latestTimeMs ? at + 8 : -1;
    case 'Nullable(UInt16)':
      if (bytes[at] !== 0) return bytes[at] === 1 ? at + 1 : -1;
      slots[index] = readUInt16(bytes, at + 1);
      return at + 3;
    case 'Nullable(UInt32)':
      if (bytes[at] !== 0) return bytes[at] === 1 ? at + 1 : -1;
      slots[index] = readUInt32(bytes, at + 1);
      return at + 5;
    case 'Nullable(Float64)':
      if (bytes[at] !== 0) return bytes[at] === 1 ? at + 1 : -1;
      if (at + 9 > bytes.length) return -1;
      slots[index] = bytes.readDoubleLE(at + 1);
      return Number.isFinite(slots[index]) ? at + 9 : -1;
  }
}

function readUInt16(bytes: Buffer, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

function readUInt32(bytes: Buffer, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

function readUInt64(bytes: Buffer, at: number): number {
  return readUInt32(bytes, at) + readUInt32(bytes, at + 4) * 2 ** 32;
}

/** The position behind a text; negative if its length is none. */
function skipText(bytes: Buffer, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return at + 1 + first;
  const length = readLongVarint(bytes, at);
  return length < 0 ? -1 : next + length;
}

function skipTexts(bytes: Buffer, at: number): number {
  return skipItems(bytes, at, skipText, skipNothing);
}

function skipMap(bytes: Buffer, at: number, skipValue: typeof skipText): number {
  return skipItems(bytes, at, skipText, skipValue);
}

function skipNothing(_bytes: Buffer, at: number): number {
  return at;
}

function skipItems(bytes: Buffer, at: number, skipOne: typeof skipText, skipOther: typeof skipText): number {
  const first = bytes[at]!;
  const count = first < 0x80 ? first : readLongVarint(bytes, at);
  let behind = first < 0x80 ? at + 1 : next;
  // Each step takes a byte at least, so that a count beyond the record ends with the record.
  for (let n = 0; n < count; n++) {
    behind = skipOne(bytes, behind);
    if (!(behind >= 0 && behind <= bytes.length)) return -1;
    behind = skipOther(bytes, behind);
    if (!(behind >= 0 && behind <= bytes.length)) return -1;
  }
  return count < 0 ? -1 : behind;
}

/** Behind the varint that `readLongVarint` read. */
let next = 0;

/** Negative if it is cut off, too large, or longer than it need be: ClickHouse and this file must read the same. */
function readLongVarint(bytes: Buffer, at: number): number {
  let value = bytes[at]! & 0x7f;
  next = at + 1;
  for (let shift = 7; shift <= varintShiftMax && next < bytes.length; shift += 7) {
    const byte = bytes[next++]!;
    value += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return byte === 0 ? -1 : value;
  }
  return -1;
}
