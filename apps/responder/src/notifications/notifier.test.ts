import { afterEach, describe, expect, test } from 'vitest';
import { bodyOf, type Bus, jsonRecord } from '@tripline/bus';
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
  TestDisk,
  TestPolicies,
} from '../test-support.ts';
import { createDeliveryMetrics } from './metrics.ts';
import { Notifier } from './notifier.ts';
import { defaultNotificationRetention, Outbox } from './outbox.ts';

const minute = 60_000;
const hour = 60 * minute;

const refused: Delivery = {
  kind: 'rejected',
  problem: 'the receiver answered 400',
  answer: 'no_text',
};
const unavailable = {
  kind: 'retry',
  problem: 'the receiver answered 503',
} as const satisfies Delivery;

interface Body {
  type: string;
  data: Alert & AlertDigest;
}

/** A receiver that answers as the test says; what it got, with the time in ms since the start. */
class TestReceiver implements Channel {
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

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

async function settled(): Promise<void> {
  for (let round = 0; round < 30; round++) await new Promise((resolve) => setImmediate(resolve));
}

/** A notifier whose process can be killed and started again; its state stays. */
async function world(settings: { maxPerMinute?: number; digestMinutes?: number } = {}) {
  const clock = new TestClock();
  const store = new MemoryState();
  const receiver = Object.assign(new TestReceiver(clock), settings);
  const deadLetters: DeadLetter[] = [];
  const policies = new TestPolicies(aPolicy({ id: 'tell', actions: [{ type: 'notify', webhook: 'w' }] }));
  const bus = { full: false };
  let onBatch: Parameters<Bus['consume']>[0]['onBatch'] | undefined;
  let stopping = new AbortController();
  let notifier: Notifier;
  let ended: Promise<void>;
  let context = testContext(clock.now);
  let offset = 0;

  const start = async (): Promise<void> => {
    context = testContext(clock.now);
    const stopped = (stopping = new AbortController()).signal;
    const stand: Pick<Bus, 'publish' | 'consume'> = {
      publish(_topic, records) {
        if (bus.full) return Promise.reject(new Error('full'));
        deadLetters.push(...records.map((one) => JSON.parse(one.value.toString()) as DeadLetter));
        return Promise.resolve();
      },
      consume(options) {
        onBatch = options.onBatch;
        const ended = new Promise<void>((resolve) => stopped.addEventListener('abort', () => resolve()));
        return {
          stopped: ended,
          stop: () => Promise.resolve(),
          passed: () => undefined,
          beginAgain: () => undefined,
        };
      },
    };
    notifier = new Notifier({
      ...context,
      channel: receiver,
      actions,
      bus: stand as Bus,
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
    deadLetters,
    bus,
    status: () => notifier.status(),
    ended: () => ended,
    metrics: () => context.metrics.metrics(),
    /** Resolves when the batch is done with, so that the position on the bus moves on. */
    async take(...alerts: Alert[]): Promise<void> {
      offset += alerts.length;
      await onBatch!(asBatch(alerts, offset));
      await settled();
    },
    async takeRaw(...values: string[]): Promise<void> {
      await onBatch!({ ...asBatch([], offset), body: bodyOf(values.map((value) => Buffer.from(value))) });
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

function many(count: number, fields: Partial<Alert> = {}, from = 0): Alert[] {
  return Array.from({ length: count }, (_, n) =>
    anAlert({ id: `alert-${from + n}`, lastSeenAt: startMs, ...fields }),
  );
}

describe('a message that the receiver does not take', () => {
  test.each([
    ['an answer that refuses it', refused],
    ['410', { kind: 'gone', problem: 'the receiver answered 410 Gone', answer: 'no_text' }],
  ] as [string, Delivery][])(
    'because of %s holds up no other, and goes to the dead letters after four tries',
    async (_, outcome) => {
      const w = await world();
      w.receiver.answer = ({ data }) => (data.id === 'bad' ? outcome : { kind: 'delivered' });
      await w.take(anAlert({ id: 'before' }), anAlert({ id: 'bad' }), anAlert({ id: 'after' }));
      await w.take(anAlert({ id: 'later' }));
      expect(w.clock.nowMs).toBe(startMs);
      expect(w.receiver.alerts().filter((text) => !text.endsWith('bad'))).toEqual([
        'alert.raised before',
        'alert.raised after',
        'alert.raised later',
      ]);
      await w.run(hour);
      expect(w.receiver.got.filter((one) => one.data.id === 'bad').map((one) => one.atMs)).toEqual(
        [0, 1, 3, 7].map((minutes) => minutes * minute),
      );
      expect(w.deadLetters).toEqual([
        {
          receivedAt: startMs + 7 * minute,
          reason: 'webhook-refused',
          detail: expect.stringMatching(
            /^webhook w, alert bad, revision 1: the receiver answered 4.*: "no_text"$/,
          ),
          sample: expect.stringContaining('"id":"bad"'),
        },
      ]);
      expect(w.status()).toMatchObject({
        waiting: 0,
        deadLetters: 1,
        lastDeadLetter: { detail: expect.stringContaining('no_text') },
      });
      expect(await w.metrics()).toContain(
        'tripline_webhook_deliveries_total{webhook="w",outcome="given-up"} 1',
      );
    },
  );

  test('and never answers holds up no other', async () => {
    const w = await world();
    w.receiver.answer = ({ data }) =>
      data.id === 'hangs' ? new Promise(() => undefined) : { kind: 'delivered' };
    await w.take(anAlert({ id: 'hangs' }), ...many(10));
    expect(w.receiver.alerts()).toHaveLength(11);
  });

  test('because of a fault of its own is tried for a day, while all others pass', async () => {
    const w = await world();
    w.receiver.answer = ({ data }) => (data.id === 'bad' ? unavailable : { kind: 'delivered' });
    await w.take(anAlert({ id: 'bad' }));
    for (let n = 0; n < 26; n++) {
      const id = `hour-${n}`;
      await w.take(anAlert({ id, lastSeenAt: w.clock.nowMs }));
      expect(w.receiver.alerts()).toContain(`alert.raised ${id}`);
      await w.run(hour);
    }
    expect(w.deadLetters).toMatchObject([
      { reason: 'webhook-given-up', detail: expect.stringContaining('alert bad') },
    ]);
    expect(w.deadLetters[0]!.receivedAt - startMs).toBeGreaterThanOrEqual(24 * hour);
    const ids = w.receiver.got.filter((one) => one.data.id === 'bad').map((one) => one.id);
    expect(new Set(ids).size).toBe(1);
  });

  test('keeps its tries and its wait over a restart', async () => {
    const w = await world();
    w.receiver.answer = () => refused;
    await w.take(anAlert());
    await w.run(90_000);
    expect(w.receiver.got).toHaveLength(2);
    await w.restart();
    expect(w.receiver.got).toHaveLength(2);
    await w.run(hour);
    expect(w.receiver.got).toHaveLength(4);
    expect(w.deadLetters).toHaveLength(1);
    expect(w.store.values.has('outbox:w:alert:alert-c-1')).toBe(false);
  });

  test('is kept until its dead letter is', async () => {
    const w = await world();
    w.receiver.answer = () => refused;
    w.bus.full = true;
    await w.take(anAlert());
    await w.run(hour);
    expect(w.receiver.got).toHaveLength(4);
    expect(w.status()).toMatchObject({ waiting: 1, deadLetters: 0 });
    await w.restart();
    w.bus.full = false;
    await w.run(minute);
    expect(w.deadLetters).toHaveLength(1);
    expect(w.receiver.got).toHaveLength(4);
  });

  test('is tried once even when it waited for longer than a day', async () => {
    const w = await world({ maxPerMinute: 1 });
    w.receiver.answer = () => ({ ...unavailable, pauseAll: true, retryAfterMs: hour });
    await w.take(anAlert({ id: 'first' }));
    w.clock.nowMs += minute;
    await w.take(anAlert({ id: 'second', lastSeenAt: w.clock.nowMs }));
    w.clock.nowMs += 30 * hour;
    await w.restart();
    await w.run(3 * hour);
    expect(w.receiver.alerts()).toContain('alert.raised second');
  });
});

describe('revisions of one alert', () => {
  test('the newest takes the place of one that waits, and comes alone', async () => {
    const w = await world();
    w.receiver.answer = () => unavailable;
    await w.take(anAlert({ severity: 'medium' }));
    await w.take(anAlert({ severity: 'critical', revision: 4 }));
    await w.take(anAlert({ severity: 'critical', revision: 7, status: 'closed' }));
    w.receiver.got.length = 0;
    w.receiver.answer = () => ({ kind: 'delivered' });
    await w.run(hour);
    expect(w.receiver.got).toMatchObject([{ type: 'alert.closed', data: { revision: 7 } }]);
  });

  test('a newer one waits until the older one that is under way has ended', async () => {
    const w = await world();
    let end: (outcome: Delivery) => void = () => undefined;
    w.receiver.answer = () => new Promise((resolve) => (end = resolve));
    await w.take(anAlert({ severity: 'medium' }));
    w.receiver.answer = () => ({ kind: 'delivered' });
    await w.take(anAlert({ severity: 'high', revision: 2 }));
    expect(w.receiver.got).toHaveLength(1);
    end(unavailable);
    await w.run(minute);
    expect(w.receiver.got.map(({ type, data }) => [type, data.revision])).toEqual([
      ['alert.raised', 1],
      ['alert.updated', 2],
    ]);
  });

  test('a message that was not tried yet takes along how the alert has grown', async () => {
    const w = await world();
    w.receiver.answer = () => ({ ...unavailable, pauseAll: true, retryAfterMs: minute });
    await w.take(anAlert({ id: 'first' }));
    await w.take(anAlert({ count: 1 }));
    await w.take(anAlert({ count: 9, revision: 2 }));
    w.receiver.answer = () => ({ kind: 'delivered' });
    await w.run(2 * minute);
    expect(w.receiver.got.filter((one) => one.data.id === 'alert-c-1')).toMatchObject([
      { type: 'alert.raised', data: { revision: 2, count: 9 } },
    ]);
  });
});

test('while a receiver asks for a pause nothing is sent to it', async () => {
  const w = await world();
  const busy: Delivery = { ...unavailable, pauseAll: true, retryAfterMs: 10 * minute };
  w.receiver.answer = () => busy;
  await w.take(anAlert({ id: 'first' }));
  w.receiver.answer = () => ({ kind: 'delivered' });
  await w.take(anAlert({ id: 'second' }));
  await w.run(10 * minute - 1);
  expect(w.receiver.alerts()).toEqual(['alert.raised first']);
  await w.run(1);
  expect(w.receiver.alerts().slice(1).sort()).toEqual(['alert.raised first', 'alert.raised second']);
});

describe('a storm of alerts', () => {
  const storm = 100_000;
  const types = ['brute-force', 'path-probing', 'request-spike', 'object-enumeration'] as const;

  /** How many messages of each type and severity came, one by one or in a digest. */
  function counted(got: TestReceiver['got']): { messages: number; perKind: Record<string, number> } {
    const perKind: Record<string, number> = {};
    let messages = 0;
    const add = (kind: string, count: number): void => {
      messages += count;
      if (count > 0) perKind[kind] = (perKind[kind] ?? 0) + count;
    };
    // By id, as receivers do.
    for (const { type, data } of new Map(got.map((one) => [one.id, one])).values()) {
      if (type !== 'alerts.digest')
        add(`${type.replace('alert.', '')} ${data.type} ${(data as Alert).severity}`, 1);
      else
        for (const count of data.counts)
          for (const event of ['raised', 'updated', 'closed'] as const)
            add(`${event} ${count.type} ${count.severity}`, count[event]);
    }
    return { messages, perKind };
  }

  test('of 100,000 in a minute is a few messages whose counts are exact, also over kills in its midst', async () => {
    const w = await world({ maxPerMinute: 10 });
    const perBatch = 2_000;
    for (let from = 0; from < storm; from += perBatch) {
      const batch = many(perBatch, {}, from).map((alert, n) => ({
        ...alert,
        type: types[n % 4]!,
        severity: n % 100 === 0 ? ('high' as const) : ('low' as const),
      }));
      await w.take(...batch);
      if (from % 20_000 === 0) {
        await w.restart();
        // The position was not kept: the batch comes again.
        await w.take(...batch);
      }
      w.clock.advance(1_000);
    }
    await w.run(10 * minute);
    const { messages, perKind } = counted(w.receiver.got);
    expect(messages).toBe(storm);
    expect(perKind).toEqual({
      'raised brute-force high': storm / 100,
      'raised brute-force low': storm / 4 - storm / 100,
      'raised path-probing low': storm / 4,
      'raised request-spike low': storm / 4,
      'raised object-enumeration low': storm / 4,
    });
    expect(w.receiver.got.length).toBeLessThanOrEqual(15);
    // What is rare and severe is named.
    expect(w.receiver.digests()[0]!.alerts.map((alert) => alert.severity)).toEqual(Array(20).fill('high'));
    expect(w.receiver.digests()[0]).toMatchObject({
      policy: 'tell',
      list: expect.stringContaining(`GET /alerts?since=${w.receiver.digests()[0]!.from}`),
    });
    expect(await w.metrics()).toContain('tripline_webhook_collected_total');
    // Nothing but what the receiver knows about each alert is left.
    const left = [...w.store.values.keys()].filter((key) => !key.startsWith('told:w:'));
    expect(left).toEqual(['rate:w']);
    expect(w.store.values.size).toBe(50_001);
  });

  test('leaves no more than 50,000 alerts remembered; those that are closed are forgotten first', () => {
    const outbox = new Outbox({
      channelType: 'webhook',
      channelId: 'w',
      retention: defaultNotificationRetention,
      random: () => 1,
    });
    const remembered = new Set<string>();
    const take = (...alerts: Alert[]): void => {
      for (const alert of alerts) outbox.take(alert, 'tell', startMs);
      for (const [key, value] of outbox.takeChanges())
        if (value === null) remembered.delete(key);
        else remembered.add(key);
    };
    take(...many(1));
    take(anAlert({ id: 'closed', status: 'closed' }));
    take(...many(49_999, {}, 1));
    const known = (id: string): boolean => remembered.has(`told:w:${id}`);
    expect([known('alert-0'), known('closed'), known('alert-49999')]).toEqual([true, false, true]);
    take(...many(10, {}, 50_000));
    expect([known('alert-9'), known('alert-10'), known('alert-50009')]).toEqual([false, true, true]);
    expect([...remembered].filter((key) => key.startsWith('told:')).length).toBe(50_000);
  });

  test('never exceeds the messages per minute, retries included', async () => {
    const w = await world({ maxPerMinute: 5 });
    for (let n = 0; n < 60; n++) {
      w.receiver.answer = () => (n % 3 === 0 ? unavailable : { kind: 'delivered' });
      await w.take(...many(20, { lastSeenAt: w.clock.nowMs }, n * 20));
      await w.run(10_000);
    }
    const at = w.receiver.got.map((one) => one.atMs);
    for (const from of at)
      expect(at.filter((other) => other >= from && other < from + minute).length).toBeLessThanOrEqual(5);
    w.receiver.answer = () => ({ kind: 'delivered' });
    await w.run(hour);
    expect(counted(w.receiver.got).messages).toBe(1_200);
  });

  test('while the receiver is down keeps at most 1,000 messages; the others are counted, none is dropped', async () => {
    const w = await world();
    w.receiver.answer = () => unavailable;
    for (let n = 0; n < 60; n++) {
      await w.take(...many(30, { lastSeenAt: w.clock.nowMs }, n * 30));
      await w.run(minute);
      expect(w.status().waiting).toBeLessThanOrEqual(1_001);
    }
    w.receiver.answer = () => ({ kind: 'delivered' });
    w.receiver.got.length = 0;
    await w.run(3 * hour);
    expect(counted(w.receiver.got).messages).toBe(1_800);
    expect(w.deadLetters).toEqual([]);
    expect(w.status()).toMatchObject({ waiting: 0, collecting: 0 });
  });

  test('a digest stays as it was first sent, over a restart; what comes later is in the next', async () => {
    const w = await world({ maxPerMinute: 2, digestMinutes: 2 });
    await w.take(...many(10));
    await w.run(minute);
    expect(w.receiver.digests()).toEqual([]);
    w.receiver.answer = () => unavailable;
    await w.run(minute);
    await w.take(...many(5, { severity: 'critical', lastSeenAt: w.clock.nowMs }, 10));
    await w.restart();
    await w.take(...many(5, { severity: 'critical', lastSeenAt: w.clock.nowMs }, 15));
    w.receiver.answer = () => ({ kind: 'delivered' });
    await w.run(hour);
    const digests = w.receiver.got.filter((one) => one.type === 'alerts.digest');
    const firstIds = digests.filter((one) => one.data.from === digests[0]!.data.from).map((one) => one.id);
    expect(firstIds.length).toBeGreaterThan(1);
    expect(new Set(firstIds).size).toBe(1);
    expect(digests[0]!.data).toMatchObject({ messages: 8, counts: [{ severity: 'high', raised: 8 }] });
    expect(counted(w.receiver.got).messages).toBe(20);
  });

  test('each policy has digests of its own', async () => {
    const w = await world({ maxPerMinute: 1 });
    const actions = [{ type: 'notify' as const, webhook: 'w' }];
    w.policies.policies = [
      aPolicy({ id: 'critical', match: { severityAtLeast: 'critical' }, actions }),
      aPolicy({ id: 'rest', actions }),
    ];
    await w.take(...many(10), ...many(3, { severity: 'critical' }, 10));
    await w.run(10 * minute);
    expect(w.receiver.digests().map(({ policy, messages }) => [policy, messages])).toEqual([
      ['rest', 9],
      ['critical', 3],
    ]);
  });

  test('the end of an alert that was only counted is only counted', async () => {
    const w = await world({ maxPerMinute: 2 });
    await w.take(...many(10));
    await w.run(10 * minute);
    await w.take(...many(10, { status: 'closed', revision: 2 }));
    await w.run(10 * minute);
    expect(w.receiver.alerts()).toEqual([
      'alert.raised alert-0',
      'alert.raised alert-1',
      'alert.closed alert-0',
      'alert.closed alert-1',
    ]);
    expect(counted(w.receiver.got).perKind).toEqual({
      'raised request-spike high': 10,
      'closed request-spike high': 10,
    });
  });

  test('alerts about calls of more than a day ago are counted, not sent one by one', async () => {
    const w = await world();
    await w.take(...many(5, { lastSeenAt: startMs - 25 * hour }));
    await w.run(10 * minute);
    expect(w.receiver.alerts()).toEqual([]);
    expect(w.receiver.digests()).toMatchObject([{ messages: 5 }]);
  });
});

test('a record that is no alert is left out and ends nothing', async () => {
  const w = await world();
  const whole = anAlert();
  const bad = [
    { ...whole, severity: 'enormous' },
    { ...whole, lastSeenAt: 1e300 },
    { ...whole, summary: 5 },
    { ...whole, actor: { kind: 'address', id: 'x' } },
    { ...whole, sources: [null] },
    [],
    null,
  ];
  await w.takeRaw(...bad.map((one) => JSON.stringify(one)), '{', JSON.stringify(whole));
  expect(w.receiver.alerts()).toEqual(['alert.raised alert-c-1']);
});

test('what an earlier version knew, in whatever partition, is no news after an upgrade', async () => {
  const disk = new TestDisk();
  stops.push(() => disk.remove());
  const clock = new TestClock();
  const store = disk.state(clock.now);
  const noted = Buffer.from(JSON.stringify({ severity: 'high', closed: false, at: startMs }));
  for (const partition of [0, 1]) {
    const claimed = await store.claim(partition);
    await claimed.checkpoint(new Map([[`told:w:alert-${partition}`, noted]]), 7);
  }
  const receiver = new TestReceiver(clock);
  const context = testContext(clock.now);
  const stopping = new AbortController();
  const state = await openRoleState(store, 2);
  const bus = disk.bus(clock.now);
  const notifier = new Notifier({
    ...context,
    channel: receiver,
    actions,
    bus,
    state,
    persist: createPersist({ logger: context.logger, now: clock.now, stopped: stopping.signal }),
    policies: new TestPolicies(aPolicy({ id: 'tell', actions: [{ type: 'notify', webhook: 'w' }] })),
    deliveries: createDeliveryMetrics(context.metrics, () => []),
    random: () => 1,
    sleep: clock.sleep,
    stopped: stopping.signal,
  });
  const ended = notifier.run();
  stops.push(async () => {
    stopping.abort();
    await ended;
  });
  await expect.poll(async () => (await bus.lag()).length, { interval: 1 }).toBeGreaterThan(0);
  await bus.publish(
    'alerts',
    [...many(2, { revision: 2 }), anAlert({ id: 'new' })].map((alert) => jsonRecord(alert.id, alert)),
  );
  await expect.poll(() => receiver.alerts(), { interval: 1 }).toEqual(['alert.raised new']);
  expect(state.read('told:w:alert-', (value) => value).map(({ partition }) => partition)).toEqual([0, 0]);
  expect(state.offset(1)).toBe(7);
});
