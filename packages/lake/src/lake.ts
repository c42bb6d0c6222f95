import type { Alert, Response } from '@tripline/model';

/** The tables that batches go to. */
export type LakeTable = 'apiCalls' | 'alerts' | 'responses';

/** The ClickHouse tables: every API call, alert and response. Same SQL on the embedded engine and on a server. */
export interface Lake {
  /** Creates or upgrades the tables. */
  migrate(options: { retentionDays: number }): Promise<void>;
  /**
   * Writes NDJSON rows. `token` names the batch: the same token a second time changes nothing, so that a batch written
   * again after a crash counts once. Rejects if the rows are not durably there.
   */
  insert(table: LakeTable, ndjson: Buffer, token: string): Promise<void>;
  /** Runs a read-only query with bound parameters (`{name:Type}`) under time and row limits. */
  query<Row>(sql: string, parameters?: Record<string, unknown>): Promise<Row[]>;
  /** Latest state of the alerts raised since a time (ms), oldest first. */
  alertsSince(sinceMs: number): Promise<Alert[]>;
  /** Latest state of each response, newest decision first. */
  responses(limit: number): Promise<Response[]>;
  close(): Promise<void>;
}
