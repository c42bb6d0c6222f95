import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { busContract } from './bus.contract.ts';
import { BusFullError, type Bus } from './bus.ts';
import { createEmbeddedBus, type EmbeddedBusOptions } from './embedded-bus.ts';

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
  const kilobyte = { key: 'k', value: `{"pad":"${'x'.repeat(1000)}"}` };

  it('refuses to publish when a reader has not passed what fills it, and takes records again once it has', async () => {
    const full = open({ maxBytes: 10_000, keepBytes: 0 });
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
