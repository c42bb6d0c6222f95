import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';
import type { Sample } from './sample.ts';

/** Writes the entries in order of their hashes, so that equal samples give equal bytes. Hashes are not written: they follow from the keys. */
export function writeSample<Value>(
  writer: ByteWriter,
  sample: Sample<Value>,
  writeEntry: (key: string, value: Value) => void,
): void {
  writer.uint(sample.size);
  for (const [key, { value }] of sample.sorted()) writeEntry(key, value);
}

/** Calls `readEntry` once for each entry that was written; it adds the entry to the sample, which keeps no more than it may. */
export function readSample(reader: ByteReader, readEntry: () => void): void {
  for (let left = reader.count(); left > 0; left--) readEntry();
}
