import type { Topic } from '@tripline/model';
import { withDeadline } from '@tripline/runtime';
import kafkajs, { type Kafka, type Message, type Producer, type TopicMessages } from 'kafkajs';
import { compressSync, uncompressSync } from 'snappy';
import { BusUnavailableError, RecordTooLargeError, type BusRecord } from './bus.ts';
import type { KafkaBusOptions, KafkaLog } from './kafka-options.ts';
import { isPacked, packedBytesMax, packedRecordsMax, packMessage } from './kafka-layout.ts';
import type { KafkaTopics } from './kafka-topics.ts';
import { inWords, kafkaErrorType } from './kafka-words.ts';
import { partitionOf } from './partition.ts';
import { framedBytes } from './records.ts';
import { waitFor } from './timing.ts';

/** How long a call of `publish` may take before it is refused. */
const publishMaxMs = 10_000;
/** A send has at least so long, however long its calls have waited already. */
const sendMinMs = 3_000;
const sendMaxBytes = 4 * 2 ** 20;
const waitingMaxBytes = 64 * 2 ** 20;
/** Under load, sends begin at least so far apart, so that messages are worth their overhead; an idle bus sends at once. */
const lingerMs = 100;
/** What waits ends the linger at so many bytes. */
const lingerMaxBytes = 512 * 1024;
/** kafkajs copies all messages of a partition for each one that it adds to them, so a send takes only so many. */
const messagesMax = 500;
/** Headers of a record batch and of a record in it, generously. */
const overheadBytes = 1_024;

/** How long a failed send is told of as a problem. */
const problemMs = 30_000;

const { CompressionCodecs, CompressionTypes } = kafkajs;
// See "Packing" in README.md. At once, not in a thread: a few hundred kilobytes take less than the way there and back.
// kafkajs keeps its codecs in one table for the process.
CompressionCodecs[CompressionTypes.Snappy] = () => ({
  compress: (encoder: { buffer: Buffer }) => Promise.resolve(compressSync(encoder.buffer)),
  decompress: (buffer: Buffer) => Promise.resolve(uncompressSync(buffer, { asBuffer: true }) as Buffer),
});

/** One call of `publish`. */
interface Call {
  topic: Topic;
  deadline: number;
  /** Its pieces that are not yet acknowledged. */
  left: number;
  failed: boolean;
  /** Kafka found a send too large in which it was together with others: it goes alone now. */
  alone: boolean;
  resolve: () => void;
  reject: (error: Error) => void;
}

/** Records of one call for one partition, small enough to be one message or one part of it. */
interface Piece {
  call: Call;
  partition: number;
  records: BusRecord[];
  bytes: number;
}

/**
 * Publishes to Kafka. One send at a time, which takes everything that has come meanwhile: so records of a key stay in
 * order, and the more there is to do, the better it is packed.
 *
 * kafkajs's idempotent producer numbers batches; after a send that finally failed it gives the number again, although the
 * broker may have taken the batch, and would then drop the next one as a repetition. So a producer whose send failed is
 * thrown away, and the next one has a new identity.
 */
export class KafkaSender {
  readonly #options: KafkaBusOptions;
  readonly #kafka: Kafka;
  readonly #topics: KafkaTopics;
  readonly #log: KafkaLog;
  readonly #now: () => number;
  #waiting: Piece[] = [];
  #waitingBytes = 0;
  #sending: Promise<void> | undefined;
  #lastBegan = -Infinity;
  #endLinger: () => void = () => undefined;
  #line: Line | undefined;
  #problem: string | null = null;
  #failedAt = -Infinity;
  #closed = false;
  #recordsPerMessage = 1;

  constructor(options: KafkaBusOptions, kafka: Kafka, topics: KafkaTopics, log: KafkaLog) {
    this.#options = options;
    this.#kafka = kafka;
    this.#topics = topics;
    this.#log = log;
    this.#now = options.now ?? Date.now;
  }

  problem(): string | null {
    // Without anything to publish nothing shows that it would work again; what was long ago is no news.
    return this.#now() - this.#failedAt < problemMs ? this.#problem : null;
  }

  /** How many records a message of a packed topic had lately. */
  recordsPerMessage(): number {
    return this.#recordsPerMessage;
  }

  publish(topic: Topic, records: BusRecord[]): Promise<void> {
    if (this.#closed) return Promise.reject(new Error('The bus is closed.'));
    if (records.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const deadline = this.#now() + publishMaxMs;
      const call: Call = { topic, deadline, left: 0, failed: false, alone: false, resolve, reject };
      const pieces = this.#cut(call, records);
      call.left = pieces.length;
      this.#waiting.push(...pieces);
      if (this.#waitingBytes >= lingerMaxBytes) this.#endLinger();
      this.#sending ??= this.#send();
    });
  }

  /** Sends what waits, or refuses it when its time is over; then takes nothing more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#endLinger();
    await this.#sending;
    await this.#hangUp();
  }

  #cut(call: Call, records: BusRecord[]): Piece[] {
    const { topic } = call;
    const limit = this.#topics.maxMessageBytes(topic) - overheadBytes;
    const recordsMax = isPacked(topic) ? packedRecordsMax : messagesMax;
    const pieces: Piece[] = [];
    const open = new Map<number, Piece>();
    let total = 0;
    for (const record of records) {
      const bytes = isPacked(topic)
        ? framedBytes(record)
        : record.value.length + Buffer.byteLength(record.key);
      if (bytes > limit) {
        throw new RecordTooLargeError(
          `A record for topic ${this.#topics.nameOf(topic)} has ${bytes} bytes; Kafka takes ${limit} ` +
            "(the topic's max.message.bytes less its headers). Nothing of this call was published.",
        );
      }
      total += bytes;
      const partition = record.partition ?? partitionOf(record.key, this.#options.partitions);
      if (partition < 0 || partition >= this.#options.partitions)
        throw new Error(`No partition ${partition} of ${topic}: there are ${this.#options.partitions}.`);
      let piece = open.get(partition);
      if (!piece || piece.records.length >= recordsMax || piece.bytes + bytes > packedBytesMax) {
        piece = { call, partition, records: [], bytes: 0 };
        open.set(partition, piece);
        pieces.push(piece);
      }
      piece.records.push(record);
      piece.bytes += bytes;
    }
    if (this.#waitingBytes > 0 && this.#waitingBytes + total > waitingMaxBytes) {
      throw new BusUnavailableError(
        `${this.#waitingBytes} bytes wait for Kafka, and ${waitingMaxBytes} may: ` +
          (this.#topics.problem() ?? this.#problem ?? 'it takes them too slowly.'),
      );
    }
    this.#waitingBytes += total;
    return pieces;
  }

  async #send(): Promise<void> {
    while (this.#waiting.length > 0) {
      await this.#linger();
      if (!(await this.#topicsReady())) continue;
      const pieces = this.#take();
      this.#lastBegan = this.#now();
      try {
        await this.#sendPieces(pieces);
        this.#problem = null;
        for (const { call } of pieces) if (--call.left === 0) call.resolve();
      } catch (error) {
        await this.#failed(pieces, error);
      }
    }
    // In the same turn as the last look at `#waiting`: a publish from now on starts a new one.
    this.#sending = undefined;
  }

  async #linger(): Promise<void> {
    const leftMs = this.#lastBegan + lingerMs - this.#now();
    if (leftMs <= 0 || leftMs > lingerMs || this.#waitingBytes >= lingerMaxBytes || this.#closed) return;
    await waitFor(leftMs, (end) => (this.#endLinger = end));
  }

  /** False when calls had to be refused while the topics are not as they must be. */
  async #topicsReady(): Promise<boolean> {
    const { deadline } = this.#waiting[0]!.call;
    const ready = this.#topics.ready().then(() => true);
    const leftMs = Math.max(0, deadline - this.#now());
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), leftMs)));
    const is = await Promise.race([ready, late]);
    clearTimeout(timer);
    if (is) return true;
    this.#refuseLate(this.#topics.problem() ?? 'Kafka does not answer.');
    return false;
  }

  #refuseLate(why: string): void {
    const now = this.#now();
    const late = new Set(this.#waiting.map(({ call }) => call).filter((call) => call.deadline <= now));
    for (const call of late) this.#refuse(call, new BusUnavailableError(why));
  }

  #refuse(call: Call, error: Error): void {
    if (call.failed) return;
    call.failed = true;
    this.#waiting = this.#waiting.filter((piece) => {
      if (piece.call === call) this.#waitingBytes -= piece.bytes;
      return piece.call !== call;
    });
    call.reject(error);
  }

  /** As much as one send may hold, oldest first; per partition no more than one record batch may. */
  #take(): Piece[] {
    const taken: Piece[] = [];
    const perBatch = new Map<string, { bytes: number; records: number }>();
    let bytes = 0;
    for (const piece of this.#waiting) {
      const { call } = piece;
      if (
        taken.length > 0 &&
        (bytes + piece.bytes > sendMaxBytes || (taken[0]!.call.alone && call !== taken[0]!.call))
      )
        break;
      const key = `${call.topic}/${piece.partition}`;
      const batch = perBatch.get(key) ?? { bytes: 0, records: 0 };
      batch.bytes += piece.bytes;
      batch.records += piece.records.length;
      const limit = this.#topics.maxMessageBytes(call.topic) - overheadBytes;
      const full = batch.bytes > limit || (!isPacked(call.topic) && batch.records > messagesMax);
      if (taken.length > 0 && full) break;
      perBatch.set(key, batch);
      bytes += piece.bytes;
      taken.push(piece);
    }
    this.#waiting.splice(0, taken.length);
    this.#waitingBytes -= bytes;
    return taken;
  }

  async #sendPieces(pieces: Piece[]): Promise<void> {
    const byTopic = new Map<Topic, Message[]>();
    for (const parts of groupBy(pieces, ({ call, partition }) => `${call.topic}/${partition}`)) {
      const { call, partition } = parts[0]!;
      const messages = byTopic.get(call.topic) ?? [];
      byTopic.set(call.topic, messages);
      if (isPacked(call.topic)) messages.push(...this.#pack(parts, partition));
      else
        messages.push(
          ...parts.flatMap(({ records }) => records.map(({ key, value }) => ({ key, value, partition }))),
        );
    }
    const topicMessages: TopicMessages[] = [...byTopic].map(([topic, messages]) => ({
      topic: this.#topics.nameOf(topic),
      messages,
    }));
    const deadline = Math.min(...pieces.map(({ call }) => call.deadline));
    const leftMs = Math.max(sendMinMs, deadline - this.#now());
    await withDeadline(leftMs, async () => {
      this.#line ??= new Line(this.#kafka);
      await this.#line.send(topicMessages);
    });
  }

  /** The records of a partition as few messages. */
  #pack(parts: Piece[], partition: number): Message[] {
    const messages: Message[] = [];
    let values: Buffer[] = [];
    let bytes = 0;
    const close = (): void => {
      this.#recordsPerMessage += (values.length - this.#recordsPerMessage) / 16;
      messages.push({ value: packMessage(values), partition });
      values = [];
      bytes = 0;
    };
    for (const part of parts) {
      if (
        values.length > 0 &&
        (values.length + part.records.length > packedRecordsMax || bytes + part.bytes > packedBytesMax)
      )
        close();
      for (const { value } of part.records) values.push(value);
      bytes += part.bytes;
    }
    close();
    return messages;
  }

  async #failed(pieces: Piece[], error: unknown): Promise<void> {
    await this.#hangUp();
    const calls = [...new Set(pieces.map(({ call }) => call))];
    const type = kafkaErrorType(error);
    if (type === 'MESSAGE_TOO_LARGE') {
      // The limit was lowered, or could not be read: whose fault it is shows when each call goes alone.
      this.#topics.checkAgain();
      if (calls.length > 1) {
        for (const call of calls) call.alone = true;
        this.#waiting.unshift(...calls.flatMap((call) => pieces.filter((piece) => piece.call === call)));
        this.#waitingBytes += pieces.reduce((sum, { bytes }) => sum + bytes, 0);
        return;
      }
      const bytes = Math.max(...pieces.map((piece) => piece.bytes));
      const name = this.#topics.nameOf(calls[0]!.topic);
      const limit = this.#topics.maxMessageBytes(calls[0]!.topic);
      this.#refuse(
        calls[0]!,
        new RecordTooLargeError(
          `Kafka refused records of ${bytes} bytes for topic ${name}: its max.message.bytes is below what was known ` +
            `(${limit}). Set it to ${4 * 2 ** 20} there.`,
        ),
      );
      return;
    }
    // Whether Kafka answers at all, and has the topics, is found out there.
    this.#topics.checkAgain();
    const words = inWords(error, { ...this.#options, what: 'publishing' });
    if (words !== this.#problem) this.#log('warn', words);
    this.#problem = words;
    this.#failedAt = this.#now();
    for (const call of calls) this.#refuse(call, new BusUnavailableError(words, { cause: error }));
    this.#refuseLate(words);
  }

  async #hangUp(): Promise<void> {
    const line = this.#line;
    this.#line = undefined;
    await line?.hangUp();
  }
}

/** One producer with one identity, used until its first failure. */
class Line {
  readonly #producer: Producer;
  #connected: Promise<void> | undefined;
  #hungUp = false;

  constructor(kafka: Kafka) {
    this.#producer = kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      // Of a send; the deadline of the call ends it, see `hangUp`.
      retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 12 },
      // Asked again at every retry: the one place where a send that nobody waits for any more can be kept from being made
      // on a connection opened anew, behind what its successor has sent meanwhile.
      createPartitioner:
        () =>
        ({ message }) => {
          if (this.#hungUp) throw new TypeError('This send was given up.');
          return message.partition!;
        },
    });
  }

  async send(topicMessages: TopicMessages[]): Promise<void> {
    this.#connected ??= this.#producer.connect();
    await this.#connected;
    const acknowledged = await this.#producer.sendBatch({
      acks: -1,
      timeout: 5_000,
      compression: CompressionTypes.Snappy,
      topicMessages,
    });
    // If a leader moves to a broker that has already answered its part of this send, kafkajs leaves the moved part out and
    // reports success.
    const acked = new Set(acknowledged.map(({ topicName, partition }) => `${topicName}/${partition}`));
    for (const { topic, messages } of topicMessages) {
      const left = messages.find(({ partition }) => !acked.has(`${topic}/${partition}`));
      if (left) throw new Error(`Kafka did not acknowledge partition ${left.partition} of ${topic}.`);
    }
  }

  async hangUp(): Promise<void> {
    this.#hungUp = true;
    await withDeadline(2_000, () => this.#producer.disconnect()).catch(() => undefined);
  }
}

function groupBy<Item>(items: Item[], keyOf: (item: Item) => string): Iterable<Item[]> {
  const groups = new Map<string, Item[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups.values();
}
