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

function columnList(columns: Record<string, string>): string {
  return Object.entries(columns)
    .map(([column, type]) => `${column} ${type}`)
    .join(', ');
}
