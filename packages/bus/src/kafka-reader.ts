import type { Topic } from '@tripline/model';
import type { KafkaMessage } from 'kafkajs';
import type { BusBatch } from './bus.ts';
import { isPacked, packedRecordsMax, placeOf, positionOf, unpackMessage } from './kafka-layout.ts';
import type { KafkaLog } from './kafka-options.ts';
import { bodyOf, framedBytes, measureBody, skipRecords } from './records.ts';

/**
 * A partition in this consumer's hands. When it goes to another consumer, or is read from elsewhere, `gone` makes all work
 * on it that is still under way harmless.
 */
export interface Reader {
  partition: number;
  gone: boolean;
  /** Position at which the next batch begins; undefined while that is being found out. */
  next: number | undefined;
  /** Kafka offset of the message that is wanted next from kafkajs; undefined while that is being found out. */
  wanted: number | undefined;
  waiting: KafkaMessage[];
  waitingBytes: number;
  paused: boolean;
  busy: boolean;
  /** Why it cannot be read at present, in words; null again as soon as it can. */
  problem: string | null;
  /** How often it was read from elsewhere: a batch of before must not move the position. */
  turns: number;
  /** What the group's position is to be, and what it is known to be. */
  passed: number | undefined;
  committed: number | undefined;
}

export function createReader(partition: number): Reader {
  return {
    partition,
    gone: false,
    next: undefined,
    wanted: undefined,
    waiting: [],
    waitingBytes: 0,
    paused: false,
    busy: false,
    problem: null,
    turns: 0,
    passed: undefined,
    committed: undefined,
  };
}

/** What the messages of a queue are from, and how they become batches. */
interface Source {
  topic: Topic;
  topicName: string;
  maxBatchBytes: number;
  log: KafkaLog;
  /** Called with the number of records of each message of a packed topic. */
  onMessage: (records: number) => void;
}

/** The next batch out of the queue; undefined if there is none yet. */
export function nextBatch(reader: Reader, from: Source): BusBatch | undefined {
  if (reader.next === undefined) return undefined;
  return isPacked(from.topic) ? nextPacked(reader, from) : nextJoined(reader, from);
}

/** One message is one batch. */
function nextPacked(reader: Reader, { topic, topicName, log, onMessage }: Source): BusBatch | undefined {
  while (reader.waiting.length > 0) {
    const { offset, value } = reader.waiting.shift()!;
    reader.waitingBytes -= value?.length ?? 0;
    const message = Number(offset);
    const from = placeOf(topic, reader.next!);
    if (message < from.message || value === null) continue;
    const unpacked = unpackMessage(value);
    const index = message === from.message ? from.index : 0;
    const { count, end } = measureBody(unpacked, packedRecordsMax);
    onMessage(count);
    if (end < unpacked.length) {
      log(
        'error',
        `Message ${offset} of ${topicName}/${reader.partition} is not from Tripline: it is damaged behind ${count} ` +
          `records, or has more than ${packedRecordsMax}. The first ones are taken, the others left out.`,
      );
    }
    if (count <= index) continue;
    const body = unpacked.subarray(0, end);
    return {
      topic,
      partition: reader.partition,
      firstOffset: positionOf(topic, { message, index }),
      nextOffset: positionOf(topic, { message: message + 1, index: 0 }),
      count: count - index,
      body: skipRecords(body, index),
    };
  }
  return undefined;
}

/** Messages whose offsets follow on each other are one batch. */
function nextJoined(reader: Reader, { topic, maxBatchBytes }: Source): BusBatch | undefined {
  const values: Buffer[] = [];
  let bytes = 0;
  let first = -1;
  let looked = 0;
  for (const { offset, value } of reader.waiting) {
    const message = Number(offset);
    const wanted = message >= reader.next! && value !== null;
    // Nothing is joined over a gap, as the records of a batch have consecutive positions.
    if (
      first >= 0 &&
      (!wanted || message !== first + values.length || bytes + framedBytes({ value }) > maxBatchBytes)
    )
      break;
    looked++;
    reader.waitingBytes -= value?.length ?? 0;
    if (!wanted) continue;
    if (first < 0) first = message;
    values.push(value);
    bytes += framedBytes({ value });
  }
  reader.waiting.splice(0, looked);
  if (first < 0) return undefined;
  return {
    topic,
    partition: reader.partition,
    firstOffset: first,
    nextOffset: first + values.length,
    count: values.length,
    body: bodyOf(values),
  };
}
