-- Responses have targets
--
-- Rows of earlier versions name a consumer instead of a target: for them the consumer is the target. The consumer columns
-- stay, so that queries with them keep working; they are empty for targets of other kinds.

ALTER TABLE tripline.responses {onCluster}
  ADD COLUMN IF NOT EXISTS targetKind LowCardinality(String)
    MATERIALIZED if(JSONHas(response, 'target'), JSONExtractString(response, 'target', 'kind'), 'consumer'),
  ADD COLUMN IF NOT EXISTS targetId String
    MATERIALIZED JSONExtractString(response, if(JSONHas(response, 'target'), 'target', 'consumer'), 'id'),
  ADD COLUMN IF NOT EXISTS targetName String
    MATERIALIZED JSONExtractString(response, if(JSONHas(response, 'target'), 'target', 'consumer'), 'name'),
  MODIFY COLUMN consumerId String MATERIALIZED if(targetKind = 'consumer', targetId, ''),
  MODIFY COLUMN consumerName String MATERIALIZED if(targetKind = 'consumer', targetName, '');
