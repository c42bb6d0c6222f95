import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { calmKafkajs } from './kafkajs-timer.ts';

interface Queue {
  throttledUntil: number;
  throttleCheckTimeoutId: NodeJS.Timeout | null;
  pending: object[];
  checkPendingRequests(): void;
  maybeThrottle(ms: number): void;
  push(request: object): void;
  destroy(): void;
}

/** A queue of a connection as kafkajs makes it. */
function newQueue(): Queue {
  const RequestQueue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue/index.js') as new (
    options: object,
  ) => Queue;
  return new RequestQueue({
    maxInFlightRequests: null,
    requestTimeout: 1_000,
    enforceRequestTimeout: false,
    clientId: 'test',
    broker: 'test',
    logger: { debug: () => undefined },
  });
}

describe('calmKafkajs', () => {
  calmKafkajs();
  // As every bus calls it.
  calmKafkajs();

  it('leaves no timer behind where no request waits', () => {
    const queue = newQueue();
    queue.checkPendingRequests();
    expect(queue.throttleCheckTimeoutId).toBeNull();
  });

  it('still sends what a throttled connection has queued, when its time has come', async () => {
    const queue = newQueue();
    queue.maybeThrottle(20);
    await new Promise<void>((sent) =>
      queue.push({
        entry: { correlationId: 1, apiKey: 0, apiName: 'test', apiVersion: 0, resolve: sent },
        expectResponse: false,
        sendRequest: () => undefined,
      }),
    );
    expect(queue.pending).toHaveLength(0);
    queue.destroy();
  });
});
