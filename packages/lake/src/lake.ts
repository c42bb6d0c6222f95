import type { Alert, Response } from '@tripline/model';
import type { RatedCall, RiskFilter, Session } from './queries/sessions.ts';

/** The tables that batches go to. */
export type LakeTable = 'apiCalls' | 'alerts' | 'responses';

/** The ClickHouse tables: every API call, alert and response. Same SQL on the embedded engine and on a server. */
export interface Lake {
  /**
   * Creates or upgrades the tables and sets how long rows are kept (whole days). Safe to run again, also by several
   * processes at once. An upgrade that rewrites rows takes its time (some seconds per million API calls). Rejects with
   * `LakeTooNewError` if a newer version of Tripline has already upgraded the tables.
   */
  migrate(options: { retentionDays: number }): Promise<void>;
  /**
   * Writes records of the bus as they are, one row each. A row whose id is there already, from whichever batch, counts
   * once, so a batch can be written again after a failure. Resolves when the rows survive a kill of this process or of
   * the server. Rejects with `LakeRefusedError` if the rows are at fault (then none was written), with another error if a
   * later try may succeed (then some may have been written).
   */
  insert(table: LakeTable, records: readonly Buffer[]): Promise<void>;
  /**
   * Runs a read-only query with bound parameters (`{name:Type}`) under `readSettings`: time and row limits, and each
   * call, alert and response once, in its latest state. Input from outside belongs into the parameters, never into the
   * text: on the embedded engine the text could also read files of this machine.
   */
  query<Row>(sql: string, parameters?: Record<string, unknown>): Promise<Row[]>;
  /** Latest state of the alerts raised since a time (ms), oldest first. */
  alertsSince(sinceMs: number): Promise<Alert[]>;
  /** Latest state of each response, newest decision first. */
  responses(limit: number): Promise<Response[]>;
  /**
   * Calls with their risk, newest first, computed from the rows of now: late calls, repeated calls and new revisions of
   * alerts need no correction. The formula is in README.md. Rejects with a `RangeError` for a filter out of range.
   */
  ratedCalls(filter: RiskFilter): Promise<RatedCall[]>;
  /** As `ratedCalls`, for the sessions that the calls group into, riskiest first. The ends of the time range cut sessions. */
  sessions(filter: RiskFilter): Promise<Session[]>;
  close(): Promise<void>;
}

/** Thrown by `insert` when the engine cannot take the rows as they are: trying again is useless. */
export class LakeRefusedError extends Error {
  override name = 'LakeRefusedError';
}

/** Thrown by `migrate` when the tables are of a later version than this code. */
export class LakeTooNewError extends Error {
  override name = 'LakeTooNewError';
}
