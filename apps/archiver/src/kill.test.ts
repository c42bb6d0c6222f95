import { fork } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createEmbeddedBus } from '@tripline/bus';
import { openEmbeddedLake } from '@tripline/lake';
import { createLogger, Registry } from '@tripline/runtime';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { repeats } from '../../../test/support/thorough.ts';
import { startArchiver } from './archiver.ts';
import { until } from './test-support.ts';

const rounds = repeats(4, 10);
const directory = mkdtempSync(join(tmpdir(), 'tripline-archiver-kill-'));
const child = join(directory, 'child.mjs');

// Publishes without pause, archives, and says how much it published.
const childSource = `
  import { createEmbeddedBus } from '@tripline/bus';
  import { openEmbeddedLake } from '@tripline/lake';
  import { createLogger, Registry } from '@tripline/runtime';
  import { startArchiver } from './archiver.ts';
  import { callLine } from './test-support.ts';
  const [path, round, now] = process.argv.slice(2);
  const bus = createEmbeddedBus({ path: path + '/bus' });
  const archiver = startArchiver({
    logger: createLogger({ level: 'silent', pretty: false }), metrics: new Registry(), now: Date.now, bus,
    lake: () => openEmbeddedLake({ path: path + '/lake' }),
    retentionDays: 30, flushAfterMs: 10,
  });
  process.send({ published: 0 });
  for (let n = 0; ; n += 50) {
    const records = Array.from({ length: 50 }, (_, i) => ({
      key: 'k',
      value: Buffer.from(callLine(round + '-' + (n + i), Number(now) - (i % 2) * 86400000)),
    }));
    await bus.publish('api-calls', records);
    process.send({ published: n + 50, ready: archiver.health().ready });
    await new Promise((resolve) => setTimeout(resolve, 2));
  }`;

beforeAll(async () => {
  await build({
    stdin: { contents: childSource, resolveDir: import.meta.dirname, loader: 'ts' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: [
      '@clickhouse/*',
      'chdb',
      'chdb/*',
      'ioredis',
      'kafkajs',
      'lmdb',
      'pino',
      'pino-pretty',
      'prom-client',
      'snappy',
      'zod',
    ],
    outfile: child,
  });
  symlinkSync(resolve(import.meta.dirname, '../../../node_modules'), join(directory, 'node_modules'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

it(
  `has every published call exactly once in the lake after ${rounds} kills of the process at different moments`,
  { timeout: 240_000 },
  async () => {
    const path = join(directory, 'data');
    const now = Date.now();
    let published = 0;
    let possibly = 0;
    for (let round = 0; round < rounds; round++) {
      const process = fork(child, [path, String(round), String(now)], { execArgv: [] });
      let acknowledged = 0;
      await new Promise<void>((resolveKill, reject) => {
        let killing = false;
        process.once('exit', (code, signal) =>
          signal === 'SIGKILL' ? resolveKill() : reject(new Error(`it ended by itself: ${code}`)),
        );
        process.on('message', (message: { published: number; ready?: boolean }) => {
          acknowledged = message.published;
          if (!message.ready || killing) return;
          killing = true;
          setTimeout(() => process.kill('SIGKILL'), 37 * round);
        });
      });
      published += acknowledged;
      // The publishing under way may be there as well.
      possibly += acknowledged + 50;
    }

    const lake = await openEmbeddedLake({ path: join(path, 'lake') });
    const bus = createEmbeddedBus({ path: join(path, 'bus') });
    const archiver = startArchiver({
      logger: createLogger({ level: 'silent', pretty: false }),
      metrics: new Registry(),
      now: Date.now,
      bus,
      lake: () => Promise.resolve(lake),
      retentionDays: 30,
      flushAfterMs: 10,
    });
    try {
      await until('it has caught up', async () => {
        const lag = (await bus.lag()).find(
          ({ topic, group }) => topic === 'api-calls' && group === 'archiver',
        );
        return archiver.health().ready && lag?.records === 0;
      });
      const [all] = await lake.query<{ rows: number; ids: number }>(
        'SELECT toUInt32(count()) AS rows, toUInt32(uniqExact(id)) AS ids FROM tripline.api_calls',
      );
      expect(all?.rows).toBe(all?.ids);
      expect(all?.ids).toBeGreaterThanOrEqual(published);
      expect(all?.ids).toBeLessThanOrEqual(possibly);
    } finally {
      await archiver.stop();
      await lake.close();
      await bus.close();
    }
  },
);
