import { Readable } from 'node:stream';
import type { ClickHouseClient, ClickHouseSettings } from '@clickhouse/client';
import { upgradeResponse, type Alert, type Response } from '@tripline/model';
import { LakeRefusedError, type Lake, type LakeTable } from './lake.ts';
import { migrateLake } from './migrate.ts';
import { alertsSinceSql } from './queries/alerts.ts';
import { responsesSql } from './queries/responses.ts';
import {
  ratedCallsSql,
  riskParameters,
  sessionsSql,
  type RatedCall,
  type Session,
} from './queries/sessions.ts';
import { quote } from './quote.ts';
import { rowsOf, type Rows } from './rows.ts';
import { tables } from './schema.ts';

/**
 * Settings of every query, which its text cannot change: limits; each call, alert and response once and in its latest
 * state, also before the engine has merged repeated rows; times in UTC and whole numbers as JSON numbers, whatever the
 * defaults of a server are.
 */
export const readSettings = {
  max_execution_time: 30,
  max_result_rows: '100000',
  result_overflow_mode: 'throw',
  final: 1,
  do_not_merge_across_partitions_select_final: 1,
  // Conditions on columns of the sorting key are checked before other columns are read: a call by its id costs a tenth.
  optimize_move_to_prewhere_if_final: 1,
  session_timezone: 'UTC',
  output_format_json_quote_64bit_integers: 0,
  readonly: '1',
} as const;

export interface LakeOptions {
  /** Provides a client for one query, which runs under `readSettings`. */
  reading: <T>(work: (reader: ClickHouseClient) => Promise<T>) => Promise<T>;
  /**
   * Writes a batch to a file, calls `work` with its absolute path, and deletes it. Only for an engine on this machine;
   * without it batches travel with the statement.
   */
  stage?: (rows: Buffer, work: (file: string) => Promise<void>) => Promise<void>;
  /** Name of a cluster whose servers are replicas of each other: every server gets the tables, which are replicated. */
  cluster?: string | undefined;
  /** Runs after the writer was closed. */
  onClose?: () => Promise<void>;
}

/** The lake behind a client of `@clickhouse/client`, embedded or on a server. */
export function createLake(writer: ClickHouseClient, options: LakeOptions): Lake {
  const { reading, stage, cluster } = options;
  // Less than the client waits, so that the server can say which replica does not answer.
  const ddlSettings: ClickHouseSettings = cluster === undefined ? {} : { distributed_ddl_task_timeout: '45' };

  const query = <Row>(sql: string, parameters: Record<string, unknown> = {}): Promise<Row[]> =>
    reading(async (reader) => {
      const result = await reader.query({ query: sql, query_params: parameters, format: 'JSONEachRow' });
      return result.json<Row>();
    });
  const write = async (sql: string): Promise<void> => {
    await writer.command({ query: sql, clickhouse_settings: ddlSettings });
  };

  const insert = async (table: LakeTable, records: readonly Buffer[]): Promise<void> => {
    if (records.length === 0) return;
    for (const rows of rowsOf(table, records)) await insertRows(tables[table].name, rows);
  };

  const insertRows = async (name: string, { columns, bytes }: Rows): Promise<void> => {
    // In the statement, not beside it: the embedded engine would keep them for the statements to come. One thread reads
    // one block, so that a batch becomes one part per day, which is either there or not. Equal ids in one batch are left
    // to the merges and to `final`: looking for them here would nearly double the cost of an insert.
    const into = `INSERT INTO ${name} (${columns.map((column) => column.name).join(', ')})
      SETTINGS async_insert = 0, optimize_on_insert = 0, max_insert_threads = 1, min_insert_block_size_rows = 10000000,
      min_insert_block_size_bytes = 1000000000, max_partitions_per_insert_block = 0`;
    try {
      if (stage) {
        const structure = columns.map((column) => `${column.name} ${column.type}`).join(', ');
        await stage(bytes, (file) =>
          write(`${into} SELECT * FROM file(${quote(file)}, RowBinary, ${quote(structure)})`),
        );
      } else {
        const done = await writer.exec({
          query: `${into} FORMAT RowBinary`,
          values: Readable.from([bytes], { objectMode: false }),
        });
        await done.stream.resume().toArray();
      }
    } catch (error) {
      if (!aboutTheRows(error)) throw error;
      throw new LakeRefusedError(`${name} does not take the rows: ${firstLine(error)}`);
    }
  };

  return {
    migrate: ({ retentionDays }) => migrateLake({ query, write, cluster }, retentionDays),
    insert,
    query,
    alertsSince: async (sinceMs) => {
      const rows = await query<{ alert: string }>(alertsSinceSql, { sinceMs });
      return rows.map((row) => JSON.parse(row.alert) as Alert);
    },
    responses: async (limit) => {
      const rows = await query<{ response: string }>(responsesSql, { limit });
      return rows.map((row) => upgradeResponse(JSON.parse(row.response)) as Response);
    },
    ratedCalls: async (filter) => query<RatedCall>(ratedCallsSql(filter), riskParameters(filter)),
    sessions: async (filter) => query<Session>(sessionsSql(filter), riskParameters(filter)),
    close: async () => {
      await writer.close();
      await options.onClose?.();
    },
  };
}

const refusals = new Set([
  'ARGUMENT_OUT_OF_BOUND',
  'CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN',
  'CANNOT_READ_ALL_DATA',
  'CANNOT_READ_ARRAY_FROM_TEXT',
  'CANNOT_READ_MAP_FROM_TEXT',
  'DECIMAL_OVERFLOW',
  'INCORRECT_DATA',
  'TOO_LARGE_STRING_SIZE',
  'TYPE_MISMATCH',
  'UNEXPECTED_END_OF_FILE',
  'VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE',
  'VIOLATED_CONSTRAINT',
]);

/** By the engine's name of the error: both kinds of connection carry it, each on its own error class. */
function aboutTheRows(error: unknown): boolean {
  const type = (error as { type?: string } | undefined)?.type ?? '';
  return refusals.has(type) || type.startsWith('CANNOT_PARSE_');
}

/** The message without the row that the engine quotes in it: rows belong neither into a log nor into a dead letter. */
export function firstLine(error: unknown): string {
  return (error as Error).message.split(/\n| before: |: while |: \(|, Row | Expression/, 1)[0]!.slice(0, 200);
}
