import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { repeats } from '../../../test/support/thorough.ts';
import { openEmbeddedLake } from './embedded-lake.ts';

const rounds = repeats(4, 12);
const rowsPerBatch = 400;
const directory = mkdtempSync(join(tmpdir(), 'tripline-lake-kill-'));
const child = join(directory, 'child.mjs');

// Writes batches without pause, and says before and after each which one it is.
const childSource = `
  import { openEmbeddedLake } from './embedded-lake.ts';
  const [path, from] = process.argv.slice(2);
  const lake = await openEmbeddedLake({ path });
  await lake.migrate({ retentionDays: 30 });
  for (let batch = Number(from); ; batch++) {
    process.send({ begun: batch });
    const rows = process.env.ROWS.replaceAll('#', String(batch)).split('\\n');
    await lake.insert('apiCalls', rows.map((row) => Buffer.from(row)));
    process.send({ done: batch });
  }`;

beforeAll(async () => {
  await build({
    stdin: { contents: childSource, resolveDir: import.meta.dirname, loader: 'ts' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    // Our own packages are TypeScript and go in.
    external: ['@clickhouse/client', 'chdb', 'zod'],
    outfile: child,
  });
  symlinkSync(resolve(import.meta.dirname, '../../../node_modules'), join(directory, 'node_modules'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Rows of a batch, whose number goes where # stands; two days, so that an insert makes two parts. */
function rowsOf(now: number): string {
  return Array.from(
    { length: rowsPerBatch },
    (_, i) =>
      `{"id":"batch-#-${i}","startedAt":${now - (i % 2) * 86_400_000},"actorKind":"address","actorId":"a${i % 7}",` +
      `"actorName":"a","method":"GET","path":"/","endpoint":"GET /","status":200,"source":"kong","requestBytes":1,` +
      '"responseBytes":1,"latencyMs":1}',
  ).join('\n');
}

it(
  `has every acknowledged row exactly once after each of ${rounds} kills at different moments, the batch under way written again`,
  { timeout: 180_000 },
  async () => {
    const path = join(directory, 'lake');
    const rows = rowsOf(Date.now());
    let begun = -1;
    let done = -1;
    for (let round = 0; round < rounds; round++) {
      const writer = fork(child, [path, String(Math.max(begun, 0))], {
        env: { ...process.env, ROWS: rows },
        execArgv: [],
      });
      const before = done;
      // The moment: so many batches in, and then so many ms, which falls anywhere into the insert under way.
      const killAfter = before + 1 + (round % 4);
      await new Promise<void>((resolveKill, reject) => {
        writer.once('exit', (code, signal) =>
          signal === 'SIGKILL' ? resolveKill() : reject(new Error(`the writer ended by itself: ${code}`)),
        );
        writer.on('message', (message: { begun?: number; done?: number }) => {
          begun = message.begun ?? begun;
          done = message.done ?? done;
          if (message.begun === killAfter) setTimeout(() => writer.kill('SIGKILL'), round * 3);
        });
      });
      if (writer.exitCode === null && writer.signalCode === null) await once(writer, 'exit');
      expect(begun).toBeGreaterThan(before);
    }
    const lake = await openEmbeddedLake({ path });
    try {
      // As the archiver does at its start: what was begun and not acknowledged is written again.
      const last = rows.replaceAll('#', String(begun)).split('\n');
      await lake.insert(
        'apiCalls',
        last.map((row) => Buffer.from(row)),
      );
      const [all] = await lake.query<{ rows: number; ids: number }>(
        'SELECT toUInt32(count()) AS rows, toUInt32(uniqExact(id)) AS ids FROM tripline.api_calls',
      );
      expect(all).toEqual({ rows: (begun + 1) * rowsPerBatch, ids: (begun + 1) * rowsPerBatch });
    } finally {
      await lake.close();
    }
  },
);
