import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** A ClickHouse server for tests, without a database `tripline` at first. */
export interface Clickhouse {
  /** HTTP interface. */
  url: string;
  username: string;
  password: string;
  /** What it is, to be shown beside results. */
  kind: string;
  /** Ends it, if it was started here. */
  dispose: () => Promise<void>;
}

/** A mistake of the server on the next `times` (1) statements that begin with `statement` (INSERT). */
export interface ClickhouseFault {
  /**
   * An error of the engine or of a proxy before it; `hang` never answers, `reset` breaks the connection off before the
   * statement takes effect, `reset-after` behind it.
   */
  answer:
    | 'TOO_MANY_PARTS'
    | 'MEMORY_LIMIT_EXCEEDED'
    | 'TABLE_IS_READ_ONLY'
    | '503'
    | 'hang'
    | 'reset'
    | 'reset-after';
  times?: number;
  statement?: string;
}

/** The stand-in, which can be broken. Its port and what it holds outlive `stop` and `kill`. */
export interface ClickhouseFront extends Clickhouse {
  /** Ends it in order; it can be started again with `restart`. */
  stop: () => Promise<void>;
  /** SIGKILL. */
  kill: () => Promise<void>;
  /** Starts it again on the same port and directory, after a kill if it still runs. */
  restart: () => Promise<void>;
  /** As `restart`, with nothing in it: a DROP waits for whatever a killed client left running. */
  empty: () => Promise<void>;
  /** Forgotten at a restart. */
  fault: (fault: ClickhouseFault) => Promise<void>;
}

/**
 * A ClickHouse, in this order: the server that `TRIPLINE_TEST_CLICKHOUSE` names (a url, may hold user and password; its
 * database `tripline` is dropped at the beginning and the end, so one test file at a time may use it), one in Docker, or
 * the stand-in over chdb. Rejects if none can be had: a test without its engine has failed.
 */
export async function startClickhouse(): Promise<Clickhouse> {
  const given = process.env.TRIPLINE_TEST_CLICKHOUSE;
  if (given !== undefined) {
    const { origin, username, password } = new URL(given);
    const server = {
      url: origin,
      username: decodeURIComponent(username || 'default'),
      password: decodeURIComponent(password),
    };
    await dropDatabase(server);
    return { ...server, kind: `the server at ${origin}`, dispose: () => dropDatabase(server) };
  }
  return (await inDocker()) ?? startClickhouseFront();
}

async function dropDatabase({ url, username, password }: Pick<Clickhouse, 'url' | 'username' | 'password'>) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'X-ClickHouse-User': username, 'X-ClickHouse-Key': password },
    body: 'DROP DATABASE IF EXISTS tripline SYNC',
  });
  if (!response.ok)
    throw new Error(`TRIPLINE_TEST_CLICKHOUSE is ${url}, which says: ${await response.text()}`);
}

/** Undefined where there is no Docker. This way was not run where it was written, as Docker was not to be had there. */
async function inDocker(): Promise<Clickhouse | undefined> {
  if (process.env.DOCKER_HOST === undefined && !existsSync('/var/run/docker.sock')) return undefined;
  const { GenericContainer, Wait } = await import('testcontainers');
  const image = 'clickhouse/clickhouse-server:25.8';
  const username = 'tripline';
  const password = 'only for tests';
  const container = await new GenericContainer(image)
    .withEnvironment({ CLICKHOUSE_USER: username, CLICKHOUSE_PASSWORD: password })
    .withExposedPorts(8123)
    .withWaitStrategy(Wait.forHttp('/ping', 8123))
    .start();
  return {
    url: `http://${container.getHost()}:${container.getMappedPort(8123)}`,
    username,
    password,
    kind: image,
    dispose: async () => {
      await container.stop();
    },
  };
}

/**
 * A stand-in for a ClickHouse server: its HTTP interface over the engine `chdb`, in a process of its own, on 127.0.0.1.
 * Without `port` it takes a free one, without `dir` a directory that goes with `dispose`.
 */
export async function startClickhouseFront(
  options: { port?: number; dir?: string; username?: string; password?: string } = {},
): Promise<ClickhouseFront> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'tripline-clickhouse-'));
  const username = options.username ?? 'tripline';
  const password = options.password ?? 'only for tests';
  let port = options.port ?? 0;
  let child: ChildProcess | undefined;
  let version = '';
  let asked = 0;

  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ending = child;
    child = undefined;
    if (!ending || ending.exitCode !== null || ending.signalCode !== null) return;
    ending.kill(signal);
    await once(ending, 'exit');
  };
  const restart = async (): Promise<void> => {
    await end('SIGKILL');
    const argument = JSON.stringify({ port, dir, user: username, password });
    const started = fork(resolve('test/engines/clickhouse-front.mjs'), [argument], { execArgv: [] });
    child = started;
    const ready = await Promise.race([
      once(started, 'message').then(([message]) => message as { port: number; version: string }),
      once(started, 'exit').then(([code, signal]) => {
        throw new Error(
          `The stand-in for ClickHouse did not start: it ended with ${String(code ?? signal)}.`,
        );
      }),
    ]);
    ({ port, version } = ready);
  };
  await restart();
  return {
    url: `http://127.0.0.1:${port}`,
    username,
    password,
    kind: `a stand-in over the engine of ClickHouse ${version}`,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    restart,
    empty: async () => {
      await end('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
      mkdirSync(dir);
      await restart();
    },
    fault: async (fault) => {
      const id = ++asked;
      if (!child) throw new Error('The stand-in for ClickHouse does not run.');
      child.send({ fault, id });
      for (;;) {
        const [message] = (await once(child, 'message')) as [{ done?: number }];
        if (message.done === id) return;
      }
    },
    dispose: async () => {
      await end('SIGKILL');
      if (options.dir === undefined) rmSync(dir, { recursive: true, force: true });
    },
  };
}
