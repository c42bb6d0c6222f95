import { apiCallProblem } from '../api-call-shape.ts';
import type { ApiCall } from '../api-call.ts';
import { apiCallFields } from './fields.ts';
import { readers, type Value } from './readers.ts';
import { walk } from './walk.ts';

/** First byte of a record that is JSON, as up to version 0.1. No record has so many fields. */
const jsonBegin = 0x7b;

/**
 * An API call whose fields are read from a record of the bus when they are asked for. A slot holds a field's value; for text,
 * lists and maps that were not asked for yet, the position of their bytes; undefined for a field that was left out.
 */
class ApiCallRecord {
  readonly bytes: Buffer;
  readonly slots: Value[];

  constructor(bytes: Buffer, slots: Value[]) {
    this.bytes = bytes;
    this.slots = slots;
  }

  /** A plain object with the fields that are there. */
  toJSON(): ApiCall {
    const call: Record<string, Value> = {};
    for (const { name } of apiCallFields) {
      const value = (this as unknown as ApiCall)[name];
      if (value !== undefined) call[name] = value;
    }
    return call as unknown as ApiCall;
  }
}

for (const [index, { name, column }] of apiCallFields.entries()) {
  const read = readers[column];
  const get = read
    ? function (this: ApiCallRecord): Value {
        const value = this.slots[index];
        return typeof value === 'number' ? (this.slots[index] = read(this.bytes, value)) : value;
      }
    : function (this: ApiCallRecord): Value {
        return this.slots[index];
      };
  Object.defineProperty(ApiCallRecord.prototype, name, { get, enumerable: true });
}

/**
 * The API call of a record on the bus, or in words why it holds none; never throws. The call keeps the record's bytes. Also
 * takes the JSON of version 0.1, and records of newer versions, whose further fields are left out.
 */
export function readApiCall(record: Buffer): ApiCall | string {
  if (isJson(record)) return parseApiCall(record);
  const walked = walk(record);
  return typeof walked === 'string'
    ? walked
    : (new ApiCallRecord(record, walked.slots) as unknown as ApiCall);
}

export function isJson(record: Buffer): boolean {
  return record[0] === jsonBegin;
}

function parseApiCall(record: Buffer): ApiCall | string {
  let value: unknown;
  try {
    value = JSON.parse(record.toString());
  } catch {
    return 'no JSON object';
  }
  const field = apiCallProblem(value);
  return field === undefined ? (value as ApiCall) : `no API call: ${field} is missing or has another type`;
}
