import { startProcessor } from '@tripline/app-processor';
import { type Bus, type BusRecord, type ConsumeOptions, createEmbeddedBus, jsonRecord } from '@tripline/bus';
import { createDetection, detectionConfigSchema } from '@tripline/detection';
import { actorKey, type Alert, type ApiCall, type DeadLetter, encodeApiCall } from '@tripline/model';
import { createEmbeddedState, type StateChanges, type StateStore } from '@tripline/state';
import { afterEach, describe, expect, it } from 'vitest';
import { scratchDir, testContext, until, watchTopic } from '../support/parts.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

const detection = createDetection(detectionConfigSchema.parse({}));
const began = Date.UTC(2026, 10, 21, 9);

function call(consumer: string, atMs: number, n: number): ApiCall {
  return {
    id: `${consumer}-${n}.${(began + atMs).toString(36)}`,
    startedAt: began + atMs,
    actorKind: 'consumer',
    actorId: consumer,
    actorName: consumer,
    consumerId: consumer,
    ip: '203.0.113.7',
    method: 'GET',
    path: '/orders/1',
    endpoint: 'GET /orders/{id}',
    service: 'orders',
    status: 200,
    source: 'upstream',
    requestBytes: 100,
    responseBytes: 100,
    latencyMs: 5,
  };
}

/** Ten quiet consumers, and three that bombard for a minute, one after the other; in order of time. */
function traffic(): ApiCall[] {
  const calls: ApiCall[] = [];
  for (let n = 0; n < 600; n++)
    for (let c = 0; c < 10; c++) calls.push(call(`quiet-${c}`, n * 1_000 + c * 37, n));
  for (let a = 0; a < 3; a++) {
    for (let n = 0; n < 3_000; n++) calls.push(call(`loud-${a}`, 60_000 + a * 120_000 + n * 20, n));
  }
  return calls.sort((a, b) => a.startedAt - b.startedAt);
}

interface Parts {
  bus: Bus;
  state: StateStore;
}

function open(partitions = 1): Parts {
  const scratch = scratchDir();
  const bus = createEmbeddedBus({ path: `${scratch.path}/bus`, partitions });
  const state = createEmbeddedState({ path: `${scratch.path}/state` });
  undo.push(async () => {
    await bus.close();
    await state.close();
    scratch.dispose();
  });
  return { bus, state };
}

async function publish(bus: Bus, calls: readonly ApiCall[], batch: number): Promise<void> {
  for (let i = 0; i < calls.length; i += batch) {
    await bus.publish(
      'api-calls',
      calls.slice(i, i + batch).map((one) => ({ key: actorKey(one), value: encodeApiCall(one) })),
    );
  }
}

/** Runs a processor until it has passed everything; what it must not do twice is seen by its effects. */
async function run({ bus, state }: Parts, checkpointEveryMs = 0): Promise<void> {
  const processor = startProcessor({
    ...testContext(),
    bus,
    state,
    detection,
    aggregates: false,
    maxActorsInMemory: 100_000,
    checkpointEveryMs,
  });
  await Promise.race([
    processor.ended,
    until(
      async () => (await bus.lag()).find((row) => row.group === 'processor')?.records === 0,
      'the processor has passed everything',
    ),
  ]);
  await processor.stop();
}

/**
 * Runs a processor until it is killed or has passed everything. Killed: the effect under way never answers, so that
 * nothing of that life goes on, and whoever comes next claims its state.
 */
async function runMortal(
  parts: Parts,
  checkpointEveryMs: number,
  death: { died: Promise<void>; answer: () => void },
  passedAll: Promise<void>,
): Promise<void> {
  const processor = startProcessor({
    ...testContext(),
    ...parts,
    detection,
    aggregates: false,
    maxActorsInMemory: 100_000,
    checkpointEveryMs,
  });
  const killed = await Promise.race([death.died.then(() => true), passedAll.then(() => false)]);
  if (!killed) return processor.stop();
  undo.push(async () => {
    const stopped = processor.stop();
    death.answer();
    await stopped;
  });
}

/** The alerts as whoever reads them idempotently sees them: each revision once. */
function settled(alerts: readonly Alert[]): string[] {
  const seen = new Map<string, string>();
  for (const alert of alerts) {
    const key = `${alert.id}/${alert.revision}`;
    const text = JSON.stringify(alert);
    // The same revision of the same alert always says the same.
    expect(seen.get(key) ?? text).toBe(text);
    seen.set(key, text);
  }
  return [...seen.values()].sort();
}

async function alertsOf(parts: Parts): Promise<string[]> {
  const seen = watchTopic<Alert>(parts.bus, 'alerts');
  await until(
    async () => (await parts.bus.lag()).some((row) => row.group === 'test' && row.records === 0),
    'alerts are read',
  );
  return settled(seen);
}

async function undisturbed(): Promise<string[]> {
  const parts = open();
  await publish(parts.bus, traffic(), 1_000);
  await run(parts);
  return alertsOf(parts);
}

describe('the processor', () => {
  it('raises one alert for each consumer that bombards, and none for the others', async () => {
    const alerts = (await undisturbed()).map((text) => JSON.parse(text) as Alert);
    expect(new Set(alerts.map((alert) => alert.id)).size).toBe(3);
    expect(new Set(alerts.map((alert) => alert.actor.id))).toEqual(new Set(['loud-0', 'loud-1', 'loud-2']));
    for (const alert of alerts) expect(alert.raisedAt - alert.startedAt).toBeLessThan(30_000);
  });

  it('raises the same alerts to the letter whatever the batches and partitions', async () => {
    const expected = await undisturbed();
    for (const [partitions, batch] of [
      [1, 17],
      [2, 1_000],
      [8, 333],
    ] as const) {
      const parts = open(partitions);
      await publish(parts.bus, traffic(), batch);
      await run(parts);
      expect(await alertsOf(parts)).toEqual(expected);
    }
  });

  it('learns the parameters of an endpoint from all its callers, and names who sends others, wherever it is restarted', async () => {
    const usual = Array.from({ length: 600 }, (_, n) => ({
      ...call(`client-${n % 7}`, n * 240_000, n),
      query: { status: [['open', 'paid', 'shipped'][n % 3]!], limit: [n % 2 ? '20' : '50'] },
    }));
    const odd = Array.from({ length: 5 }, (_, n) => ({
      ...call('client-3', 601 * 240_000 + n * 1_000, 1_000 + n),
      query: { status: ["open' UNION SELECT password FROM users--"], limit: ['20'] },
    }));
    const raised: string[][] = [];
    for (const lives of [1, 4]) {
      const parts = open();
      const calls = [...usual, ...odd];
      for (let life = 0; life < lives; life++) {
        const part = calls.slice((life * calls.length) / lives, ((life + 1) * calls.length) / lives);
        await publish(parts.bus, part, lives === 1 ? 605 : 10);
        await run(parts);
      }
      raised.push(await alertsOf(parts));
    }
    expect(raised[1]).toEqual(raised[0]);
    const alerts = raised[0]!.map((text) => JSON.parse(text) as Alert);
    expect(new Set(alerts.map(({ type, actor, endpoint }) => `${type} ${actor.id} ${endpoint}`))).toEqual(
      new Set(['abnormal-parameter client-3 GET /orders/{id}']),
    );
    expect(alerts[0]!.references).toContain('CWE-89');
    expect(raised[0]!.join()).not.toContain('UNION');
  });

  it('counts duplicated calls once', async () => {
    const expected = await undisturbed();
    const calls = traffic();
    const doubled = calls.flatMap((one, index) =>
      index % 10 === 0 ? [one, calls[Math.max(0, index - 900)]!] : [one],
    );
    const parts = open();
    await publish(parts.bus, doubled, 500);
    await run(parts);
    expect(await alertsOf(parts)).toEqual(expected);
  });

  it('counts a call once that comes again after a restart', async () => {
    const expected = await undisturbed();
    const calls = traffic();
    const parts = open();
    await publish(parts.bus, calls.slice(0, 4_000), 500);
    await run(parts);
    await publish(parts.bus, [...calls.slice(3_000, 4_000), ...calls.slice(4_000)], 500);
    await run(parts);
    expect(await alertsOf(parts)).toEqual(expected);
  });

  it('loses and doubles nothing when it dies between any two effects', async () => {
    const expected = await undisturbed();
    const calls = traffic();
    // Which effect fails in each life of the processor: publishing alerts, or the checkpoint, before or after it was done.
    for (const [failing, when] of [
      ['alerts', 'before'],
      ['alerts', 'after'],
      ['checkpoint', 'before'],
      ['checkpoint', 'after'],
    ] as const) {
      const parts = open();
      await publish(parts.bus, calls, 400);
      for (let life = 1; ; life++) {
        let passed: () => void = () => undefined;
        const passedAll = new Promise<void>((resolve) => (passed = resolve));
        let countdown = failing === 'alerts' ? life : life * 7;
        let die: () => void = () => undefined;
        const died = new Promise<void>((resolve) => (die = resolve));
        let answer: () => void = () => undefined;
        const silence = new Promise<never>((_, reject) => (answer = () => reject(new Error('killed'))));
        silence.catch(() => undefined);
        const mortal = async (effect: () => Promise<void>): Promise<void> => {
          const last = --countdown === 0;
          if (!last || when === 'after') await effect();
          if (!last) return;
          die();
          await silence;
        };
        const bus: Bus = Object.assign(Object.create(parts.bus) as Bus, {
          partitions: 1,
          publish: (topic: 'alerts', records: BusRecord[]) =>
            failing === 'alerts'
              ? mortal(() => parts.bus.publish(topic, records))
              : parts.bus.publish(topic, records),
          consume: (options: ConsumeOptions) =>
            parts.bus.consume({
              ...options,
              maxBatchBytes: 100_000,
              onBatch: async (batch) => {
                await options.onBatch(batch);
                if (batch.nextOffset === calls.length) passed();
              },
            }),
          lag: parts.bus.lag.bind(parts.bus),
        });
        const state: StateStore = Object.assign(Object.create(parts.state) as StateStore, {
          claim: async (partition: number) => {
            const claimed = await parts.state.claim(partition);
            return {
              ...claimed,
              checkpoint: (changes: StateChanges, offset: number) =>
                failing === 'checkpoint'
                  ? mortal(() => claimed.checkpoint(changes, offset))
                  : claimed.checkpoint(changes, offset),
            };
          },
          problem: () => null,
        });
        await runMortal(
          { bus, state },
          failing === 'alerts' ? Infinity : 0,
          { died, answer: () => answer() },
          passedAll,
        );
        if (countdown > 0) break;
        expect(life).toBeLessThan(50);
      }
      expect(await alertsOf(parts)).toEqual(expected);
    }
  });

  it('sets a record aside that is no API call, and goes on', async () => {
    const parts = open();
    const letters = watchTopic<DeadLetter>(parts.bus, 'dead-letters', 'letters');
    await parts.bus.publish('api-calls', [
      { key: 'k', value: Buffer.from('{"not":"a call"}') },
      { key: 'k', value: Buffer.from('rubbish of Jane') },
      { key: 'k', value: Buffer.from('{"id":"12345678","startedAt":1,"actorId":"x"}') },
      jsonRecord('k', { ...call('loud-0', 0, 0), query: { password: 'hunter2' } }),
    ]);
    await publish(parts.bus, traffic(), 1_000);
    await run(parts);
    await until(() => letters.length === 4, 'four dead letters');
    expect(letters.map(({ reason, detail }) => `${reason}: ${detail}`)).toEqual([
      'no-api-call: api-calls/0: no API call: id is missing or has another type',
      'no-api-call: api-calls/0: no API call: id is cut off or has a value that it cannot have',
      'no-api-call: api-calls/0: no API call: actorKind is missing or has another type',
      'no-api-call: api-calls/0: no API call: query is missing or has another type',
    ]);
    expect(letters[1]!.sample).toBe('~text~ 15 chars, beginning: aaaaaaa aa Aaaa');
    expect(JSON.stringify(letters)).not.toMatch(/hunter2|Jane/);
    expect(await alertsOf(parts)).toEqual(await undisturbed());
  });

  it('gives the same alerts with hardly any memory for actors', async () => {
    const expected = await undisturbed();
    const parts = open();
    await publish(parts.bus, traffic(), 200);
    const processor = startProcessor({
      ...testContext(),
      ...parts,
      detection,
      aggregates: false,
      checkpointEveryMs: 0,
      maxActorsInMemory: 2,
    });
    await until(
      async () => (await parts.bus.lag()).find((row) => row.group === 'processor')?.records === 0,
      'done',
    );
    await processor.stop();
    expect(await alertsOf(parts)).toEqual(expected);
  });

  it('ends an episode by the clock when no calls come any more', async () => {
    let now = began;
    const parts = open();
    await publish(parts.bus, traffic(), 1_000);
    const processor = startProcessor({
      ...testContext(() => now),
      ...parts,
      detection,
      aggregates: false,
      maxActorsInMemory: 100_000,
      checkpointEveryMs: 0,
    });
    const alerts = watchTopic<Alert>(parts.bus, 'alerts');
    await until(
      async () => (await parts.bus.lag()).find((row) => row.group === 'processor')?.records === 0,
      'done',
    );
    expect(alerts.some((alert) => alert.status === 'closed')).toBe(false);
    now += 2 * 3_600_000;
    await until(
      () => alerts.filter((alert) => alert.status === 'closed').length === 3,
      'all episodes are closed',
    );
    await processor.stop();
  });
});
