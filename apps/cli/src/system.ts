import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openGeo, startCollector, type Collector } from '@tripline/app-collector';
import { startArchiver } from '@tripline/app-archiver';
import { startProcessor } from '@tripline/app-processor';
import {
  startResponder,
  watchPolicyFile,
  type PolicyFile,
  type RunningResponder,
} from '@tripline/app-responder';
import { createEmbeddedBus, type Bus } from '@tripline/bus';
import { createDetection, detectionConfigSchema } from '@tripline/detection';
import { createKongAdmin, createNormaliser, type KongAdmin } from '@tripline/kong';
import { openEmbeddedLake, type Lake } from '@tripline/lake';
import {
  createMetrics,
  Gauge,
  loadTokenKey,
  resolvePath,
  serveObserve,
  Shutdown,
  UserError,
  type Config,
  type HttpAction,
  type LoadedConfig,
  type Logger,
  type RoleContext,
  type RunningRole,
} from '@tripline/runtime';
import { createSanitizer, type Sanitizer } from '@tripline/sanitize';
import { createEmbeddedState } from '@tripline/state';
import { lockDirectory } from './lock.ts';

/** All roles in one process, as `tripline up` runs them. */
export interface System {
  config: Config;
  dataDir: string;
  bus: Bus;
  collector: Collector;
  responder: RunningResponder;
  policies: PolicyFile;
  admin: KongAdmin | undefined;
  httpPort: number;
  /** The lake, once it is open; rejects if it is switched off or cannot be opened. */
  lake: () => Promise<Lake>;
  /** Rejects if a role failed for good. */
  ended: Promise<void>;
  /** Stops all of it in good order. */
  stop(): Promise<void>;
}

const stopDeadlineMs = 25_000;
const month = 35 * 86_400_000;

/**
 * Starts every role on the embedded backends. Rejects with a `UserError` if the configuration cannot work: a port that is
 * taken, a file that is missing, a data directory in use.
 */
export async function startSystem(options: {
  loaded: LoadedConfig;
  logger: Logger;
  now?: () => number;
}): Promise<System> {
  const { loaded, logger } = options;
  const { config } = loaded;
  const now = options.now ?? Date.now;
  const shutdown = new Shutdown();
  const stop = (): Promise<void> => shutdown.run(logger, stopDeadlineMs);
  try {
    return await start();
  } catch (error) {
    await stop();
    throw error;
  }

  async function start(): Promise<System> {
    const dataDir = resolvePath(loaded, config.dataDir);
    mkdirSync(dataDir, { recursive: true });
    shutdown.add('lock', lockDirectory(dataDir));
    const metrics = createMetrics();
    const context = (role: string): RoleContext => ({ logger: logger.child({ role }), metrics, now });

    const sanitizer = createConfiguredSanitizer(loaded, dataDir);
    const detection = createConfiguredDetection(config);
    const bus = createEmbeddedBus({ path: join(dataDir, 'bus'), maxBytes: config.bus.maxBytes, now });
    shutdown.add('bus', () => bus.close());

    const lake = openLakeOnce(config, dataDir);
    shutdown.add('lake', async () => {
      if (lake.opened) await (await lake.get()).close();
    });
    const roles: RunningRole[] = [];
    if (config.lake.enabled) {
      const state = createEmbeddedState({ path: join(dataDir, 'state-archiver'), now });
      shutdown.add('archiver state', () => state.close());
      const archiver = startArchiver({
        ...context('archiver'),
        bus,
        state,
        lake: lake.get,
        retentionDays: config.lake.retentionDays,
      });
      roles.push(archiver);
      shutdown.add('archiver', () => archiver.stop());
    }

    const admin = createConfiguredAdmin(loaded);
    if (admin) shutdown.add('Kong client', () => admin.close());
    const policies = await watchPolicyFile({
      path: resolvePath(loaded, config.policiesFile),
      logger: logger.child({ role: 'policies' }),
      mask: (text) => sanitizer.text(text),
    });
    shutdown.add('policies', () => policies.close());
    const responderState = createEmbeddedState({ path: join(dataDir, 'state-responder'), now });
    shutdown.add('responder state', () => responderState.close());
    const responder = startResponder({
      ...context('responder'),
      bus,
      state: responderState,
      admin,
      policies,
      webhooks: config.webhooks,
      random: Math.random,
    });
    roles.push(responder);
    shutdown.add('responder', () => responder.stop());

    const processorState = createEmbeddedState({
      path: join(dataDir, 'state-processor'),
      idleExpiryMs: month,
      now,
    });
    shutdown.add('processor state', () => processorState.close());
    const processor = startProcessor({ ...context('processor'), bus, state: processorState, detection });
    roles.push(processor);
    shutdown.add('processor', () => processor.stop());

    const { cityFile, asnFile } = config.geo;
    const locate = await openGeo({
      cityFile: cityFile && resolvePath(loaded, cityFile),
      asnFile: asnFile && resolvePath(loaded, asnFile),
    });
    const { tls } = config.collector;
    const { dir: spoolDir } = config.collector.spool;
    const collector = await startCollector({
      ...context('collector'),
      bus,
      sanitizer,
      normalise: createConfiguredNormaliser(config, sanitizer, locate),
      settings: config.collector,
      spoolDir: spoolDir === undefined ? join(dataDir, 'spool') : resolvePath(loaded, spoolDir),
      ...(tls
        ? {
            tls: {
              cert: readNamed(loaded, 'collector.tls.certFile', tls.certFile),
              key: readNamed(loaded, 'collector.tls.keyFile', tls.keyFile),
            },
          }
        : {}),
    });
    roles.push(collector);
    shutdown.add('collector', () => collector.stop());

    reportLag(context('bus'), bus);
    const http = await serveObserve({
      ...config.http,
      metrics,
      roles: () => roles,
      actions: actions({ collector, responder, policies, bus, dataDir, lake: lake.get, now }),
    });
    shutdown.add('http', () => http.close());

    return {
      config,
      dataDir,
      bus,
      collector,
      responder,
      policies,
      admin,
      httpPort: http.port,
      lake: lake.get,
      ended: Promise.all(roles.map((role) => role.ended)).then(() => undefined),
      stop,
    };
  }
}

export function createConfiguredSanitizer(loaded: LoadedConfig, dataDir: string): Sanitizer {
  const { keyFile, secretNames, secretPatterns } = loaded.config.sanitize;
  const path = keyFile === undefined ? join(dataDir, 'token.key') : resolvePath(loaded, keyFile);
  return createSanitizer({ key: loadTokenKey(path, keyFile === undefined), secretNames, secretPatterns });
}

export function createConfiguredNormaliser(
  config: Config,
  sanitizer: Sanitizer,
  locate?: Awaited<ReturnType<typeof openGeo>>,
): ReturnType<typeof createNormaliser> {
  const { token, maxDepth, maxAheadMs, keepHeaders, credentialNames } = config.collector;
  return createNormaliser({
    sanitizer,
    maxDepth,
    maxAheadMs,
    keepHeaders,
    credentialNames,
    ...(token === undefined ? {} : { token }),
    ...(locate ? { locate } : {}),
  });
}

export function createConfiguredDetection(config: Config): ReturnType<typeof createDetection> {
  const parsed = detectionConfigSchema.safeParse(config.detectors);
  if (parsed.success) return createDetection(parsed.data);
  const problems = parsed.error.issues.map(
    (issue) => `  detectors.${issue.path.join('.')}: ${issue.message}`,
  );
  throw new UserError(`The configuration has problems:\n${problems.join('\n')}`);
}

/** The Admin API client that the configuration asks for; undefined without `kong.adminUrl`. */
export function createConfiguredAdmin(loaded: LoadedConfig): KongAdmin | undefined {
  const { adminUrl, workspace, adminToken, adminHeaders, tls } = loaded.config.kong;
  if (adminUrl === undefined) return undefined;
  const pem = (key: string, file: string | undefined): string | undefined =>
    file === undefined ? undefined : readNamed(loaded, `kong.tls.${key}`, file).toString();
  return createKongAdmin({
    url: adminUrl,
    ...defined({ workspace, token: adminToken, headers: adminHeaders }),
    ...(tls
      ? {
          tls: defined({
            ca: pem('caFile', tls.caFile),
            cert: pem('certFile', tls.certFile),
            key: pem('keyFile', tls.keyFile),
            serverName: tls.serverName,
            insecure: tls.insecure,
          }),
        }
      : {}),
  });
}

/** Without the members that are undefined, as optional properties want it. */
function defined<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

function readNamed(loaded: LoadedConfig, key: string, file: string): Buffer {
  const path = resolvePath(loaded, file);
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UserError(`${key}: ${path} cannot be read: ${(error as Error).message}`);
  }
}

/** Opening the engine takes up to seconds; a failed opening is tried again by the next who asks. */
function openLakeOnce(config: Config, dataDir: string): { get: () => Promise<Lake>; opened: boolean } {
  let opening: Promise<Lake> | undefined;
  const once = {
    opened: false,
    get: (): Promise<Lake> => {
      if (!config.lake.enabled)
        return Promise.reject(new UserError('The lake is switched off (lake.enabled).'));
      opening ??= openEmbeddedLake({ path: join(dataDir, 'lake') }).then(
        (lake) => {
          once.opened = true;
          return lake;
        },
        (error: unknown) => {
          opening = undefined;
          throw error;
        },
      );
      return opening;
    },
  };
  return once;
}

function reportLag(context: RoleContext, bus: Bus): void {
  new Gauge({
    name: 'tripline_bus_lag_records',
    help: 'Records that a group has not dealt with yet.',
    labelNames: ['topic', 'group'],
    registers: [context.metrics],
    async collect() {
      this.reset();
      for (const { topic, group, records } of await bus.lag()) this.set({ topic, group }, records);
    },
  });
}

/** What the command line asks of a running Tripline. */
function actions(parts: {
  collector: Collector;
  responder: RunningResponder;
  policies: PolicyFile;
  bus: Bus;
  dataDir: string;
  lake: () => Promise<Lake>;
  now: () => number;
}): Record<string, HttpAction> {
  const { collector, responder, policies, bus } = parts;
  return {
    'GET /status': async () => {
      const { rejected, dropped, ...counts } = collector.accounting();
      return {
        status: 200,
        body: {
          now: parts.now(),
          dataDir: parts.dataDir,
          collector: {
            port: collector.port,
            tlsPort: collector.tlsPort ?? null,
            accounting: {
              ...counts,
              rejected: Object.fromEntries(rejected),
              dropped: Object.fromEntries(dropped),
            },
            observations: collector.observations(),
          },
          policies: { count: policies.current().policies.length, problems: policies.problems() },
          lag: await bus.lag(),
        },
      };
    },
    'GET /alerts': async (url) => {
      const since = Number(url.searchParams.get('since') ?? 0);
      return { status: 200, body: await (await parts.lake()).alertsSince(since) };
    },
    'GET /responses': () => Promise.resolve({ status: 200, body: responder.responses() }),
    'POST /responses/lift': async (url) => {
      const id = url.searchParams.get('id') ?? '';
      try {
        return { status: 200, body: await responder.lift(id) };
      } catch (error) {
        return { status: 404, body: { message: (error as Error).message } };
      }
    },
  };
}
