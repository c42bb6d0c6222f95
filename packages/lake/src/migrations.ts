import apiCallsAlertsResponses from '../migrations/001-api-calls-alerts-responses.sql' with { type: 'text' };
import apiCallsCountOnce from '../migrations/002-api-calls-count-once.sql' with { type: 'text' };
import insertsAreNotRemembered from '../migrations/003-inserts-are-not-remembered.sql' with { type: 'text' };
import whoActsAndCredentials from '../migrations/004-who-acts-and-credentials.sql' with { type: 'text' };
import responsesHaveTargets from '../migrations/005-responses-have-targets.sql' with { type: 'text' };

/**
 * The files of `packages/lake/migrations`, in the order in which they are applied; the first one makes schema version 1. A
 * released file never changes (migrations.test.ts holds its hash): a change of the tables is a new file and its line here.
 */
export const migrationFiles = {
  '001-api-calls-alerts-responses.sql': apiCallsAlertsResponses,
  '002-api-calls-count-once.sql': apiCallsCountOnce,
  '003-inserts-are-not-remembered.sql': insertsAreNotRemembered,
  '004-who-acts-and-credentials.sql': whoActsAndCredentials,
  '005-responses-have-targets.sql': responsesHaveTargets,
};

/** One step of the schema. Each statement can be run again: a crash may come between it and the record that the step was applied. */
export interface Migration {
  name: string;
  /** A query whose column `needed` is 0 if the statements have nothing to do; left out: they always run. */
  neededIf?: string;
  statements: string[];
}

export const migrations: readonly Migration[] = Object.entries(migrationFiles).map(([file, text]) =>
  readMigration(file, text),
);

/**
 * Reads the text of a migration file. Its first line is `-- ` and the name of the step. A statement ends with a line that
 * ends in `;`. The statement behind the line `-- needed if` is the query `neededIf`. All other lines that begin with `--`
 * are comments. Throws for anything else.
 */
export function readMigration(file: string, text: string): Migration {
  const [title = '', ...lines] = text.split('\n');
  const name = /^-- (.+)$/.exec(title)?.[1];
  if (name === undefined)
    throw new Error(`${file}: the first line is "${title}"; it must be "-- NAME OF THE STEP".`);
  const migration: Migration = { name, statements: [] };
  let statement: string[] = [];
  let isCondition = false;
  for (const line of lines) {
    if (line === '-- needed if') isCondition = true;
    if (line.startsWith('--') || (line === '' && statement.length === 0)) continue;
    statement.push(line);
    if (!line.endsWith(';')) continue;
    const sql = statement.join('\n').slice(0, -1);
    if (isCondition) migration.neededIf = sql;
    else migration.statements.push(sql);
    statement = [];
    isCondition = false;
  }
  if (statement.length > 0)
    throw new Error(`${file}: "${statement[0]}" begins a statement that no line ends with ";".`);
  return migration;
}

/**
 * Fills in what the deployment decides. With a cluster `{onCluster}` is its clause and `{replicated}` the prefix of a table's
 * engine, without arguments: path and replica come from the server's default_replica_path and macros. Without a cluster both
 * are empty.
 */
export function forDeployment(sql: string, cluster: string | undefined): string {
  const clustered = cluster !== undefined;
  return sql
    .replaceAll('{onCluster}', clustered ? `ON CLUSTER '${cluster}'` : '')
    .replaceAll('{replicated}', clustered ? 'Replicated' : '');
}
