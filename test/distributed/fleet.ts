import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createClient } from '@clickhouse/client';
import type { KongStandIn } from '@tripline/kong-stand-in';
import type { Alert, Response } from '@tripline/model';
import { startClickhouseFront, type ClickhouseFront } from '../engines/clickhouse.ts';
import { startKafka, type KafkaEngine } from '../engines/kafka.ts';
import { startRedis, type RedisEngine } from '../engines/redis.ts';
import { scratchDir, until } from '../support/parts.ts';
import {
  freePort,
  runProgram,
  startProgram,
  statusOf,
  type Ended,
  type Running,
} from '../support/running.ts';

export interface Engines {
  kafka: KafkaEngine;
  redis: RedisEngine;
  clickhouse: ClickhouseFront;
  dispose: () => Promise<void>;
}

/** Real Kafka and Redis and the ClickHouse engine, each in processes of their own that tests may kill. */
export async function startEngines(): Promise<Engines> {
  const [kafka, redis, clickhouse] = await Promise.all([
    startKafka({ own: true }),
    startRedis({ own: true }),
    startClickhouseFront(),
  ]);
  return {
    kafka,
    redis,
    clickhouse,
    dispose: async () => {
      await Promise.all([kafka.dispose(), redis.dispose(), clickhouse.dispose()]);
    },
  };
}

export type FleetRole = 'collector' | 'processor' | 'archiver' | 'responder';

/** One process of a role, which can be killed and started again in the same place. */
export interface Member {
  role: FleetRole;
  /** Of health, metrics and status. */
  url: string;
  /** Of a collector: Kong's http-log posts here. */
  linesUrl: string;
  /** Of a collector: Kong's tcp-log connects here. */
  linesPort: number;
  running: () => Running;
  kill: (signal: 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT') => Promise<Ended | undefined>;
  start: () => Promise<void>;
  /** What it wrote to standard error in its last life that ended. */
  lastWords: () => string;
}

export interface Fleet {
  /** Before its topics and keys. */
  name: string;
  directory: string;
  members: Member[];
  of: (role: FleetRole) => Member[];
  add: (role: FleetRole) => Promise<Member>;
  /** What the lake holds. */
  lake: () => Promise<{
    rows: number;
    physicalRows: number;
    ids: Set<string>;
    alerts: Alert[];
    responses: Response[];
  }>;
  dispose: () => Promise<void>;
}

let fleets = 0;

/** Roles as processes of the built program on the engines, with topics, keys and tables of their own. */
export async function startFleet(
  engines: Engines,
  options: {
    partitions?: number;
    kong?: KongStandIn;
    policies?: object[];
    roles?: FleetRole[];
    detectors?: Record<string, unknown>;
  } = {},
): Promise<Fleet> {
  const scratch = scratchDir();
  const name = `t${process.pid}-${++fleets}-`;
  const { url, username, password } = engines.clickhouse;
  // One server has one lake.
  await engines.clickhouse.empty();
  const clickhouse = createClient({ url, username, password });
  writeFileSync(join(scratch.path, 'token.key'), `${Buffer.alloc(32, 7).toString('base64')}\n`, {
    mode: 0o600,
  });
  writeFileSync(join(scratch.path, 'policies.json'), JSON.stringify({ policies: options.policies ?? [] }));
  const members: Member[] = [];

  const add = async (role: FleetRole): Promise<Member> => {
    const [httpPort, linesPort, linesHttpPort] = [await freePort(), await freePort(), await freePort()];
    const config = {
      // Only a collector keeps files: the others get a directory that cannot be made.
      dataDir: role === 'collector' ? join(scratch.path, `data-${members.length}`) : '/dev/null/data',
      logLevel: 'info',
      http: { host: '127.0.0.1', port: httpPort },
      policiesFile: join(scratch.path, 'policies.json'),
      sanitize: { keyFile: join(scratch.path, 'token.key') },
      bus: {
        kafka: {
          brokers: engines.kafka.brokers,
          topicPrefix: name,
          partitions: options.partitions ?? 4,
          replicationFactor: 1,
        },
      },
      // Only who keeps state is told of Redis, so that it is seen that the others do without.
      ...(role === 'processor' || role === 'responder'
        ? { state: { redis: { url: engines.redis.url, keyPrefix: name } } }
        : {}),
      lake: { clickhouse: { url, username, password } },
      collector: { host: '127.0.0.1', port: linesPort, http: { port: linesHttpPort } },
      ...(options.kong ? { kong: { adminUrl: options.kong.adminUrl } } : {}),
      ...(options.detectors ? { detectors: options.detectors } : {}),
    };
    const file = join(scratch.path, `member-${members.length}.json`);
    writeFileSync(file, JSON.stringify(config));
    let running: Running | undefined;
    let last: Ended | undefined;
    const health = `http://127.0.0.1:${httpPort}`;
    const start = async (): Promise<void> => {
      const life = startProgram([role, '--config', file], {
        cwd: scratch.path,
        // As deploy/systemd does, and Node 24 by itself.
        ...(role === 'processor' ? { env: { NODE_OPTIONS: '--max-semi-space-size=64' } } : {}),
      });
      running = life;
      let over: Ended | undefined;
      void life.ended.then((ended) => (last = over = ended));
      await until(
        async () => {
          if (over) throw new Error(`${role} ended with ${String(over.status)}:\n${over.stderr}`);
          return fetch(`${health}/healthz`).then(
            (answer) => answer.ok,
            () => false,
          );
        },
        `${role} answers`,
        40_000,
      );
    };
    const member: Member = {
      role,
      url: health,
      linesUrl: `http://127.0.0.1:${linesHttpPort}/`,
      linesPort,
      running: () => running!,
      start,
      lastWords: () => last?.stderr ?? '',
      kill: async (signal) => {
        running!.process.kill(signal);
        return signal === 'SIGKILL' || signal === 'SIGTERM' ? running!.ended : undefined;
      },
    };
    await start();
    members.push(member);
    return member;
  };

  for (const role of options.roles ?? []) await add(role);

  const rows = async <Row>(query: string): Promise<Row[]> =>
    (await clickhouse.query({ query, format: 'JSONEachRow' })).json<Row>();
  return {
    name,
    directory: scratch.path,
    members,
    of: (role) => members.filter((member) => member.role === role),
    add,
    lake: async () => {
      const ids = await rows<{ id: string }>('SELECT id FROM tripline.api_calls FINAL');
      const [physical] = await rows<{ n: number }>('SELECT toUInt32(count()) AS n FROM tripline.api_calls');
      const alerts = await rows<{ alert: string }>('SELECT alert FROM tripline.alerts FINAL ORDER BY id');
      const responses = await rows<{ response: string }>(
        'SELECT response FROM tripline.responses FINAL ORDER BY id',
      );
      return {
        rows: ids.length,
        physicalRows: physical?.n ?? 0,
        ids: new Set(ids.map(({ id }) => id)),
        alerts: alerts.map(({ alert }) => JSON.parse(alert) as Alert),
        responses: responses.map(({ response }) => JSON.parse(response) as Response),
      };
    },
    dispose: async () => {
      await Promise.all(
        members.map(async (member) => {
          const { process: child, ended } = member.running();
          if (child.exitCode === null && child.signalCode === null) {
            child.kill('SIGCONT');
            child.kill('SIGKILL');
          }
          await ended;
        }),
      );
      await clickhouse.close();
      scratch.dispose();
    },
  };
}

/**
 * Posts lines as Kong's http-log does with its queue: batches in order, each until some collector has answered 2xx. What
 * is answered so is taken; so after it returns, every line is.
 */
export async function postLines(
  lines: readonly Buffer[],
  collectors: () => readonly Member[],
  options: { batch?: number; pauseMs?: number; onBatch?: (sent: number) => void } = {},
): Promise<void> {
  const { batch = 50, pauseMs = 0 } = options;
  let turn = 0;
  for (let at = 0; at < lines.length; at += batch) {
    const body = `[${lines
      .slice(at, at + batch)
      .map((line) => line.toString().trimEnd())
      .join(',')}]`;
    await until(
      async () => {
        const all = collectors();
        const collector = all[turn++ % all.length]!;
        return fetch(collector.linesUrl, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
          signal: AbortSignal.timeout(30_000),
        }).then(
          (answer) => answer.ok,
          () => false,
        );
      },
      'a collector takes the batch',
      120_000,
    );
    options.onBatch?.(Math.min(at + batch, lines.length));
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** Until every role has dealt with everything on the bus. */
export async function settled(fleet: Fleet, withinMs = 120_000): Promise<void> {
  let lag: { topic: string; group: string; records: number }[] = [];
  const problems = async (): Promise<string> => {
    const details = await Promise.all(
      fleet.members.map(async ({ url, role, running }) => {
        const text = await fetch(`${url}/readyz`).then(
          (answer) => answer.text(),
          (error: unknown) => String(error),
        );
        const log = running().stderr().split('\n').slice(-9);
        return `${role}: ${text.trim()}\n  ${log.join('\n  ')}`;
      }),
    );
    return `${JSON.stringify(lag)}\n${details.join('\n')}`;
  };
  let calm = 0;
  try {
    await until(
      async () => {
        const merged = new Map<string, (typeof lag)[number]>();
        for (const member of fleet.members) {
          const status = await statusOf(member.url).catch(() => undefined);
          if (!status) return false;
          if ((status.collector as unknown) !== undefined) {
            const { inFlight, spooled } = status.collector.accounting as {
              inFlight: number;
              spooled?: number;
            };
            if (inFlight > 0 || (spooled ?? 0) > 0) return false;
          }
          for (const row of status.lag) merged.set(`${row.topic}/${row.group}`, row);
        }
        lag = [...merged.values()];
        const groups = ['processor', 'archiver'].every((group) =>
          lag.some((row) => row.topic === 'api-calls' && row.group === group),
        );
        const still = groups && lag.every(({ records }) => records === 0);
        // Alerts follow calls, responses follow alerts: calm for a while, not for a moment.
        calm = still ? calm + 1 : 0;
        if (!still || calm < 5) await new Promise((resolve) => setTimeout(resolve, 200));
        return calm >= 5;
      },
      'all is dealt with',
      withinMs,
    );
  } catch (error) {
    throw new Error(`${(error as Error).message}: ${await problems()}`, { cause: error });
  }
}

/** The alerts that `tripline replay` finds in the same lines, with the same token key: an undisturbed run. */
export async function undisturbed(lines: readonly Buffer[], fleet: Fleet): Promise<Alert[]> {
  const { stdout, status, stderr } = await runProgram(['replay', '-'], {
    cwd: fleet.directory,
    stdin: Buffer.concat([...lines]),
    env: { TRIPLINE_SANITIZE__KEY_FILE: join(fleet.directory, 'token.key') },
  });
  if (status !== 0) throw new Error(`replay failed:\n${stderr}`);
  return stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Alert)
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** A member's counter or gauge, summed over its labels; 0 if it has none of that name. */
export async function metric(member: Member, name: string): Promise<number> {
  const text = await (await fetch(`${member.url}/metrics`)).text();
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
