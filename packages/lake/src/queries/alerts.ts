/** Rows are `{ alert }`, the JSON of each alert's latest state: those raised from `sinceMs` on, oldest first. */
export const alertsSinceSql = `SELECT alert FROM tripline.alerts
  WHERE raisedAt >= fromUnixTimestamp64Milli({sinceMs:Int64}) ORDER BY raisedAt, id`;
