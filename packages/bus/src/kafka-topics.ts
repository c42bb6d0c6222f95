import { topics, type Topic } from '@tripline/model';
import kafkajs, { type Admin, type Kafka } from 'kafkajs';
import type { KafkaBusOptions, KafkaLog } from './kafka-options.ts';
import { inWords, kafkaErrorType } from './kafka-words.ts';

const dayMs = 86_400_000;
/** Largest record batch that the topics take which we make. */
const maxMessageBytes = 4 * 2 ** 20;
/** What is taken for a topic whose limit we may not read: a little below Kafka's default. */
const cautiousMessageBytes = 1_000_000;
const retryFirstMs = 200;
const retryMaxMs = 5_000;
/** A problem that is over within the first tries is not logged. */
const tellAfterMs = 500;

/**
 * The topics in Kafka: makes those that are missing, checks the others, for ever until all is well; tells what is not.
 * Also keeps the one admin connection.
 */
export class KafkaTopics {
  readonly #options: KafkaBusOptions;
  readonly #kafka: Kafka;
  readonly #log: KafkaLog;
  readonly #messageBytes = new Map<Topic, number>();
  readonly #told = new Set<string>();
  #admin: Promise<Admin> | undefined;
  #problem: string | null = null;
  #ready: Promise<void>;
  #checked = false;
  #closed = false;
  #wake: () => void = () => undefined;

  constructor(options: KafkaBusOptions, kafka: Kafka, log: KafkaLog) {
    this.#options = options;
    this.#kafka = kafka;
    this.#log = log;
    this.#problem = `Kafka at ${options.brokers.join(', ')} has not answered yet.`;
    this.#ready = this.#untilWell();
  }

  nameOf(topic: Topic): string {
    return `${this.#options.topicPrefix}${topic}`;
  }

  /** Largest record batch that the topic takes, in bytes; before Kafka has said it, what Tripline makes. */
  maxMessageBytes(topic: Topic): number {
    return this.#messageBytes.get(topic) ?? maxMessageBytes;
  }

  problem(): string | null {
    return this.#problem;
  }

  /** Resolves when all topics are as they must be, or the bus is closed. */
  ready(): Promise<void> {
    return this.#ready;
  }

  /** A topic was not there or not as thought: look again before anything goes on. */
  checkAgain(): void {
    if (!this.#checked || this.#closed) return;
    this.#checked = false;
    this.#ready = this.#untilWell();
  }

  /** The admin connection; made if there is none. */
  admin(): Promise<Admin> {
    if (this.#closed) return Promise.reject(new Error('The bus is closed.'));
    this.#admin ??= (async () => {
      const admin = this.#kafka.admin();
      try {
        await admin.connect();
        return admin;
      } catch (error) {
        this.#admin = undefined;
        void admin.disconnect().catch(() => undefined);
        throw error;
      }
    })();
    return this.#admin;
  }

  /** After a failure: the next one who needs it makes a new connection. */
  dropAdmin(): void {
    const dropped = this.#admin;
    this.#admin = undefined;
    void dropped?.then((admin) => admin.disconnect()).catch(() => undefined);
  }

  close(): void {
    this.#closed = true;
    this.#wake();
    this.dropAdmin();
  }

  #isClosed(): boolean {
    return this.#closed;
  }

  async #untilWell(): Promise<void> {
    let told: string | undefined;
    for (let waitMs = retryFirstMs; !this.#closed; waitMs = Math.min(waitMs * 2, retryMaxMs)) {
      try {
        await this.#check();
        this.#checked = true;
        if (told !== undefined) this.#log('info', 'Kafka answers, its topics are as they must be.');
        this.#problem = null;
        return;
      } catch (error) {
        if (this.#isClosed()) return;
        this.dropAdmin();
        const problem = error instanceof TopicProblem ? error.message : inWords(error, this.#options);
        // It may be over in a moment: a topic just made is not known everywhere at once.
        if (waitMs > tellAfterMs && problem !== told) this.#log('warn', (told = problem));
        this.#problem = problem;
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async #check(): Promise<void> {
    const admin = await this.admin();
    const seen = new Set(await admin.listTopics());
    const missing = topics.filter((topic) => !seen.has(this.nameOf(topic)));
    if (missing.length > 0) await this.#make(admin, missing);
    const { topics: found } = await admin.fetchTopicMetadata({
      topics: topics.map((topic) => this.nameOf(topic)),
    });
    const wrong = found.filter(({ partitions }) => partitions.length !== this.#options.partitions);
    if (wrong.length > 0) {
      const which = wrong.map(({ name, partitions }) => `${name} has ${partitions.length}`).join(', ');
      throw new TopicProblem(
        `Kafka's topics must have ${this.#options.partitions} partitions each (bus.kafka.partitions), but ${which}. ` +
          'An actor stays on one partition, so the number cannot change under way: set bus.kafka.partitions to what the ' +
          'topics have, or choose another bus.kafka.topicPrefix, or delete the topics with all that they hold.',
      );
    }
    await this.#compareSettings(admin);
  }

  async #make(admin: Admin, missing: Topic[]): Promise<void> {
    const { partitions, replicationFactor } = this.#options;
    for (const topic of missing) {
      const name = this.nameOf(topic);
      try {
        const made = await admin.createTopics({
          waitForLeaders: false,
          topics: [
            {
              topic: name,
              numPartitions: partitions,
              replicationFactor,
              configEntries: Object.entries(this.#settings(topic)).map(([key, value]) => ({
                name: key,
                value,
              })),
            },
          ],
        });
        if (made)
          this.#log(
            'info',
            `Kafka topic ${name} is made: ${partitions} partitions, ${replicationFactor} replicas.`,
          );
      } catch (error) {
        throw await this.#whyNotMade(admin, missing, error);
      }
    }
  }

  async #whyNotMade(admin: Admin, missing: Topic[], error: unknown): Promise<unknown> {
    const type = kafkaErrorType(error);
    if (type === 'INVALID_REPLICATION_FACTOR') {
      const brokers = (await admin.describeCluster()).brokers.length;
      return new TopicProblem(
        `Kafka cannot keep ${this.#options.replicationFactor} replicas of Tripline's topics: ` +
          `it has ${brokers} ${brokers === 1 ? 'broker' : 'brokers'}. ` +
          `Set bus.kafka.replicationFactor to at most ${brokers}, or start more brokers.`,
      );
    }
    if (type !== undefined && !/AUTHORIZATION|POLICY|INVALID/.test(type)) return error;
    const detail = error instanceof kafkajs.KafkaJSAggregateError ? error.errors[0] : error;
    const commands = missing.map((topic) => {
      const settings = Object.entries(this.#settings(topic)).map(
        ([key, value]) => ` --config ${key}=${value}`,
      );
      return (
        `kafka-topics.sh --create --topic ${this.nameOf(topic)} --partitions ${this.#options.partitions} ` +
        `--replication-factor ${this.#options.replicationFactor}${settings.join('')}`
      );
    });
    return new TopicProblem(
      `Kafka does not let this client see or make ${missing.map((topic) => this.nameOf(topic)).join(', ')}: ` +
        `${(detail as Error | undefined)?.message ?? String(error)}. ` +
        'Allow it DESCRIBE, READ and WRITE on them (packages/bus/README.md, "Rights"), and if they are missing, have them ' +
        `made: ${commands.join('; ')}`,
    );
  }

  #settings(topic: Topic): Record<string, string> {
    return {
      'cleanup.policy': topic === 'responses' ? 'compact,delete' : 'delete',
      'retention.ms': String(
        topic === 'api-calls'
          ? this.#options.retentionHours * 3_600_000
          : (topic === 'responses' ? 30 : 7) * dayMs,
      ),
      // Whoever is behind by less sees every state of a response, and no gap.
      ...(topic === 'responses' ? { 'min.compaction.lag.ms': String(7 * dayMs) } : {}),
      'compression.type': 'producer',
      'max.message.bytes': String(maxMessageBytes),
      ...(this.#options.replicationFactor >= 3 ? { 'min.insync.replicas': '2' } : {}),
    };
  }

  /** Topics that somebody else made may differ; that is theirs to decide, but told once. */
  async #compareSettings(admin: Admin): Promise<void> {
    let resources;
    try {
      ({ resources } = await admin.describeConfigs({
        includeSynonyms: false,
        resources: topics.map((topic) => ({
          type: kafkajs.ConfigResourceTypes.TOPIC,
          name: this.nameOf(topic),
        })),
      }));
    } catch (error) {
      // DESCRIBE_CONFIGS is a right of its own, and nothing depends on it.
      if (!/AUTHORIZATION/.test(kafkaErrorType(error) ?? '')) throw error;
      for (const topic of topics) this.#messageBytes.set(topic, cautiousMessageBytes);
      return;
    }
    for (const topic of topics) {
      const name = this.nameOf(topic);
      const entries = resources.find(({ resourceName }) => resourceName === name)?.configEntries ?? [];
      const valueOf = (key: string): string | undefined =>
        entries.find(({ configName }) => configName === key)?.configValue;
      this.#messageBytes.set(topic, Number(valueOf('max.message.bytes') ?? cautiousMessageBytes));
      const wanted = this.#settings(topic);
      const different = Object.keys(wanted)
        .filter((key) => valueOf(key) !== undefined && valueOf(key) !== wanted[key])
        .map((key) => `${key} is ${valueOf(key)}, Tripline would make it ${wanted[key]}`)
        .join('; ');
      if (different === '' || this.#told.has(`${name} ${different}`)) continue;
      this.#told.add(`${name} ${different}`);
      this.#log('warn', `Kafka topic ${name} is not as Tripline makes it, and left as it is: ${different}.`);
    }
  }
}

class TopicProblem extends Error {
  override name = 'TopicProblem';
}
