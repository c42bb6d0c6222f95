import { topics, type Topic } from '@tripline/model';
import { withDeadline } from '@tripline/runtime';
import kafkajs, { type Kafka, type KafkaConfig, type SASLOptions } from 'kafkajs';
import type { Bus, BusRecord, ConsumeOptions, Subscription } from './bus.ts';
import { isPacked, readCommitMetadata } from './kafka-layout.ts';
import type { KafkaBusOptions, KafkaLog } from './kafka-options.ts';
import { KafkaSender } from './kafka-sender.ts';
import { groupIdOf, KafkaSubscription } from './kafka-subscription.ts';
import { KafkaTopics } from './kafka-topics.ts';
import { calmKafkajs } from './kafkajs-timer.ts';

export type { KafkaBusOptions, KafkaLog };

/** `close` gives up what takes longer. */
const closeMaxMs = 15_000;
const lagMaxMs = 5_000;

/**
 * The bus on Kafka: see README.md beside `src` for topics, packing, rights and what kafkajs can and cannot do.
 *
 * Returns at once and connects by itself, trying for ever; `problem` says what is wrong meanwhile, `publish` rejects with
 * `BusUnavailableError` after about 10 s, and consumers begin when it works. Topics that are missing are made.
 */
export function createKafkaBus(options: KafkaBusOptions): Bus {
  return new KafkaBus(options);
}

class KafkaBus implements Bus {
  readonly partitions: number;
  readonly #options: KafkaBusOptions;
  readonly #log: KafkaLog;
  readonly #topics: KafkaTopics;
  readonly #sender: KafkaSender;
  readonly #subscriptions = new Set<KafkaSubscription>();
  /** Groups that `lag` tells of; those of this bus also after they have stopped. */
  readonly #groups = new Map<string, { topic: Topic; group: string; asked: boolean }>();
  #closed: Promise<void> | undefined;

  constructor(options: KafkaBusOptions) {
    calmKafkajs();
    this.#options = options;
    this.partitions = options.partitions;
    this.#log = options.onLog ?? (() => undefined);
    const kafka = this.#newKafka();
    this.#topics = new KafkaTopics(options, kafka, this.#log);
    this.#sender = new KafkaSender(options, kafka, this.#topics, this.#log);
    for (const { topic, group } of options.groups ?? [])
      this.#groups.set(`${topic}/${group}`, { topic, group, asked: true });
  }

  /** Each consumer has one of its own: kafkajs keeps positions per client and group, and would mix up two consumers. */
  #newKafka(): Kafka {
    const { brokers, clientId, sasl, ssl } = this.#options;
    const config: KafkaConfig = {
      brokers,
      clientId,
      connectionTimeout: 3_000,
      authenticationTimeout: 5_000,
      requestTimeout: 15_000,
      retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 2 },
      logLevel: kafkajs.logLevel.WARN,
      logCreator:
        () =>
        ({ namespace, log }) =>
          // What matters of it is told in words by `problem`.
          this.#log('debug', `kafkajs ${namespace}: ${log.message}`),
    };
    if (sasl) config.sasl = sasl as SASLOptions;
    if (ssl !== undefined) config.ssl = ssl;
    return new kafkajs.Kafka(config);
  }

  publish(topic: Topic, records: BusRecord[]): Promise<void> {
    return this.#sender.publish(topic, records);
  }

  consume(options: ConsumeOptions): Subscription {
    if (this.#closed) throw new Error('The bus is closed.');
    const subscription = new KafkaSubscription({
      bus: this.#options,
      consume: options,
      newKafka: () => this.#newKafka(),
      topics: this.#topics,
      log: this.#log,
    });
    this.#subscriptions.add(subscription);
    const key = `${options.topic}/${options.group}`;
    if (!this.#groups.has(key))
      this.#groups.set(key, { topic: options.topic, group: options.group, asked: false });
    void subscription.stopped.catch(() => undefined).then(() => this.#subscriptions.delete(subscription));
    return subscription;
  }

  async lag(): Promise<{ topic: Topic; group: string; records: number }[]> {
    if (this.#closed || this.#topics.problem() !== null) return [];
    try {
      return await withDeadline(lagMaxMs, () => this.#lag());
    } catch {
      this.#topics.dropAdmin();
      return [];
    }
  }

  async #lag(): Promise<{ topic: Topic; group: string; records: number }[]> {
    const groups = [...this.#groups.values()];
    const admin = await this.#topics.admin();
    const ends = new Map<Topic, Map<number, { low: number; high: number }>>();
    const rows: { topic: Topic; group: string; records: number }[] = [];
    // Positions before ends: the other way round a group that keeps up could seem ahead.
    const positions = await Promise.all(
      groups.map(async ({ topic, group }) => {
        const groupId = groupIdOf(this.#options, group, topic);
        const [found] = await admin.fetchOffsets({ groupId, topics: [this.#topics.nameOf(topic)] });
        return found?.partitions ?? [];
      }),
    );
    for (const topic of topics) {
      if (!groups.some((one) => one.topic === topic)) continue;
      const found = await admin.fetchTopicOffsets(this.#topics.nameOf(topic));
      ends.set(
        topic,
        new Map(
          found.map(({ partition, low, high }) => [partition, { low: Number(low), high: Number(high) }]),
        ),
      );
    }
    groups.forEach(({ topic, group, asked }, which) => {
      const committed = positions[which]!;
      // A group of this bus is known when it has begun.
      if (!asked && committed.every(({ offset }) => Number(offset) < 0)) return;
      let records = 0;
      for (const { partition, offset, metadata } of committed) {
        const { low, high } = ends.get(topic)?.get(partition) ?? { low: 0, high: 0 };
        const messages = high - Math.max(Number(offset), low);
        if (messages <= 0) continue;
        const { index, recordsPerMessage } = readCommitMetadata(metadata);
        const each = isPacked(topic) ? Math.max(recordsPerMessage, this.#sender.recordsPerMessage()) : 1;
        records += Math.max(messages, Math.round(messages * each) - index);
      }
      rows.push({ topic, group, records });
    });
    return rows;
  }

  problem(): string | null {
    return (
      this.#topics.problem() ??
      this.#sender.problem() ??
      [...this.#subscriptions]
        .map((subscription) => subscription.problem())
        .find((problem) => problem !== null) ??
      null
    );
  }

  close(): Promise<void> {
    this.#closed ??= withDeadline(closeMaxMs, async () => {
      await Promise.all([...this.#subscriptions].map((subscription) => subscription.stop()));
      await this.#sender.close();
    })
      .catch((error: unknown) =>
        this.#log('warn', `The bus did not close in order: ${(error as Error).message}`),
      )
      .finally(() => this.#topics.close());
    return this.#closed;
  }
}
