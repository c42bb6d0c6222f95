import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  inheritedSockets,
  openGeo,
  openServedPathsFile,
  openVerifyingEndpointsFile,
  openTemplateFile,
  startCollector,
  type Collector,
} from '@tripline/app-collector';
import { startArchiver } from '@tripline/app-archiver';
import { startAggregates, startProcessor } from '@tripline/app-processor';
import {
  proxyFromEnvironment,
  StandbyError,
  UnknownResponseError,
  forgeryProblems,
  startResponder,
  startStandby,
  watchPolicyFile,
  type PolicyFile,
  createChannels,
  type Channels,
  type ResponderOptions,
  type RunningResponder,
  type ProxySettings,
} from '@tripline/app-responder';
import type { Bus } from '@tripline/bus';
import {
  alertTypes,
  createDetection,
  createEndpointDetection,
  detectionConfigSchema,
  type Detection,
  type EndpointDetection,
} from '@tripline/detection';
import {
  createKongAdmin,
  createNormaliser,
  type KongAdmin,
  type KongClient,
  type NormaliserOptions,
} from '@tripline/kong';
import type { Lake } from '@tripline/lake';
import {
  createMetrics,
  freeBytesOf,
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
import { createBackends, isEmbedded, processName, readNamed, type Backends } from './backends.ts';
import { mindDataFiles, mindRoom } from './data-files.ts';
import { lockDirectory } from './lock.ts';
import { alertsSinceOf, responseIdOf, riskFilterOf } from './query.ts';

export const roleNames = ['collector', 'processor', 'archiver', 'responder'] as const;
export type RoleName = (typeof roleNames)[number];

/** The roles that run in this process. */
export interface Roles {
  config: Config;
  dataDir: string;
  bus: Bus;
  collector: Collector | undefined;
  responder: RunningResponder | undefined;
  policies: PolicyFile | undefined;
  admin: KongAdmin | undefined;
  httpPort: number;
  /** The lake, once it is open; rejects if it is switched off or cannot be opened. */
  lake: () => Promise<Lake>;
  /** Rejects if a role failed for good. */
  ended: Promise<void>;
  /** Stops all of it in good order. */
  stop(): Promise<void>;
}

/** All roles in one process, as `tripline up` runs them. */
export interface System extends Roles {
  collector: Collector;
  responder: RunningResponder;
  policies: PolicyFile;
}

const stopDeadlineMs = 25_000;

export interface StartOptions {
  loaded: LoadedConfig;
  logger: Logger;
  now?: () => number;
}

/** Starts every role. Rejects as `startRoles` does. */
export async function startSystem(options: StartOptions): Promise<System> {
  return (await startRoles({ ...options, roles: roleNames })) as System;
}

/**
 * Starts roles on the backends of the configuration. Rejects with a `UserError` if the configuration cannot work: a port
 * that is taken, a file that is missing, a data directory in use or damaged, a role alone on a backend that only it could reach.
 */
export async function startRoles(options: StartOptions & { roles: readonly RoleName[] }): Promise<Roles> {
  const { loaded, logger } = options;
  const { config } = loaded;
  const now = options.now ?? Date.now;
  const runs = (role: RoleName): boolean => options.roles.includes(role);
  const shutdown = new Shutdown();
  const stop = (): Promise<void> => shutdown.run(logger, stopDeadlineMs);
  mindWhatIsShared(config, options.roles);
  try {
    return await start();
  } catch (error) {
    await stop();
    throw error;
  }

  async function start(): Promise<Roles> {
    const dataDir = resolvePath(loaded, config.dataDir);
    // Roles that run apart stand on servers; only a collector keeps files of its own.
    if (runs('collector') || (!runApart(options.roles) && isEmbedded(config))) {
      shutdown.add('lock', takeDirectory(dataDir));
      mindRoom(dataDir, embeddedStores(config));
      await mindDataFiles(dataDir, (text) => logger.info(text));
    }
    const metrics = createMetrics();
    const context = (role: string): RoleContext => ({ logger: logger.child({ role }), metrics, now });
    const backends = createBackends({ loaded, dataDir, logger, now });
    shutdown.add('backends', () => backends.close());
    const bus = await backends.bus();
    const running: RunningRole[] = [];
    const add = <Role extends RunningRole>(role: Role): Role => {
      running.push(role);
      shutdown.add(role.name, () => role.stop());
      return role;
    };

    if (runs('archiver') && config.lake.enabled) {
      add(
        startArchiver({
          ...context('archiver'),
          bus,
          lake: backends.lake,
          retentionDays: config.lake.retentionDays,
        }),
      );
    }

    const admin = createConfiguredAdmin(loaded);
    if (admin) shutdown.add('Kong client', () => admin.close());
    let policies: PolicyFile | undefined;
    let responder: RunningResponder | undefined;
    if (runs('responder')) {
      const sanitizer = createConfiguredSanitizer(loaded, dataDir);
      const source = await watchPolicyFile({
        path: resolvePath(loaded, config.policiesFile),
        logger: logger.child({ role: 'policies' }),
        alertTypes,
        mask: (text) => sanitizer.identifier(text),
        refuse: (text, policies) => forgeryProblems(text, policies, config.collector),
      });
      policies = source;
      shutdown.add('policies', () => source.close());
      const state = await backends.state('responder');
      const channels = createConfiguredChannels(config, (text) => sanitizer.unknown(text), now);
      shutdown.add('channels', () => channels.close());
      responder = add(
        startStandby({
          ...context('responder'),
          state,
          admin,
          holder: processName(config),
          start: (guarded, lent) =>
            startResponder({
              ...context('responder'),
              metrics: lent,
              bus,
              state,
              admin: guarded,
              policies: source,
              channels: channels.list,
              retention: responderRetention(config),
              random: Math.random,
            }),
        }),
      );
    }

    if (runs('processor')) {
      const { detection, endpointDetection } = createConfiguredDetection(config);
      add(
        startProcessor({
          ...context('processor'),
          bus,
          state: await backends.state('processor'),
          detection,
          aggregates: endpointDetection.enabled,
          maxActorsInMemory: config.processor.maxActorsInMemory,
        }),
      );
      if (endpointDetection.enabled)
        add(
          startAggregates({
            ...context('aggregates'),
            bus,
            state: await backends.state('aggregates'),
            detection: endpointDetection,
          }),
        );
    }

    let collector: Collector | undefined;
    if (runs('collector')) {
      const sanitizer = createConfiguredSanitizer(loaded, dataDir);
      const { cityFile, asnFile } = config.geo;
      const locate = await openGeo({
        cityFile: cityFile && resolvePath(loaded, cityFile),
        asnFile: asnFile && resolvePath(loaded, asnFile),
      });
      const templates = await openTemplateFile({
        path: join(dataDir, 'templates.json'),
        logger: logger.child({ role: 'collector' }),
      });
      shutdown.add('templates', () => templates.close());
      const servedPaths = await openServedPathsFile({
        path: join(dataDir, 'served-paths.json'),
        logger: logger.child({ role: 'collector' }),
      });
      shutdown.add('served paths', () => servedPaths.close());
      const endpoints = await openVerifyingEndpointsFile({
        path: join(dataDir, 'verifying-endpoints.json'),
        logger: logger.child({ role: 'collector' }),
      });
      shutdown.add('verifying endpoints', () => endpoints.close());
      const { tls, spool } = config.collector;
      collector = add(
        await startCollector({
          ...context('collector'),
          bus,
          sanitizer,
          normalise: createConfiguredNormaliser(config, {
            sanitizer,
            templates: templates.learner,
            served: servedPaths.served,
            verifying: endpoints.verifying,
            ...(locate ? { locate } : {}),
          }),
          settings: config.collector,
          spoolDir: spool.dir === undefined ? join(dataDir, 'spool') : resolvePath(loaded, spool.dir),
          sockets: inheritedSockets(process.env, process.pid),
          ...(tls ? { certificates: readCertificates(loaded, tls) } : {}),
        }),
      );
    }

    reportLag(context('bus'), bus);
    reportBackends(context('backends'), backends.problems, dataDir);
    const http = await serveObserve({
      ...config.http,
      metrics,
      roles: () => running,
      actions: actions({ collector, responder, policies, bus, dataDir, lake: backends.lake, now }),
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
      lake: backends.lake,
      ended: Promise.all(running.map((role) => role.ended)).then(() => undefined),
      stop,
    };
  }
}

/** The certificates of the collector, the default one first. */
function readCertificates(
  loaded: LoadedConfig,
  tls: NonNullable<Config['collector']['tls']>,
): { cert: Buffer; key: Buffer }[] {
  const { certFile, keyFile, certificates = [] } = tls;
  const all = certificates.map((files, index) => ({ ...files, at: `collector.tls.certificates.${index}` }));
  if (certFile !== undefined && keyFile !== undefined)
    all.unshift({ certFile, keyFile, at: 'collector.tls' });
  return all.map((files) => ({
    cert: readNamed(loaded, `${files.at}.certFile`, files.certFile),
    key: readNamed(loaded, `${files.at}.keyFile`, files.keyFile),
  }));
}

/** Makes the data directory if need be and takes it for this process; returns how to let go. */
function takeDirectory(dataDir: string): () => void {
  try {
    mkdirSync(dataDir, { recursive: true });
    return lockDirectory(dataDir);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(
      `dataDir: ${dataDir} cannot be used: ${(error as Error).message}. ` +
        'Set it to a directory that this user may write to, on a disk with room.',
    );
  }
}

/** The directories of LMDB that this configuration needs. */
function embeddedStores({ bus, state }: Config): string[] {
  return [
    ...(bus.kafka ? [] : ['bus']),
    ...(state.redis ? [] : ['state-processor', 'state-aggregates', 'state-responder']),
  ];
}

function runApart(roles: readonly RoleName[]): boolean {
  return roles.length < roleNames.length;
}

/** Throws a `UserError` if roles could not reach each other, or would not agree on tokens. */
function mindWhatIsShared(config: Config, roles: readonly RoleName[]): void {
  const problems: string[] = [];
  const alone = runApart(roles);
  const needs = (role: RoleName): boolean => alone && roles.includes(role);
  if (alone && !config.bus.kafka)
    problems.push('bus.kafka.brokers: missing; roles that run apart meet on Kafka');
  if (needs('processor') || needs('responder')) {
    if (!config.state.redis)
      problems.push('state.redis.url: missing; who takes a partition over finds its state in Redis');
  }
  if (needs('archiver') && config.lake.enabled && !config.lake.clickhouse)
    problems.push('lake.clickhouse.url: missing; the lake of several archivers is a ClickHouse server');
  if (needs('archiver') && !config.lake.enabled)
    problems.push('lake.enabled: is false, so there is nothing for an archiver to do');
  const masks = roles.includes('collector') || roles.includes('responder');
  if (masks && config.bus.kafka && config.sanitize.keyFile === undefined) {
    problems.push(
      'sanitize.keyFile: missing; equal secrets must give equal tokens on every collector, so all of them need the same ' +
        'key. Make one: openssl rand -base64 32 > token.key',
    );
  }
  if (problems.length === 0) return;
  const who = alone ? `tripline ${roles.join(', ')}` : 'tripline up on Kafka';
  throw new UserError(
    `${who} cannot run with this configuration:\n${problems.map((one) => `  ${one}`).join('\n')}`,
  );
}

export function createConfiguredSanitizer(loaded: LoadedConfig, dataDir: string): Sanitizer {
  const { keyFile, secretNames, secretPatterns } = loaded.config.sanitize;
  const path = keyFile === undefined ? join(dataDir, 'token.key') : resolvePath(loaded, keyFile);
  return createSanitizer({ key: loadTokenKey(path, keyFile === undefined), secretNames, secretPatterns });
}

/** A normaliser with the settings of the configuration; `parts` are what it works with. */
export function createConfiguredNormaliser(
  config: Config,
  parts: Pick<NormaliserOptions, 'sanitizer' | 'templates' | 'served' | 'verifying' | 'locate'>,
): ReturnType<typeof createNormaliser> {
  const { token, maxDepth, maxAheadMs, keepHeaders, credentialNames } = config.collector;
  return createNormaliser({
    ...parts,
    ...{ maxDepth, maxAheadMs, keepHeaders, credentialNames },
    services: config.services,
    ...(token === undefined ? {} : { token }),
  });
}

export function createConfiguredDetection(config: Config): {
  detection: Detection;
  endpointDetection: EndpointDetection;
} {
  const settings = detectionConfigSchema.parse(config.detectors);
  return { detection: createDetection(settings), endpointDetection: createEndpointDetection(settings) };
}

/** The Admin API client that the configuration asks for; undefined without `kong.adminUrl`. Throws a `UserError` if it is unusable. */
export function createConfiguredAdmin(loaded: LoadedConfig): KongClient | undefined {
  const { adminUrl, workspace, adminToken, adminHeaders, tls } = loaded.config.kong;
  if (adminUrl === undefined) return undefined;
  const pem = (key: string, file: string | undefined): string | undefined =>
    file === undefined ? undefined : readNamed(loaded, `kong.tls.${key}`, file).toString();
  const options = {
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
  };
  try {
    return createKongAdmin(options);
  } catch (error) {
    // Of a certificate or key the TLS library tells neither name nor reason that anybody would understand.
    const { message } = error as Error;
    throw new UserError(message.startsWith('kong.') ? message : `kong.tls: cannot be used: ${message}`);
  }
}

/** Without the members that are undefined, as optional properties want it. */
function defined<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
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

/** The channels of the configuration; `sanitize` takes secrets out of what receivers answer. */
function createConfiguredChannels(
  { webhooks }: Config,
  sanitize: (text: string) => string,
  now: () => number,
): Channels {
  const proxy = webhooks.length > 0 ? createConfiguredProxy(process.env) : undefined;
  const settings = webhooks.map((webhook) => ({ type: 'webhook', ...webhook }));
  return createChannels(settings, { now, proxy, sanitize });
}

const dayMs = 86_400_000;

function responderRetention({
  responder: { retention },
}: Config): NonNullable<ResponderOptions['retention']> {
  return {
    endedMs: retention.endedDays * dayMs,
    endedMax: retention.endedMax,
    dryRunsMax: retention.dryRunsMax,
    liftedMs: retention.liftedDays * dayMs,
    notifiedMs: retention.notifiedAlertDays * dayMs,
    notifiedMax: retention.notifiedAlertsMax,
  };
}

/** The proxies of the environment, for webhooks. Throws a `UserError` that names the variable which is no proxy. */
export function createConfiguredProxy(env: Record<string, string | undefined>): ProxySettings | undefined {
  try {
    return proxyFromEnvironment(env);
  } catch (error) {
    throw new UserError((error as Error).message);
  }
}

function reportBackends(context: RoleContext, problems: Backends['problems'], dataDir: string): void {
  const registers = [context.metrics];
  new Gauge({
    name: 'tripline_backend_problem',
    help: '1 while the bus or a state store cannot be written or reached, as on a full disk; /readyz says why.',
    labelNames: ['backend'],
    registers,
    collect() {
      this.reset();
      for (const [backend, problem] of problems()) this.set({ backend }, problem === null ? 0 : 1);
    },
  });
  new Gauge({
    name: 'tripline_data_disk_free_bytes',
    help: 'Free space of the disk with dataDir.',
    registers,
    collect() {
      const freeBytes = freeBytesOf(dataDir);
      if (Number.isFinite(freeBytes)) this.set(freeBytes);
    },
  });
}

/** What the command line asks of a running Tripline, as far as its roles can tell. */
function actions(parts: {
  collector: Collector | undefined;
  responder: RunningResponder | undefined;
  policies: PolicyFile | undefined;
  bus: Bus;
  dataDir: string;
  lake: () => Promise<Lake>;
  now: () => number;
}): Record<string, HttpAction> {
  const { collector, responder, policies, bus } = parts;
  const found: Record<string, HttpAction> = {
    'GET /status': async () => ({
      status: 200,
      body: {
        now: parts.now(),
        dataDir: parts.dataDir,
        ...(collector ? { collector: collectorStatus(collector) } : {}),
        ...(policies
          ? { policies: { count: policies.current().policies.length, problems: policies.problems() } }
          : {}),
        ...(responder ? { webhooks: responder.channels() } : {}),
        lag: await bus.lag(),
      },
    }),
    'GET /alerts': (url) =>
      answer(async () => {
        const sinceMs = alertsSinceOf(url.searchParams);
        return (await parts.lake()).alertsSince(sinceMs);
      }),
    'GET /sessions': (url) =>
      answer(async () => {
        const filter = riskFilterOf(url.searchParams, parts.now());
        return (await parts.lake()).sessions(filter);
      }),
    'GET /calls': (url) =>
      answer(async () => {
        const filter = riskFilterOf(url.searchParams, parts.now());
        return (await parts.lake()).ratedCalls(filter);
      }),
  };
  if (!responder) return found;
  return {
    ...found,
    'GET /responses': () => answer(() => responder.responses()),
    'POST /responses/lift': (url) => answer(() => responder.lift(responseIdOf(url.searchParams))),
  };
}

async function answer(work: () => unknown): Promise<{ status: number; body: unknown }> {
  try {
    return { status: 200, body: await work() };
  } catch (error) {
    const status = statusOf(error);
    if (status === undefined) throw error;
    return { status, body: { message: (error as Error).message } };
  }
}

function statusOf(error: unknown): number | undefined {
  if (error instanceof RangeError) return 400;
  if (error instanceof UnknownResponseError) return 404;
  return error instanceof StandbyError ? 503 : undefined;
}

function collectorStatus(collector: Collector): unknown {
  const { rejected, dropped, ...counts } = collector.accounting();
  return {
    port: collector.port,
    tlsPort: collector.tlsPort ?? null,
    httpPort: collector.httpPort ?? null,
    accounting: { ...counts, rejected: Object.fromEntries(rejected), dropped: Object.fromEntries(dropped) },
    observations: collector.observations(),
  };
}
