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
  consumerId: 'String',
  consumerUsername: 'String',
  consumerCustomId: 'String',
  consumerTags: 'Array(String)',
  credentialId: 'String',
  credential: 'String',
  user: 'String',
  authScheme: name,
  ip: 'String',
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
  refused: 'Bool',
  requestBytes: 'UInt64',
  responseBytes: 'UInt64',
  latencyMs: 'UInt32',
  upstreamMs: 'Nullable(UInt32)',
  workspace: name,
};

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

/**
 * The deduplication window is off unless it is set. Parts below 256 MiB are kept in one file each, which spares most of
 * the cost of a small insert into many columns. A part is on the disk, not only in the page cache, when the insert
 * returns. Expired days are dropped as whole parts.
 */
const settings = `SETTINGS non_replicated_deduplication_window = 1000, min_bytes_for_wide_part = 268435456,
  fsync_after_insert = 1, fsync_part_directory = 1, materialize_ttl_recalculate_only = 1`;

/** Numbered from 1. Each statement may be run again, as a crash may fall between it and the note that it was done. */
export const migrations: { name: string; statements: string[] }[] = [
  {
    name: 'API calls, alerts and responses',
    statements: [
      `CREATE TABLE IF NOT EXISTS tripline.api_calls (${columnList(apiCallColumns)})
       ENGINE = MergeTree PARTITION BY toDate(startedAt, 'UTC') ORDER BY (actorKind, actorId, startedAt)
       ${settings}, ttl_only_drop_parts = 1`,
      `CREATE TABLE IF NOT EXISTS tripline.alerts
       (alert String, ${columnList(alertColumns)}, CONSTRAINT alertIsJson CHECK isValidJSON(alert) AND id != '')
       ENGINE = ReplacingMergeTree(revision) ORDER BY id ${settings}`,
      `CREATE TABLE IF NOT EXISTS tripline.responses
       (response String, ${columnList(responseColumns)},
        CONSTRAINT responseIsJson CHECK isValidJSON(response) AND id != '')
       ENGINE = ReplacingMergeTree(revision) ORDER BY id ${settings}`,
    ],
  },
];

/** When rows of each table end; responses in force are kept for as long as they are. */
export function retention(table: LakeTable, days: number): string {
  return {
    apiCalls: `toDateTime(startedAt) + toIntervalDay(${days})`,
    alerts: `toDateTime(raisedAt) + toIntervalDay(${days})`,
    responses: `toDateTime(decidedAt) + toIntervalDay(${days}) WHERE status NOT IN ('pending', 'active')`,
  }[table];
}

function columnList(columns: Record<string, string>): string {
  return Object.entries(columns)
    .map(([column, type]) => `${column} ${type}`)
    .join(', ');
}
