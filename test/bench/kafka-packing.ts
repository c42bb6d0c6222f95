import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { gzip, unzip } from 'node:zlib';
import kafkajs from 'kafkajs';
import { createNormaliser, lineOf } from '@tripline/kong';
import { createSanitizer } from '@tripline/sanitize';
import { startKafka } from '../engines/kafka.ts';

/**
 * What one record costs this process on its way to Kafka and back, alone in a message or packed with others, under each
 * compression: the figures behind packages/bus/README.md. `npm run bench -- --kafka-packing`.
 */
const fixtures = resolve('test/fixtures/tcp-log');
const normalise = createNormaliser({ sanitizer: createSanitizer({ key: Buffer.alloc(32, 7) }) });
const records = readdirSync(fixtures)
  .filter((name) => name.endsWith('.ndjson'))
  .flatMap((name) => readFileSync(join(fixtures, name)).toString('latin1').split('\n').slice(0, -1))
  .map((line) => normalise(lineOf(Buffer.from(`${line}\n`, 'latin1')), Date.now()))
  .flatMap((result) => ('call' in result ? [JSON.stringify(result.call)] : []));
const meanBytes = records.reduce((sum, value) => sum + Buffer.byteLength(value), 0) / records.length;

const partitions = 4;
const total = 100_000;
const perSend = [32, 256, 2_000];
const { CompressionTypes, CompressionCodecs } = kafkajs;
interface Codec {
  compress: (encoder: { buffer: Buffer }) => Promise<Buffer>;
  decompress: (data: Buffer) => Promise<Buffer>;
}
const codecs = CompressionCodecs as Record<number, () => Codec>;
let compressedBytes = 0;
/** The codec, counting what it makes. */
const codec =
  (compress: (data: Buffer) => Promise<Buffer>, decompress: (data: Buffer) => Promise<Buffer>) =>
  (): Codec => ({
    compress: async (encoder) => {
      const compressed = await compress(encoder.buffer);
      compressedBytes += compressed.length;
      return compressed;
    },
    decompress,
  });
const gunzip = promisify<Buffer, Buffer>(unzip);
const gzipAt = (level: number) => (data: Buffer) =>
  promisify<Buffer, { level: number }, Buffer>(gzip)(data, { level });
const compressions: [string, kafkajs.CompressionTypes, () => Codec][] = [
  [
    'none',
    CompressionTypes.None,
    codec(
      (data) => Promise.resolve(data),
      (data) => Promise.resolve(data),
    ),
  ],
  ['gzip', CompressionTypes.GZIP, codec(gzipAt(6), gunzip)],
  ['gzip level 1', CompressionTypes.GZIP, codec(gzipAt(1), gunzip)],
];
try {
  const name = 'snappy';
  const snappy = (await import(name)) as {
    compress: (data: Buffer) => Promise<Buffer>;
    uncompress: (data: Buffer) => Promise<Buffer>;
  };
  compressions.push([
    'snappy',
    CompressionTypes.Snappy,
    codec(
      (data) => snappy.compress(data),
      (data) => snappy.uncompress(data),
    ),
  ]);
} catch {
  process.stderr.write('snappy is not installed: left out\n');
}

function micros(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return user + system;
}

async function measure(
  kafka: kafkajs.Kafka,
  packed: boolean,
  each: number,
  compression: kafkajs.CompressionTypes,
  topic: string,
) {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({
    topics: [
      { topic, numPartitions: partitions, configEntries: [{ name: 'max.message.bytes', value: '8388608' }] },
    ],
  });
  const producer = kafka.producer({
    idempotent: true,
    maxInFlightRequests: 1,
    createPartitioner:
      () =>
      ({ message }) =>
        message.partition!,
  });
  await producer.connect();
  compressedBytes = 0;
  let began = process.cpuUsage();
  for (let sent = 0; sent < total; sent += each) {
    const messages: kafkajs.Message[] = [];
    const packs: string[][] = Array.from({ length: partitions }, () => []);
    for (let i = sent; i < sent + each; i++) {
      const value = records[i % records.length]!;
      if (packed) packs[i % partitions]!.push(value);
      else messages.push({ key: `actor-${i % 997}`, value, partition: i % partitions });
    }
    packs.forEach((values, partition) => {
      if (values.length > 0) messages.push({ value: `${values.join('\n')}\n`, partition });
    });
    await producer.send({ topic, messages, acks: -1, compression });
  }
  const produce = micros(began) / total;
  await producer.disconnect();
  const consumer = kafka.consumer({ groupId: topic, maxWaitTimeInMs: 100 });
  await consumer.subscribe({ topic, fromBeginning: true });
  let seen = 0;
  let done: () => void = () => undefined;
  const finished = new Promise<void>((resolve) => (done = resolve));
  began = process.cpuUsage();
  await consumer.run({
    autoCommit: false,
    eachBatch: ({ batch }) => {
      for (const { value } of batch.messages) {
        if (!packed) seen++;
        else for (let at = value!.indexOf(10); at >= 0; at = value!.indexOf(10, at + 1)) seen++;
      }
      if (seen >= total) done();
      return Promise.resolve();
    },
  });
  await finished;
  const consume = micros(began) / total;
  await consumer.disconnect();
  await admin.deleteTopics({ topics: [topic] });
  await admin.disconnect();
  return { produce, consume, bytes: compressedBytes / total };
}

const engine = await startKafka({ own: true });
try {
  const kafka = new kafkajs.Kafka({
    clientId: 'packing',
    brokers: engine.brokers,
    logLevel: kafkajs.logLevel.NOTHING,
  });
  console.log(`Kafka ${engine.version}, ${partitions} partitions, records of ${Math.round(meanBytes)} bytes`);
  console.log(
    '| records per send | message | compression | µs to produce | µs to consume | bytes compressed |',
  );
  let round = 0;
  await measure(kafka, true, 256, CompressionTypes.GZIP, 'warm-up');
  for (const each of perSend) {
    for (const packed of [false, true]) {
      for (const [name, type, use] of compressions) {
        codecs[type] = use;
        const got = await measure(kafka, packed, each, type, `packing-${++round}`);
        const bytes = type === CompressionTypes.None ? '-' : Math.round(got.bytes);
        const figures = [got.produce.toFixed(1), got.consume.toFixed(1), bytes].join(' | ');
        console.log(`| ${each} | ${packed ? 'packed' : 'one record'} | ${name} | ${figures} |`);
      }
    }
  }
} finally {
  await engine.dispose();
}
