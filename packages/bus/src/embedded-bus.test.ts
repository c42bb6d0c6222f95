import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { open as openLmdb } from 'lmdb';
import { afterEach, describe, expect, it } from 'vitest';
import { createSmallDisk } from '../../../test/support/small-disk.ts';
import { busContract } from './bus.contract.ts';
import { BusFullError, type Bus } from './bus.ts';
import { jsonRecord, recordsOf } from './records.ts';
import { createEmbeddedBus, topicShares, type EmbeddedBusOptions } from './embedded-bus.ts';

busContract('embedded bus', (partitions) => {
  const path = mkdtempSync(join(tmpdir(), 'tripline-bus-'));
  let bus = createEmbeddedBus({ path, partitions });
  return Promise.resolve({
    bus,
    reopen: async () => {
      await bus.close();
      bus = createEmbeddedBus({ path, partitions });
      return bus;
    },
    dispose: async () => {
      await bus.close();
      rmSync(path, { recursive: true });
    },
  });
});

describe('embedded bus: bounded size', () => {
  const path = mkdtempSync(join(tmpdir(), 'tripline-bus-'));
  let bus: Bus | undefined;
  const open = (options: Partial<EmbeddedBusOptions>): Bus => (bus = createEmbeddedBus({ path, ...options }));
  afterEach(async () => {
    await bus?.close();
    rmSync(path, { recursive: true, force: true });
  });
  const kilobyte = jsonRecord('k', { pad: 'x'.repeat(1000) });

  it('refuses to publish when a reader has not passed what fills it, and takes records again once it has', async () => {
    const full = open({ maxBytes: 10_000 / topicShares.alerts, keepBytes: 0 });
    const position = full.consume({
      topic: 'alerts',
      group: 'g',
      startAt: () => Promise.resolve(0),
      onBatch: async () => {},
    });
    for (let i = 0; i < 9; i++) await full.publish('alerts', [kilobyte]);
    await expect(full.publish('alerts', [kilobyte, kilobyte])).rejects.toBeInstanceOf(BusFullError);
    position.passed(0, 9);
    await full.publish('alerts', [kilobyte, kilobyte]);
    const got: number[] = [];
    await new Promise<void>((resolve) => {
      full.consume({
        topic: 'alerts',
        group: 'h',
        onBatch: (batch) => {
          got.push(batch.firstOffset);
          resolve();
          return Promise.resolve();
        },
      });
    });
    expect(got).toEqual([9]);
  });

  it('refuses records of the topic that is full, and takes those of the others', async () => {
    const full = open({ maxBytes: 20_000, keepBytes: 0 });
    const hold = { group: 'g', startAt: () => Promise.resolve(0), onBatch: () => Promise.resolve() };
    full.consume({ topic: 'api-calls', ...hold });
    full.consume({ topic: 'alerts', ...hold });
    for (let i = 0; i < 14; i++) await full.publish('api-calls', [kilobyte]);
    const together = await Promise.allSettled([
      full.publish('api-calls', [kilobyte]),
      full.publish('alerts', [jsonRecord('k', { tiny: 1 })]),
    ]);
    expect(together.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
    await expect(full.publish('api-calls', [kilobyte])).rejects.toThrow(/^api-calls is full: .*75 % of bus/);
  });

  it('lets a reader that may lose records lose the oldest, tells it which, and refuses nobody for its sake', async () => {
    const bounded = open({ maxBytes: 40_000, keepBytes: 0 });
    const seen: number[] = [];
    const lost: number[] = [];
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const slow = bounded.consume({
      topic: 'api-calls',
      group: 'archiver',
      mayLose: true,
      startAt: () => Promise.resolve(undefined),
      maxBatchBytes: 1,
      onLost: (_, from, to) => {
        for (let offset = from; offset < to; offset++) lost.push(offset);
      },
      onBatch: async ({ firstOffset, nextOffset }) => {
        await held;
        for (let offset = firstOffset; offset < nextOffset; offset++) seen.push(offset);
        slow.passed(0, nextOffset);
      },
    });
    const quick = bounded.consume({
      topic: 'api-calls',
      group: 'processor',
      startAt: () => Promise.resolve(undefined),
      onBatch: ({ nextOffset }) => {
        quick.passed(0, nextOffset);
        return Promise.resolve();
      },
    });
    for (let i = 0; i < 100; i++) await bounded.publish('api-calls', [kilobyte]);
    release();
    while (seen.at(-1) !== 99) await new Promise((resolve) => setImmediate(resolve));
    expect([...seen, ...lost].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(lost.length).toBeGreaterThan(60);
    // It holds what fits.
    expect(seen.length).toBeGreaterThan(25);
    const lag = await bounded.lag();
    expect(lag.find(({ group }) => group === 'archiver')?.lost).toBe(lost.length);
    expect(lag.find(({ group }) => group === 'processor')).not.toHaveProperty('lost');
  });

  it('never takes records from a reader that must have them, whatever another one has lost', async () => {
    const bounded = open({ maxBytes: 40_000, keepBytes: 0 });
    const startAt = (): Promise<undefined> => Promise.resolve(undefined);
    const idle = { topic: 'api-calls' as const, startAt, onBatch: () => new Promise<void>(() => undefined) };
    bounded.consume({ ...idle, group: 'archiver', mayLose: true });
    bounded.consume({ ...idle, group: 'processor' });
    const outcomes = [];
    for (let i = 0; i < 40; i++)
      outcomes.push(
        await bounded.publish('api-calls', [kilobyte]).then(
          () => 'taken',
          (error: unknown) => (error as Error).name,
        ),
      );
    expect(new Set(outcomes)).toEqual(new Set(['taken', 'BusFullError']));
    const taken = outcomes.filter((one) => one === 'taken').length;
    bus = undefined;
    // What was taken is there for the one after the next start, from the first on.
    const again = createEmbeddedBus({ path });
    const found = await new Promise<number>((resolve) => {
      again.consume({
        topic: 'api-calls',
        group: 'processor',
        startAt: () => Promise.resolve(0),
        onBatch: ({ firstOffset, nextOffset }) => {
          resolve(nextOffset - firstOffset);
          return Promise.resolve();
        },
      });
    });
    expect(found).toBe(taken);
    await again.close();
  });

  it('takes what alone is larger than the limit when it holds nothing else', async () => {
    const small = open({ maxBytes: 2_000, keepBytes: 0 });
    const reader = small.consume({
      topic: 'alerts',
      group: 'g',
      startAt: () => Promise.resolve(0),
      onBatch: () => Promise.resolve(),
    });
    await small.publish('alerts', [kilobyte, kilobyte]);
    await expect(small.publish('alerts', [kilobyte])).rejects.toBeInstanceOf(BusFullError);
    reader.passed(0, 2);
    await small.publish('alerts', [kilobyte]);
  });

  it('goes on counting offsets after everything was let go and the bus opened again', async () => {
    const first = open({ keepBytes: 0 });
    await first.publish('alerts', [kilobyte, kilobyte]);
    const reader = first.consume({ topic: 'alerts', group: 'g', onBatch: async () => {} });
    while ((await first.lag())[0]?.records !== 0) await new Promise((resolve) => setImmediate(resolve));
    await reader.stop();
    await first.publish('alerts', [kilobyte]);
    await first.close();
    const second = open({ keepBytes: 0 });
    const offset = await new Promise<number>((resolve) => {
      second.consume({
        topic: 'alerts',
        group: 'g',
        onBatch: (batch) => {
          resolve(batch.firstOffset);
          return Promise.resolve();
        },
      });
    });
    expect(offset).toBe(2);
  });

  it('refuses another number of partitions than it was made with, and says what to do', async () => {
    await open({ partitions: 2 }).close();
    expect(() => createEmbeddedBus({ path, partitions: 3 })).toThrow(/made with 2 partitions.*keep 2/);
    open({});
    expect(bus?.partitions).toBe(2);
  });
});

describe('embedded bus: a full disk', () => {
  const undo: (() => unknown)[] = [];
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => void unhandled.push(reason);
  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step();
  });

  it('refuses records with an error that publishers know, says so, and goes on where it was when there is room', async () => {
    process.on('unhandledRejection', note);
    undo.push(() => process.off('unhandledRejection', note));
    const disk = createSmallDisk(6 * 2 ** 20);
    undo.push(disk.dispose);
    const told: string[] = [];
    const path = join(disk.path, 'bus');
    const full = createEmbeddedBus({ path, onLog: (_, message) => told.push(message) });
    const seen: number[] = [];
    const reader = full.consume({
      topic: 'api-calls',
      group: 'g',
      onBatch: ({ body }) => {
        for (const value of recordsOf(body)) seen.push((JSON.parse(value.toString()) as { n: number }).n);
        return Promise.resolve();
      },
    });
    const kept: number[] = [];
    let n = 0;
    const publish = async (): Promise<string> => {
      const mine = n++;
      try {
        await full.publish('api-calls', [jsonRecord('k', { n: mine, pad: 'x'.repeat(100_000) })]);
        kept.push(mine);
        return 'taken';
      } catch (error) {
        return (error as Error).name;
      }
    };
    for (let i = 0; i < 10; i++) expect(await publish()).toBe('taken');
    disk.fill();
    let outcome = 'taken';
    while (outcome === 'taken') outcome = await publish();
    expect(['BusFullError', 'BusUnavailableError']).toContain(outcome);
    expect(await publish()).toBe(outcome);
    expect(full.problem()).toMatch(/cannot be written/);
    // Positions are but hints: that they cannot be saved stops no reader.
    reader.passed(0, 1);
    disk.empty();
    while ((await publish()) !== 'taken') await new Promise((resolve) => setTimeout(resolve, 50));
    expect(full.problem()).toBeNull();
    while (seen.length < kept.length) await new Promise((resolve) => setImmediate(resolve));
    expect(seen).toEqual(kept);
    expect(told).toHaveLength(2);
    expect(told[1]).toMatch(/can be written again/);
    await full.close();
    expect(unhandled).toEqual([]);

    const again = createEmbeddedBus({ path });
    undo.push(() => again.close());
    expect(await again.lag()).toEqual([{ topic: 'api-calls', group: 'g', records: 0 }]);
  });

  it('closes while the disk is full', async () => {
    const disk = createSmallDisk(4 * 2 ** 20);
    undo.push(disk.dispose);
    undo.push(() => disk.empty());
    const full = createEmbeddedBus({ path: join(disk.path, 'bus') });
    disk.fill();
    const large = jsonRecord('k', { pad: 'x'.repeat(100_000) });
    while (
      await full.publish('api-calls', [large]).then(
        () => true,
        () => false,
      )
    );
    await full.close();
  });
});

describe('embedded bus: a log of version 0.1', () => {
  const path = mkdtempSync(join(tmpdir(), 'tripline-bus-'));
  afterEach(() => rmSync(path, { recursive: true, force: true }));

  /** Blocks as version 0.1 wrote them: the number of records in 32 bits, and each record with a line feed. */
  async function writeOldBlocks(blocks: readonly (readonly string[])[]): Promise<void> {
    const root = openLmdb({ path, encoding: 'binary', maxDbs: 4 });
    const db = root.openDB<Buffer, [string, number, number]>({ name: 'blocks', encoding: 'binary' });
    let offset = 0;
    for (const lines of blocks) {
      const header = Buffer.alloc(4);
      header.writeUInt32LE(lines.length);
      await db.put(
        ['api-calls', 0, offset],
        Buffer.concat([header, Buffer.from(lines.map((line) => `${line}\n`).join(''))]),
      );
      offset += lines.length;
    }
    await root.close();
  }

  it('is read from any record on, and goes on with records of today', async () => {
    await writeOldBlocks([['{"n":0}', '{"n":1}', '{"n":2}'], ['{"n":"ü"}']]);
    const bus = createEmbeddedBus({ path });
    await bus.publish('api-calls', [{ key: 'k', value: Buffer.of(10, 0, 10) }]);
    const seen: string[] = [];
    await new Promise<void>((resolve) => {
      bus.consume({
        topic: 'api-calls',
        group: 'g',
        startAt: () => Promise.resolve(1),
        onBatch: ({ firstOffset, nextOffset, count, body }) => {
          expect([firstOffset, count]).toEqual([1 + seen.length, nextOffset - firstOffset]);
          for (const value of recordsOf(body)) seen.push(value.toString());
          if (nextOffset === 5) resolve();
          return Promise.resolve();
        },
      });
    });
    expect(seen).toEqual(['{"n":1}', '{"n":2}', '{"n":"ü"}', '\n\0\n']);
    await bus.close();
  });
});
