import { spawn, type ChildProcess } from 'node:child_process';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import { resolve } from 'node:path';
import type { z } from 'zod';
import { configSchema, createLogger } from '@tripline/runtime';
import type { CollectorStatus, Status as AnyStatus } from '../../apps/cli/src/running.ts';
import { startSystem, type System } from '../../apps/cli/src/system.ts';
import { connect, recording, until } from './parts.ts';

const program = resolve('dist/tripline.js');

/** A port that was free a moment ago, for what must know its port beforehand. */
export async function freePort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Without the settings of the shell that runs the tests. */
export function cleanEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TRIPLINE_')));
}

export interface Ended {
  /** Null if a signal ended it. */
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the built command to its end. Asynchronous, so that servers in this process can answer it. */
export function runProgram(
  args: string[],
  options: { cwd: string; env?: Record<string, string>; stdin?: Buffer },
): Promise<Ended> {
  const child = startProgram(args, options);
  child.process.stdin?.end(options.stdin ?? Buffer.alloc(0));
  return child.ended;
}

export interface Running {
  process: ChildProcess;
  /** What it wrote to standard error so far. */
  stderr: () => string;
  ended: Promise<Ended>;
}

export function startProgram(
  args: string[],
  options: { cwd: string; env?: Record<string, string> },
): Running {
  const child = spawn(process.execPath, [program, ...args], {
    cwd: options.cwd,
    env: { ...cleanEnvironment(), ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  child.stdout.on('data', (chunk: Buffer) => output.stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => output.stderr.push(chunk));
  child.stdin.on('error', () => undefined);
  const ended = new Promise<Ended>((resolve) =>
    child.on('close', (status) =>
      resolve({
        status,
        stdout: Buffer.concat(output.stdout).toString(),
        stderr: Buffer.concat(output.stderr).toString(),
      }),
    ),
  );
  return { process: child, stderr: () => Buffer.concat(output.stderr).toString(), ended };
}

/** Of a process with a collector. */
export type Status = AnyStatus & { collector: CollectorStatus };

export interface TestSystem extends System {
  /** Of health, metrics and actions. */
  url: string;
  /** What it logged. */
  log: string[];
  status: () => Promise<Status>;
}

/** All roles in this process, with free ports and the directory as the place of files and data. */
export async function startTestSystem(
  directory: string,
  settings: z.input<typeof configSchema>,
  now?: () => number,
): Promise<TestSystem> {
  const log: string[] = [];
  const logger = createLogger({
    level: 'debug',
    pretty: false,
    destination: { write: (line) => void log.push(line) },
  });
  const config = configSchema.parse({
    ...settings,
    http: { port: 0, ...settings.http },
    collector: { host: '127.0.0.1', port: 0, ...settings.collector },
  });
  const system = await startSystem({
    loaded: { config, file: undefined, baseDir: directory },
    logger,
    ...(now ? { now } : {}),
  });
  const url = `http://127.0.0.1:${system.httpPort}`;
  return { ...system, url, log, status: () => statusOf(url) };
}

export async function statusOf(url: string): Promise<Status> {
  const ask = (): Promise<Response> => fetch(`${url}/status`);
  // The first try may go to a kept connection of a process that had the same port and has ended.
  const response = await ask().catch(ask);
  return (await response.json()) as Status;
}

/** Records that some role has not dealt with yet. */
export function behind(status: Status): number {
  return status.lag.reduce((sum, { records }) => sum + records, 0);
}

/** Until so many lines are published or rejected, and every role has dealt with them. */
export async function caughtUp(url: string, lines: number, withinMs = 40_000): Promise<void> {
  let status = await statusOf(url);
  const done = (): boolean => {
    const { published, rejected } = status.collector.accounting;
    const dealtWith = published + Object.values(rejected).reduce((sum, count) => sum + count, 0);
    return dealtWith >= lines && behind(status) === 0;
  };
  try {
    await until(
      async () => {
        status = await statusOf(url);
        return done();
      },
      `${lines} lines dealt with`,
      withinMs,
    );
  } catch (error) {
    throw new Error(`${(error as Error).message}: ${JSON.stringify(status)}`, { cause: error });
  }
}

interface LogLine {
  started_at: number;
  consumer?: Record<string, unknown>;
  request: Record<string, unknown> & {
    id: string;
    headers: Record<string, unknown>;
    querystring: Record<string, unknown>;
  };
  response: Record<string, unknown> & { headers: Record<string, unknown> };
  client_ip: string;
  [field: string]: unknown;
}

const recorded = recording('normal')
  .map((line) => JSON.parse(line.toString()) as LogLine)
  .find((line) => line.consumer !== undefined)!;

/** A recorded line of an authenticated consumer, to be changed. */
export function recordedLine(): LogLine {
  return structuredClone(recorded);
}

/** The `n`-th line of a consumer (its index gives uuid and name), as Kong would write it. */
export function callLine(n: number, startedAt: number, consumer: { id: string; username: string }): Buffer {
  const line = recordedLine();
  line.started_at = startedAt;
  line.request.id = n.toString(16).padStart(32, '0');
  line.consumer = { ...line.consumer, ...consumer };
  return Buffer.from(`${JSON.stringify(line)}\n`);
}

/** Sends lines over one connection, as fast as they are taken; resolves when all are handed to the system. */
export async function sendLines(port: number, lines: readonly Buffer[]): Promise<Socket> {
  const socket = await connect(port);
  await write(socket, lines);
  return socket;
}

/** Writes until done, or until the other side has gone. */
export async function write(socket: Socket, lines: readonly Buffer[]): Promise<void> {
  for (let at = 0; at < lines.length && !socket.destroyed; at += 50) {
    if (socket.write(Buffer.concat(lines.slice(at, at + 50)))) continue;
    await new Promise<void>((resolve) => {
      socket.once('drain', resolve);
      socket.once('close', () => resolve());
    });
  }
}

/** Receives webhooks, and keeps them. */
export async function startReceiver(): Promise<{
  url: string;
  received: { headers: IncomingHttpHeaders; body: string }[];
  close: () => Promise<void>;
}> {
  const received: { headers: IncomingHttpHeaders; body: string }[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      received.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
      response.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/alerts`,
    received,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
