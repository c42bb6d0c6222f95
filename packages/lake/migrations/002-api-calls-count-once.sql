-- An API call counts once, by its id
--
-- Tables made before this step are a plain MergeTree. They are embedded, so nobody else writes to them meanwhile. The copy
-- is discarded and begun anew until EXCHANGE, which is one atomic step. A crash after it leaves the old rows in
-- api_calls_next; the same statements then copy the new table again.

-- needed if
SELECT count() > 0 AS needed FROM system.tables WHERE database = 'tripline'
  AND (name = 'api_calls' AND engine = 'MergeTree' OR name = 'api_calls_next');

DROP TABLE IF EXISTS tripline.api_calls_next {onCluster} SYNC;

CREATE TABLE IF NOT EXISTS tripline.api_calls_next {onCluster} (
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

INSERT INTO tripline.api_calls_next SELECT * FROM tripline.api_calls
SETTINGS max_partitions_per_insert_block = 0, async_insert = 0;

EXCHANGE TABLES tripline.api_calls_next AND tripline.api_calls {onCluster};

DROP TABLE IF EXISTS tripline.api_calls_next {onCluster} SYNC;
