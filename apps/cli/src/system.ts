import type { Collector } from '@tripline/app-collector';
import type { PolicyFile, RunningResponder } from '@tripline/app-responder';
import type { Bus } from '@tripline/bus';
import type { KongAdmin } from '@tripline/kong';
import type { Lake } from '@tripline/lake';
import {
  createMetrics,
  resolvePath,
  serveObserve,
  Shutdown,
  type Config,
  type LoadedConfig,
  type Logger,
  type RunningRole,
} from '@tripline/runtime';
import { createBackends, isEmbedded } from './backends.ts';
import { createConfiguredAdmin } from './configured.ts';
import { checkDataFiles, checkRoom } from './data-files.ts';
import { actions } from './roles/actions.ts';
import { addArchiver } from './roles/archiver.ts';
import { addCollector } from './roles/collector.ts';
import { reportBackends, reportLag } from './roles/metrics.ts';
import { roleNames, type RoleName } from './roles/names.ts';
import { checkSharedSettings, embeddedStores, runApart, takeDirectory } from './roles/preconditions.ts';
import type { Process } from './roles/process.ts';
import { addProcessor } from './roles/processor.ts';
import { addResponder } from './roles/responder.ts';

export { roleNames, type RoleName };

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
  /** Stops all roles, the last one started first. */
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
  const shutdown = new Shutdown();
  const stop = (): Promise<void> => shutdown.run(options.logger, stopDeadlineMs);
  checkSharedSettings(options.loaded.config, options.roles);
  try {
    return { ...(await start(options, shutdown)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(
  { loaded, logger, roles, now = Date.now }: StartOptions & { roles: readonly RoleName[] },
  shutdown: Shutdown,
): Promise<Omit<Roles, 'stop'>> {
  const { config } = loaded;
  const runs = (role: RoleName): boolean => roles.includes(role);
  const dataDir = resolvePath(loaded, config.dataDir);
  // Roles that run apart stand on servers; only a collector keeps files of its own.
  if (runs('collector') || (!runApart(roles) && isEmbedded(config))) {
    shutdown.add('lock', takeDirectory(dataDir));
    checkRoom(dataDir, embeddedStores(config));
    await checkDataFiles(dataDir, (text) => logger.info(text));
  }
  const metrics = createMetrics();
  const backends = createBackends({ loaded, dataDir, logger, now });
  shutdown.add('backends', () => backends.close());
  const bus = await backends.bus();
  const running: RunningRole[] = [];
  const process: Process = {
    ...{ loaded, config, dataDir, logger, now, bus, backends, shutdown },
    context: (role) => ({ logger: logger.child({ role }), metrics, now }),
    add(role) {
      running.push(role);
      shutdown.add(role.name, () => role.stop());
      return role;
    },
  };

  if (runs('archiver')) addArchiver(process);
  const admin = createConfiguredAdmin(loaded);
  if (admin) shutdown.add('Kong client', () => admin.close());
  const { responder, policies } = runs('responder') ? await addResponder(process, admin) : {};
  if (runs('processor')) await addProcessor(process);
  const collector = runs('collector') ? await addCollector(process) : undefined;

  reportLag(process.context('bus'), bus);
  reportBackends(process.context('backends'), backends.problems, dataDir);
  const http = await serveObserve({
    ...config.http,
    metrics,
    roles: () => running,
    actions: actions({ collector, responder, policies, bus, dataDir, lake: backends.lake, now }),
  });
  shutdown.add('http', () => http.close());
  return {
    ...{ config, dataDir, bus, collector, responder, policies, admin },
    httpPort: http.port,
    lake: backends.lake,
    ended: Promise.all(running.map((role) => role.ended)).then(() => undefined),
  };
}
