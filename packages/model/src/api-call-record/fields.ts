import type { ApiCall } from '../api-call.ts';

/** The types of columns that fields of an API call have in the lake. */
export type ApiCallColumn =
  | 'String'
  | 'LowCardinality(String)'
  | 'Array(String)'
  | 'Map(String, String)'
  | 'Map(String, Array(String))'
  | 'Bool'
  | 'UInt16'
  | 'UInt32'
  | 'UInt64'
  | 'Nullable(UInt16)'
  | 'Nullable(UInt32)'
  | 'Nullable(Float64)'
  | 'DateTime64(3)';

export interface ApiCallField {
  name: keyof ApiCall;
  column: ApiCallColumn;
  /** Always there. Of the others the column's default (empty, 0, false, null) stands for a field that was left out. */
  isRequired?: true;
  /** Required text that may not be empty. */
  isFilled?: true;
  /** The only values. */
  values?: readonly string[];
}

const lowCardinality = 'LowCardinality(String)';

/**
 * The fields of an API call in the order in which a record holds them: the one list from which the record on the bus, its
 * check and the columns of the lake follow. New fields go to the end, and no field is ever removed or moved: a record
 * says only how many of them it holds.
 *
 * Text of few different values is LowCardinality; ids, paths and tokens are not. A number is Nullable where 0 is a value.
 * Addresses stay text: equal to `actorId` and to the sources of alerts, and `isIPAddressInRange(ip, '203.0.113.0/24')`
 * takes it.
 */
export const apiCallFields: readonly ApiCallField[] = [
  { name: 'id', column: 'String', isRequired: true, isFilled: true },
  { name: 'startedAt', column: 'DateTime64(3)', isRequired: true },
  {
    name: 'actorKind',
    column: lowCardinality,
    isRequired: true,
    values: ['consumer', 'credential', 'address'],
  },
  { name: 'actorId', column: 'String', isRequired: true, isFilled: true },
  { name: 'actorName', column: 'String', isRequired: true, isFilled: true },
  { name: 'verifiedBy', column: lowCardinality, values: ['kong', 'declared', 'learnt'] },
  { name: 'consumerId', column: 'String' },
  { name: 'consumerUsername', column: 'String' },
  { name: 'consumerCustomId', column: 'String' },
  { name: 'consumerTags', column: 'Array(String)' },
  { name: 'credentialId', column: 'String' },
  { name: 'credential', column: 'String' },
  { name: 'user', column: 'String' },
  { name: 'authScheme', column: lowCardinality },
  { name: 'presented', column: lowCardinality, values: ['nothing', 'something'] },
  { name: 'auth', column: lowCardinality, values: ['challenge', 'failure', 'expired', 'success'] },
  { name: 'addressSuccesses', column: 'UInt32' },
  { name: 'ip', column: 'String' },
  { name: 'network', column: 'String' },
  { name: 'country', column: lowCardinality },
  { name: 'city', column: lowCardinality },
  { name: 'latitude', column: 'Nullable(Float64)' },
  { name: 'longitude', column: 'Nullable(Float64)' },
  { name: 'asn', column: 'UInt32' },
  { name: 'asOrganization', column: lowCardinality },
  { name: 'method', column: lowCardinality, isRequired: true },
  { name: 'host', column: lowCardinality },
  { name: 'path', column: 'String', isRequired: true },
  { name: 'endpoint', column: lowCardinality, isRequired: true },
  { name: 'service', column: lowCardinality },
  { name: 'route', column: lowCardinality },
  { name: 'query', column: 'Map(String, Array(String))' },
  { name: 'userAgent', column: 'String' },
  { name: 'referer', column: 'String' },
  { name: 'contentType', column: lowCardinality },
  { name: 'cookies', column: 'Map(String, String)' },
  { name: 'headers', column: 'Map(String, String)' },
  { name: 'status', column: 'UInt16', isRequired: true },
  { name: 'source', column: lowCardinality, isRequired: true, values: ['upstream', 'kong'] },
  { name: 'upstreamStatus', column: lowCardinality },
  { name: 'grpcStatus', column: 'Nullable(UInt16)' },
  { name: 'pathGone', column: 'Bool' },
  { name: 'refused', column: 'Bool' },
  { name: 'requestBytes', column: 'UInt64', isRequired: true },
  { name: 'responseBytes', column: 'UInt64', isRequired: true },
  { name: 'latencyMs', column: 'UInt32', isRequired: true },
  { name: 'upstreamMs', column: 'Nullable(UInt32)' },
  { name: 'workspace', column: lowCardinality },
];
