import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEmbeddedBus, type Bus, type EmbeddedBusOptions } from '@tripline/bus';
import { LakeRefusedError, type Lake } from '@tripline/lake';
import type { ApiCall, Topic } from '@tripline/model';
import { createLogger, Registry } from '@tripline/runtime';
import { startArchiver, type ArchiverOptions } from './archiver.ts';

/** A lake in memory: equal rows count once, and it refuses rows that hold the word `poison`. */
export class MemoryLake implements Lake {
  readonly rows: Record<string, string[]> = { apiCalls: [], alerts: [], responses: [] };
  readonly inserts: { table: string; rows: number }[] = [];
  /** Called before each insert; a rejection is one of the lake. */
  before: () => Promise<void> = () => Promise.resolve();
  /** Called after the rows are there: a rejection or a promise without end is an answer that got lost. */
  after: () => Promise<void> = () => Promise.resolve();
  onMigrate: () => Promise<void> = () => Promise.resolve();

  migrate(): Promise<void> {
    return this.onMigrate();
  }
  async insert(table: string, records: readonly Buffer[]): Promise<void> {
    await this.before();
    const rows = records.map((record) => record.toString());
    if (rows.some((row) => row.includes('poison')))
      throw new LakeRefusedError('it does not take a row of these');
    this.inserts.push({ table, rows: rows.length });
    const there = new Set(this.rows[table]);
    this.rows[table]!.push(...rows.filter((row) => !there.has(row)));
    await this.after();
  }
  query(): Promise<never[]> {
    return Promise.resolve([]);
  }
  alertsSince(): Promise<never[]> {
    return Promise.resolve([]);
  }
  responses(): Promise<never[]> {
    return Promise.resolve([]);
  }
  ratedCalls(): Promise<never[]> {
    return Promise.resolve([]);
  }
  sessions(): Promise<never[]> {
    return Promise.resolve([]);
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** The bus of one data directory, which can be left as a crash leaves them. */
export class Site {
  readonly path = mkdtempSync(join(tmpdir(), 'tripline-archiver-'));
  bus: Bus;
  metrics = new Registry();
  readonly #busOptions: Partial<EmbeddedBusOptions>;
  readonly #running = new Set<ReturnType<typeof startArchiver>>();

  constructor(busOptions: Partial<EmbeddedBusOptions> = {}) {
    this.#busOptions = busOptions;
    this.bus = this.#openBus('bus');
  }

  #openBus(name: string): Bus {
    return createEmbeddedBus({ path: join(this.path, name), ...this.#busOptions });
  }

  start(lake: Lake, changes: Partial<ArchiverOptions> = {}): ReturnType<typeof startArchiver> {
    this.metrics = new Registry();
    const archiver = startArchiver({
      logger: createLogger({ level: 'silent', pretty: false }),
      metrics: this.metrics,
      now: Date.now,
      bus: this.bus,
      lake: () => Promise.resolve(lake),
      retentionDays: 30,
      flushAfterMs: 5,
      retryMs: 1,
      retryMaxMs: 4,
      ...changes,
    });
    this.#running.add(archiver);
    return archiver;
  }

  /** Takes the bus from under whoever uses it, and opens it again; with a name, another, empty bus. */
  async crash(otherBus = 'bus'): Promise<void> {
    this.#running.clear();
    await this.bus.close();
    this.bus = this.#openBus(otherBus);
  }

  async publish(topic: Topic, values: readonly string[]): Promise<void> {
    await this.bus.publish(
      topic,
      values.map((value) => ({ key: 'k', value: Buffer.from(value) })),
    );
  }

  async metric(name: string): Promise<number> {
    const found = (await this.metrics.getMetricsAsJSON()).find((one) => one.name === name);
    return (found?.values ?? []).reduce((sum, one) => sum + one.value, 0);
  }

  async dispose(): Promise<void> {
    for (const archiver of this.#running) await archiver.stop();
    await this.bus.close();
    rmSync(this.path, { recursive: true });
  }
}

export function callLine(id: string, startedAt = 1_800_000_000_000): string {
  const call: ApiCall = {
    id: `call-${id}`,
    startedAt,
    actorKind: 'address',
    actorId: '203.0.113.9',
    actorName: '203.0.113.9',
    method: 'GET',
    path: '/orders/17',
    endpoint: 'GET /orders/{id}',
    status: 200,
    source: 'upstream',
    requestBytes: 300,
    responseBytes: 1_000,
    latencyMs: 12,
  };
  return JSON.stringify(call);
}

/** Numbered lines `from` to `to` (exclusive). */
export function lines(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => callLine(String(from + i).padStart(6, '0')));
}

/** Waits for a condition that only other turns of the event loop can bring about. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`It never came to it: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
