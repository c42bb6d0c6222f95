-- API calls, alerts and responses
--
-- Several archivers may create these tables at once: whoever comes second finds them.

CREATE TABLE IF NOT EXISTS tripline.api_calls {onCluster} (
  id String,
  startedAt DateTime64(3),
  actorKind LowCardinality(String),
  actorId String,
  actorName String,
  consumerId String,
  consumerUsername String,
  consumerCustomId String,
  consumerTags Array(String),
  credentialId String,
  credential String,
  user String,
  authScheme LowCardinality(String),
  ip String,
  country LowCardinality(String),
  city LowCardinality(String),
  latitude Nullable(Float64),
  longitude Nullable(Float64),
  asn UInt32,
  asOrganization LowCardinality(String),
  method LowCardinality(String),
  host LowCardinality(String),
  path String,
  endpoint LowCardinality(String),
  service LowCardinality(String),
  route LowCardinality(String),
  query Map(String, Array(String)),
  userAgent String,
  referer String,
  contentType LowCardinality(String),
  cookies Map(String, String),
  headers Map(String, String),
  status UInt16,
  source LowCardinality(String),
  upstreamStatus LowCardinality(String),
  refused Bool,
  requestBytes UInt64,
  responseBytes UInt64,
  latencyMs UInt32,
  upstreamMs Nullable(UInt32),
  workspace LowCardinality(String)
)
ENGINE = {replicated}ReplacingMergeTree
PARTITION BY toDate(startedAt, 'UTC')
PRIMARY KEY (actorKind, actorId, startedAt)
ORDER BY (actorKind, actorId, startedAt, id)
SETTINGS
  min_bytes_for_wide_part = 268435456,
  fsync_after_insert = 1,
  fsync_part_directory = 1,
  materialize_ttl_recalculate_only = 1,
  ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS tripline.alerts {onCluster} (
  alert String,
  id String MATERIALIZED JSONExtractString(alert, 'id'),
  revision UInt32 MATERIALIZED JSONExtractUInt(alert, 'revision'),
  type LowCardinality(String) MATERIALIZED JSONExtractString(alert, 'type'),
  severity LowCardinality(String) MATERIALIZED JSONExtractString(alert, 'severity'),
  score Float64 MATERIALIZED JSONExtractFloat(alert, 'score'),
  status LowCardinality(String) MATERIALIZED JSONExtractString(alert, 'status'),
  actorKind LowCardinality(String) MATERIALIZED JSONExtractString(alert, 'actor', 'kind'),
  actorId String MATERIALIZED JSONExtractString(alert, 'actor', 'id'),
  actorName String MATERIALIZED JSONExtractString(alert, 'actor', 'name'),
  service LowCardinality(String) MATERIALIZED JSONExtractString(alert, 'service'),
  route LowCardinality(String) MATERIALIZED JSONExtractString(alert, 'route'),
  endpoint LowCardinality(String) MATERIALIZED JSONExtractString(alert, 'endpoint'),
  raisedAt DateTime64(3) MATERIALIZED fromUnixTimestamp64Milli(JSONExtractInt(alert, 'raisedAt')),
  startedAt DateTime64(3) MATERIALIZED fromUnixTimestamp64Milli(JSONExtractInt(alert, 'startedAt')),
  lastSeenAt DateTime64(3) MATERIALIZED fromUnixTimestamp64Milli(JSONExtractInt(alert, 'lastSeenAt')),
  count UInt64 MATERIALIZED JSONExtractUInt(alert, 'count'),
  summary String MATERIALIZED JSONExtractString(alert, 'summary'),
  CONSTRAINT alertIsJson CHECK isValidJSON(alert) AND id != ''
)
ENGINE = {replicated}ReplacingMergeTree(revision)
ORDER BY id
SETTINGS
  min_bytes_for_wide_part = 268435456,
  fsync_after_insert = 1,
  fsync_part_directory = 1,
  materialize_ttl_recalculate_only = 1;

CREATE TABLE IF NOT EXISTS tripline.responses {onCluster} (
  response String,
  id String MATERIALIZED JSONExtractString(response, 'id'),
  revision UInt32 MATERIALIZED JSONExtractUInt(response, 'revision'),
  policyId LowCardinality(String) MATERIALIZED JSONExtractString(response, 'policyId'),
  alertId String MATERIALIZED JSONExtractString(response, 'alertId'),
  action LowCardinality(String) MATERIALIZED JSONExtractString(response, 'action', 'type'),
  consumerId String MATERIALIZED JSONExtractString(response, 'consumer', 'id'),
  consumerName String MATERIALIZED JSONExtractString(response, 'consumer', 'name'),
  status LowCardinality(String) MATERIALIZED JSONExtractString(response, 'status'),
  decidedAt DateTime64(3) MATERIALIZED fromUnixTimestamp64Milli(JSONExtractInt(response, 'decidedAt')),
  CONSTRAINT responseIsJson CHECK isValidJSON(response) AND id != ''
)
ENGINE = {replicated}ReplacingMergeTree(revision)
ORDER BY id
SETTINGS
  min_bytes_for_wide_part = 268435456,
  fsync_after_insert = 1,
  fsync_part_directory = 1,
  materialize_ttl_recalculate_only = 1;
