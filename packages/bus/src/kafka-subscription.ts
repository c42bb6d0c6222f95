import { withDeadline } from '@tripline/runtime';
import type { Batch, Consumer, EachBatchPayload, Kafka } from 'kafkajs';
import { BeginAgainError, type ConsumeOptions, type Subscription } from './bus.ts';
import type { KafkaBusOptions, KafkaLog } from './kafka-options.ts';
import { KafkaPositions } from './kafka-positions.ts';
import { createReader, nextBatch, type Reader } from './kafka-reader.ts';
import { KafkaCommits } from './kafka-commits.ts';
import { placeOf } from './kafka-layout.ts';
import type { KafkaTopics } from './kafka-topics.ts';
import { inWords } from './kafka-words.ts';
import { stickyAssigner } from './sticky-assigner.ts';
import { waitFor } from './timing.ts';

/** Who does not answer for so long has lost its partitions to the others. */
const sessionTimeoutMs = 10_000;
const rebalanceTimeoutMs = 15_000;
const heartbeatMs = 1_000;
/** How long a fetch waits at the broker when there is nothing; what there is comes at once. */
const fetchWaitMs = 500;
/** Compressed bytes of a fetch. */
const fetchMaxBytes = 2 * 2 ** 20;
const fetchMaxBytesPerPartition = 256 * 1024;
/** Bytes that may wait for the handler, over all partitions; and bounds of what one of them may have of it. */
const waitingMaxBytes = 48 * 2 ** 20;
const waitingMaxBytesPerPartition = { least: 2 ** 20, most: 8 * 2 ** 20 };
const batchMaxBytes = 4 * 2 ** 20;
const retryMs = 500;
const restartMaxMs = 5_000;
/** kafkajs that has not fetched for so long hangs, and is replaced. */
const stalledMs = 90_000;
const closeMs = 5_000;

/**
 * One consumer of one group on one topic.
 *
 * kafkajs's loop never waits for a handler here: `eachBatch` only puts messages into the partition's queue, and a full
 * queue pauses the partition. So heartbeats go on, however long a batch takes, other partitions are not held up, and the
 * group rebalances at once.
 */
export class KafkaSubscription implements Subscription {
  readonly stopped: Promise<void>;
  readonly groupId: string;
  readonly topicName: string;
  readonly #bus: KafkaBusOptions;
  readonly #options: ConsumeOptions;
  readonly #newKafka: () => Kafka;
  readonly #topics: KafkaTopics;
  readonly #log: KafkaLog;
  readonly #now: () => number;
  readonly #readers = new Map<number, Reader>();
  readonly #positions: KafkaPositions;
  readonly #commits: KafkaCommits;
  readonly #source: Parameters<typeof nextBatch>[1];
  readonly #pumps = new Set<Promise<void>>();
  /** The latest `#begin` per partition. */
  readonly #beginning = new Map<number, Promise<void>>();
  #consumer: Consumer | undefined;
  #memberId: string | null = null;
  #joinAttempts = 0;
  /** Between the news of a rebalance and its outcome no new batch begins: its partition may be about to go. */
  #rebalancing = false;
  #stopping = false;
  #failure: { error: unknown } | undefined;
  #endRun: (error?: unknown) => void = () => undefined;
  /** Why the consumer as a whole does not work; that of one partition is its reader's. */
  #problem: string | null = null;
  #lastFetchAt = 0;

  constructor(options: {
    bus: KafkaBusOptions;
    consume: ConsumeOptions;
    newKafka: () => Kafka;
    topics: KafkaTopics;
    log: KafkaLog;
  }) {
    this.#bus = options.bus;
    this.#options = options.consume;
    this.#newKafka = options.newKafka;
    this.#topics = options.topics;
    this.#log = options.log;
    this.#now = options.bus.now ?? Date.now;
    this.topicName = this.#topics.nameOf(this.#options.topic);
    this.groupId = groupIdOf(this.#bus, this.#options.group, this.#options.topic);
    const { topic, maxBatchBytes = batchMaxBytes } = this.#options;
    const where = { topic, topicName: this.topicName, groupId: this.groupId, log: this.#log };
    this.#positions = new KafkaPositions({ ...where, consume: this.#options, topics: this.#topics });
    this.#commits = new KafkaCommits({
      ...where,
      readers: this.#readers,
      consumer: () => this.#consumer,
      now: this.#now,
    });
    this.#source = { ...where, maxBatchBytes, onMessage: (records) => this.#commits.sawMessage(records) };
    this.stopped = this.#run();
    // A failure is reported to callers that await `stopped`. Without one it must not count as an unhandled rejection.
    this.stopped.catch(() => undefined);
  }

  problem(): string | null {
    if (this.#problem !== null) return this.#problem;
    for (const { problem } of this.#readers.values()) if (problem !== null) return problem;
    return null;
  }

  passed(partition: number, offset: number): void {
    const reader = this.#readers.get(partition);
    if (!reader) return;
    reader.passed = offset;
    this.#commits.soon();
  }

  beginAgain(partition: number): void {
    const reader = this.#readers.get(partition);
    // Without a position it is being begun already.
    if (!reader || reader.next === undefined) return;
    this.#beginAgain(reader).catch((error: unknown) => this.#end({ error }));
  }

  async stop(): Promise<void> {
    this.#end();
    await this.stopped.catch(() => undefined);
  }

  #end(failure?: { error: unknown }): void {
    this.#failure ??= failure;
    if (this.#stopping) return;
    this.#stopping = true;
    this.#endRun();
  }

  #isStopping(): boolean {
    return this.#stopping;
  }

  async #run(): Promise<void> {
    for (let waitMs = retryMs; !this.#stopping; waitMs = Math.min(waitMs * 2, restartMaxMs)) {
      const stopAsked = new Promise<unknown>((resolve) => (this.#endRun = resolve));
      await Promise.race([this.#topics.ready(), stopAsked]);
      if (this.#isStopping()) break;
      const began = this.#now();
      const error = await this.#runConsumer(stopAsked);
      if (this.#isStopping()) break;
      this.#problem = inWords(error, { ...this.#bus, what: `group ${this.groupId}` });
      this.#log('warn', `${this.#problem} (The consumer begins anew.)`);
      this.#topics.checkAgain();
      if (this.#now() - began > 60_000) waitMs = retryMs;
      await Promise.race([
        waitFor(waitMs, () => undefined),
        new Promise((resolve) => (this.#endRun = resolve)),
      ]);
    }
    this.#commits.cancel();
    if (this.#failure) throw this.#failure.error;
  }

  /** One life of a kafkajs consumer. Resolves with what ended it, or when it was asked to stop and has. */
  async #runConsumer(stopAsked: Promise<unknown>): Promise<unknown> {
    const consumer = this.#newKafka().consumer({
      groupId: this.groupId,
      partitionAssigners: [
        stickyAssigner({
          topic: this.topicName,
          partitions: this.#bus.partitions,
          claim: () => this.#claim(),
        }),
      ],
      sessionTimeout: sessionTimeoutMs,
      rebalanceTimeout: rebalanceTimeoutMs,
      heartbeatInterval: heartbeatMs,
      maxWaitTimeInMs: fetchWaitMs,
      maxBytes: fetchMaxBytes,
      maxBytesPerPartition: fetchMaxBytesPerPartition,
      allowAutoTopicCreation: false,
      // A consumer that has ended is made anew here, from the ground; kafkajs itself would leave some of them dead.
      retry: {
        initialRetryTime: 100,
        maxRetryTime: 1_000,
        retries: 8,
        restartOnFailure: () => Promise.resolve(false),
      },
    });
    this.#consumer = consumer;
    this.#memberId = null;
    this.#joinAttempts = 0;
    this.#lastFetchAt = this.#now();
    const crashed = new Promise<unknown>((resolve) => {
      consumer.on(consumer.events.CRASH, ({ payload }) => resolve(payload.error));
    });
    // One that hung and was replaced may come to life again: it has no say any more.
    const isCurrent = (): boolean => this.#consumer === consumer;
    consumer.on(consumer.events.FETCH, () => (this.#lastFetchAt = this.#now()));
    consumer.on(consumer.events.REBALANCING, () => {
      if (isCurrent()) this.#rebalanceBegins();
    });
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      if (isCurrent()) this.#joined(payload.memberId, payload.memberAssignment[this.topicName] ?? []);
    });
    let stallCheck: NodeJS.Timeout | undefined;
    const stalled = new Promise<unknown>((resolve) => {
      stallCheck = setInterval(() => {
        if (this.#now() - this.#lastFetchAt < stalledMs) return;
        resolve(new Error(`kafkajs has not fetched for ${stalledMs / 1_000} s.`));
      }, 5_000);
    });
    const running = (async () => {
      try {
        await consumer.connect();
        // Where to begin is decided here; kafkajs's own choice counts only when retention has overtaken the reader.
        await consumer.subscribe({ topic: this.topicName, fromBeginning: true });
        await consumer.run({
          autoCommit: false,
          eachBatchAutoResolve: false,
          partitionsConsumedConcurrently: this.#bus.partitions,
          eachBatch: (payload) => {
            if (isCurrent()) this.#takeIn(payload);
            return Promise.resolve();
          },
        });
        return await crashed;
      } catch (error) {
        return error;
      }
    })();
    const error = await Promise.race([running, stalled, stopAsked]);
    clearInterval(stallCheck);
    if (this.#stopping) {
      // Paused: whatever kafkajs still fetches would be left lying and be fetched again at once.
      for (const reader of this.#readers.values()) this.#pause(reader);
      await Promise.all(this.#pumps);
      this.#commits.cancel();
      await withDeadline(closeMs, () => this.#commits.commit()).catch(() => undefined);
    }
    this.#consumer = undefined;
    for (const reader of [...this.#readers.values()]) this.#letGo(reader, !this.#stopping);
    await withDeadline(closeMs, () => consumer.disconnect()).catch(() => undefined);
    return error;
  }

  /** What this member says when it joins: an attempt that follows a failed one claims nothing, others may have read since. */
  #claim(): { memberId: string | null; owned: number[] } {
    this.#joinAttempts++;
    return { memberId: this.#memberId, owned: this.#joinAttempts === 1 ? [...this.#readers.keys()] : [] };
  }

  #rebalanceBegins(): void {
    this.#rebalancing = true;
    // Goes out before this member joins anew, while the group still takes its positions.
    void this.#commits.commit();
  }

  /** Called while kafkajs waits, before it fetches under the new assignment. Must not throw. */
  #joined(memberId: string, partitions: number[]): void {
    // The same member at its first attempt has missed no generation: nobody else can have had its partitions meanwhile.
    const continuous = this.#joinAttempts === 1 && memberId === this.#memberId;
    this.#joinAttempts = 0;
    this.#memberId = memberId;
    this.#rebalancing = false;
    this.#problem = null;
    this.#lastFetchAt = this.#now();
    for (const reader of [...this.#readers.values()]) {
      if (!continuous || !partitions.includes(reader.partition)) this.#letGo(reader, true);
    }
    for (const partition of partitions) {
      const stays = this.#readers.get(partition);
      if (stays) {
        // kafkajs itself would go back to the committed position.
        if (stays.wanted !== undefined) this.#seek(stays);
        this.#pumpOn(stays);
        continue;
      }
      const reader = createReader(partition);
      this.#readers.set(partition, reader);
      this.#pause(reader);
      void this.#begin(reader);
    }
    this.#log(
      'info',
      `Group ${this.groupId}: this consumer has partitions ${partitions.join(', ') || '(none)'}.`,
    );
  }

  #letGo(reader: Reader, tell: boolean): void {
    reader.gone = true;
    reader.waiting = [];
    this.#readers.delete(reader.partition);
    if (!tell) return;
    try {
      this.#options.onRevoked?.(reader.partition);
    } catch (error) {
      this.#end({ error });
    }
  }

  #pause(reader: Reader): void {
    reader.paused = true;
    this.#consumer?.pause([{ topic: this.topicName, partitions: [reader.partition] }]);
  }

  #resume(reader: Reader): void {
    reader.paused = false;
    this.#consumer?.resume([{ topic: this.topicName, partitions: [reader.partition] }]);
  }

  #seek(reader: Reader): void {
    this.#consumer?.seek({
      topic: this.topicName,
      partition: reader.partition,
      offset: String(reader.wanted),
    });
  }

  /**
   * Finds out where a partition that came begins, and lets its messages come. The consumer is asked once at a time: were a
   * partition to go and come back meanwhile, an old answer could otherwise come after the new one.
   */
  #begin(reader: Reader): Promise<void> {
    const { partition } = reader;
    const before = this.#beginning.get(partition) ?? Promise.resolve();
    const begun = before.then(async () => {
      if (this.#isOver(reader)) return;
      try {
        const own = await this.#options.startAt?.(partition);
        // It prepared itself for a partition that it has no longer.
        if (reader.gone) this.#options.onRevoked?.(partition);
        await this.#place(reader, own);
      } catch (error) {
        if (!reader.gone) this.#end({ error });
      }
    });
    this.#beginning.set(partition, begun);
    return begun;
  }

  async #place(reader: Reader, own: number | undefined): Promise<void> {
    while (!reader.gone && !this.#stopping) {
      try {
        const next = await this.#positions.startOf(reader, own);
        if (this.#isOver(reader)) return;
        reader.problem = null;
        reader.next = next;
        reader.wanted = placeOf(this.#options.topic, next).message;
        this.#seek(reader);
        this.#resume(reader);
        // From now on the group is known, and how far it is behind.
        if (reader.committed !== next) reader.passed = next;
        this.#commits.soon(true);
        return;
      } catch (error) {
        if (this.#isOver(reader)) return;
        this.#topics.dropAdmin();
        reader.problem = inWords(error, { ...this.#bus, what: `group ${this.groupId}` });
        await waitFor(retryMs, () => undefined);
      }
    }
  }

  #isOver(reader: Reader): boolean {
    return reader.gone || this.#stopping;
  }

  /** Messages from kafkajs into the partition's queue. */
  #takeIn(payload: EachBatchPayload): void {
    const { batch } = payload;
    const reader = this.#readers.get(batch.partition);
    if (!reader || reader.wanted === undefined || this.#stopping) return;
    // kafkajs does not declare what the fetch asked for.
    const fetchedAt = Number(
      (batch as Batch & { fetchedOffset?: string }).fetchedOffset ?? batch.firstOffset(),
    );
    if (fetchedAt < reader.wanted) {
      // kafkajs went back by itself: Kafka's log ends before what was wanted.
      const next = reader.next;
      this.#forget(reader);
      void this.#place(reader, next);
      return;
    }
    const first = Number(batch.messages[0]!.offset);
    if (first > reader.wanted && this.#options.topic !== 'responses')
      this.#positions.reportLoss(reader, reader.wanted, first);
    for (const message of batch.messages) {
      reader.waiting.push(message);
      reader.waitingBytes += message.value?.length ?? 0;
    }
    const last = batch.lastOffset();
    reader.wanted = Number(last) + 1;
    payload.resolveOffset(last);
    if (reader.waitingBytes >= this.#waitingMaxBytes()) this.#pause(reader);
    this.#pumpOn(reader);
  }

  #waitingMaxBytes(): number {
    const { least, most } = waitingMaxBytesPerPartition;
    return Math.min(most, Math.max(least, waitingMaxBytes / this.#readers.size));
  }

  #forget(reader: Reader): void {
    reader.turns++;
    reader.next = undefined;
    reader.wanted = undefined;
    reader.waiting = [];
    reader.waitingBytes = 0;
    this.#pause(reader);
  }

  #pumpOn(reader: Reader): void {
    if (reader.busy) return;
    reader.busy = true;
    const pump = this.#pump(reader).finally(() => {
      reader.busy = false;
      this.#pumps.delete(pump);
    });
    this.#pumps.add(pump);
  }

  /** Hands the queue to the handler, one batch at a time. */
  async #pump(reader: Reader): Promise<void> {
    while (!this.#isOver(reader) && !this.#rebalancing) {
      const batch = nextBatch(reader, this.#source);
      if (!batch) return;
      if (reader.paused && reader.waitingBytes < this.#waitingMaxBytes() / 2) this.#resume(reader);
      const { turns } = reader;
      try {
        await this.#options.onBatch(batch);
      } catch (error) {
        if (!(error instanceof BeginAgainError)) {
          this.#end({ error });
          return;
        }
        if (!reader.gone && reader.turns === turns) await this.#beginAgain(reader);
        continue;
      }
      // A partition that went meanwhile is its new reader's: the position must not move under it. The same when it is
      // read from elsewhere since.
      if (reader.gone) return;
      if (reader.turns !== turns) continue;
      reader.next = batch.nextOffset;
      if (this.#options.startAt) continue;
      reader.passed = batch.nextOffset;
      // In a rebalance the partition may go in a moment: the sooner the group knows, the less is delivered again.
      this.#commits.soon(this.#rebalancing);
    }
  }

  async #beginAgain(reader: Reader): Promise<void> {
    this.#forget(reader);
    await this.#stillMember(reader);
    if (this.#isOver(reader)) return;
    this.#options.onRevoked?.(reader.partition);
    await this.#begin(reader);
  }

  /**
   * Resolves when Kafka has confirmed that this consumer is still in its group, or when the partition has gone. The
   * handler that began again may have lost the partition to another process without having heard of it; were it to take
   * it back, the two would throw each other out in turns. Committing the known position is the one question that Kafka
   * answers at once, by member and generation.
   */
  async #stillMember(reader: Reader): Promise<void> {
    while (!this.#isOver(reader)) {
      try {
        const position = reader.passed ?? reader.committed;
        if (position === undefined) return;
        await this.#consumer?.commitOffsets([this.#commits.commitOf(reader, position)]);
        reader.problem = null;
        return;
      } catch (error) {
        reader.problem = inWords(error, { ...this.#bus, what: `group ${this.groupId}` });
        await waitFor(retryMs, () => undefined);
      }
    }
  }
}

/** kafkajs's leader shares out every topic of the group to all members alike, so each topic has a group of its own. */
export function groupIdOf(
  options: Pick<KafkaBusOptions, 'topicPrefix'>,
  group: string,
  topic: string,
): string {
  return `${options.topicPrefix}${group}.${topic}`;
}
