import { mkdir, rm, unlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createClient, type ClickHouseClient, type ClickHouseClientConfigOptions } from '@clickhouse/client';
import { createLake, readSettings, type LakeOptions } from './clickhouse-lake.ts';
import type { Lake } from './lake.ts';

/**
 * Opens the lake on the ClickHouse engine inside this process (package `chdb`). The first time takes seconds if the
 * engine's library comes from a cold disk. One directory per process, one process per directory. Rejects with what is
 * wrong and what to do if the engine is not installed or the directory cannot be opened.
 */
export async function openEmbeddedLake(options: { path: string }): Promise<Lake> {
  const path = resolve(options.path);
  if (/[*?{}]/.test(path)) {
    throw new Error(
      `The lake cannot be at ${path}: * ? { and } are not allowed in its path. Choose another dataDir.`,
    );
  }
  const { createChdbConnection, drainPending } = await loadEngine();
  await mkdir(path, { recursive: true });
  let writer: ClickHouseClient;
  try {
    writer = createClient({ connection: createChdbConnection({ path }) });
  } catch (error) {
    throw new Error(
      `The lake at ${path} cannot be opened: ${messageOf(error)}. Is another Tripline running on this directory? ` +
        'One process may use it at a time.',
      { cause: error },
    );
  }
  // Rows in a statement are read three times: as a JavaScript string, by the SQL lexer, by the parser of the format. Rows
  // in a file are read once, for less than half of the CPU.
  const staging = join(path, 'incoming');
  await rm(staging, { recursive: true, force: true });
  await mkdir(staging);
  let staged = 0;
  return createLake(writer, {
    reading: readingSessions(path, createChdbConnection),
    stage: async (rows, work) => {
      const file = join(staging, `${++staged}.rows`);
      try {
        await writeFile(file, rows);
        await work(file);
      } finally {
        await unlink(file).catch(() => undefined);
      }
    },
    onClose: drainPending,
  });
}

/**
 * Runs every query in a session of its own, for about 2 ms: within a session, chdb 3.4.0 gives rows of a failed query to
 * the next query (the contract tests check that). The settings are locked before the query runs.
 */
function readingSessions(
  path: string,
  createConnection: Engine['createChdbConnection'],
): LakeOptions['reading'] {
  const settings = Object.entries(readSettings).map(([name, value]) => `${name} = '${value}'`);
  return async (work) => {
    const reader = createClient({ connection: createConnection({ path }) });
    try {
      await reader.command({ query: `SET ${settings.join(', ')}` });
      return await work(reader);
    } finally {
      await reader.close();
    }
  };
}

type Connection = NonNullable<ClickHouseClientConfigOptions['connection']>;

export interface Engine {
  createChdbConnection: (options: { path: string }) => Connection;
  drainPending: () => Promise<void>;
}

async function importEngine(): Promise<Engine> {
  const { createChdbConnection } = await import('chdb/connection');
  const { drainPending } = await import('chdb');
  return {
    // The same interface, declared by two packages.
    createChdbConnection: (options) => createChdbConnection(options) as unknown as Connection,
    drainPending,
  };
}

/** Loads the engine, an optional dependency, when it is needed. */
export async function loadEngine(load = importEngine): Promise<Engine> {
  try {
    return await load();
  } catch (error) {
    throw new Error(
      `The embedded lake needs the package chdb, which cannot be loaded here (${messageOf(error)}). ` +
        'Install it with `npm install chdb` (Linux with glibc or macOS, x64 or arm64), or set lake.enabled to false.',
      { cause: error },
    );
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message.split('\n', 1)[0]! : String(error);
}
