/** Rows are `{ response }`, the JSON of each response's latest state: the `limit` newest decisions, newest first. */
export const responsesSql =
  'SELECT response FROM tripline.responses ORDER BY decidedAt DESC, id LIMIT {limit:UInt32}';
