import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { recordsOf, type Bus } from '@tripline/bus';
import { readApiCall, type Topic } from '@tripline/model';
import { createLogger, createMetrics, type RoleContext } from '@tripline/runtime';

/** A directory that `dispose` removes. */
export function scratchDir(): { path: string; dispose: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'tripline-test-'));
  return { path, dispose: () => rmSync(path, { recursive: true, force: true }) };
}

/** A role's context whose log lines are kept for the test. */
export function testContext(now: () => number = Date.now): RoleContext & { log: string[] } {
  const log: string[] = [];
  const logger = createLogger({
    level: 'debug',
    pretty: false,
    destination: { write: (line) => void log.push(line) },
  });
  return { logger, metrics: createMetrics(), now, log };
}

/** Lines of a recording, each a Buffer with its line feed, byte for byte. */
export function recording(name: string): Buffer[] {
  const path = resolve('test/fixtures/tcp-log', `${name}.ndjson`);
  return readFileSync(path)
    .toString('latin1')
    .split('\n')
    .slice(0, -1)
    .map((line) => Buffer.from(`${line}\n`, 'latin1'));
}

/** Waits until a condition holds, looking again at every turn of the event loop; rejects after `withinMs`. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  what: string,
  withinMs = 20_000,
): Promise<void> {
  const end = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`after ${withinMs} ms still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A connection to a collector, with all that was ever received on it. */
export async function connect(port: number): Promise<Socket & { received: Buffer[] }> {
  const socket = createConnection({ port, host: '127.0.0.1' });
  const received: Buffer[] = [];
  socket.on('data', (chunk) => received.push(chunk));
  socket.on('error', () => undefined);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  return Object.assign(socket, { received });
}

/** Everything on a topic from its beginning, parsed, growing while the bus lives. */
export function watchTopic<Record>(bus: Bus, topic: Topic, group = 'test'): Record[] {
  const records: Record[] = [];
  bus.consume({
    topic,
    group,
    onBatch: ({ body }) => {
      for (const value of recordsOf(body)) {
        records.push(JSON.parse(jsonOf(topic, value)) as Record);
      }
      return Promise.resolve();
    },
  });
  return records;
}

/** A record of a topic as JSON. Emissions are bytes: they become a string with a character per byte. */
function jsonOf(topic: Topic, value: Buffer): string {
  if (topic === 'api-calls') return JSON.stringify(readApiCall(value));
  return topic === 'aggregates' ? JSON.stringify(value.toString('latin1')) : value.toString();
}
