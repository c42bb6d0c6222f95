-- No insert is taken for one before it
--
-- A table that is not replicated records the hash of an insert before it renames the insert's part into place. After a
-- kill between the two, the table dropped the rows when they were written again.

-- needed if
SELECT count() > 0 AS needed FROM system.tables WHERE database = 'tripline'
  AND position(create_table_query, 'non_replicated_deduplication_window = 1000') > 0;

ALTER TABLE tripline.api_calls {onCluster} MODIFY SETTING non_replicated_deduplication_window = 0;

ALTER TABLE tripline.alerts {onCluster} MODIFY SETTING non_replicated_deduplication_window = 0;

ALTER TABLE tripline.responses {onCluster} MODIFY SETTING non_replicated_deduplication_window = 0;
