import { EventEmitter } from 'node:events';
import type { Kafka } from 'kafkajs';
import { describe, expect, it, vi } from 'vitest';
import { KafkaSubscription } from './kafka-subscription.ts';
import type { KafkaTopics } from './kafka-topics.ts';

/** The consumer of kafkajs as far as a subscription needs it, without a broker: it joins its group with two partitions. */
class StubConsumer extends EventEmitter {
  readonly events = { CRASH: 'crash', FETCH: 'fetch', REBALANCING: 'rebalancing', GROUP_JOIN: 'join' };
  connect = () => Promise.resolve();
  subscribe = () => Promise.resolve();
  run = () => {
    this.join([0, 1]);
    return Promise.resolve();
  };
  pause = () => undefined;
  resume = () => undefined;
  seek = () => undefined;
  commitOffsets: () => Promise<void> = () => Promise.resolve();
  disconnect = () => Promise.resolve();

  join(partitions: number[]): void {
    this.emit('join', { payload: { memberId: 'm', memberAssignment: { 't.api-calls': partitions } } });
  }
}

/** A subscription whose questions about offsets are answered by `ask`. */
function subscribed(ask: () => Promise<void>): { subscription: KafkaSubscription; consumer: StubConsumer } {
  const consumer = new StubConsumer();
  const admin = {
    fetchTopicOffsets: async () => {
      await ask();
      return [0, 1].map((partition) => ({ partition, low: '0', high: '0' }));
    },
  };
  const topics = {
    ready: () => Promise.resolve(),
    nameOf: (topic: string) => `t.${topic}`,
    admin: () => Promise.resolve(admin),
    dropAdmin: () => undefined,
    checkAgain: () => undefined,
  };
  const subscription = new KafkaSubscription({
    bus: {
      brokers: ['k:9092'],
      clientId: 'c',
      topicPrefix: 't.',
      partitions: 2,
      replicationFactor: 1,
      retentionHours: 1,
    },
    consume: {
      topic: 'api-calls',
      group: 'processor',
      startAt: () => Promise.resolve(0),
      onBatch: () => Promise.resolve(),
    },
    newKafka: () => ({ consumer: () => consumer }) as unknown as Kafka,
    topics: topics as unknown as KafkaTopics,
    log: () => undefined,
  });
  return { subscription, consumer };
}

describe('what a subscription to Kafka says is wrong', () => {
  it('is over when the question that failed is answered the next time, without a rebalance', async () => {
    let fails = true;
    const { subscription } = subscribed(() =>
      fails ? Promise.reject(new Error('one hiccup of the coordinator')) : Promise.resolve(),
    );
    await vi.waitFor(() => expect(subscription.problem()).toContain('one hiccup of the coordinator'));
    fails = false;
    await vi.waitFor(() => expect(subscription.problem()).toBeNull(), 5_000);
    await subscription.stop();
  });

  it('is over with the partition that it was about', async () => {
    const { subscription, consumer } = subscribed(() => Promise.reject(new Error('no leader')));
    await vi.waitFor(() => expect(subscription.problem()).toContain('no leader'));
    consumer.join([]);
    expect(subscription.problem()).toBeNull();
    await subscription.stop();
  });

  it('tells that a partition which begins again cannot, until it can', async () => {
    const { subscription, consumer } = subscribed(() => Promise.resolve());
    await vi.waitFor(() => expect(consumer.listenerCount('join')).toBe(1));
    let fails = true;
    consumer.commitOffsets = () => (fails ? Promise.reject(new Error('not coordinator')) : Promise.resolve());
    await vi.waitFor(() => {
      subscription.passed(0, 5);
      subscription.beginAgain(0);
      expect(subscription.problem()).toContain('not coordinator');
    }, 5_000);
    fails = false;
    await vi.waitFor(() => expect(subscription.problem()).toBeNull(), 5_000);
    await subscription.stop();
  });
});
