import type { ApiCall } from '../api-call.ts';
import { apiCallFields, type ApiCallColumn } from './fields.ts';
import { RowWriter } from './row-writer.ts';

const writer = new RowWriter();

/** How a value is written in each type of column. Undefined: the field was left out. */
const writers: Record<ApiCallColumn, (value: never) => void> = {
  String: writeText,
  'LowCardinality(String)': writeText,
  'Array(String)': writeTexts,
  'Map(String, String)': (map: Record<string, string> | undefined) => writeMap(map, writeText),
  'Map(String, Array(String))': (map: Record<string, string[]> | undefined) => writeMap(map, writeTexts),
  Bool: (value: boolean | undefined) => writer.byte(value === true ? 1 : 0),
  UInt16: (value: number | undefined) => writer.uint16(value ?? 0),
  UInt32: (value: number | undefined) => writer.uint32(value ?? 0),
  UInt64: (value: number | undefined) => writer.uint64(value ?? 0),
  'DateTime64(3)': (value: number | undefined) => writer.uint64(value ?? 0),
  'Nullable(UInt16)': (value: number | undefined) => {
    if (isThere(value)) writer.uint16(value);
  },
  'Nullable(UInt32)': (value: number | undefined) => {
    if (isThere(value)) writer.uint32(value);
  },
  'Nullable(Float64)': (value: number | undefined) => {
    if (isThere(value)) writer.float64(value);
  },
};
const fieldWriters = apiCallFields.map(({ column }) => writers[column] as (value: unknown) => void);
const indexOf = new Map<string, number>(apiCallFields.map(({ name }, index) => [name, index]));
/** The values of the call that is being written, in the order of the fields. */
const values: unknown[] = apiCallFields.map(() => undefined);

/**
 * An API call as a record of the bus: the number of fields that follow in one byte, then the row in the lake's RowBinary
 * format, its columns in the order of `apiCallFields`. Fields that the call leaves out get their column's default. Numbers
 * beyond their column's range become its limits; half a surrogate pair becomes U+FFFD.
 */
export function encodeApiCall(call: ApiCall): Buffer {
  // Calls leave out most fields, each others: going through those that are there costs a quarter of asking for each.
  for (const name in call) {
    const index = indexOf.get(name);
    if (index !== undefined) values[index] = call[name as keyof ApiCall];
  }
  writer.byte(values.length);
  for (let index = 0; index < values.length; index++) {
    fieldWriters[index]!(values[index]);
    values[index] = undefined;
  }
  return writer.take();
}

function isThere(value: number | undefined): value is number {
  writer.byte(value === undefined ? 1 : 0);
  return value !== undefined;
}

function writeText(text: string | undefined): void {
  if (text === undefined) writer.byte(0);
  else writer.text(text);
}

function writeTexts(texts: readonly string[] | undefined): void {
  if (texts === undefined) {
    writer.byte(0);
    return;
  }
  writer.varint(texts.length);
  for (const text of texts) writer.text(text);
}

function writeMap<Value>(map: Record<string, Value> | undefined, writeValue: (value: Value) => void): void {
  if (map === undefined) {
    writer.byte(0);
    return;
  }
  const names = Object.keys(map);
  writer.varint(names.length);
  for (const name of names) {
    writer.text(name);
    writeValue(map[name]!);
  }
}
