import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient, type ClickHouseClient } from '@clickhouse/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLake } from './clickhouse-lake.ts';
import { loadEngine } from './embedded-lake.ts';
import { foundation, retentionStatement } from './migrate.ts';
import { forDeployment, migrationFiles, migrations, readMigration } from './migrations.ts';
import { createFirstRelease, record } from './released-lakes.ts';
import { apiCallColumns } from './schema.ts';

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

const run = async (query: string): Promise<void> => {
  await client.command({ query });
};

/** As the first release left it, one call twice; with or without the record of version 1. */
async function firstRelease(recorded: boolean): Promise<void> {
  await run('DROP DATABASE IF EXISTS tripline SYNC');
  await createFirstRelease(run);
  if (recorded) await record(1, run);
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
  expect(version).toEqual({ version: migrations.length });
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
    ['before a statement, when the first version had crashed before it recorded itself', false, false],
  ])(
    'keeps every call, whichever step a crash falls %s',
    { timeout: 120_000 },
    async (_, recorded, afterEffect) => {
      let crashes = 0;
      for (let crashed = true; crashed;) {
        await firstRelease(recorded);
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
    await firstRelease(true);
    for (const left of [4, 6, 3, 5, 2, 7])
      await createLake(crashing(left, true), { reading })
        .migrate({ retentionDays: 7 })
        .catch((error: unknown) => expect(error).toBeInstanceOf(Crash));
    await createLake(client, { reading }).migrate({ retentionDays: 7 });
    await expectUpgraded();
  });

  it('makes the tables take an insert that they have had, though they remembered it before', async () => {
    await firstRelease(true);
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
  const all = [
    ...foundation,
    ...migrations.flatMap((migration) => migration.statements),
    ...(['apiCalls', 'alerts', 'responses'] as const).map((table) => retentionStatement(table, 30)),
  ];
  const statements = all
    .filter((statement) => !statement.startsWith('INSERT'))
    .map((statement) => forDeployment(statement, 'edge'));

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

  it('leave no placeholder, on a cluster or on a server on its own', () => {
    for (const cluster of ['edge', undefined])
      for (const statement of all) expect(forDeployment(statement, cluster)).not.toMatch(/[{}]/);
  });
});

describe('migration files', () => {
  // A released file never changes: lakes that have applied it would differ from those that have not.
  const sha256 = {
    '001-api-calls-alerts-responses.sql': '57e124960102dd8d8f26df86f6b970882ea78130b9df113f49a8edd316fd06c2',
    '002-api-calls-count-once.sql': '27f844f43ec5ce12b0b83a70599eab5fb2adece164ae745e44af510d06ed1085',
    '003-inserts-are-not-remembered.sql': '6f737a199721c6efa87b071691284b412403d41108100297d5d55f6626bd8e2f',
    '004-who-acts-and-credentials.sql': 'c2bdd1af03c7c735f3bc1ddfe00b94404732338291617f5d74903137dcddae53',
    '005-responses-have-targets.sql': 'c8ab800b16f53f7b38efb7cf232befb6c92934cf1f1f9f6308ccccf99df414b6',
  };

  it('are as they were released, each listed with its hash', () => {
    const hashes = Object.entries(migrationFiles).map(([file, text]) => [
      file,
      createHash('sha256').update(text).digest('hex'),
    ]);
    expect(
      Object.fromEntries(hashes),
      'A released migration must not change. Undo the change and write it as a new file; list the new file here.',
    ).toEqual(sha256);
  });

  it('are all in the list of migrations.ts, numbered from 1 without a gap', () => {
    const files = readdirSync(new URL('../migrations', import.meta.url)).sort();
    expect(
      Object.keys(migrationFiles),
      'Each file in packages/lake/migrations needs its line in migrations.ts.',
    ).toEqual(files);
    expect(files.map((file) => Number(/^([0-9]{3})-[a-z0-9-]+\.sql$/.exec(file)?.[1]))).toEqual(
      files.map((_, index) => index + 1),
    );
  });

  it.each([
    [
      'no name',
      'SELECT 1;\n',
      /^005\.sql: the first line is "SELECT 1;"; it must be "-- NAME OF THE STEP"\.$/,
    ],
    [
      'no end',
      '-- A step\n\nSELECT 1\n',
      /^005\.sql: "SELECT 1" begins a statement that no line ends with ";"\.$/,
    ],
  ])('are refused with what is wrong: %s', (_, text, message) => {
    expect(() => readMigration('005.sql', text)).toThrow(message);
  });

  it('keep a condition apart from statements, leave comments out and may have semicolons within a line', () => {
    const text =
      "-- A step\n-- why\n\n-- needed if\nSELECT 1\n  AS needed;\n\nSELECT ';' AS a,\n-- b\n  2;\nSELECT 3;\n";
    expect(readMigration('005.sql', text)).toEqual({
      name: 'A step',
      neededIf: 'SELECT 1\n  AS needed',
      statements: ["SELECT ';' AS a,\n  2", 'SELECT 3'],
    });
  });
});

describe('the columns of api_calls', () => {
  /** What to do so that the tables have the column of each field: nothing if the migrations make exactly these columns. */
  function toDo(fields: Record<string, string>, made: Record<string, string>): string[] {
    const next = String(migrations.length + 1).padStart(3, '0');
    const add = (column: string, type: string): string =>
      `write packages/lake/migrations/${next}-NAME.sql: ` +
      `ALTER TABLE tripline.api_calls {onCluster} ADD COLUMN IF NOT EXISTS ${column} ${type};`;
    return [
      ...Object.entries(fields)
        .filter(([column]) => !(column in made))
        .map(([column, type]) => `No migration makes the column ${column}: ${add(column, type)}`),
      ...Object.entries(fields)
        .filter(([column, type]) => column in made && made[column] !== type)
        .map(
          ([column, type]) => `apiCallColumns says ${column} ${type}, the migrations make ${made[column]}.`,
        ),
      ...Object.keys(made)
        .filter((column) => !(column in fields))
        .map(
          (column) =>
            `The migrations make ${column}, which apiCallColumns does not name: inserts would leave it empty.`,
        ),
    ];
  }
  const made = async (): Promise<Record<string, string>> => {
    await run('DROP DATABASE IF EXISTS tripline SYNC');
    await createLake(client, { reading }).migrate({ retentionDays: 7 });
    const columns = await ask<{ name: string; type: string }>(
      "SELECT name, type FROM system.columns WHERE database = 'tripline' AND table = 'api_calls'",
    );
    return Object.fromEntries(columns.map(({ name, type }) => [name, type]));
  };

  it('are those that the migrations make', async () => {
    expect(toDo(apiCallColumns, await made())).toEqual([]);
  });

  it('are missed with what to write, if a field comes without a migration', async () => {
    const next = String(migrations.length + 1).padStart(3, '0');
    expect(
      toDo({ ...apiCallColumns, tlsVersion: 'LowCardinality(String)', status: 'UInt8' }, await made()),
    ).toEqual([
      `No migration makes the column tlsVersion: write packages/lake/migrations/${next}-NAME.sql: ` +
        'ALTER TABLE tripline.api_calls {onCluster} ADD COLUMN IF NOT EXISTS tlsVersion LowCardinality(String);',
      'apiCallColumns says status UInt8, the migrations make UInt16.',
    ]);
    const fewer = Object.fromEntries(
      Object.entries(apiCallColumns).filter(([column]) => column !== 'pathGone'),
    );
    expect(toDo(fewer, await made())).toEqual([
      'The migrations make pathGone, which apiCallColumns does not name: inserts would leave it empty.',
    ]);
  });
});
