import { promisify } from 'node:util';
import { gunzip, gunzipSync, gzip, gzipSync } from 'node:zlib';

/** Bytes up to which compressing in this thread costs less than a millisecond, and a third of handing it to another one. */
const syncMaxBytes = 128 * 1024;
/** The same for compressed bytes, which become five to ten times as many. */
const syncMaxCompressedBytes = 64 * 1024;
const options = { level: 1 };
const gzipElsewhere = promisify<Buffer, typeof options, Buffer>(gzip);
const gunzipElsewhere = promisify<Buffer, Buffer>(gunzip);

/** The bus's gzip as kafkajs takes a codec: level 1, and without a thread for what is small. See "Packing" in README.md. */
export const gzipCodec = () => ({
  compress: ({ buffer }: { buffer: Buffer }): Promise<Buffer> =>
    buffer.length <= syncMaxBytes
      ? Promise.resolve(gzipSync(buffer, options))
      : gzipElsewhere(buffer, options),
  decompress: async (buffer: Buffer): Promise<Buffer> =>
    buffer.length <= syncMaxCompressedBytes ? gunzipSync(buffer) : gunzipElsewhere(buffer),
});
