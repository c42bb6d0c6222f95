import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { createClient } from '@clickhouse/client';
import kafkajs, { type Message } from 'kafkajs';
import { compressSync, uncompressSync } from 'snappy';
import { partitionOf } from '@tripline/bus';
import { calmKafkajs } from '../../packages/bus/src/kafkajs-timer.ts';

/**
 * One role of a chain with nothing of ours in it: the least that lines cost on this stack which are read from TCP as JSON,
 * written to Kafka as JSON of the size of an API call, packed and compressed as our bus does it, read again as JSON by one
 * consumer, and forwarded to ClickHouse as they are by another. Nothing is checked, kept or counted exactly once.
 * Arguments: the role, a file with `MinimalSettings` as JSON. Tells its parent `{ port }` (collector), `{ lines }` twice a second.
 */
export interface MinimalSettings {
  brokers: string[];
  topic: string;
  partitions: number;
  clickhouse: { url: string; username: string; password: string };
  table: string;
  /** API calls as they are on the bus: their size is that of the records. */
  calls: object[];
}

const sendAfterMs = 100;
const sendBytes = 512 * 1024;
const insertEveryMs = 2_000;

calmKafkajs();
kafkajs.CompressionCodecs[kafkajs.CompressionTypes.Snappy] = () => ({
  compress: ({ buffer }: { buffer: Buffer }) => Promise.resolve(compressSync(buffer)),
  decompress: (buffer: Buffer) => Promise.resolve(uncompressSync(buffer, { asBuffer: true })),
});
const [role = '', file = ''] = process.argv.slice(2);
const settings = JSON.parse(readFileSync(file, 'utf8')) as MinimalSettings;
const { topic, partitions } = settings;
const kafka = new kafkajs.Kafka({ brokers: settings.brokers, logLevel: kafkajs.logLevel.NOTHING });
let lines = 0;
setInterval(() => process.send!({ lines }), 500);

const roles: Record<string, () => Promise<void>> = { collector, processor, archiver };
await roles[role]!();

async function collector(): Promise<void> {
  const producer = kafka.producer({
    idempotent: true,
    maxInFlightRequests: 1,
    createPartitioner:
      () =>
      ({ message }) =>
        message.partition!,
  });
  await producer.connect();
  const empty = (): string[][] => Array.from({ length: partitions }, () => []);
  let gathered = empty();
  let bytes = 0;
  let sending: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  const send = async (): Promise<void> => {
    const messages: Message[] = gathered.flatMap((values, partition) =>
      values.length > 0 ? [{ value: `${values.join('\n')}\n`, partition }] : [],
    );
    gathered = empty();
    bytes = 0;
    await producer.sendBatch({
      acks: -1,
      compression: kafkajs.CompressionTypes.Snappy,
      topicMessages: [{ topic, messages }],
    });
    sending = undefined;
    soon();
  };
  const soon = (): void => {
    if (bytes === 0 || sending !== undefined) return;
    if (bytes > sendBytes) {
      clearTimeout(timer);
      timer = undefined;
      sending = send();
    } else
      timer ??= setTimeout(() => {
        timer = undefined;
        sending ??= send();
      }, sendAfterMs);
  };
  interface Line {
    request: { id: string };
    started_at: number;
    consumer: { id: string };
  }
  const take = (text: string): void => {
    const line = JSON.parse(text) as Line;
    const { id } = line.consumer;
    const value = JSON.stringify({
      ...settings.calls[lines++ % settings.calls.length],
      id: `${line.request.id}.${line.started_at}`,
      startedAt: line.started_at,
      actorId: id,
      consumerId: id,
    });
    bytes += value.length;
    gathered[partitionOf(id, partitions)]!.push(value);
  };
  const server = createServer((socket) => {
    let rest = '';
    socket.on('data', (chunk) => {
      const parts = (rest + chunk.toString('latin1')).split('\n');
      rest = parts.pop()!;
      for (const part of parts) take(part);
      soon();
    });
  });
  server.listen(0, '127.0.0.1', () => process.send!({ port: (server.address() as AddressInfo).port }));
}

async function processor(): Promise<void> {
  await consume((value) => {
    let from = 0;
    for (let end = value.indexOf(10); end >= 0; end = value.indexOf(10, from)) {
      JSON.parse(value.toString('utf8', from, end));
      lines++;
      from = end + 1;
    }
  });
}

async function archiver(): Promise<void> {
  const client = createClient(settings.clickhouse);
  let waiting: Buffer[] = [];
  await consume((value) => waiting.push(value));
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, insertEveryMs));
    if (waiting.length === 0) continue;
    const pieces = waiting;
    waiting = [];
    const { stream } = await client.exec({
      query: `INSERT INTO ${settings.table} FORMAT LineAsString`,
      values: Readable.from(pieces, { objectMode: false }),
    });
    await stream.resume().toArray();
    for (const piece of pieces)
      for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, end + 1)) lines++;
  }
}

async function consume(each: (value: Buffer) => void): Promise<void> {
  const consumer = kafka.consumer({
    groupId: `${topic}-${role}`,
    maxWaitTimeInMs: 500,
    maxBytes: 2 * 2 ** 20,
    maxBytesPerPartition: 256 * 1024,
  });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const joined = new Promise<void>((resolve) => consumer.on(consumer.events.GROUP_JOIN, () => resolve()));
  await consumer.run({
    autoCommitInterval: 1_000,
    partitionsConsumedConcurrently: partitions,
    eachBatch: ({ batch }) => {
      for (const { value } of batch.messages) each(value!);
      return Promise.resolve();
    },
  });
  await joined;
  process.send!({ joined: true });
}
