import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createClient } from '@clickhouse/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  startClickhouse,
  startClickhouseFront,
  type Clickhouse,
  type ClickhouseFront,
} from '../../../test/engines/clickhouse.ts';
import { lakeContract, type LakeUnderTest } from './lake.contract.ts';
import type { Lake } from './lake.ts';
import { migrations } from './migrations.ts';
import { openServerLake, refuseOldServer } from './server-lake.ts';
import { upgradeContract } from './upgrade.contract.ts';

lakeContract('lake on a server', underTest);
upgradeContract('lake on a server', underTest);

async function underTest(): Promise<LakeUnderTest> {
  const server = await startClickhouse();
  let lake = openServerLake(server);
  return {
    lake,
    reopen: async () => {
      await lake.close();
      lake = openServerLake(server);
      return lake;
    },
    write: (sql) => command(server, sql),
    dispose: async () => {
      await lake.close();
      await server.dispose();
    },
  };
}

async function command({ url, username, password }: Clickhouse, sql: string): Promise<void> {
  const client = createClient({ url, username, password });
  await client.command({ query: sql });
  await client.close();
}

function calls(batch: string, from: number, to: number): Buffer[] {
  const startedAt = Math.floor(Date.now() / 3_600_000) * 3_600_000;
  return Array.from({ length: to - from }, (_, i) =>
    Buffer.from(
      `{"id":"${batch}-${from + i}","startedAt":${startedAt - (i % 2) * 86_400_000},"actorKind":"address","actorId":"a",` +
        '"actorName":"a","method":"GET","path":"/","endpoint":"GET /","status":200,"source":"kong","requestBytes":1,' +
        '"responseBytes":1,"latencyMs":1}',
    ),
  );
}

/** Rows as every reader of the lake sees them. */
const counted = async (lake: Lake, batch: string): Promise<{ rows: number; ids: number }> => {
  const [row] = await lake.query<{ rows: number; ids: number }>(
    `SELECT toUInt32(count()) AS rows, toUInt32(uniqExact(id)) AS ids FROM tripline.api_calls
     WHERE startsWith(id, {batch:String})`,
    { batch },
  );
  return row!;
};

/** As the archiver does, without its waits. */
async function persist(work: () => Promise<void>): Promise<string[]> {
  const failures: string[] = [];
  for (;;) {
    try {
      await work();
      return failures;
    } catch (error) {
      failures.push((error as Error).message);
      if (failures.length > 10_000) throw error;
    }
  }
}

describe('lake on a server that fails', () => {
  let server: ClickhouseFront;
  let lake: Lake;
  const openLakes: Lake[] = [];
  const open = (changes: Partial<Parameters<typeof openServerLake>[0]> = {}): Lake => {
    const opened = openServerLake({ ...server, ...changes });
    openLakes.push(opened);
    return opened;
  };
  beforeAll(async () => {
    server = await startClickhouseFront();
    lake = open({ timeoutMs: 1_500 });
    await lake.migrate({ retentionDays: 30 });
    // So that rows that are there twice stay so, and are left to the reader.
    await command(server, 'SYSTEM STOP MERGES');
  });
  afterAll(async () => {
    for (const one of openLakes) await one.close();
    await server.dispose();
  });

  it('makes the same tables whichever of several processes comes first', async () => {
    const fresh = await startClickhouseFront();
    const lakes = [1, 2, 3, 4].map(() => openServerLake(fresh));
    try {
      await Promise.all(
        lakes.map(async (one, n) => {
          await one.migrate({ retentionDays: 30 });
          await one.insert('apiCalls', calls(`process-${n}`, 0, 50));
        }),
      );
      expect(await counted(lakes[0]!, 'process-')).toEqual({ rows: 200, ids: 200 });
      const versions = await lakes[0]!.query('SELECT version FROM tripline.migrations ORDER BY version');
      expect(versions).toEqual(migrations.map((_, index) => ({ version: index + 1 })));
    } finally {
      for (const one of lakes) await one.close();
      await fresh.dispose();
    }
  });

  it('says which user it refuses, and not the password', async () => {
    const failure = await messageOf(open({ password: 'wr0ng' }).migrate({ retentionDays: 30 }));
    expect(failure).toMatch(/refuses user 'tripline': check lake\.clickhouse\.username and password/);
    expect(failure).not.toContain('wr0ng');
  });

  it('says where nobody answers', async () => {
    const gone = open({ url: 'http://127.0.0.1:23999' });
    const where =
      /ClickHouse at http:\/\/127\.0\.0\.1:23999 is not reachable: .*ECONNREFUSED.*lake\.clickhouse\.url/;
    expect(await messageOf(gone.migrate({ retentionDays: 30 }))).toMatch(where);
    expect(await messageOf(gone.insert('apiCalls', calls('x', 0, 1)))).toMatch(where);
    expect(await messageOf(gone.query('SELECT 1'))).toMatch(where);
    const unnamed = open({ url: 'http://clickhouse.invalid:8123' });
    expect(await messageOf(unnamed.alertsSince(0))).toMatch(
      /clickhouse\.invalid:8123 is not reachable: .*clickhouse\.invalid/,
    );
  });

  it('says that TLS needs an https url, and why a server without TLS is not reached by it', async () => {
    expect(() => open({ tls: {} })).toThrow(/tls needs a url that begins with https/);
    const secure = open({ url: server.url.replace('http:', 'https:'), tls: { rejectUnauthorized: false } });
    expect(await messageOf(secure.query('SELECT 1'))).toMatch(/is not reachable: .*SSL routines/);
  });

  it('says that the cluster is unknown, and where the known ones are listed', async () => {
    const fresh = await startClickhouseFront();
    const clustered = openServerLake({ ...fresh, cluster: 'edge' });
    try {
      expect(await messageOf(clustered.migrate({ retentionDays: 30 }))).toMatch(
        /no cluster is named 'edge'.*lake\.clickhouse\.cluster.*system\.clusters/,
      );
    } finally {
      await clustered.close();
      await fresh.dispose();
    }
  });

  it('asks a cluster whose tables are there for nothing, as it takes no such statement while a replica is away', async () => {
    // This server knows no cluster: any statement for one would be refused.
    await open({ cluster: 'edge' }).migrate({ retentionDays: 30 });
  });

  it.each([
    ['TOO_MANY_PARTS', /has more parts than it merges in time.*Too many parts.*\(TOO_MANY_PARTS\)/],
    ['MEMORY_LIMIT_EXCEEDED', /short of memory/],
    ['TABLE_IS_READ_ONLY', /read-only, as its replica has no connection to Keeper/],
    ['503', /answers, but not as ClickHouse does: <html>Service Unavailable/],
    ['hang', /is not reachable: no answer in time/],
    ['reset', /is not reachable: (socket hang up|.*ECONNRESET)/],
    ['reset-after', /is not reachable: (socket hang up|.*ECONNRESET)/],
  ] as const)(
    'has each row once when it answered %s twice and was then asked again',
    async (answer, words) => {
      await server.fault({ answer, times: 2 });
      const failures = await persist(() => lake.insert('apiCalls', calls(answer, 0, 400)));
      expect(failures).toHaveLength(2);
      // LakeRefusedError would send good rows to the dead letters.
      for (const failure of failures) expect(failure).toMatch(words);
      expect(await counted(lake, `${answer}-`)).toEqual({ rows: 400, ids: 400 });
    },
  );

  it(
    'has every row once after five kills in the middle of inserts, each tried again',
    { timeout: 120_000 },
    async () => {
      const perBatch = 2_000;
      const batches = 60;
      const kills = 5;
      let begun = 0;
      let ended = 0;
      let failed = 0;
      const writer = async (): Promise<void> => {
        while (begun < batches) {
          const n = begun++;
          const rows = calls('kill', n * perBatch, (n + 1) * perBatch);
          for (let done = false; !done;) {
            try {
              await lake.insert('apiCalls', rows);
              done = true;
            } catch {
              failed++;
              // Nobody is there before the restart has ended.
              await running;
            }
          }
          ended++;
        }
      };
      let running: Promise<void> = Promise.resolve();
      const writing = Promise.all([writer(), writer(), writer()]);
      for (let kill = 0; kill < kills; kill++) {
        const goal = Math.min(ended + 7 + kill, batches - 3);
        while (ended < goal) await new Promise((resolve) => setImmediate(resolve));
        running = server.restart().then(() => command(server, 'SYSTEM STOP MERGES'));
        await running;
      }
      await writing;
      expect(failed).toBeGreaterThanOrEqual(kills);
      expect(await counted(lake, 'kill-')).toEqual({ rows: batches * perBatch, ids: batches * perBatch });
    },
  );

  it('has the rows of an insert that a kill of the server undid behind its back, when they are written again', async () => {
    const rows = calls('undone', 0, 400);
    await lake.insert('apiCalls', rows);
    const parts = await lake.query<{ path: string }>(
      `SELECT DISTINCT _part AS path FROM tripline.api_calls WHERE startsWith(id, 'undone-')`,
    );
    const [table] = await lake.query<{ path: string }>(
      `SELECT data_paths[1] AS path FROM system.tables WHERE database = 'tripline' AND name = 'api_calls'`,
    );
    await server.kill();
    // As a kill leaves it that comes when the engine has noted the insert and not yet renamed its parts into place.
    for (const part of parts) rmSync(join(table!.path, part.path), { recursive: true });
    await server.restart();
    expect(await counted(lake, 'undone-')).toEqual({ rows: 0, ids: 0 });
    await lake.insert('apiCalls', rows);
    expect(await counted(lake, 'undone-')).toEqual({ rows: 400, ids: 400 });
  });

  it('is used again after a restart without being opened anew', async () => {
    await server.stop();
    expect(await messageOf(lake.query('SELECT 1 AS one'))).toMatch(/not reachable/);
    await server.restart();
    expect(await lake.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });
});

it.each([
  ['23.3.1.2823', false],
  ['22.12.9', false],
  ['23.8.2.7', true],
  ['24.1.1', true],
  ['26.7.2.1', true],
  ['', false],
])('takes a server of version %s: %s', (version, taken) => {
  if (taken) refuseOldServer(version);
  else expect(() => refuseOldServer(version)).toThrow(/needs 23\.8 or later/);
});

async function messageOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('It did not fail.');
}
