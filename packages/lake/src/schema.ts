import type { ApiCall } from '@tripline/model';
import type { LakeTable } from './lake.ts';

const name = 'LowCardinality(String)';

/**
 * Columns of `api_calls`: the fields of an API call under their own names, so that a bus record is a row. A field that
 * was left out gets the column's default (empty, 0); it is nullable where 0 would be a value. Text of few different
 * values is LowCardinality; ids, paths and tokens are not. Addresses stay text: equal to `actorId` and to the sources of
 * alerts, and `isIPAddressInRange(ip, '203.0.113.0/24')` takes it.
 */
export const apiCallColumns: Record<keyof ApiCall, string> = {
  id: 'String',
  startedAt: 'DateTime64(3)',
  actorKind: name,
  actorId: 'String',
  actorName: 'String',
  verifiedBy: name,
  consumerId: 'String',
  consumerUsername: 'String',
  consumerCustomId: 'String',
  consumerTags: 'Array(String)',
  credentialId: 'String',
  credential: 'String',
  user: 'String',
  authScheme: name,
  presented: name,
  auth: name,
  addressSuccesses: 'UInt32',
  ip: 'String',
  network: 'String',
  country: name,
  city: name,
  latitude: 'Nullable(Float64)',
  longitude: 'Nullable(Float64)',
  asn: 'UInt32',
  asOrganization: name,
  method: name,
  host: name,
  path: 'String',
  endpoint: name,
  service: name,
  route: name,
  query: 'Map(String, Array(String))',
  userAgent: 'String',
  referer: 'String',
  contentType: name,
  cookies: 'Map(String, String)',
  headers: 'Map(String, String)',
  status: 'UInt16',
  source: name,
  upstreamStatus: name,
  grpcStatus: 'Nullable(UInt16)',
  pathGone: 'Bool',
  refused: 'Bool',
  requestBytes: 'UInt64',
  responseBytes: 'UInt64',
  latencyMs: 'UInt32',
  upstreamMs: 'Nullable(UInt32)',
  workspace: name,
};

/** Columns that came after version 3: not in the tables that the first migrations make. */
const columnsOfVersion4 = [
  'verifiedBy',
  'presented',
  'auth',
  'addressSuccesses',
  'network',
  'grpcStatus',
  'pathGone',
] as const satisfies (keyof ApiCall)[];
const firstColumns = Object.fromEntries(
  Object.entries(apiCallColumns).filter(([column]) => !columnsOfVersion4.some((added) => added === column)),
);

/** Alerts and responses stay whole in one column; what is searched for is taken out of it by the engine. */
const alertColumns = {
  id: `String MATERIALIZED JSONExtractString(alert, 'id')`,
  revision: `UInt32 MATERIALIZED JSONExtractUInt(alert, 'revision')`,
  type: `${name} MATERIALIZED JSONExtractString(alert, 'type')`,
  severity: `${name} MATERIALIZED JSONExtractString(alert, 'severity')`,
  score: `Float64 MATERIALIZED JSONExtractFloat(alert, 'score')`,
  status: `${name} MATERIALIZED JSONExtractString(alert, 'status')`,
  actorKind: `${name} MATERIALIZED JSONExtractString(alert, 'actor', 'kind')`,
  actorId: `String MATERIALIZED JSONExtractString(alert, 'actor', 'id')`,
  actorName: `String MATERIALIZED JSONExtractString(alert, 'actor', 'name')`,
  service: `${name} MATERIALIZED JSONExtractString(alert, 'service')`,
  route: `${name} MATERIALIZED JSONExtractString(alert, 'route')`,
  endpoint: `${name} MATERIALIZED JSONExtractString(alert, 'endpoint')`,
  raisedAt: `DateTime64(3) MATERIALIZED fromUnixTimestamp64Milli(JSONExtractInt(alert, 'raisedAt'))`,
  startedAt: `DateTime64(3) MATERIALIZED fromUnixTimestamp64Milli(JSONExtractInt(alert, 'startedAt'))`,
  lastSeenAt: `DateTime64(3) MATERIALIZED fromUnixTimestamp64Milli(JSONExtractInt(alert, 'lastSeenAt'))`,
  count: `UInt64 MATERIALIZED JSONExtractUInt(alert, 'count')`,
  summary: `String MATERIALIZED JSONExtractString(alert, 'summary')`,
};

const responseColumns = {
  id: `String MATERIALIZED JSONExtractString(response, 'id')`,
  revision: `UInt32 MATERIALIZED JSONExtractUInt(response, 'revision')`,
  policyId: `${name} MATERIALIZED JSONExtractString(response, 'policyId')`,
  alertId: `String MATERIALIZED JSONExtractString(response, 'alertId')`,
  action: `${name} MATERIALIZED JSONExtractString(response, 'action', 'type')`,
  consumerId: `String MATERIALIZED JSONExtractString(response, 'consumer', 'id')`,
  consumerName: `String MATERIALIZED JSONExtractString(response, 'consumer', 'name')`,
  status: `${name} MATERIALIZED JSONExtractString(response, 'status')`,
  decidedAt: `DateTime64(3) MATERIALIZED fromUnixTimestamp64Milli(JSONExtractInt(response, 'decidedAt'))`,
};

/** How a batch of each table is read: `structure` are the columns that the rows carry, without LowCardinality. */
export const tables: Record<LakeTable, { name: string; columns: string; structure: string; format: string }> =
  {
    apiCalls: {
      name: 'tripline.api_calls',
      columns: Object.keys(apiCallColumns).join(', '),
      structure: columnList(apiCallColumns).replaceAll(name, 'String'),
      format: 'JSONEachRow',
    },
    alerts: { name: 'tripline.alerts', columns: 'alert', structure: 'alert String', format: 'LineAsString' },
    responses: {
      name: 'tripline.responses',
      columns: 'response',
      structure: 'response String',
      format: 'LineAsString',
    },
  };

/** One step of the schema. Each statement may be run again, as a crash may fall between it and the note that it was done. */
export interface Migration {
  name: string;
  /** A query that tells whether there is anything to do (a column `needed`); left out: always. */
  neededIf?: string;
  statements: string[];
}

/**
 * The schema, numbered from 1. With a cluster its tables are replicated on every server of it, which have to be replicas
 * of each other: the rows are not spread over shards.
 *
 * Several archivers may begin at once on an empty server: all that they run there says IF NOT EXISTS, so whoever comes
 * second finds it done. What could not bear a second one beside it is behind `neededIf`.
 */
export function migrationsFor(cluster: string | undefined): Migration[] {
  const { on, engine, settings } = placement(cluster);
  const apiCalls = (table: string): string =>
    `TABLE IF NOT EXISTS tripline.${table}${on} (${columnList(firstColumns)})
     ENGINE = ${engine('ReplacingMergeTree')} PARTITION BY toDate(startedAt, 'UTC')
     PRIMARY KEY (actorKind, actorId, startedAt) ORDER BY (actorKind, actorId, startedAt, id)
     ${settings}, ttl_only_drop_parts = 1`;
  return [
    {
      name: 'API calls, alerts and responses',
      statements: [
        `CREATE ${apiCalls('api_calls')}`,
        `CREATE TABLE IF NOT EXISTS tripline.alerts${on}
         (alert String, ${columnList(alertColumns)}, CONSTRAINT alertIsJson CHECK isValidJSON(alert) AND id != '')
         ENGINE = ${engine('ReplacingMergeTree(revision)')} ORDER BY id ${settings}`,
        `CREATE TABLE IF NOT EXISTS tripline.responses${on}
         (response String, ${columnList(responseColumns)},
          CONSTRAINT responseIsJson CHECK isValidJSON(response) AND id != '')
         ENGINE = ${engine('ReplacingMergeTree(revision)')} ORDER BY id ${settings}`,
      ],
    },
    {
      // Lakes made before this step hold their calls in a plain MergeTree. They are embedded ones, so nobody else writes
      // to them meanwhile. The copy is thrown away and begun anew until the exchange, which is one atomic step; what a
      // crash leaves behind after it are the old rows under the other name, then the same steps copy the new table.
      name: 'An API call counts once, by its id',
      neededIf: `SELECT count() > 0 AS needed FROM system.tables WHERE database = 'tripline'
                 AND (name = 'api_calls' AND engine = 'MergeTree' OR name = 'api_calls_next')`,
      statements: [
        `DROP TABLE IF EXISTS tripline.api_calls_next${on} SYNC`,
        `CREATE ${apiCalls('api_calls_next')}`,
        `INSERT INTO tripline.api_calls_next SELECT * FROM tripline.api_calls
         SETTINGS max_partitions_per_insert_block = 0, async_insert = 0`,
        `EXCHANGE TABLES tripline.api_calls_next AND tripline.api_calls${on}`,
        `DROP TABLE IF EXISTS tripline.api_calls_next${on} SYNC`,
      ],
    },
    {
      // A table that is not replicated notes that it has a block before the block's part is renamed into place: a kill
      // between the two made it drop the rows when they were written again.
      name: 'No insert is taken for one before it',
      neededIf: `SELECT count() > 0 AS needed FROM system.tables WHERE database = 'tripline'
                 AND position(create_table_query, 'non_replicated_deduplication_window = 1000') > 0`,
      statements: Object.values(tables).map(
        (table) => `ALTER TABLE ${table.name}${on} MODIFY SETTING non_replicated_deduplication_window = 0`,
      ),
    },
    {
      name: 'Who acts and why, and what came of credentials',
      statements: [
        `ALTER TABLE tripline.api_calls${on} ${columnsOfVersion4
          .map((column) => `ADD COLUMN IF NOT EXISTS ${column} ${apiCallColumns[column]}`)
          .join(', ')}`,
      ],
    },
  ];
}

/** What has to be there before anything can be noted as done. */
export function foundation(cluster: string | undefined): string[] {
  const { on, engine } = placement(cluster);
  return [
    `CREATE DATABASE IF NOT EXISTS tripline${on}`,
    `CREATE TABLE IF NOT EXISTS tripline.migrations${on} (version UInt32, name String, appliedAt DateTime)
     ENGINE = ${engine('ReplacingMergeTree')} ORDER BY version`,
  ];
}

/** Sets how many days the rows of a table are kept; responses in force are kept for as long as they are. */
export function keepFor(table: LakeTable, days: number, cluster: string | undefined): string {
  const until = {
    apiCalls: `toDateTime(startedAt) + toIntervalDay(${days})`,
    alerts: `toDateTime(raisedAt) + toIntervalDay(${days})`,
    responses: `toDateTime(decidedAt) + toIntervalDay(${days}) WHERE status NOT IN ('pending', 'active')`,
  }[table];
  return `ALTER TABLE ${tables[table].name}${placement(cluster).on} MODIFY TTL ${until}`;
}

/**
 * What is written twice is left to the engine of the table: the deduplication window of tables that are not replicated stays
 * off, see the last step of the schema. Parts below 256 MiB are kept in one file each, which
 * spares most of the cost of a small insert into many columns. A part is on the disk, not only in the page cache, when
 * the insert returns. Expired days are dropped as whole parts.
 */
function placement(cluster: string | undefined): {
  on: string;
  engine: (name: string) => string;
  settings: string;
} {
  return {
    on: cluster === undefined ? '' : ` ON CLUSTER '${cluster}'`,
    // Without arguments: path and replica come from the server's default_replica_path and macros.
    engine: (name) => (cluster === undefined ? name : `Replicated${name}`),
    settings: `SETTINGS min_bytes_for_wide_part = 268435456, fsync_after_insert = 1, fsync_part_directory = 1,
      materialize_ttl_recalculate_only = 1`,
  };
}

function columnList(columns: Record<string, string>): string {
  return Object.entries(columns)
    .map(([column, type]) => `${column} ${type}`)
    .join(', ');
}
