import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { BusDamagedError, createEmbeddedBus, type Bus } from '@tripline/bus';
import { openEmbeddedLake, openServerLake, type Lake } from '@tripline/lake';
import { resolvePath, UserError, type Config, type LoadedConfig, type Logger } from '@tripline/runtime';
import { createEmbeddedState, type StateStore } from '@tripline/state';
import { damaged } from './data-files.ts';

const dayMs = 86_400_000;

/** What keeps state, each in a store of its own; `aggregates` is the second half of the processor. */
export type StatefulRole = 'processor' | 'aggregates' | 'responder';

/**
 * Bus, state and lake, as the configuration says: embedded in `dataDir`, or Kafka, Redis and a ClickHouse server. This is
 * the only place that knows which; the roles do not.
 */
export interface Backends {
  bus: () => Promise<Bus>;
  state: (role: StatefulRole) => Promise<StateStore>;
  /** Opening takes up to seconds; a failed opening is tried again by the next who asks. */
  lake: () => Promise<Lake>;
  /** What keeps each of those in use from working, by name; null if nothing does. */
  problems: () => Map<string, string | null>;
  /** Closes what was opened. */
  close: () => Promise<void>;
}

export function createBackends(options: {
  loaded: LoadedConfig;
  dataDir: string;
  logger: Logger;
  now: () => number;
}): Backends {
  const { loaded, dataDir, logger, now } = options;
  const { config } = loaded;
  const opened: (() => Promise<void>)[] = [];
  let bus: Promise<Bus> | undefined;
  let lake: Promise<Lake> | undefined;
  const inUse = new Map<string, Bus | StateStore>();

  return {
    bus: () => {
      bus ??= openBus(loaded, dataDir, logger, now).then((made) => {
        opened.push(() => made.close());
        inUse.set('bus', made);
        return made;
      });
      return bus;
    },
    state: async (role) => {
      const made = await openState(role, loaded, dataDir, logger, now);
      opened.push(() => made.close());
      inUse.set(`state-${role}`, made);
      return made;
    },
    lake: () => {
      if (!config.lake.enabled)
        return Promise.reject(new UserError('The lake is switched off (lake.enabled).'));
      lake ??= openLake(loaded, dataDir).then(
        (made) => {
          opened.push(() => made.close());
          return made;
        },
        (error: unknown) => {
          lake = undefined;
          throw error;
        },
      );
      return lake;
    },
    problems: () => new Map([...inUse].map(([name, backend]) => [name, backend.problem()])),
    close: async () => {
      // One that opens after all is closed would stay open, and its directory come back.
      await lake?.catch(() => undefined);
      for (const close of opened.splice(0).reverse()) await close();
    },
  };
}

/** Whether anything is kept in `dataDir` besides the spool of a collector. */
export function isEmbedded(config: Config): boolean {
  return !config.bus.kafka || !config.state.redis || (config.lake.enabled && !config.lake.clickhouse);
}

async function openBus(
  loaded: LoadedConfig,
  dataDir: string,
  logger: Logger,
  now: () => number,
): Promise<Bus> {
  const { kafka, maxBytes } = loaded.config.bus;
  if (!kafka) {
    try {
      return createEmbeddedBus({
        path: join(dataDir, 'bus'),
        maxBytes,
        now,
        onLog: logTo(logger.child({ role: 'bus' })),
      });
    } catch (error) {
      throw error instanceof BusDamagedError ? damaged(dataDir, 'bus', error.message) : error;
    }
  }
  const { createKafkaBus } = await loadClient(
    'bus.kafka',
    'kafkajs and snappy',
    () => import('@tripline/bus/kafka'),
  );
  const { tls, sasl, ...rest } = kafka;
  return createKafkaBus({
    ...rest,
    ...(sasl ? { sasl } : {}),
    ...(tls ? { ssl: tlsOptions(loaded, 'bus.kafka.tls', tls) } : {}),
    onLog: logTo(logger.child({ role: 'bus' })),
    now,
  });
}

async function openState(
  role: StatefulRole,
  loaded: LoadedConfig,
  dataDir: string,
  logger: Logger,
  now: () => number,
): Promise<StateStore> {
  // Only what is learnt about actors and endpoints may be forgotten: a permanent block may stand for years.
  const { actorDays } = loaded.config.processor.retention;
  const expiry = role === 'responder' ? {} : { idleExpiryMs: actorDays * dayMs };
  const { redis } = loaded.config.state;
  const onLog = logTo(logger.child({ role: 'state' }));
  if (!redis) return createEmbeddedState({ path: join(dataDir, `state-${role}`), ...expiry, now, onLog });
  const { createRedisState } = await loadClient(
    'state.redis',
    'ioredis',
    () => import('@tripline/state/redis'),
  );
  const { tls, url, cluster, username, password, keyPrefix } = redis;
  return createRedisState({
    name: role,
    keyPrefix,
    ...(url === undefined ? {} : { url }),
    ...(cluster ? { cluster } : {}),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls ? { tls: tlsOptions(loaded, 'state.redis.tls', tls) } : {}),
    ...expiry,
    onLog,
  });
}

async function openLake(loaded: LoadedConfig, dataDir: string): Promise<Lake> {
  const { clickhouse } = loaded.config.lake;
  if (!clickhouse) return openEmbeddedLake({ path: join(dataDir, 'lake') });
  const { tls, cluster, ...rest } = clickhouse;
  return openServerLake({
    ...rest,
    ...(cluster === undefined ? {} : { cluster }),
    ...(tls ? { tls: tlsOptions(loaded, 'lake.clickhouse.tls', tls) } : {}),
  });
}

/**
 * Loads the client of a server, which embedded engines do without. Rejects with a `UserError` if it cannot be loaded here, as
 * when its native binary is for another system.
 */
export async function loadClient<Module>(
  setting: string,
  packages: string,
  load: () => Promise<Module>,
): Promise<Module> {
  try {
    return await load();
  } catch (error) {
    const [why] = (error as Error).message.split('\n');
    throw new UserError(
      `${setting} needs ${packages}, which cannot be loaded here (${why}). Install what is missing with npm ci on this ` +
        `system (node_modules of another one does not do), or leave ${setting} out for the embedded engine.`,
    );
  }
}

type Level = 'debug' | 'info' | 'warn' | 'error';

function logTo(logger: Logger): (level: Level, message: string, detail?: Record<string, unknown>) => void {
  return (level, message, detail) => logger[level](detail ?? {}, message);
}

type TlsSettings = NonNullable<NonNullable<Config['bus']['kafka']>['tls']>;

/** Files of the configuration as what Node's TLS wants. */
export function tlsOptions(loaded: LoadedConfig, key: string, tls: TlsSettings): ConnectionOptions {
  const pem = (name: 'caFile' | 'certFile' | 'keyFile'): Buffer | undefined => {
    const file = tls[name];
    return file === undefined ? undefined : readNamed(loaded, `${key}.${name}`, file);
  };
  const [ca, cert, privateKey] = [pem('caFile'), pem('certFile'), pem('keyFile')];
  return {
    ...(ca ? { ca } : {}),
    ...(cert ? { cert } : {}),
    ...(privateKey ? { key: privateKey } : {}),
    ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
    ...(tls.insecure === true ? { rejectUnauthorized: false } : {}),
  };
}

/** A file that the configuration names. Throws a `UserError` that names the key if it cannot be read. */
export function readNamed(loaded: LoadedConfig, key: string, file: string): Buffer {
  const path = resolvePath(loaded, file);
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UserError(`${key}: ${path} cannot be read: ${(error as Error).message}`);
  }
}

/** How this process is known to the others of its role. */
export function processName(config: Config): string {
  return `${hostname()}:${config.http.port} (process ${process.pid})`;
}
