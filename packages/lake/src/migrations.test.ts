import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient, type ClickHouseClient } from '@clickhouse/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLake } from './clickhouse-lake.ts';
import { loadEngine } from './embedded-lake.ts';
import { foundation, keepFor, migrationsFor } from './schema.ts';

const path = mkdtempSync(join(tmpdir(), 'tripline-lake-migrations-'));
const days = 3;
const rows = 3_000;
let engine: Awaited<ReturnType<typeof loadEngine>>;
let client: ClickHouseClient;
beforeAll(async () => {
  engine = await loadEngine();
  client = open();
});
afterAll(async () => {
  await client.close();
  await engine.drainPending();
  rmSync(path, { recursive: true });
});

function open(): ClickHouseClient {
  return createClient({ connection: engine.createChdbConnection({ path }) });
}

async function reading<T>(work: (reader: ClickHouseClient) => Promise<T>): Promise<T> {
  const reader = open();
  try {
    return await work(reader);
  } finally {
    await reader.close();
  }
}

const ask = <Row>(sql: string): Promise<Row[]> =>
  reading(async (reader) => (await reader.query({ query: sql, format: 'JSONEachRow' })).json<Row>());

/**
 * As the first version left it: calls in a plain MergeTree, one of them twice, and tables that remember inserts; with or
 * without the note of version 1.
 */
async function firstVersion(noted: boolean): Promise<void> {
  const [first] = migrationsFor(undefined);
  const run = (query: string): Promise<unknown> => client.command({ query });
  await run('DROP DATABASE IF EXISTS tripline SYNC');
  for (const statement of foundation(undefined))
    await run(statement.replace('ReplacingMergeTree', 'MergeTree'));
  for (const statement of first!.statements) {
    const plain = statement
      .replace(/(api_calls[^]*?)ReplacingMergeTree/, '$1MergeTree')
      .replace(/PRIMARY KEY[^]*, id\)/, 'ORDER BY (actorKind, actorId, startedAt)')
      .replace('SETTINGS ', 'SETTINGS non_replicated_deduplication_window = 1000, ');
    await run(plain);
  }
  await run(keepFor('apiCalls', 30, undefined));
  if (noted) await run(`INSERT INTO tripline.migrations SELECT 1, 'first', now()`);
  const of = (from: number, to: number): string =>
    `INSERT INTO tripline.api_calls (id, startedAt, actorKind, actorId, query)
     SELECT concat('call-', toString(number)), now64(3) - toIntervalDay(number % ${days}), 'address', 'a', map('q', [toString(number)])
     FROM numbers(${from}, ${to - from}) SETTINGS async_insert = 0`;
  await run(of(0, rows));
  await run(of(rows, rows + 1));
}

async function expectUpgraded(): Promise<void> {
  const [calls] = await ask<{ rows: number; ids: number; queries: number }>(
    `SELECT toUInt32(count()) AS rows, toUInt32(uniqExact(id)) AS ids, toUInt32(uniqExact(query['q'])) AS queries
     FROM tripline.api_calls`,
  );
  expect(calls).toEqual({ rows: rows + 1, ids: rows + 1, queries: rows + 1 });
  const tables = await ask(
    `SELECT name, engine FROM system.tables WHERE database = 'tripline' ORDER BY name`,
  );
  expect(tables).toEqual([
    { name: 'alerts', engine: 'ReplacingMergeTree' },
    { name: 'api_calls', engine: 'ReplacingMergeTree' },
    { name: 'migrations', engine: expect.stringContaining('MergeTree') },
    { name: 'responses', engine: 'ReplacingMergeTree' },
  ]);
  const [version] = await ask('SELECT max(version) AS version FROM tripline.migrations');
  expect(version).toEqual({ version: 4 });
  const [definition] = await ask('SHOW CREATE TABLE tripline.api_calls');
  expect(JSON.stringify(definition)).toContain('toIntervalDay(7)');
  const remembering = await ask(
    `SELECT name FROM system.tables WHERE database = 'tripline' AND create_table_query LIKE '%window = 1000%'`,
  );
  expect(remembering).toEqual([]);
}

class Crash extends Error {}

/** Goes through `left` more statements, then fails: before the next one takes effect, or behind it. */
function crashing(left: number, afterEffect: boolean): ClickHouseClient {
  return Object.create(client, {
    command: {
      value: async (parameters: Parameters<ClickHouseClient['command']>[0]) => {
        if (left-- > 0) return client.command(parameters);
        if (afterEffect) await client.command(parameters);
        throw new Crash();
      },
    },
  }) as ClickHouseClient;
}

describe('the upgrade from version 1', () => {
  it.each([
    ['before a statement', true, false],
    ['behind a statement', true, true],
    ['before a statement, when the first version had crashed before it noted itself', false, false],
  ])(
    'keeps every call, whichever step a crash falls %s',
    { timeout: 120_000 },
    async (_, noted, afterEffect) => {
      let crashes = 0;
      for (let crashed = true; crashed;) {
        await firstVersion(noted);
        const failure: unknown = await createLake(crashing(crashes, afterEffect), { reading })
          .migrate({ retentionDays: 7 })
          .then(
            () => undefined,
            (error: unknown) => error,
          );
        crashed = failure !== undefined;
        if (crashed) {
          expect(failure).toBeInstanceOf(Crash);
          crashes++;
          await createLake(client, { reading }).migrate({ retentionDays: 7 });
        }
        await expectUpgraded();
      }
      // Foundation, five and three steps of the upgrade, their notes, retention of three tables.
      expect(crashes).toBeGreaterThan(13);
    },
  );

  it('keeps every call after several crashes in a row', async () => {
    await firstVersion(true);
    for (const left of [4, 6, 3, 5, 2, 7])
      await createLake(crashing(left, true), { reading })
        .migrate({ retentionDays: 7 })
        .catch((error: unknown) => expect(error).toBeInstanceOf(Crash));
    await createLake(client, { reading }).migrate({ retentionDays: 7 });
    await expectUpgraded();
  });

  it('makes the tables take an insert that they have had, though they remembered it before', async () => {
    await firstVersion(true);
    const insert = `INSERT INTO tripline.alerts (alert) SELECT '{"id":"again"}'
                    SETTINGS async_insert = 0, insert_deduplication_token = 'again'`;
    const parts = `SELECT toUInt32(count()) AS parts FROM system.parts WHERE database = 'tripline' AND table = 'alerts' AND active`;
    for (let i = 0; i < 2; i++) await client.command({ query: insert });
    expect(await ask(parts)).toEqual([{ parts: 1 }]);
    await createLake(client, { reading }).migrate({ retentionDays: 7 });
    await client.command({ query: 'SYSTEM STOP MERGES tripline.alerts' });
    await client.command({ query: insert });
    expect(await ask(parts)).toEqual([{ parts: 2 }]);
  });

  it('is not run again', async () => {
    await createLake(client, { reading }).migrate({ retentionDays: 7 });
    await createLake(crashing(0, false), { reading }).migrate({ retentionDays: 7 });
  });
});

describe('statements for a cluster', () => {
  // No Keeper here to run them: the engine's parser and formatter read them, and tell what it made of them.
  const statements = [
    ...foundation('edge'),
    ...migrationsFor('edge').flatMap((migration) => migration.statements),
    ...(['apiCalls', 'alerts', 'responses'] as const).map((table) => keepFor(table, 30, 'edge')),
  ].filter((statement) => !statement.startsWith('INSERT'));

  it.each(statements.map((statement) => [statement.split(' (', 1)[0]!, statement]))(
    'are read by the engine as meant for every server: %s',
    async (_, statement) => {
      const [read] = await ask<{ sql: string }>(
        `SELECT formatQuerySingleLine('${statement.replaceAll('\\', '\\\\').replaceAll("'", "''")}') AS sql`,
      );
      expect(read?.sql).toContain('ON CLUSTER edge');
    },
  );

  it('make replicated tables only', () => {
    const created = statements.filter((statement) => statement.startsWith('CREATE TABLE'));
    expect(created).toHaveLength(5);
    for (const statement of created) expect(statement).toMatch(/ENGINE = Replicated(Replacing)?MergeTree/);
  });

  it('are those for a server on its own but for that', () => {
    const plain = [...foundation(undefined), ...migrationsFor(undefined).flatMap((one) => one.statements)];
    const clustered = [...foundation('edge'), ...migrationsFor('edge').flatMap((one) => one.statements)];
    expect(
      clustered.map((statement) =>
        statement.replaceAll(" ON CLUSTER 'edge'", '').replace('= Replicated', '= '),
      ),
    ).toEqual(plain);
  });
});
