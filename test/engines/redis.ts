import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import type { StartedTestContainer } from 'testcontainers';

const run = promisify(execFile);

export interface RedisEngineOptions {
  /** Settings as in redis.conf, such as `{ maxmemory: '10mb' }`. Every write is on the disk (AOF) unless they say otherwise. */
  config?: Record<string, string>;
  /** The only node of a Redis Cluster, with all hash slots. */
  cluster?: boolean;
  /** Port. Default: a free one. */
  port?: number;
  /** Where data go. Default: a directory of its own under the system's temporary one. */
  dir?: string;
  /** A server of the caller's own, which it may stop: not the one that TRIPLINE_TEST_REDIS names. */
  own?: boolean;
}

export interface RedisEngine {
  url: string;
  host: string;
  port: number;
  /** Sends a command past the store under test. */
  command(name: string, ...args: (string | number)[]): Promise<unknown>;
  /** Ends the server in order; it can be started again by `restart`. */
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again on the same port and data; stops it before if it runs. */
  restart(): Promise<void>;
  /** Lets it hang: connections stay, nothing is answered until `resume`. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Removes every key. */
  flush(): Promise<void>;
  /** Stops it and removes its data. */
  dispose(): Promise<void>;
}

/** What a machine lacks for the suites on Redis; undefined if nothing. */
export async function redisMissing(): Promise<string | undefined> {
  if (process.env.TRIPLINE_TEST_REDIS !== undefined || (await dockerAnswers())) return undefined;
  try {
    await run('redis-server', ['--version']);
    return undefined;
  } catch {
    return 'Redis for tests needs TRIPLINE_TEST_REDIS=redis://host:port, Docker, or redis-server (apt-get install redis-server).';
  }
}

/**
 * Starts a Redis for tests: what TRIPLINE_TEST_REDIS (a URL) names, if the test is content with any server; else a
 * container if Docker answers; else a native `redis-server`. Rejects with what is missing.
 */
export async function startRedis(options: RedisEngineOptions = {}): Promise<RedisEngine> {
  const given = process.env.TRIPLINE_TEST_REDIS;
  if (given !== undefined && !options.own && !options.config && !options.cluster) return givenRedis(given);
  const missing = await redisMissing();
  if (missing !== undefined) throw new Error(missing);
  const port = options.port ?? (await freePort());
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'tripline-redis-'));
  mkdirSync(dir, { recursive: true });
  const settings: Record<string, string> = {
    port: `${port}`,
    save: '',
    appendonly: 'yes',
    appendfsync: 'always',
    ...(options.cluster
      ? {
          'cluster-enabled': 'yes',
          'cluster-port': `${await freePort()}`,
          'cluster-announce-ip': '127.0.0.1',
        }
      : {}),
    ...options.config,
  };
  const server = (await dockerAnswers())
    ? containerServer(settings, port, dir)
    : nativeServer({ bind: '127.0.0.1', dir, ...settings });
  await server.start();
  const command = (name: string, ...args: (string | number)[]): Promise<unknown> =>
    sendTo(server.url(settings.requirepass), name, args);
  if (options.cluster) {
    await command('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383);
    while (!String(await command('CLUSTER', 'INFO')).includes('cluster_state:ok')) await nextTurn();
  }
  return {
    url: server.url(),
    host: new URL(server.url()).hostname,
    port,
    command,
    stop: () => server.end('SIGTERM'),
    kill: () => server.end('SIGKILL'),
    restart: async () => {
      await server.end('SIGTERM');
      await server.start();
    },
    pause: () => server.pause(true),
    resume: () => server.pause(false),
    flush: async () => {
      await command('FLUSHALL');
    },
    dispose: async () => {
      await server.end('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function givenRedis(url: string): RedisEngine {
  const { hostname, port } = new URL(url);
  const not = (): Promise<never> =>
    Promise.reject(new Error('The Redis of TRIPLINE_TEST_REDIS is not the tests’ own: they leave it alone.'));
  return {
    url,
    host: hostname,
    port: port === '' ? 6_379 : Number(port),
    command: (name, ...args) => sendTo(url, name, args),
    stop: not,
    kill: not,
    restart: not,
    pause: not,
    resume: not,
    flush: not,
    dispose: () => Promise.resolve(),
  };
}

interface Server {
  url(password?: string): string;
  start(): Promise<void>;
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  pause(on: boolean): Promise<void>;
}

function nativeServer(settings: Record<string, string>): Server {
  let child: ChildProcess | undefined;
  return {
    url: (password) => `redis://${password === undefined ? '' : `:${password}@`}127.0.0.1:${settings.port}`,
    start: async () => {
      child = await startServer(Object.entries(settings).flatMap(([key, value]) => [`--${key}`, value]));
    },
    end: async (signal) => {
      const ending = child;
      child = undefined;
      if (!ending || ending.exitCode !== null || ending.signalCode !== null) return;
      const exited = new Promise((resolve) => ending.once('exit', resolve));
      ending.kill(signal);
      // What hangs ends in order only when it goes on.
      ending.kill('SIGCONT');
      await exited;
    },
    pause: (on) => {
      child?.kill(on ? 'SIGSTOP' : 'SIGCONT');
      return Promise.resolve();
    },
  };
}

// Not run on a machine without Docker. The data outlive the container in `dir`, so a new one goes on with them.
function containerServer(settings: Record<string, string>, port: number, dir: string): Server {
  let container: StartedTestContainer | undefined;
  return {
    url: (password) =>
      `redis://${password === undefined ? '' : `:${password}@`}${container?.getHost() ?? 'localhost'}:${port}`,
    start: async () => {
      const { GenericContainer, Wait } = await import('testcontainers');
      container = await new GenericContainer('redis:7-alpine')
        .withCommand([
          'redis-server',
          ...Object.entries(settings).flatMap(([key, value]) => [`--${key}`, value]),
        ])
        .withBindMounts([{ source: dir, target: '/data' }])
        .withExposedPorts({ container: port, host: port })
        .withWaitStrategy(Wait.forLogMessage(/Ready to accept connections/))
        .start();
    },
    end: async (signal) => {
      const ending = container;
      container = undefined;
      await ending?.stop({ timeout: signal === 'SIGKILL' ? 0 : 10_000 });
    },
    pause: async (on) => {
      await run('docker', [on ? 'pause' : 'unpause', container?.getId() ?? '']);
    },
  };
}

function startServer(args: string[]): Promise<ChildProcess> {
  return new Promise((resolve, reject) => {
    const child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    const started = (data: Buffer): void => {
      text += data.toString();
      if (!text.includes('Ready to accept connections')) return;
      for (const stream of [child.stdout, child.stderr]) stream.removeListener('data', started).resume();
      child.removeListener('exit', failed);
      resolve(child);
    };
    const failed = (): void => {
      reject(new Error(`redis-server ended while starting: ${text.trim().split('\n').slice(-5).join('; ')}`));
    };
    child.stdout.on('data', started);
    child.stderr.on('data', started);
    child.once('exit', failed);
    child.once('error', reject);
  });
}

async function sendTo(url: string, name: string, args: (string | number)[]): Promise<unknown> {
  const client = new Redis(url, { retryStrategy: () => null, lazyConnect: true });
  // The command's own rejection says it.
  client.on('error', () => undefined);
  try {
    return await client.call(name, args);
  } finally {
    client.disconnect();
  }
}

async function dockerAnswers(): Promise<boolean> {
  try {
    await run('docker', ['info'], { timeout: 5_000 });
    return true;
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 10));
}
