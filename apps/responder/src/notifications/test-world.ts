import { bodyOf, type Bus } from '@tripline/bus';
import type { Alert, DeadLetter } from '@tripline/model';
import {
  webhookMessage,
  type AlertDigest,
  type Channel,
  type ChannelMessage,
  type Delivery,
} from '@tripline/notify';
import { actions } from '@tripline/policy';
import { createPersist } from '@tripline/runtime';
import { openRoleState } from '../role-state.ts';
import {
  anAlert,
  aPolicy,
  asBatch,
  MemoryState,
  startMs,
  TestClock,
  testContext,
  TestPolicies,
} from '../test-support.ts';
import { createDeliveryMetrics } from './metrics.ts';
import { Notifier } from './notifier.ts';

export const minute = 60_000;
export const hour = 60 * minute;

export const refused: Delivery = {
  kind: 'rejected',
  problem: 'the receiver answered 400',
  answer: 'no_text',
};
export const unavailable = {
  kind: 'retry',
  problem: 'the receiver answered 503',
} as const satisfies Delivery;

interface Body {
  type: string;
  data: Alert & AlertDigest;
}

/** A receiver that answers as the test says; what it got, with the time in ms since the start. */
export class TestReceiver implements Channel {
  readonly type = 'webhook';
  readonly id = 'w';
  readonly destination = 'https://chat.test/hook';
  maxPerMinute: number | undefined;
  digestMinutes: number | undefined;
  readonly got: { atMs: number; id: string; type: string; data: Alert & AlertDigest }[] = [];
  answer: (body: Body) => Delivery | Promise<Delivery> = () => ({
    kind: 'delivered',
  });
  readonly #clock: TestClock;

  constructor(clock: TestClock) {
    this.#clock = clock;
  }

  async send(content: ChannelMessage, signal?: AbortSignal): Promise<Delivery> {
    const message = webhookMessage(this.id, content);
    const body = JSON.parse(message.body) as Body;
    this.got.push({ atMs: this.#clock.nowMs - startMs, id: message.id, ...body });
    const stopped = new Promise<Delivery>((resolve) =>
      signal?.addEventListener('abort', () => resolve(unavailable)),
    );
    return Promise.race([this.answer(body), stopped]);
  }
  alerts(): string[] {
    return this.got.filter((one) => one.type !== 'alerts.digest').map((one) => `${one.type} ${one.data.id}`);
  }
  digests(): AlertDigest[] {
    return this.got.filter((one) => one.type === 'alerts.digest').map((one) => one.data);
  }
}

/** What is left to stop after a test. */
export const stops: (() => Promise<void>)[] = [];
export async function stopAll(): Promise<void> {
  for (const stop of stops.splice(0).reverse()) await stop();
}

export async function settled(): Promise<void> {
  for (let round = 0; round < 30; round++) await new Promise((resolve) => setImmediate(resolve));
}

/** A bus that hands batches over when the test says so, and keeps dead letters. */
class TestBus {
  readonly deadLetters: DeadLetter[] = [];
  full = false;
  onBatch: Parameters<Bus['consume']>[0]['onBatch'] | undefined;

  as(stopped: AbortSignal): Bus {
    const bus: Pick<Bus, 'publish' | 'consume'> = {
      publish: (_topic, records) => {
        if (this.full) return Promise.reject(new Error('full'));
        this.deadLetters.push(...records.map((one) => JSON.parse(one.value.toString()) as DeadLetter));
        return Promise.resolve();
      },
      consume: ({ onBatch }) => {
        this.onBatch = onBatch;
        return {
          stopped: new Promise<void>((resolve) => stopped.addEventListener('abort', () => resolve())),
          stop: () => Promise.resolve(),
          passed: () => undefined,
          beginAgain: () => undefined,
        };
      },
    };
    return bus as Bus;
  }
}

/** A notifier whose process can be killed and started again; its state stays. */
export async function world(
  settings: { maxPerMinute?: number; digestMinutes?: number } = {},
  channelOf: (receiver: TestReceiver) => Channel = (receiver) => receiver,
) {
  const clock = new TestClock();
  const store = new MemoryState();
  const receiver = Object.assign(new TestReceiver(clock), settings);
  const policies = new TestPolicies(aPolicy({ id: 'tell', actions: [{ type: 'notify', webhook: 'w' }] }));
  const bus = new TestBus();
  let stopping = new AbortController();
  let notifier: Notifier;
  let ended: Promise<void>;
  let context = testContext(clock.now);
  let offset = 0;

  const start = async (): Promise<void> => {
    context = testContext(clock.now);
    const stopped = (stopping = new AbortController()).signal;
    notifier = new Notifier({
      ...context,
      channel: channelOf(receiver),
      actions,
      bus: bus.as(stopped),
      state: await openRoleState(store, 1),
      persist: createPersist({ logger: context.logger, now: clock.now, stopped, retryMs: 1 }),
      policies,
      deliveries: createDeliveryMetrics(context.metrics, () => [notifier.status()]),
      random: () => 1,
      sleep: clock.sleep,
      stopped,
    });
    ended = notifier.run();
    ended.catch(() => undefined);
    await settled();
  };
  await start();
  stops.push(async () => {
    stopping.abort();
    await ended;
  });
  const made = {
    clock,
    store,
    receiver,
    policies,
    deadLetters: bus.deadLetters,
    bus,
    status: () => notifier.status(),
    ended: () => ended,
    metrics: () => context.metrics.metrics(),
    /** Resolves when the batch is done with, so that the position on the bus moves on. */
    async take(...alerts: Alert[]): Promise<void> {
      offset += alerts.length;
      await bus.onBatch!(asBatch(alerts, offset));
      await settled();
    },
    async takeRaw(...values: string[]): Promise<void> {
      await bus.onBatch!({ ...asBatch([], offset), body: bodyOf(values.map((value) => Buffer.from(value))) });
      await settled();
    },
    /** As after kill -9: what was only in memory is gone. */
    async restart(): Promise<void> {
      stopping.abort();
      await ended;
      await start();
    },
    /** Lets the time pass, from one timer to the next. */
    async run(ms: number): Promise<void> {
      const end = clock.nowMs + ms;
      for (;;) {
        await settled();
        if (clock.nowMs >= end) return;
        clock.advance(Math.max(0, Math.min(end - clock.nowMs, ...clock.sleeping())));
      }
    },
  };
  return made;
}

export function many(count: number, fields: Partial<Alert> = {}, from = 0): Alert[] {
  return Array.from({ length: count }, (_, n) =>
    anAlert({ id: `alert-${from + n}`, lastSeenAt: startMs, ...fields }),
  );
}
