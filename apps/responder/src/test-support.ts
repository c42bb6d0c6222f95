import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { bodyOf, type Bus, createEmbeddedBus } from '@tripline/bus';
import {
  KongUnavailableError,
  type KongAdmin,
  type KongPlugin,
  type KongPluginInput,
  type WriteOutcome,
} from '@tripline/kong';
import type { Alert, Response } from '@tripline/model';
import type { Policies, Policy } from '@tripline/policy';
import {
  createEmbeddedState,
  type PartitionState,
  type StateChanges,
  type StateStore,
} from '@tripline/state';
import type { Sleep } from '@tripline/runtime';
import type { PolicySource } from './policy-file.ts';

export const startMs = 1_800_000_000_000;

/** A clock that only a test moves, and the sleeps that follow it. */
export class TestClock {
  nowMs = startMs;
  readonly #sleepers = new Set<{ at: number; resolve: () => void }>();

  readonly now = (): number => this.nowMs;

  readonly sleep: Sleep = (ms, signal) =>
    new Promise((resolve, reject) => {
      const sleeper = { at: this.nowMs + ms, resolve };
      this.#sleepers.add(sleeper);
      signal.addEventListener('abort', () => {
        this.#sleepers.delete(sleeper);
        reject(new Error('woken'));
      });
    });

  /** Ends of the sleeps under way, ms from now. */
  sleeping(): number[] {
    return [...this.#sleepers].map((sleeper) => sleeper.at - this.nowMs).sort((a, b) => a - b);
  }

  advance(ms: number): void {
    this.nowMs += ms;
    for (const sleeper of this.#sleepers) {
      if (sleeper.at > this.nowMs) continue;
      this.#sleepers.delete(sleeper);
      sleeper.resolve();
    }
  }
}

/** How the next writes to the Kong of a test end, in order; after them they work. */
export type Fault = 'unavailable' | 'unavailable-after-effect';

/**
 * A Kong in memory for the tests of the responder: unique key, foreign key and defaults as Kong has them, and switches
 * for what goes wrong. Not the stand-in that speaks HTTP.
 */
export class MemoryKong implements KongAdmin {
  readonly store = new Map<string, KongPlugin>();
  readonly consumers = new Set<string>();
  /** Every call that came, also those that failed. */
  readonly calls: string[] = [];
  readonly writes: {
    kind: 'put' | 'delete';
    id: string;
    before: KongPlugin | undefined;
    input?: KongPluginInput;
  }[] = [];
  down = false;
  dbLess = false;
  faults: Fault[] = [];
  /** Writes that concern this consumer fail. */
  brokenConsumer: string | undefined;
  #onCall: (() => void)[] = [];

  constructor(consumers: readonly string[]) {
    for (const consumer of consumers) this.consumers.add(consumer);
  }

  /** Resolves at the first moment after a call at which the condition holds (or now, if it does). */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#onCall.push(resolve));
  }

  /** What consumers with an effective block there are. */
  blocked(): string[] {
    return [...this.store.values()]
      .filter((plugin) => plugin.name === 'request-termination' && plugin.enabled && plugin.consumer)
      .map((plugin) => plugin.consumer!.id)
      .sort();
  }

  /** What an operator does by hand. */
  byHand(plugin: Partial<KongPlugin> & { id: string; name: string }): void {
    this.store.set(plugin.id, { ...emptyPlugin, ...plugin });
  }

  deleteConsumer(id: string): void {
    this.consumers.delete(id);
    for (const plugin of this.store.values()) if (plugin.consumer?.id === id) this.store.delete(plugin.id);
  }

  async #called<T>(name: string, answer: () => T): Promise<T> {
    this.calls.push(name);
    const waiting = this.#onCall;
    this.#onCall = [];
    // After the caller has dealt with the answer.
    setImmediate(() => {
      for (const resolve of waiting) resolve();
    });
    await Promise.resolve();
    if (this.down) throw new KongUnavailableError('connect ECONNREFUSED');
    return answer();
  }

  async node() {
    return this.#called('node', () => ({
      version: '3.9.3',
      database: 'postgres',
      hostname: 'k',
      availablePlugins: [],
    }));
  }

  async plugins(tag?: string): Promise<KongPlugin[]> {
    return this.#called('plugins', () =>
      [...this.store.values()].filter((one) => !tag || one.tags?.includes(tag)),
    );
  }

  async consumer(id: string) {
    return this.#called('consumer', () =>
      this.consumers.has(id) ? { id, username: id, custom_id: null, tags: null } : undefined,
    );
  }

  async putPlugin(id: string, input: KongPluginInput): Promise<WriteOutcome> {
    return this.#write('put', (): WriteOutcome => {
      if (this.dbLess) return { kind: 'read-only', problem: '405' };
      const consumer = input.consumer ?? null;
      if (consumer?.id === this.brokenConsumer && consumer)
        throw new KongUnavailableError('500 for this one');
      if (consumer && !this.consumers.has(consumer.id))
        return { kind: 'no-consumer', problem: 'foreign key' };
      const rival = [...this.store.values()].find(
        (one) =>
          one.id !== id &&
          one.name === input.name &&
          one.consumer?.id === consumer?.id &&
          one.route?.id === input.route?.id &&
          one.service?.id === input.service?.id,
      );
      if (rival) return { kind: 'conflict', problem: '409' };
      this.writes.push({ kind: 'put', id, before: this.store.get(id), input });
      const plugin = { ...emptyPlugin, ...input, consumer, id };
      this.store.set(id, plugin);
      return { kind: 'done', plugin };
    });
  }

  patchPlugin(): Promise<WriteOutcome> {
    return Promise.reject(new Error('the responder never patches'));
  }

  async deletePlugin(id: string): ReturnType<KongAdmin['deletePlugin']> {
    return this.#write('delete', () => {
      if (this.dbLess) return { kind: 'read-only' as const, problem: '405' };
      this.writes.push({ kind: 'delete', id, before: this.store.get(id) });
      this.store.delete(id);
      return { kind: 'done' as const };
    });
  }

  async #write<T>(name: string, effect: () => T): Promise<T> {
    return this.#called(name, () => {
      const fault = this.faults.shift();
      if (fault === 'unavailable') throw new KongUnavailableError('503');
      const answer = effect();
      if (fault === 'unavailable-after-effect') throw new KongUnavailableError('500 after the effect');
      return answer;
    });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

const emptyPlugin: KongPlugin = {
  id: '',
  name: '',
  instance_name: null,
  enabled: true,
  config: {},
  tags: null,
  consumer: null,
  service: null,
  route: null,
  protocols: ['http', 'https'],
  created_at: 0,
};

/** Policies that a test changes as it likes. */
export class TestPolicies implements PolicySource {
  policies: Policy[];
  readonly #listeners = new Set<() => void>();

  constructor(...policies: Policy[]) {
    this.policies = policies;
  }

  current(): Policies {
    return { policies: this.policies };
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

export function aPolicy(fields: Partial<Policy> = {}): Policy {
  return {
    id: 'block-all',
    enabled: true,
    dryRun: false,
    match: {},
    actions: [{ type: 'block', duration: '15m', status: 403, message: 'stop' }],
    ...fields,
  };
}

export function anAlert(fields: Partial<Alert> & { consumer?: string } = {}): Alert {
  const { consumer = 'c-1', ...rest } = fields;
  return {
    id: `alert-${consumer}`,
    revision: 1,
    type: 'request-spike',
    severity: 'high',
    score: 70,
    actor: { kind: 'consumer', id: consumer, name: `name of ${consumer}` },
    service: null,
    route: null,
    endpoint: null,
    raisedAt: startMs - 2_000,
    startedAt: startMs - 10_000,
    lastSeenAt: startMs - 1_000,
    count: 100,
    status: 'open',
    observed: { value: 1, unit: 'requests/10s' },
    expected: { value: 1, low: 0, high: 1, unit: 'requests/10s' },
    summary: 'too many',
    sources: [],
    evidence: {},
    sampleCallIds: [],
    references: [],
    ...rest,
  };
}

export function asBatch(alerts: readonly Alert[], nextOffset: number) {
  const body = bodyOf(alerts.map((alert) => Buffer.from(JSON.stringify(alert))));
  return { topic: 'alerts' as const, partition: 0, firstOffset: 0, nextOffset, count: alerts.length, body };
}

/** A data directory with the real embedded bus and state, as one process after the other finds it. */
export class TestDisk {
  readonly path = mkdtempSync(join(tmpdir(), 'tripline-responder-'));
  readonly #open: { close(): Promise<void> }[] = [];

  bus(now: () => number): Bus {
    const bus = createEmbeddedBus({ path: join(this.path, 'bus'), now });
    this.#open.push(bus);
    return bus;
  }

  state(now: () => number): StateStore {
    const state = createEmbeddedState({ path: join(this.path, 'state'), now });
    this.#open.push(state);
    return state;
  }

  async close(): Promise<void> {
    for (const one of this.#open.splice(0)) await one.close();
  }

  async remove(): Promise<void> {
    await this.close();
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Keeps what is in memory across "restarts", for tests of many random histories. */
export class MemoryState implements StateStore {
  readonly values = new Map<string, string>();
  position: number | undefined;
  /** The next checkpoints fail. */
  failures = 0;

  claim(partition: number): Promise<PartitionState> {
    const values = (): Promise<Map<string, Buffer>> =>
      Promise.resolve(new Map([...this.values].map(([key, value]) => [key, Buffer.from(value)])));
    return Promise.resolve({
      partition,
      offset: this.position,
      load: values,
      loadAll: values,
      checkpoint: (changes, offset) => this.#checkpoint(changes, offset),
    });
  }
  lease(_name: string, holder: string): Promise<{ held: boolean; holder: string }> {
    return Promise.resolve({ held: true, holder });
  }
  release(): Promise<void> {
    return Promise.resolve();
  }
  problem(): null {
    return null;
  }
  #checkpoint(changes: StateChanges, offset: number): Promise<void> {
    if (this.failures > 0) {
      this.failures--;
      return Promise.reject(new Error('disk full'));
    }
    for (const [key, value] of changes) {
      if (value === null) this.values.delete(key);
      else this.values.set(key, value.toString());
    }
    this.position = offset;
    return Promise.resolve();
  }
  size(): Promise<{ keys: number; bytes: number }> {
    return Promise.resolve({ keys: this.values.size, bytes: 0 });
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** A bus that only remembers what was published. */
export class MemoryBus implements Bus {
  readonly partitions = 1;
  readonly responses: Response[] = [];
  full = false;

  publish(topic: string, records: { value: Buffer }[]): Promise<void> {
    if (this.full) return Promise.reject(new Error('full'));
    if (topic === 'responses')
      this.responses.push(...records.map((one) => JSON.parse(one.value.toString()) as Response));
    return Promise.resolve();
  }
  consume(): never {
    throw new Error('not in these tests');
  }
  problem(): null {
    return null;
  }
  lag(): Promise<never[]> {
    return Promise.resolve([]);
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Log lines of a test, and the rest of a role's context. */
export function testContext(now: () => number) {
  const lines: string[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
  return { logger, metrics: new Registry(), now, lines };
}
