import { encodeApiCall } from './encode.ts';
import { apiCallFields } from './fields.ts';
import { isJson, readApiCall } from './read.ts';
import { walk } from './walk.ts';

/** A record of the bus as a row of the lake. */
export interface ApiCallRow {
  /** How many of `apiCallFields` it has, from the first on. */
  fields: number;
  /** In the RowBinary format. */
  bytes: Buffer;
}

/** The row of a record on the bus; or in words why it holds no API call. Fields that this version does not know are cut off. */
export function apiCallRow(record: Buffer): ApiCallRow | string {
  let binary = record;
  if (isJson(record)) {
    const call = readApiCall(record);
    if (typeof call === 'string') return call;
    binary = encodeApiCall(call);
  }
  const walked = walk(binary);
  if (typeof walked === 'string') return walked;
  return { fields: Math.min(binary[0]!, apiCallFields.length), bytes: binary.subarray(1, walked.end) };
}
