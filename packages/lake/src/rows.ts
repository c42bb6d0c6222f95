import { apiCallFields, apiCallRow } from '@tripline/model';
import { LakeRefusedError, type LakeTable } from './lake.ts';
import { tables } from './schema.ts';

/** Rows in ClickHouse's RowBinary format that carry the same columns. */
export interface Rows {
  /** Names and types of the columns, in order. */
  columns: readonly { name: string; type: string }[];
  bytes: Buffer;
}

/**
 * Records of the bus as rows. API calls are rows already (see `encodeApiCall`); those of an earlier version lack the columns
 * that came after it, and are rows of their own. Throws `LakeRefusedError` if a record of an API call is none.
 */
export function rowsOf(table: LakeTable, records: readonly Buffer[]): Rows[] {
  const { name, textColumn } = tables[table];
  if (textColumn !== undefined)
    return [
      { columns: [{ name: textColumn, type: 'String' }], bytes: Buffer.concat(records.flatMap(textRow)) },
    ];
  const rowsByFields = new Map<number, Buffer[]>();
  for (const record of records) {
    const row = apiCallRow(record);
    if (typeof row === 'string') throw new LakeRefusedError(`${name} does not take the rows: ${row}`);
    const rows = rowsByFields.get(row.fields);
    if (rows) rows.push(row.bytes);
    else rowsByFields.set(row.fields, [row.bytes]);
  }
  return [...rowsByFields].map(([fields, rows]) => ({
    columns: apiCallFields.slice(0, fields).map(({ name, column }) => ({ name, type: plainType(column) })),
    bytes: Buffer.concat(rows),
  }));
}

/** LowCardinality is how a table stores a column, not how a row carries it. */
function plainType(column: string): string {
  return column.replace(/^LowCardinality\((.*)\)$/, '$1');
}

/** The length of a text as a number of 7 bits a byte, lowest first, and the text. */
function textRow(text: Buffer): Buffer[] {
  const length: number[] = [];
  let left = text.length;
  for (; left > 0x7f; left >>>= 7) length.push((left & 0x7f) | 0x80);
  return [Buffer.of(...length, left), text];
}
