import { LakeTooNewError, type LakeTable } from './lake.ts';
import { forDeployment, migrations } from './migrations.ts';
import { quote } from './quote.ts';
import { tables } from './schema.ts';

/** The lake whose tables are created or upgraded. */
export interface MigrationTarget {
  query: <Row>(sql: string, parameters?: Record<string, unknown>) => Promise<Row[]>;
  write: (sql: string) => Promise<void>;
  /** Name of a cluster whose servers are replicas of each other: every server gets the tables, which are replicated. */
  cluster: string | undefined;
}

/**
 * Brings the tables to the latest schema version and sets their retention. Several archivers may do so at once on an empty
 * server: what creates something says IF NOT EXISTS, and what two of them must not do at once has a condition (`-- needed
 * if`) that an empty server does not meet.
 */
export async function migrateLake(target: MigrationTarget, retentionDays: number): Promise<void> {
  if (!Number.isInteger(retentionDays) || retentionDays < 1 || retentionDays > 3_650)
    throw new RangeError(`retentionDays is ${retentionDays}: allowed are whole days from 1 to 3650.`);
  const version = await schemaVersion(target);
  if (version > migrations.length) {
    throw new LakeTooNewError(
      `The lake has schema version ${version}, this version of Tripline knows up to ${migrations.length}: ` +
        'a newer Tripline has upgraded it. Run that version, or start with an empty lake.',
    );
  }
  await applyMigrations(target, version);
  await setRetention(target, retentionDays);
}

/** The database and the table that records which migrations were applied. */
export const foundation = [
  'CREATE DATABASE IF NOT EXISTS tripline {onCluster}',
  `CREATE TABLE IF NOT EXISTS tripline.migrations {onCluster} (version UInt32, name String, appliedAt DateTime)
   ENGINE = {replicated}ReplacingMergeTree ORDER BY version`,
];

async function applyMigrations({ query, write, cluster }: MigrationTarget, version: number): Promise<void> {
  // An up-to-date lake gets no statement at all: a cluster refuses them while one of its replicas is away.
  if (version === migrations.length) return;
  for (const statement of foundation) await write(forDeployment(statement, cluster));
  for (const [index, { name, neededIf, statements }] of migrations.entries()) {
    if (index < version) continue;
    const needed = neededIf === undefined || (await query<{ needed: number }>(neededIf))[0]?.needed;
    if (needed) for (const statement of statements) await write(forDeployment(statement, cluster));
    // Recorded after its statements: a crash between the two runs them again, which each migration allows.
    await write(
      `INSERT INTO tripline.migrations SELECT ${index + 1}, ${quote(name)}, now() SETTINGS async_insert = 0`,
    );
  }
}

/** When rows of a table expire. Responses in force are kept for as long as they are. */
export function retentionStatement(table: LakeTable, days: number): string {
  const until = {
    apiCalls: `toDateTime(startedAt) + toIntervalDay(${days})`,
    alerts: `toDateTime(raisedAt) + toIntervalDay(${days})`,
    responses: `toDateTime(decidedAt) + toIntervalDay(${days}) WHERE status NOT IN ('pending', 'active')`,
  }[table];
  return `ALTER TABLE ${tables[table].name} {onCluster} MODIFY TTL ${until}`;
}

async function setRetention(target: MigrationTarget, days: number): Promise<void> {
  for (const table of Object.keys(tables) as LakeTable[]) {
    const found = /\bTTL\b.*?toIntervalDay\((\d+)\)/.exec(await definitionOf(target, tables[table].name));
    if (Number(found?.[1]) !== days)
      await target.write(forDeployment(retentionStatement(table, days), target.cluster));
  }
}

/** 0 for a lake without tables. */
async function schemaVersion(target: MigrationTarget): Promise<number> {
  if ((await definitionOf(target, 'tripline.migrations')) === '') return 0;
  const [row] = await target.query<{ version: number }>(
    'SELECT max(version) AS version FROM tripline.migrations',
  );
  return row?.version ?? 0;
}

/** The CREATE statement of a table; empty if there is no such table. */
async function definitionOf({ query }: MigrationTarget, table: string): Promise<string> {
  const [database, name] = table.split('.');
  const [row] = await query<{ sql: string }>(
    'SELECT create_table_query AS sql FROM system.tables WHERE database = {database:String} AND name = {name:String}',
    { database, name },
  );
  return row?.sql ?? '';
}
