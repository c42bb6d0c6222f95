import { Agent } from 'node:https';
import type { ConnectionOptions } from 'node:tls';
import { ClickHouseLogLevel, createClient, type ClickHouseClient } from '@clickhouse/client';
import { createLake, firstLine, readSettings } from './clickhouse-lake.ts';
import type { Lake } from './lake.ts';

export interface ServerLakeOptions {
  /** HTTP interface of the server, such as `http://clickhouse:8123`. */
  url: string;
  username: string;
  password: string;
  /** Name of a cluster whose servers are replicas of each other: tables are made on all of them, and replicated. */
  cluster?: string | undefined;
  /** For https: certificates and names other than the system's. */
  tls?: ConnectionOptions | undefined;
  /** A request without a sign of life for so long (ms) has failed, default 60,000. */
  timeoutMs?: number;
}

/**
 * The first long-term release with `session_timezone` and `final`. README.md says on which versions the lake was run.
 */
const oldestVersion = [23, 8] as const;
/** Inserts at once; further ones wait in memory. */
const maxConnections = 8;

/**
 * The lake on a ClickHouse server. It connects at its first use. Begin with `migrate`, which checks the server's version.
 * Every rejection says what is wrong and what to do; after all but `LakeRefusedError` and `LakeTooNewError` a later try may
 * succeed, with a wait that grows to about 10 s: the server delays inserts by itself before it has too many parts, and a
 * wrong set-up may be corrected meanwhile.
 */
export function openServerLake(options: ServerLakeOptions): Lake {
  const { url, username, password, cluster, tls } = options;
  const { protocol, origin } = new URL(url);
  if (tls && protocol !== 'https:')
    throw new Error(`lake.clickhouse.tls needs a url that begins with https://; it is ${origin}.`);
  const shared = {
    url,
    username,
    password,
    application: 'tripline',
    request_timeout: options.timeoutMs ?? 60_000,
    max_open_connections: maxConnections,
    keep_alive: { enabled: true, eagerly_destroy_stale_sockets: true },
    ...(tls ? { http_agent: new Agent({ keepAlive: true, maxSockets: maxConnections, ...tls }) } : {}),
    // The client would log errors with the rows that they quote. Each of them comes back as a rejection.
    log: { level: ClickHouseLogLevel.OFF },
  };
  const writer = createClient(shared);
  const reader = createClient({
    ...shared,
    // The answer waits for the end of the query, so that a query that fails half-way rejects and gives no rows.
    clickhouse_settings: { ...readSettings, wait_end_of_query: 1 },
  });
  const lake = createLake(writer, {
    reading: (work) => work(reader),
    cluster,
    onClose: () => reader.close(),
  });
  const inWords = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      throw explained(error, { origin, username, cluster });
    }
  };
  return {
    migrate: (settings) => inWords(checkVersion(writer).then(() => lake.migrate(settings))),
    insert: (table, records) => inWords(lake.insert(table, records)),
    query: <Row>(sql: string, parameters?: Record<string, unknown>) =>
      inWords(lake.query<Row>(sql, parameters)),
    alertsSince: (sinceMs) => inWords(lake.alertsSince(sinceMs)),
    responses: (limit) => inWords(lake.responses(limit)),
    ratedCalls: (filter) => inWords(lake.ratedCalls(filter)),
    sessions: (filter) => inWords(lake.sessions(filter)),
    close: () => lake.close(),
  };
}

async function checkVersion(client: ClickHouseClient): Promise<void> {
  const result = await client.query({ query: 'SELECT version() AS version', format: 'JSONEachRow' });
  const [row] = await result.json<{ version: string }>();
  refuseOldServer(row?.version ?? '');
}

/** Throws if a server of this version, such as `23.3.1.2823`, lacks what the lake uses. */
export function refuseOldServer(version: string): void {
  const [year = 0, month = 0] = version.split('.').map(Number);
  const [oldestYear, oldestMonth] = oldestVersion;
  if (year > oldestYear || (year === oldestYear && month >= oldestMonth)) return;
  throw new Error(
    `The ClickHouse server has version ${version || '(none)'}: the lake needs ${oldestVersion.join('.')} or later. ` +
      'Upgrade the server, or leave lake.clickhouse out for the embedded lake.',
  );
}

interface Where {
  origin: string;
  username: string;
  cluster: string | undefined;
}

/** The engine's errors in words for operators. Other errors are about the query and stay as they are. */
const meanings: Record<string, (where: Where) => string> = {
  AUTHENTICATION_FAILED: refusesUser,
  REQUIRED_PASSWORD: refusesUser,
  UNKNOWN_USER: refusesUser,
  WRONG_PASSWORD: refusesUser,
  ACCESS_DENIED: ({ username, cluster }) =>
    `user '${username}' lacks a right. Tripline needs GRANT CREATE DATABASE, CREATE TABLE, DROP TABLE, ALTER, SELECT, ` +
    `INSERT ON tripline.*${cluster === undefined ? '' : ' and GRANT CLUSTER ON *.*'}`,
  CLUSTER_DOESNT_EXIST: ({ cluster }) =>
    `no cluster is named '${cluster}' there. Set lake.clickhouse.cluster to one of SELECT cluster FROM ` +
    'system.clusters, or leave it out for a server on its own',
  KEEPER_EXCEPTION: () => 'it has no working connection to Keeper, which replicated tables need',
  MEMORY_LIMIT_EXCEEDED: () => 'it is short of memory at the moment',
  NO_ZOOKEEPER: () => 'it has no connection to Keeper, which replicated tables need',
  NOT_ENOUGH_SPACE: () => 'its disk is full',
  TABLE_IS_READ_ONLY: () => 'a table is read-only, as its replica has no connection to Keeper at the moment',
  TIMEOUT_EXCEEDED: () => 'it did not finish in time, or a replica of the cluster does not answer',
  TOO_MANY_PARTS: () =>
    'it has more parts than it merges in time. It takes inserts again when it has caught up; if that does not happen, ' +
    'see system.merges and its disks',
  TOO_MANY_SIMULTANEOUS_QUERIES: () => 'it has too many queries at the moment',
};

function refusesUser({ username }: Where): string {
  return `it refuses user '${username}': check lake.clickhouse.username and password`;
}

function explained(error: unknown, where: Where): unknown {
  const { type, name, message, code, errors } = error as Partial<NodeJS.ErrnoException & AggregateError> & {
    type?: string;
  };
  const server = `ClickHouse at ${where.origin}`;
  if (type !== undefined) {
    const meaning = meanings[type];
    if (!meaning) return error;
    return new Error(`${server}: ${meaning(where)}. It said: ${firstLine(error)} (${type})`, {
      cause: error,
    });
  }
  // An address with several IPs fails with one error for each.
  const first = (errors?.[0] ?? error) as NodeJS.ErrnoException;
  if (code !== undefined || message === 'Timeout error.' || message === 'socket hang up') {
    const reason = message === 'Timeout error.' ? 'no answer in time' : first.message || first.code;
    return new Error(`${server} is not reachable: ${reason}. Check lake.clickhouse.url, and that it runs.`, {
      cause: error,
    });
  }
  // An answer that is not ClickHouse's comes as a plain error with all of its text.
  if (name === 'Error') {
    return new Error(
      `${server} answers, but not as ClickHouse does: ${firstLine(error) || '(nothing)'}. ` +
        'Check lake.clickhouse.url: it needs the HTTP interface (8123, with TLS 8443), and a proxy before it may be at fault.',
      { cause: error },
    );
  }
  return error;
}
