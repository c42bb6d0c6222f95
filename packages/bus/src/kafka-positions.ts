import type { ConsumeOptions } from './bus.ts';
import { placeOf, positionOf, readCommitMetadata } from './kafka-layout.ts';
import type { KafkaLog } from './kafka-options.ts';
import type { Reader } from './kafka-reader.ts';
import type { KafkaTopics } from './kafka-topics.ts';

/** Kafka offsets of a partition's oldest message, and behind its newest. */
interface Bounds {
  low: number;
  high: number;
}

/** Finds out where the partitions of a group on a topic are to be read from, and reports what is gone there. */
export class KafkaPositions {
  readonly #consume: ConsumeOptions;
  readonly #topics: KafkaTopics;
  readonly #topicName: string;
  readonly #groupId: string;
  readonly #log: KafkaLog;
  #bounds: Promise<Map<number, Bounds>> | undefined;
  #committed: Promise<Map<number, number>> | undefined;

  constructor(options: {
    consume: ConsumeOptions;
    topics: KafkaTopics;
    topicName: string;
    groupId: string;
    log: KafkaLog;
  }) {
    this.#consume = options.consume;
    this.#topics = options.topics;
    this.#topicName = options.topicName;
    this.#groupId = options.groupId;
    this.#log = options.log;
  }

  /** The position from which a partition is read; `own` is the consumer's own, if it keeps one. */
  async startOf(reader: Reader, own: number | undefined): Promise<number> {
    const { topic, from } = this.#consume;
    const position = own ?? (await this.#sharedCommitted()).get(reader.partition);
    if (own === undefined) reader.committed = position;
    let bounds = (await this.#sharedBounds()).get(reader.partition)!;
    if (position === undefined) {
      const message = from === 'newest' ? bounds.high : bounds.low;
      return positionOf(topic, { message, index: 0 });
    }
    const { message } = placeOf(topic, position);
    // Asked again, as an answer shared with other partitions may be older than the position.
    if (message > bounds.high) bounds = (await this.#askBounds()).get(reader.partition)!;
    const where = `${this.#topicName}/${reader.partition}`;
    if (message > bounds.high) {
      this.#log(
        'error',
        `Kafka's log of ${where} ends at ${bounds.high}, before position ${message} of group ${this.#groupId}: ` +
          'the topic was made anew, or lost its end. The group begins at the oldest record.',
      );
      const oldest = positionOf(topic, { message: bounds.low, index: 0 });
      this.#consume.onLost?.(reader.partition, position, oldest);
      return oldest;
    }
    if (message < bounds.low) {
      this.reportLoss(reader, message, bounds.low);
      return positionOf(topic, { message: bounds.low, index: 0 });
    }
    return position;
  }

  /** Messages `from` to `to` (Kafka offsets, without `to`) were gone before the group had read them. */
  reportLoss(reader: Reader, from: number, to: number): void {
    this.#log(
      'error',
      `Messages ${from} to ${to - 1} of ${this.#topicName}/${reader.partition} were deleted by Kafka's retention before ` +
        `group ${this.#groupId} had read them: it is too far behind. Raise bus.kafka.retentionHours (and the topic's ` +
        'retention.ms), or run more consumers.',
    );
    const { topic, onLost } = this.#consume;
    onLost?.(
      reader.partition,
      positionOf(topic, { message: from, index: 0 }),
      positionOf(topic, { message: to, index: 0 }),
    );
  }

  /** One question to Kafka for all partitions that begin at the same time. */
  #sharedBounds(): Promise<Map<number, Bounds>> {
    this.#bounds ??= this.#askBounds().finally(() => (this.#bounds = undefined));
    return this.#bounds;
  }

  #sharedCommitted(): Promise<Map<number, number>> {
    this.#committed ??= this.#askCommitted().finally(() => (this.#committed = undefined));
    return this.#committed;
  }

  async #askBounds(): Promise<Map<number, Bounds>> {
    const admin = await this.#topics.admin();
    const found = await admin.fetchTopicOffsets(this.#topicName);
    return new Map(
      found.map(({ partition, low, high }) => [partition, { low: Number(low), high: Number(high) }]),
    );
  }

  async #askCommitted(): Promise<Map<number, number>> {
    const admin = await this.#topics.admin();
    const [found] = await admin.fetchOffsets({ groupId: this.#groupId, topics: [this.#topicName] });
    const positions = new Map<number, number>();
    for (const { partition, offset, metadata } of found?.partitions ?? []) {
      if (Number(offset) < 0) continue;
      const { index } = readCommitMetadata(metadata);
      positions.set(partition, positionOf(this.#consume.topic, { message: Number(offset), index }));
    }
    return positions;
  }
}
