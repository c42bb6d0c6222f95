import type { Topic } from '@tripline/model';
import { withDeadline } from '@tripline/runtime';
import type kafkajs from 'kafkajs';
import type { Consumer } from 'kafkajs';
import { commitMetadata, placeOf } from './kafka-layout.ts';
import type { KafkaLog } from './kafka-options.ts';
import type { Reader } from './kafka-reader.ts';

const commitEveryMs = 1_000;
const commitMaxMs = 5_000;

/** Commits the positions of a group on a topic to Kafka. */
export class KafkaCommits {
  readonly #topic: Topic;
  readonly #topicName: string;
  readonly #groupId: string;
  readonly #readers: ReadonlyMap<number, Reader>;
  readonly #consumer: () => Consumer | undefined;
  readonly #log: KafkaLog;
  readonly #now: () => number;
  #timer: NodeJS.Timeout | undefined;
  #committing: Promise<void> = Promise.resolve();
  #committedAt = -Infinity;
  /** How many records a message of a packed topic had lately. */
  #recordsPerMessage = 1;

  constructor(options: {
    topic: Topic;
    topicName: string;
    groupId: string;
    readers: ReadonlyMap<number, Reader>;
    /** The consumer of the moment, if there is one. */
    consumer: () => Consumer | undefined;
    log: KafkaLog;
    now: () => number;
  }) {
    this.#topic = options.topic;
    this.#topicName = options.topicName;
    this.#groupId = options.groupId;
    this.#readers = options.readers;
    this.#consumer = options.consumer;
    this.#log = options.log;
    this.#now = options.now;
  }

  sawMessage(records: number): void {
    this.#recordsPerMessage += (records - this.#recordsPerMessage) / 16;
  }

  /** No commit is made by the timer any more. */
  cancel(): void {
    clearTimeout(this.#timer);
  }

  /** Commits within a second, or at once. */
  soon(now = false): void {
    if (now) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
    if (this.#timer !== undefined || !this.#consumer()) return;
    const waitMs = now
      ? 0
      : Math.max(0, Math.min(commitEveryMs, this.#committedAt + commitEveryMs - this.#now()));
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.commit();
    }, waitMs);
  }

  /** Commits the group's positions to Kafka. Best effort: what fails now is committed with the next ones. Never rejects. */
  commit(): Promise<void> {
    this.#committing = this.#committing.then(async () => {
      this.#committedAt = this.#now();
      const changed = [...this.#readers.values()].flatMap((reader) => {
        const { passed, committed } = reader;
        return passed === undefined || passed === committed ? [] : [{ reader, position: passed }];
      });
      const consumer = this.#consumer();
      if (changed.length === 0 || !consumer) return;
      try {
        // kafkajs may never answer one that meets a rebalance; those behind it must not wait for it.
        await withDeadline(commitMaxMs, () =>
          consumer.commitOffsets(changed.map(({ reader, position }) => this.commitOf(reader, position))),
        );
        for (const { reader, position } of changed) reader.committed = position;
      } catch (error) {
        this.#log(
          'debug',
          `Group ${this.#groupId} could not commit its positions yet: ${(error as Error).message}`,
        );
        this.soon();
      }
    });
    return this.#committing;
  }

  /** A position as Kafka is given it. */
  commitOf(reader: Reader, position: number): kafkajs.TopicPartitionOffsetAndMetadata {
    const { message, index } = placeOf(this.#topic, position);
    return {
      topic: this.#topicName,
      partition: reader.partition,
      offset: String(message),
      metadata: commitMetadata(index, this.#recordsPerMessage),
    };
  }
}
