import { jsonRecord, recordsOf } from '@tripline/bus';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Alert, Response } from '@tripline/model';
import { webhookMessage, type Channel, type Delivery, type WebhookMessage } from '@tripline/notify';
import { responseId, type Policy } from '@tripline/policy';
import { startResponder, type ResponderOptions, type RunningResponder } from './responder.ts';
import {
  anAlert,
  aPolicy,
  MemoryKong,
  startMs,
  TestClock,
  testContext,
  TestDisk,
  TestPolicies,
} from './test-support.ts';

const hour = 3_600_000;
let disk: TestDisk;
let clock: TestClock;
const running: RunningResponder[] = [];

beforeEach(() => {
  disk = new TestDisk();
  clock = new TestClock();
});
afterEach(async () => {
  for (const role of running.splice(0)) await role.stop();
  await disk.remove();
});

/** Starts a responder on what the disk holds. */
function start(options: Partial<ResponderOptions> & { policies: TestPolicies }) {
  const context = testContext(clock.now);
  const bus = disk.bus(clock.now);
  const responder = startResponder({
    ...context,
    bus,
    state: disk.state(clock.now),
    admin: undefined,
    channels: [],
    random: () => 1,
    sleep: clock.sleep,
    ...options,
  });
  running.push(responder);
  const publish = (...alerts: Alert[]): Promise<void> =>
    bus.publish(
      'alerts',
      alerts.map((alert) => jsonRecord(`consumer:${alert.actor.id}`, alert)),
    );
  return { responder, bus, context, publish };
}

async function stop(responder: RunningResponder): Promise<void> {
  await responder.stop();
  await disk.close();
}

describe('the controller in its role', () => {
  test('an alert on the bus is a plugin in Kong without any time passing', async () => {
    const kong = new MemoryKong(['c-1']);
    const { publish, responder, bus } = start({ policies: new TestPolicies(aPolicy()), admin: kong });
    await kong.until(() => kong.calls.length > 0);
    await publish(anAlert());
    // The clock stands still: nothing that waits for a timer could get here.
    await kong.until(() => kong.blocked().length > 0);
    await expect.poll(() => responder.responses()[0]?.status, { interval: 1 }).toBe('active');
    expect(responder.health()).toEqual({ alive: true, ready: true, detail: 'ok' });
    const seen: Response[] = [];
    const reader = bus.consume({
      topic: 'responses',
      group: 'test',
      onBatch: (batch) => {
        for (const value of recordsOf(batch.body)) seen.push(JSON.parse(value.toString()) as Response);
        return Promise.resolve();
      },
    });
    await expect.poll(() => seen.map((one) => one.status), { interval: 1 }).toEqual(['pending', 'active']);
    await reader.stop();
  });

  test('expiry happens at its time, by the timer', async () => {
    const kong = new MemoryKong(['c-1']);
    const { publish } = start({
      policies: new TestPolicies(
        aPolicy({ actions: [{ type: 'block', duration: '10s', status: 403, message: 'x' }] }),
      ),
      admin: kong,
    });
    await publish(anAlert());
    await kong.until(() => kong.blocked().length > 0);
    await expect.poll(() => clock.sleeping(), { interval: 1 }).toEqual([10_000]);
    clock.advance(10_000);
    await kong.until(() => kong.blocked().length === 0);
  });

  test('after a restart it goes on from its own position: nothing twice, nothing lost', async () => {
    const kong = new MemoryKong(['c-1', 'c-2']);
    const policies = new TestPolicies(aPolicy());
    const first = start({ policies, admin: kong });
    await first.publish(anAlert());
    await kong.until(() => kong.blocked().length === 1);
    await first.responder.stop();
    await first.publish(anAlert({ consumer: 'c-2' }));
    await disk.close();
    const second = start({ policies, admin: kong });
    await kong.until(() => kong.blocked().length === 2);
    expect(kong.writes).toHaveLength(2);
    expect(second.responder.responses()).toHaveLength(2);
    await expect
      .poll(async () => (await second.bus.lag()).find((one) => one.group === 'responder')?.records, {
        interval: 1,
      })
      .toBe(0);
  });

  test('while Kong is unreachable it is alive, not ready, and says why', async () => {
    const kong = new MemoryKong(['c-1']);
    kong.down = true;
    const { publish, responder } = start({ policies: new TestPolicies(aPolicy()), admin: kong });
    await publish(anAlert());
    await expect
      .poll(() => responder.health(), { interval: 1 })
      .toMatchObject({ alive: true, ready: false, detail: expect.stringContaining('ECONNREFUSED') });
    kong.down = false;
    await expect.poll(() => clock.sleeping().length, { interval: 1 }).toBe(1);
    clock.advance(30_000);
    await kong.until(() => kong.blocked().length > 0);
    await expect.poll(() => responder.health().ready, { interval: 1 }).toBe(true);
  });

  test('a loop that got nowhere for a minute is not alive', async () => {
    const kong = new MemoryKong(['c-1']);
    const { responder } = start({ policies: new TestPolicies(), admin: kong });
    await expect.poll(() => responder.health().ready, { interval: 1 }).toBe(true);
    clock.nowMs += 60_001;
    expect(responder.health()).toMatchObject({ alive: false });
  });

  test('a response is lifted through the role, also before the state was read', async () => {
    const kong = new MemoryKong(['c-1']);
    const policies = new TestPolicies(aPolicy());
    const first = start({ policies, admin: kong });
    await first.publish(anAlert());
    await kong.until(() => kong.blocked().length === 1);
    await stop(first.responder);
    const { responder } = start({ policies, admin: kong });
    expect(await responder.lift(responseId('block-all', 'alert-c-1', 'block'))).toMatchObject({
      status: 'lifted',
    });
    expect(kong.store.size).toBe(0);
  });
});

/** Webhooks that answer as the test says, and what they were given. */
class TestWebhooks {
  readonly sent: {
    webhook: string;
    message: WebhookMessage;
    type: string;
    alert: string;
    revision: number;
  }[] = [];
  readonly answers = new Map<string, Delivery>();
  #waiting: (() => void)[] = [];

  channel(id: string, destination = `https://${id}.test/`): Channel {
    return {
      type: 'webhook',
      id,
      destination,
      send: (content) => {
        const message = webhookMessage(id, content);
        const { type, data } = JSON.parse(message.body) as { type: string; data: Alert };
        this.sent.push({ webhook: id, message, type, alert: data.id, revision: data.revision });
        const waiting = this.#waiting;
        this.#waiting = [];
        setImmediate(() => {
          for (const resolve of waiting) resolve();
        });
        return Promise.resolve(this.answers.get(id) ?? { kind: 'delivered' });
      },
    };
  }
  to(webhook: string): string[] {
    return this.sent
      .filter((one) => one.webhook === webhook)
      .map((one) => `${one.type} ${one.alert} ${one.revision}`);
  }
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}

describe('a state that another version wrote', () => {
  const key = (consumer: string): string =>
    `response:${responseId('block-all', `alert-${consumer}`, 'block')}`;

  /** Blocks two consumers and stops; then the state of the first response is one that this version does not know. */
  async function twoBlocked(): Promise<{ kong: MemoryKong; policies: TestPolicies }> {
    const kong = new MemoryKong(['c-1', 'c-2']);
    const policies = new TestPolicies(aPolicy());
    const { publish, responder, bus } = start({ policies, admin: kong });
    await publish(anAlert(), anAlert({ consumer: 'c-2' }));
    await kong.until(() => kong.blocked().length === 2);
    await expect
      .poll(async () => (await bus.lag()).find((one) => one.group === 'responder')?.records, { interval: 1 })
      .toBe(0);
    await stop(responder);
    const store = disk.state(clock.now);
    const claimed = await store.claim(0);
    expect((await claimed.loadAll()).has(key('c-1'))).toBe(true);
    const otherShape = Buffer.from('{"response":{"version":9}}');
    await claimed.checkpoint(new Map([[key('c-1'), otherShape]]), claimed.offset!);
    await disk.close();
    kong.writes.splice(0);
    return { kong, policies };
  }

  test('is forgotten and counted, its plugin taken off, the others left; its alert is answered anew, once', async () => {
    const { kong, policies } = await twoBlocked();
    const { publish, responder, context } = start({ policies, admin: kong });
    await kong.until(() => kong.blocked().length === 1);
    expect(kong.blocked()).toEqual(['c-2']);
    expect(kong.writes.map(({ kind }) => kind)).toEqual(['delete']);
    expect(await context.metrics.getSingleMetricAsString('tripline_responder_unreadable_total')).toMatch(
      /total 1$/m,
    );
    await publish(anAlert({ revision: 2 }));
    await kong.until(() => kong.blocked().length === 2);
    await expect.poll(() => responder.responses().map(({ status }) => status)).toEqual(['active', 'active']);
    expect(kong.writes.map(({ kind }) => kind)).toEqual(['delete', 'put']);
  });

  test('costs no second plugin when its alert comes before Kong can be read', async () => {
    const { kong, policies } = await twoBlocked();
    kong.down = true;
    const { publish, responder } = start({ policies, admin: kong });
    await publish(anAlert({ revision: 2 }));
    await expect.poll(() => responder.responses()).toHaveLength(2);
    kong.down = false;
    clock.advance(60_000);
    await expect
      .poll(() => responder.responses().map(({ status }) => status))
      .toEqual(expect.arrayContaining(['active', 'active']));
    expect(kong.store.size).toBe(2);
    expect(kong.writes).toEqual([]);
  });
});

describe('the notifier', () => {
  const telling = (id: string, fields: Partial<Policy> = {}): Policy =>
    aPolicy({ id: `tell-${id}`, actions: [{ type: 'notify', webhook: id }], ...fields });
  const failed: Delivery = { kind: 'retry', problem: 'the receiver answered 503' };

  /** Both receivers listen from here on. */
  async function listening(started: ReturnType<typeof start>, count: number): Promise<void> {
    await expect
      .poll(async () => (await started.bus.lag()).filter((one) => one.group.startsWith('webhook:')).length, {
        interval: 1,
      })
      .toBe(count);
  }

  test('a receiver hears of raised, more severe and closed alerts, not of those that only grow', async () => {
    const sender = new TestWebhooks();
    const started = start({ policies: new TestPolicies(telling('a')), channels: [sender.channel('a')] });
    await listening(started, 1);
    for (const alert of [
      anAlert({ severity: 'medium' }),
      anAlert({ severity: 'medium', revision: 2, count: 200 }),
      anAlert({ severity: 'critical', revision: 3 }),
      anAlert({ severity: 'high', revision: 4 }),
      anAlert({ severity: 'high', revision: 5, status: 'closed' }),
    ]) {
      await started.publish(alert, anAlert({ id: `beside ${alert.revision}` }));
      await sender.until(() => sender.sent.some((one) => one.alert === `beside ${alert.revision}`));
    }
    expect(sender.to('a').filter((text) => !text.includes('beside'))).toEqual([
      'alert.raised alert-c-1 1',
      'alert.updated alert-c-1 3',
      'alert.closed alert-c-1 5',
    ]);
  });

  test('a record of what a receiver was notified of that cannot be read keeps no alert from it', async () => {
    const store = disk.state(clock.now);
    const claimed = await store.claim(0);
    // As the embedded store of an earlier version had written it.
    const msgpack = Buffer.concat([
      Buffer.from([0x92, 0xce, 0x69, 0x7e, 0x9a, 0x43, 0xd9, 2]),
      Buffer.from('{}'),
    ]);
    await claimed.checkpoint(new Map([['told:a:alert-c-1', msgpack]]), 0);
    await disk.close();
    const sender = new TestWebhooks();
    const started = start({ policies: new TestPolicies(telling('a')), channels: [sender.channel('a')] });
    await listening(started, 1);
    await started.publish(anAlert());
    await sender.until(() => sender.to('a').length === 1);
    expect(started.context.lines.join('')).toContain('told:a:alert-c-1');
  });

  test('only receivers named by a policy that matches and is no dry run hear of it', async () => {
    const sender = new TestWebhooks();
    const policies = new TestPolicies(
      telling('a', { match: { severityAtLeast: 'critical' } }),
      telling('b', { dryRun: true }),
      telling('c'),
      telling('nobody'),
    );
    const started = start({ policies, channels: ['a', 'b', 'c'].map((id) => sender.channel(id)) });
    await listening(started, 3);
    expect(started.context.lines.join('')).toContain('names a webhook that is not configured');
    await started.publish(anAlert());
    await sender.until(() => sender.to('c').length === 1);
    await started.publish(anAlert({ revision: 2, severity: 'critical' }));
    await sender.until(() => sender.to('a').length === 1);
    expect(sender.to('a')).toEqual(['alert.raised alert-c-1 2']);
    await expect
      .poll(async () => (await started.bus.lag()).every((one) => one.records === 0), { interval: 1 })
      .toBe(true);
    expect(sender.to('b')).toEqual([]);
  });

  test('a dead receiver delays nobody; its messages keep their ids until it is back', async () => {
    const sender = new TestWebhooks();
    sender.answers.set('dead', failed);
    const policies = new TestPolicies(telling('dead'), telling('good'));
    const started = start({ policies, channels: [sender.channel('dead'), sender.channel('good')] });
    await listening(started, 2);
    await started.publish(anAlert(), anAlert({ id: 'second' }));
    await sender.until(() => sender.to('good').length === 2 && sender.to('dead').length === 2);
    // The wait before the second attempt: one second, beside the controller's.
    await expect.poll(() => clock.sleeping(), { interval: 1 }).toContain(1_000);
    clock.advance(1_000);
    await sender.until(() => sender.to('dead').length === 4);
    expect(started.responder.health().detail).toContain('webhook dead: the receiver answered 503');
    await expect.poll(() => clock.sleeping(), { interval: 1 }).toContain(2_000);
    sender.answers.clear();
    clock.advance(2_000);
    await sender.until(() => sender.to('dead').length === 6);
    expect(sender.to('dead').filter((text) => text === 'alert.raised second 1')).toHaveLength(3);
    const ids = sender.sent.filter((one) => one.alert === 'alert-c-1').map((one) => one.message.id);
    expect(new Set(ids).size).toBe(1);
  });

  test('nothing is lost or repeated over a restart in the middle of retrying', async () => {
    const sender = new TestWebhooks();
    const policies = new TestPolicies(telling('a'));
    const first = start({ policies, channels: [sender.channel('a')] });
    await listening(first, 1);
    await first.publish(anAlert());
    await sender.until(() => sender.to('a').length === 1);
    await expect
      .poll(async () => (await first.bus.lag()).every((one) => one.records === 0), { interval: 1 })
      .toBe(true);
    sender.answers.set('a', failed);
    await first.publish(anAlert({ revision: 2 }), anAlert({ id: 'second' }), anAlert({ id: 'third' }));
    await sender.until(() => sender.to('a').length === 3);
    await stop(first.responder);
    sender.answers.clear();
    const ids = sender.sent.splice(0).map((one) => one.message.id);
    clock.advance(1_000);
    start({ policies, channels: [sender.channel('a')] });
    await sender.until(() => sender.to('a').length === 2);
    expect(sender.to('a')).toEqual(['alert.raised second 1', 'alert.raised third 1']);
    expect(sender.sent.map((one) => one.message.id)).toEqual(ids.slice(1));
  });

  test('a message is given up when its alert is 24 hours old: counted, and kept as a dead letter', async () => {
    const sender = new TestWebhooks();
    sender.answers.set('a', failed);
    const started = start({ policies: new TestPolicies(telling('a')), channels: [sender.channel('a')] });
    await listening(started, 1);
    await started.publish(anAlert());
    await sender.until(() => sender.to('a').length === 1);
    await expect.poll(() => clock.sleeping(), { interval: 1 }).toContain(1_000);
    clock.advance(24 * hour);
    const letters: string[] = [];
    const reader = started.bus.consume({
      topic: 'dead-letters',
      group: 'test',
      onBatch: (batch) => Promise.resolve(void letters.push(batch.body.toString())),
    });
    await expect.poll(() => letters.length, { interval: 1 }).toBe(1);
    expect(letters[0]).toContain('webhook a, alert alert-c-1, revision 1: the receiver answered 503');
    expect(await started.context.metrics.metrics()).toContain(
      'tripline_webhook_deliveries_total{webhook="a",outcome="given-up"} 1',
    );
    sender.answers.clear();
    await started.publish(anAlert({ id: 'fresh', lastSeenAt: clock.nowMs }));
    await sender.until(() => sender.to('a').includes('alert.raised fresh 1'));
    await reader.stop();
  });

  test('a receiver that answers 410 to everything is left alone, over a restart, until its URL changes', async () => {
    const sender = new TestWebhooks();
    sender.answers.set('a', { kind: 'gone', problem: '410' });
    const policies = new TestPolicies(telling('a'));
    const first = start({ policies, channels: [sender.channel('a')] });
    await listening(first, 1);
    await first.publish(anAlert(), anAlert({ id: 'second' }), anAlert({ id: 'third' }));
    await sender.until(() => sender.to('a').length === 3);
    await expect.poll(() => first.responder.health().detail, { interval: 1 }).toContain('gone (410)');
    // The bus is read on: a receiver that is gone holds up nothing.
    await first.publish(anAlert({ id: 'fourth' }));
    await expect
      .poll(() => first.responder.channels(), { interval: 1 })
      .toMatchObject([{ channel: 'a', waiting: 4 }]);
    await stop(first.responder);

    const second = start({ policies, channels: [sender.channel('a')] });
    await expect.poll(() => second.responder.health().detail, { interval: 1 }).toContain('gone (410)');
    clock.advance(hour);
    expect(sender.to('a')).toHaveLength(3);
    await stop(second.responder);

    sender.answers.clear();
    start({ policies, channels: [sender.channel('a', 'https://moved.test/')] });
    await sender.until(() => sender.to('a').length === 7);
    expect(sender.to('a').slice(3).sort()).toEqual([
      'alert.raised alert-c-1 1',
      'alert.raised fourth 1',
      'alert.raised second 1',
      'alert.raised third 1',
    ]);
  });

  test('a receiver is not notified of an alert that is older than its configuration', async () => {
    const sender = new TestWebhooks();
    const policies = new TestPolicies(telling('a'));
    const first = start({ policies });
    await first.publish(anAlert({ lastSeenAt: startMs }));
    await stop(first.responder);
    const second = start({ policies, channels: [sender.channel('a')] });
    await listening(second, 1);
    await second.publish(anAlert({ id: 'new' }));
    await sender.until(() => sender.sent.length > 0);
    expect(sender.to('a')).toEqual(['alert.raised new 1']);
  });
});
