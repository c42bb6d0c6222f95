import { aggregateRecords, startAggregates, startProcessor } from '@tripline/app-processor';
import { type Bus, type BusRecord, type ConsumeOptions, createEmbeddedBus, recordsOf } from '@tripline/bus';
import {
  createDetection,
  createEndpointDetection,
  decodeEmission,
  detectionConfigSchema,
  encodeEmission,
} from '@tripline/detection';
import {
  actorKey,
  type Alert,
  type ApiCall,
  type DeadLetter,
  type Topic,
  encodeApiCall,
} from '@tripline/model';
import { createEmbeddedState, type StateChanges, type StateStore } from '@tripline/state';
import { afterEach, describe, expect, it } from 'vitest';
import { loginsOf, loginsSchema } from '../../packages/detection/test-support/logins.ts';
import { scratchDir, testContext, until, watchTopic } from '../support/parts.ts';

/** The whole re-key step on real parts: calls in, alerts about endpoints out, through two topics and two stores. */

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

const config = detectionConfigSchema.parse({ requestSpike: { enabled: false } });
const detection = createDetection(config);
const endpointDetection = createEndpointDetection(config);
const beganMs = Date.parse('2026-03-02T09:00:00Z');

/** Half an hour of logins on two endpoints; each is attacked from hundreds of addresses, one after the other. */
const calls: readonly ApiCall[] = loginsOf(
  [
    { from: '0d', until: '30m', perMinute: 30, addresses: 300, accounts: 300, consumers: true },
    { from: '0d', until: '30m', perMinute: 20, addresses: 300, accounts: 300, endpoint: 'POST /token' },
    { from: '5m', until: '12m', perMinute: 60, addresses: 900, accounts: 900, failing: 0.99, tries: 1 },
    {
      from: '15m',
      until: '22m',
      perMinute: 60,
      addresses: 900,
      accounts: 900,
      failing: 0.99,
      tries: 1,
      endpoint: 'POST /token',
    },
  ].map((program) => loginsSchema.parse(program)),
  beganMs,
  1,
);

interface Parts {
  bus: Bus;
  state: StateStore;
  aggregateState: StateStore;
}

function open(partitions: number): Parts {
  const scratch = scratchDir();
  const bus = createEmbeddedBus({ path: `${scratch.path}/bus`, partitions });
  const state = createEmbeddedState({ path: `${scratch.path}/state` });
  const aggregateState = createEmbeddedState({ path: `${scratch.path}/aggregates` });
  undo.push(async () => {
    await bus.close();
    await state.close();
    await aggregateState.close();
    scratch.dispose();
  });
  return { bus, state, aggregateState };
}

async function publish(bus: Bus, some: readonly ApiCall[], batch: number): Promise<void> {
  for (let i = 0; i < some.length; i += batch) {
    await bus.publish(
      'api-calls',
      some.slice(i, i + batch).map((one) => ({ key: actorKey(one), value: encodeApiCall(one) })),
    );
  }
}

/** A clock that stands still, unless it is moved. */
interface Clock {
  ms: number;
}

interface Both {
  stop: () => Promise<void>;
  ended: Promise<unknown>;
  /** How many records of the topic lie before what was checkpointed. */
  passed: (topic: Topic) => number;
}

function startBoth({ bus: under, state, aggregateState }: Parts, clock: Clock): Both {
  const positions = new Map<string, number>();
  const bus: Bus = Object.assign(Object.create(under) as Bus, {
    partitions: under.partitions,
    publish: under.publish.bind(under),
    problem: () => null,
    lag: under.lag.bind(under),
    consume: (options: ConsumeOptions) => {
      const subscription = under.consume({
        ...options,
        startAt: async (partition) => {
          const offset = await options.startAt!(partition);
          positions.set(`${options.topic} ${partition}`, offset ?? 0);
          return offset;
        },
      });
      return {
        ...subscription,
        passed: (partition: number, offset: number) => {
          positions.set(`${options.topic} ${partition}`, offset);
          subscription.passed(partition, offset);
        },
      };
    },
  });
  const common = { bus, checkpointEveryMs: 0 };
  const processor = startProcessor({
    ...testContext(() => clock.ms),
    ...common,
    state,
    detection,
    aggregates: true,
    maxActorsInMemory: 100_000,
  });
  const aggregates = startAggregates({
    ...testContext(() => clock.ms),
    ...common,
    state: aggregateState,
    detection: endpointDetection,
  });
  return {
    stop: async () => {
      await Promise.all([processor.stop(), aggregates.stop()]);
    },
    ended: Promise.all([processor.ended, aggregates.ended]),
    passed: (topic) =>
      [...positions].reduce((sum, [key, at]) => (key.startsWith(`${topic} `) ? sum + at : sum), 0),
  };
}

/** Runs until everything is folded and the last episode is closed, which takes hours of the clock. */
async function run(parts: Parts, junk = 0): Promise<void> {
  const clock = { ms: beganMs };
  const both = startBoth(parts, clock);
  await Promise.race([
    both.ended,
    until(() => both.passed('api-calls') === calls.length, 'all calls are folded'),
  ]);
  const alerts = watchTopic<Alert>(parts.bus, 'alerts', 'closing');
  const marks = watchMarks(parts.bus);
  await until(() => {
    clock.ms += 1_000;
    return marks.resting.size === parts.bus.partitions;
  }, 'all partitions rest');
  // Only then: an hour of the clock without calls ends an episode.
  await until(() => both.passed('aggregates') === marks.count + junk, 'all aggregates are folded');
  await until(() => {
    clock.ms += 600_000;
    return alerts.filter((alert) => alert.status === 'closed').length >= 2;
  }, 'both alerts are closed');
  await both.stop();
}

/** How many marks there are, and of which partitions of `api-calls` the last one says that they are idle. */
function watchMarks(bus: Bus): { count: number; resting: Set<number> } {
  const marks = { count: 0, resting: new Set<number>() };
  bus.consume({
    topic: 'aggregates',
    group: 'marks',
    onBatch: ({ body }) => {
      for (const record of recordsOf(body)) {
        const mark = markIn(record, bus.partitions);
        if (!mark) continue;
        marks.count++;
        if (mark.idle) marks.resting.add(mark.from);
        else marks.resting.delete(mark.from);
      }
      return Promise.resolve();
    },
  });
  return marks;
}

/** What a record says of its source; undefined if it is no emission. */
function markIn(record: Buffer, sources: number): { from: number; idle: boolean } | undefined {
  try {
    return decodeEmission(record, sources);
  } catch {
    return undefined;
  }
}

function ids(alerts: readonly Alert[]): Set<string> {
  return new Set(alerts.map((alert) => alert.id));
}

/** The alerts as whoever reads them idempotently sees them: each revision once. */
function settled(alerts: readonly Alert[]): string[] {
  const seen = new Map<string, string>();
  for (const alert of alerts) {
    const key = `${alert.id}/${alert.revision}`;
    const text = JSON.stringify(alert);
    expect(seen.get(key) ?? text).toBe(text);
    seen.set(key, text);
  }
  return [...seen.values()].sort();
}

async function alertsOf({ bus }: Parts): Promise<string[]> {
  const seen = watchTopic<Alert>(bus, 'alerts');
  await until(
    async () => (await bus.lag()).some((row) => row.group === 'test' && row.records === 0),
    'alerts are read',
  );
  return settled(seen);
}

async function undisturbed(): Promise<string[]> {
  const parts = open(1);
  await publish(parts.bus, calls, 1_000);
  await run(parts);
  return alertsOf(parts);
}

describe('the re-key step', () => {
  it('sees an attack that is spread over hundreds of actors, once per endpoint', async () => {
    const alerts = (await undisturbed()).map((text) => JSON.parse(text) as Alert);
    expect(ids(alerts).size).toBe(2);
    expect(new Set(alerts.map((alert) => alert.actor.id))).toEqual(
      new Set(['accounts POST /login', 'accounts POST /token']),
    );
    for (const alert of alerts) {
      expect(alert).toMatchObject({ type: 'credential-stuffing', actor: { kind: 'endpoint' } });
      expect(alert.raisedAt - alert.startedAt).toBeLessThanOrEqual(600_000);
    }
  });

  it('raises the same alerts to the letter whatever the batches and partitions', async () => {
    const expected = await undisturbed();
    for (const [partitions, batch] of [
      [1, 17],
      [2, 500],
      [8, 111],
    ] as const) {
      const parts = open(partitions);
      await publish(parts.bus, calls, batch);
      await run(parts);
      expect(await alertsOf(parts), `${partitions} partitions`).toEqual(expected);
    }
  });

  it('does not wait for partitions that never have calls', async () => {
    const parts = open(8);
    const one = calls.find((call) => call.actorKind === 'address')!;
    // One actor's partition has calls, the others never do: as many accounts from one address.
    const few = calls.slice(0, 400).map((call, n) => ({
      ...call,
      ...{
        actorKind: one.actorKind,
        actorId: one.actorId,
        ip: one.ip!,
        user: `~user~${n}`,
        status: 401,
        auth: 'failure' as const,
        endpoint: 'POST /login',
      },
    }));
    const clock = { ms: beganMs };
    const both = startBoth(parts, clock);
    await publish(parts.bus, few, 100);
    await until(() => both.passed('api-calls') === few.length, 'all calls are folded');
    const { resting } = watchMarks(parts.bus);
    await until(() => {
      clock.ms += 1_000;
      return resting.size === 8;
    }, 'all partitions rest');
    const alerts = watchTopic<Alert>(parts.bus, 'alerts');
    await until(() => alerts.some(({ type }) => type === 'credential-stuffing'), 'the attack is an alert');
    await both.stop();
  });

  it('loses and doubles nothing when it dies between any two effects of either half', async () => {
    const expected = await undisturbed();
    for (const [failing, when] of [
      ['aggregates', 'before'],
      ['aggregates', 'after'],
      ['alerts', 'before'],
      ['alerts', 'after'],
      ['calls checkpoint', 'before'],
      ['calls checkpoint', 'after'],
      ['aggregates checkpoint', 'before'],
      ['aggregates checkpoint', 'after'],
    ] as const) {
      const parts = open(2);
      await publish(parts.bus, calls, 300);
      // Each life ends at a later effect than the one before, until one has none left to die at.
      for (let life = 1; life <= 8; life++) {
        let countdown = life * 4;
        let die: () => void = () => undefined;
        const died = new Promise<boolean>((resolve) => (die = () => resolve(true)));
        let answer: () => void = () => undefined;
        const silence = new Promise<never>((_, reject) => (answer = () => reject(new Error('killed'))));
        silence.catch(() => undefined);
        let dead = false;
        const underWay = new Set<Promise<unknown>>();
        /** The effect that never answers, and none after it: whoever comes next claims the state of that life. */
        const mortal: Mortal = async (name, effect) => {
          if (dead) return silence;
          const last = name === failing && --countdown === 0;
          dead = last;
          if (last && when === 'before') {
            die();
            return silence;
          }
          const under = effect();
          if (name !== 'batch') underWay.add(under);
          const done = await under.finally(() => underWay.delete(under));
          if (last) die();
          return dead ? silence : done;
        };
        const both = startBoth(
          {
            bus: mortalBus(parts.bus, mortal),
            state: mortalState(parts.state, 'calls checkpoint', mortal),
            aggregateState: mortalState(parts.aggregateState, 'aggregates checkpoint', mortal),
          },
          { ms: beganMs },
        );
        both.ended.catch(() => undefined);
        undo.push(async () => {
          const stopped = both.stop();
          answer();
          await stopped;
        });
        // Half an hour of calls makes about 30 marks of each partition; the last of them come with `run`.
        const survived = until(
          () => both.passed('api-calls') === calls.length && both.passed('aggregates') >= 100,
          'a life goes on to its end',
        )
          // Stopping has effects as well, at which this life may still die.
          .then(() => both.stop())
          .then(() => false);
        survived.catch(() => undefined);
        if (!(await Promise.race([died, survived]))) break;
        // What a killed process had handed over is done, or not, before the next one begins.
        await Promise.allSettled(underWay);
      }
      // What was under way in the last life is void as soon as the next claims its state.
      await run(parts);
      expect(await alertsOf(parts), `${failing}, ${when}`).toEqual(expected);
    }
  }, 180_000);

  it('passes over emissions that come again, from a processor that began anew', async () => {
    const expected = await undisturbed();
    const parts = open(2);
    await publish(parts.bus, calls, 300);
    const first = startBoth(parts, { ms: beganMs });
    await until(() => first.passed('api-calls') === calls.length, 'all calls are folded');
    await first.stop();
    // The store of the processors is lost: all calls are counted again.
    const scratch = scratchDir();
    const state = createEmbeddedState({ path: scratch.path });
    undo.push(async () => {
      await state.close();
      scratch.dispose();
    });
    await run({ ...parts, state });
    expect(await alertsOf(parts)).toEqual(expected);
  });

  it('sets a record aside that is no emission, and goes on', async () => {
    const parts = open(1);
    const letters = watchTopic<DeadLetter>(parts.bus, 'dead-letters', 'letters');
    const part = { step: 1, window: 2, service: 's', endpoint: 'e', minute: Buffer.from('no minute') };
    const [whole] = aggregateRecords({ from: 0, number: 1, until: -1, idle: false, parts: [] }, 1);
    await parts.bus.publish('aggregates', [
      { key: 'k', value: Buffer.from('rubbish') },
      { key: 'k', value: Buffer.from('{"from":0}') },
      {
        key: 'k',
        value: encodeEmission({ from: 0, number: 5, until: 1, idle: false, parts: [part] }),
      },
      whole!,
    ]);
    await publish(parts.bus, calls, 1_000);
    await run(parts, 2);
    await until(() => letters.length === 3, 'three dead letters');
    expect(letters.map((letter) => letter.reason)).toEqual(Array(3).fill('no-aggregate'));
    expect(await alertsOf(parts)).toEqual(await undisturbed());
  });
});

type Mortal = <T>(name: string, effect: () => Promise<T>) => Promise<T>;

function mortalBus(bus: Bus, mortal: Mortal): Bus {
  return Object.assign(Object.create(bus) as Bus, {
    partitions: bus.partitions,
    publish: (topic: Topic, records: BusRecord[]) => mortal(topic, () => bus.publish(topic, records)),
    consume: (options: ConsumeOptions) =>
      bus.consume({
        ...options,
        maxBatchBytes: 100_000,
        onBatch: (batch) => mortal('batch', () => options.onBatch(batch)),
      }),
    lag: bus.lag.bind(bus),
    problem: () => null,
  });
}

function mortalState(store: StateStore, name: string, mortal: Mortal): StateStore {
  return Object.assign(Object.create(store) as StateStore, {
    claim: async (partition: number) => {
      const claimed = await mortal('claim', () => store.claim(partition));
      return {
        ...claimed,
        load: (keys: readonly string[]) => mortal('load', () => claimed.load(keys)),
        checkpoint: (changes: StateChanges, offset: number) =>
          mortal(name, () => claimed.checkpoint(changes, offset)),
      };
    },
    problem: () => null,
  });
}
