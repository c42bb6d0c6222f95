import { afterEach, describe, expect, it } from 'vitest';
import { BeginAgainError, type Bus, type BusBatch, type BusRecord, type Subscription } from './bus.ts';
import { jsonRecord, recordsOf } from './records.ts';

/** A bus on storage of its own, which can be left and entered again. */
export interface BusUnderTest {
  bus: Bus;
  /** Closes the bus and opens it on what it left behind. */
  reopen: () => Promise<Bus>;
  dispose: () => Promise<void>;
}

/** What every bus guarantees; run for each implementation. */
export function busContract(name: string, create: (partitions: number) => Promise<BusUnderTest>): void {
  describe(`${name}: the bus contract`, () => {
    let under: BusUnderTest | undefined;
    const open = async (partitions = 1): Promise<Bus> => {
      under = await create(partitions);
      return under.bus;
    };
    afterEach(async () => {
      await under?.dispose();
      under = undefined;
    });

    it('delivers every record once per group, in the order of publishing', async () => {
      const bus = await open();
      await bus.publish('alerts', records(0, 3));
      const seen = collect(bus, 'one');
      await seen.until(3);
      await bus.publish('alerts', records(3, 1000));
      await seen.until(1000);
      expect(seen.values).toEqual(records(0, 1000).map(({ value }) => value.toString()));
      const second = collect(bus, 'two');
      await second.until(1000);
      expect(second.values).toEqual(seen.values);
    });

    it('numbers the records of a batch without gaps or overlaps', async () => {
      const bus = await open();
      const seen = collect(bus, 'g', { maxBatchBytes: 200 });
      for (let i = 0; i < 50; i++) await bus.publish('alerts', records(i * 7, i * 7 + 7));
      await seen.until(350);
      expectNumbered(seen.batches);
      expect(seen.batches.length).toBeGreaterThan(10);
    });

    it('numbers the records of api-calls likewise, where records may travel together', async () => {
      const bus = await open();
      const seen = collect(bus, 'g', {}, 'api-calls');
      for (let i = 0; i < 20; i++) await bus.publish('api-calls', records(i * 500, i * 500 + 500));
      await seen.until(10_000);
      expect(seen.values).toEqual(records(0, 10_000).map(({ value }) => value.toString()));
      expectNumbered(seen.batches);
    });

    it('sends a record to the partition that it names, whatever its key', async () => {
      const bus = await open(3);
      const named = [2, 0, 1].map((p) => ({ ...jsonRecord('k', { p }), partition: p }));
      for (const topic of ['alerts', 'api-calls'] as const) {
        const seen = collect(bus, 'g', {}, topic);
        await bus.publish(topic, named);
        await seen.until(3);
        for (const { partition, values } of seen.batches) expect(values).toEqual([`{"p":${partition}}`]);
      }
    });

    it('keeps records of one key in order on one partition', async () => {
      const bus = await open(4);
      const seen = collect(bus, 'g');
      const sent: BusRecord[] = [];
      for (let i = 0; i < 400; i++) sent.push(jsonRecord(`actor-${i % 13}`, { k: i % 13, n: i }));
      for (let i = 0; i < 400; i += 20) await bus.publish('api-calls', sent.slice(i, i + 20));
      const calls = collect(bus, 'calls', {}, 'api-calls');
      await calls.until(400);
      const partitionOfKey = new Map<number, number>();
      const lastOfKey = new Map<number, number>();
      for (const batch of calls.batches) {
        for (const value of batch.values) {
          const { k, n } = JSON.parse(value) as { k: number; n: number };
          expect(partitionOfKey.get(k) ?? batch.partition).toBe(batch.partition);
          partitionOfKey.set(k, batch.partition);
          expect(n).toBeGreaterThan(lastOfKey.get(k) ?? -1);
          lastOfKey.set(k, n);
        }
      }
      expect(new Set(partitionOfKey.values()).size).toBeGreaterThan(1);
      expect(seen.values).toEqual([]);
    });

    it('goes on behind the last batch whose handler succeeded, after it was closed and opened again', async () => {
      const bus = await open();
      await bus.publish('alerts', records(0, 10));
      const first = collect(bus, 'g');
      await first.until(10);
      await first.subscription.stop();
      const again = await under!.reopen();
      await again.publish('alerts', records(10, 20));
      const second = collect(again, 'g');
      await second.until(10);
      expect(second.values).toEqual(records(10, 20).map(({ value }) => value.toString()));
    });

    it('delivers a batch again whose handler failed, and tells of the failure', async () => {
      const bus = await open();
      await bus.publish('alerts', records(0, 5));
      const failing = bus.consume({
        topic: 'alerts',
        group: 'g',
        onBatch: () => Promise.reject(new Error('handler broke')),
      });
      await expect(failing.stopped).rejects.toThrow('handler broke');
      const seen = collect(bus, 'g');
      await seen.until(5);
      expect(seen.values).toHaveLength(5);
    });

    it('begins where a consumer that keeps its own position says, also in the middle of what was published together', async () => {
      const bus = await open();
      await bus.publish('alerts', records(0, 10));
      const seen = collect(bus, 'own', { startAt: () => Promise.resolve(4) });
      await seen.until(6);
      expect(seen.values).toEqual(records(4, 10).map(({ value }) => value.toString()));
      expect(seen.batches[0]?.firstOffset).toBe(4);
    });

    it('begins in the middle of api-calls that were published together, where a consumer says so', async () => {
      const bus = await open();
      await bus.publish('api-calls', records(0, 10));
      const whole = collect(bus, 'whole', {}, 'api-calls');
      await whole.until(10);
      const from = whole.batches[0]!.firstOffset + 4;
      const seen = collect(bus, 'own', { startAt: () => Promise.resolve(from) }, 'api-calls');
      await seen.until(6);
      expect(seen.values).toEqual(records(4, 10).map(({ value }) => value.toString()));
      expect(seen.batches[0]?.firstOffset).toBe(from);
      expectNumbered(seen.batches);
    });

    it.each(['alerts', 'api-calls'] as const)(
      'begins on %s where the group was told to be by `passed`, if the consumer itself does not know',
      async (topic) => {
        const bus = await open();
        await bus.publish(topic, records(0, 10));
        const first = collect(bus, 'own', { startAt: () => Promise.resolve(undefined) }, topic);
        await first.until(10);
        first.subscription.passed(0, first.batches[0]!.firstOffset + 7);
        await first.subscription.stop();
        const second = collect(bus, 'own', { startAt: () => Promise.resolve(undefined) }, topic);
        await second.until(3);
        expect(second.values).toEqual(records(7, 10).map(({ value }) => value.toString()));
      },
    );

    it('moves the position of a partition on after a restart although nothing comes on another', async () => {
      const bus = await open(2);
      const both = [0, 1].map((p) => ({ ...jsonRecord('k', { p }), partition: p }));
      await bus.publish('alerts', both);
      const startAt = (): Promise<undefined> => Promise.resolve(undefined);
      const first = collect(bus, 'own', { startAt });
      await first.until(2);
      for (const { partition, nextOffset } of first.batches) first.subscription.passed(partition, nextOffset);
      await first.subscription.stop();
      const second = collect(bus, 'own', { startAt });
      await bus.publish('alerts', [both[1]!]);
      await second.until(1);
      second.subscription.passed(1, second.batches[0]!.nextOffset);
      while ((await bus.lag()).some(({ group, records }) => group === 'own' && records > 0))
        await new Promise((resolve) => setImmediate(resolve));
      await second.subscription.stop();
    });

    it('asks anew where to begin after BeginAgainError, and goes on from there', async () => {
      const bus = await open();
      await bus.publish('alerts', records(0, 10));
      const happened: string[] = [];
      const values: string[] = [];
      let asked = 0;
      await new Promise<void>((resolve, reject) => {
        const subscription = bus.consume({
          topic: 'alerts',
          group: 'own',
          startAt: () => {
            happened.push('asked');
            return Promise.resolve(asked++ === 0 ? 0 : 3);
          },
          onRevoked: () => happened.push('revoked'),
          onBatch: ({ firstOffset, body }) => {
            happened.push(`batch at ${firstOffset}`);
            if (asked === 1) return Promise.reject(new BeginAgainError('somebody else has it'));
            values.push(...textsOf(body));
            if (values.length === 7) resolve();
            return Promise.resolve();
          },
        });
        subscription.stopped.catch(reject);
      });
      expect(happened.slice(0, 5)).toEqual(['asked', 'batch at 0', 'revoked', 'asked', 'batch at 3']);
      expect(values).toEqual(records(3, 10).map(({ value }) => value.toString()));
    });

    it('asks anew where to begin when it is told so between batches, also while a batch is under way', async () => {
      const bus = await open();
      await bus.publish('alerts', records(0, 4));
      const happened: string[] = [];
      let hold: Promise<void> | undefined;
      let told: () => void = () => undefined;
      const until = (length: number): Promise<void> =>
        new Promise((resolve) => {
          told = () => {
            if (happened.length >= length) resolve();
          };
          told();
        });
      const subscription = bus.consume({
        topic: 'alerts',
        group: 'own',
        startAt: () => {
          happened.push('asked');
          return Promise.resolve(0);
        },
        onRevoked: () => happened.push('revoked'),
        onBatch: async ({ firstOffset }) => {
          happened.push(`batch at ${firstOffset}`);
          told();
          await hold;
        },
      });
      await until(2);
      subscription.beginAgain(0);
      await until(5);
      let release: () => void = () => undefined;
      hold = new Promise((resolve) => (release = resolve));
      await bus.publish('alerts', records(4, 5));
      await until(6);
      // The batch at 4 is under way: its end must not move the position that is found out meanwhile.
      subscription.beginAgain(0);
      hold = undefined;
      release();
      await until(9);
      await subscription.stop();
      expect(happened).toEqual([
        ...['asked', 'batch at 0', 'revoked', 'asked', 'batch at 0', 'batch at 4'],
        ...['revoked', 'asked', 'batch at 0'],
      ]);
    });

    it('begins behind the newest record where a group asks for it', async () => {
      const bus = await open();
      await bus.publish('alerts', records(0, 5));
      const seen = collect(bus, 'late', { from: 'newest' });
      await seen.begun;
      await bus.publish('alerts', records(5, 6));
      await seen.until(1);
      expect(seen.values).toEqual(records(5, 6).map(({ value }) => value.toString()));
    });

    it('tells how far each group is behind', async () => {
      const bus = await open();
      await bus.publish('alerts', records(0, 5));
      const seen = collect(bus, 'g');
      await seen.until(5);
      await seen.subscription.stop();
      await bus.publish('alerts', records(5, 12));
      expect(await bus.lag()).toContainEqual({ topic: 'alerts', group: 'g', records: 7 });
    });

    it('carries text beyond ASCII and long records unchanged', async () => {
      const bus = await open();
      const odd = [
        JSON.stringify({ a: 'Søren 中文 😀 \u0000 \n' }),
        JSON.stringify({ long: 'x'.repeat(300_000) }),
      ];
      await bus.publish(
        'alerts',
        odd.map((value) => ({ key: 'k', value: Buffer.from(value) })),
      );
      const seen = collect(bus, 'g');
      await seen.until(2);
      expect(seen.values).toEqual(odd);
    });

    it.each(['alerts', 'api-calls'] as const)(
      'carries any bytes on %s unchanged, also none',
      async (topic) => {
        const bus = await open();
        const values = [
          Buffer.of(),
          ...[0, 1, 10, 0x7b, 0xff].map((byte) => Buffer.of(byte)),
          Buffer.of(10, 10, 0, 0xff, 10),
          Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
          Buffer.alloc(100_000, 10),
          Buffer.of(),
        ];
        await bus.publish(
          topic,
          values.map((value) => ({ key: 'k', value })),
        );
        const got: Buffer[] = [];
        const counts: number[] = [];
        await new Promise<void>((resolve, reject) => {
          const subscription = bus.consume({
            topic,
            group: 'g',
            onBatch: ({ body, count }) => {
              got.push(...recordsOf(body));
              counts.push(count);
              if (got.length >= values.length) resolve();
              return Promise.resolve();
            },
          });
          subscription.stopped.catch(reject);
        });
        expect(got.map((value) => value.toString('hex'))).toEqual(
          values.map((value) => value.toString('hex')),
        );
        expect(counts.reduce((sum, count) => sum + count, 0)).toBe(values.length);
      },
    );
  });
}

/** Each batch begins where the one before it ended. */
function expectNumbered(batches: Pick<BusBatch, 'firstOffset' | 'nextOffset' | 'count'>[]): void {
  batches.forEach((batch, which) => {
    if (which > 0) expect(batch.firstOffset).toBe(batches[which - 1]!.nextOffset);
    expect(batch.nextOffset).toBeGreaterThanOrEqual(batch.firstOffset + batch.count);
  });
}

function records(from: number, to: number): BusRecord[] {
  return Array.from({ length: to - from }, (_, i) => jsonRecord('k', { n: from + i }));
}

function textsOf(body: Buffer): string[] {
  return Array.from(recordsOf(body), (value) => value.toString());
}

interface Collected {
  values: string[];
  batches: (Omit<BusBatch, 'body'> & { values: string[] })[];
  subscription: Subscription;
  until: (count: number) => Promise<void>;
  begun: Promise<unknown>;
}

function collect(
  bus: Bus,
  group: string,
  options: { maxBatchBytes?: number; startAt?: () => Promise<number | undefined>; from?: 'newest' } = {},
  topic: 'alerts' | 'api-calls' = 'alerts',
): Collected {
  const values: string[] = [];
  const batches: Collected['batches'] = [];
  let waiting: { count: number; resolve: () => void } | undefined;
  const subscription = bus.consume({
    topic,
    group,
    ...options,
    onBatch: ({ body, ...rest }) => {
      const texts = textsOf(body);
      values.push(...texts);
      batches.push({ ...rest, values: texts });
      if (waiting && values.length >= waiting.count) waiting.resolve();
      return Promise.resolve();
    },
  });
  return {
    values,
    batches,
    subscription,
    // A group that has begun is known to `lag`.
    begun: (async () => {
      while (!(await bus.lag()).some((row) => row.group === group))
        await new Promise((resolve) => setImmediate(resolve));
    })(),
    until: (count) =>
      new Promise((resolve, reject) => {
        subscription.stopped.catch(reject);
        if (values.length >= count) resolve();
        else waiting = { count, resolve };
      }),
  };
}
