import { afterEach, describe, expect, test } from 'vitest';
import { jsonRecord } from '@tripline/bus';
import { type Delivery } from '@tripline/notify';
import { actions } from '@tripline/policy';
import { createPersist } from '@tripline/runtime';
import { openRoleState } from '../role-state.ts';
import {
  anAlert,
  aPolicy,
  startMs,
  TestClock,
  testContext,
  TestDisk,
  TestPolicies,
} from '../test-support.ts';
import { createDeliveryMetrics } from './metrics.ts';
import { Notifier } from './notifier.ts';
import {
  hour,
  many,
  minute,
  refused,
  stopAll,
  stops,
  TestReceiver,
  unavailable,
  world,
} from './test-world.ts';

afterEach(stopAll);

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
