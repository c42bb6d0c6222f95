import { afterEach, describe, expect, test } from 'vitest';
import type { Alert } from '@tripline/model';
import { anAlert, aPolicy, startMs } from '../test-support.ts';
import { defaultNotificationRetention, Outbox } from './outbox.ts';
import type { TestReceiver } from './test-world.ts';
import { hour, many, minute, stopAll, unavailable, world } from './test-world.ts';

afterEach(stopAll);

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
