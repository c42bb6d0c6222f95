import type { Topic } from '@tripline/model';
import { bodyOfLines, framedBytes, writeBody } from './records.ts';

/*
 * How records lie in Kafka, and how a position of the bus (one number per record) names a place there.
 *
 * On `api-calls`, where records are many and small, one Kafka message carries the records that one send had for a
 * partition: a version byte, then exactly the `body` of a `BusBatch`. Record i of Kafka offset m has position m * 4096 + i,
 * and the next message begins at (m + 1) * 4096; whole up to m = 2^41. On all other topics each record is a message with
 * its key (compaction and foreign readers need that), and its position is the Kafka offset.
 */

/** Most records in one message of a packed topic. */
export const packedRecordsMax = 4_096;
/** Bytes of records at which a message of a packed topic is full. */
export const packedBytesMax = 512 * 1024;

export function isPacked(topic: Topic): boolean {
  return topic === 'api-calls';
}

/** A record in Kafka: the offset of its message, and which one it is in there. */
export interface Place {
  message: number;
  index: number;
}

export function placeOf(topic: Topic, position: number): Place {
  if (!isPacked(topic)) return { message: position, index: 0 };
  const index = position % packedRecordsMax;
  return { message: (position - index) / packedRecordsMax, index };
}

export function positionOf(topic: Topic, place: Place): number {
  return isPacked(topic) ? place.message * packedRecordsMax + place.index : place.message;
}

/**
 * What the group's commit says beside the Kafka offset: the record within the message, and how many records a message had
 * lately, from which anyone can estimate the lag.
 */
export function commitMetadata(index: number, recordsPerMessage: number): string {
  return `${index}/${Math.max(1, Math.round(recordsPerMessage))}`;
}

/** The reverse of `commitMetadata`; somebody else's metadata (a tool that set the position) means a whole message. */
export function readCommitMetadata(metadata: string | null): { index: number; recordsPerMessage: number } {
  const found = /^([0-9]{1,4})\/([0-9]{1,4})$/.exec(metadata ?? '');
  return found
    ? { index: Number(found[1]), recordsPerMessage: Number(found[2]) }
    : { index: 0, recordsPerMessage: 1 };
}

/** First byte of a message whose records are a body, see `recordsOf`. No text begins with it. */
const framedVersion = 1;

/** The values as a message of a packed topic. */
export function packMessage(values: readonly Buffer[]): Buffer {
  const message = Buffer.allocUnsafe(values.reduce((sum, value) => sum + framedBytes({ value }), 1));
  message[0] = framedVersion;
  writeBody(values, message, 1);
  return message;
}

/** The body that a message of a packed topic carries. Any other message is text of one record a line, as up to version 0.1. */
export function unpackMessage(message: Buffer): Buffer {
  return message[0] === framedVersion ? message.subarray(1) : bodyOfLines(message);
}
