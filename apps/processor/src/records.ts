import { recordsOf } from '@tripline/bus';

/** The JSON of the records of a batch; a record that is not JSON stays text. */
export function parseRecords(body: Buffer): unknown[] {
  return Array.from(recordsOf(body), (record) => parseOrText(record.toString()));
}

function parseOrText(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
