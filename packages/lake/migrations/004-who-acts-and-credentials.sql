-- Who acts and why, and what came of credentials

ALTER TABLE tripline.api_calls {onCluster}
  ADD COLUMN IF NOT EXISTS verifiedBy LowCardinality(String),
  ADD COLUMN IF NOT EXISTS presented LowCardinality(String),
  ADD COLUMN IF NOT EXISTS auth LowCardinality(String),
  ADD COLUMN IF NOT EXISTS addressSuccesses UInt32,
  ADD COLUMN IF NOT EXISTS network String,
  ADD COLUMN IF NOT EXISTS grpcStatus Nullable(UInt16),
  ADD COLUMN IF NOT EXISTS pathGone Bool;
