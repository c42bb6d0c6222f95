import type { Config, RunningRole } from '@tripline/runtime';
import type { Accounting } from './accounting.ts';
import { Admission } from './admission.ts';
import { serverCertificates, type Certificate } from './certificates.ts';
import type { InheritedSockets } from './inherited.ts';
import { Intake, type IntakeOptions } from './intake.ts';
import { LineConnections } from './line-connections.ts';
import { createLogHandler } from './log-handler.ts';
import type { Observations } from './observations.ts';
import { Ports } from './ports.ts';
import type { Publisher } from './publisher.ts';
import { Spool } from './spool.ts';

export interface CollectorOptions extends Omit<IntakeOptions, 'spool'> {
  settings: Config['collector'];
  /** Where API calls wait on disk while the bus does not answer; this process's own. */
  spoolDir: string;
  /** Certificates of `settings.tls`, the default one first: listens with TLS too, and HTTP becomes HTTPS. */
  certificates?: readonly Certificate[];
  /** Listening sockets that were handed over, instead of the ports of the settings; see `inheritedSockets`. */
  sockets?: InheritedSockets;
}

export interface Collector extends RunningRole {
  /** The port for lines by TCP. */
  port: number;
  tlsPort: number | undefined;
  httpPort: number | undefined;
  accounting: () => Accounting;
  observations: () => Observations;
}

/** How long half-closed tcp-log connections may still deliver what they have under way. */
const drainMs = 1_000;
/** How long HTTP requests under way may take: a little more than the bus is waited for before the spool takes over. */
const httpDrainMs = 7_000;
/** Longest time of a TLS handshake. */
const maxHandshakeMs = 10_000;

/**
 * Listens for Kong's tcp-log connections, and for http-log requests where `settings.http` says so, and puts every line on
 * the bus as an API call. Never makes Kong wait. While the bus does not answer, API calls wait in the spool. Rejects with
 * a `UserError`, and listens to nothing, if one of the ports cannot be had or a certificate cannot be used.
 */
export async function startCollector(options: CollectorOptions): Promise<Collector> {
  const { settings } = options;
  const tls = options.certificates && {
    ...serverCertificates(options.certificates),
    handshakeTimeout: Math.min(maxHandshakeMs, settings.frameTimeoutMs),
  };
  const admission = new Admission(settings, options);
  const spool = await openSpool(options);
  const intake = new Intake({ ...options, spool });
  const { publisher, observer } = intake;
  const lines = new LineConnections(settings, intake, options);
  const { maxLineBytes, http } = settings;
  let stopping = false;
  const ports = new Ports({
    settings,
    tls,
    sockets: options.sockets,
    admission,
    lines,
    handler: createLogHandler({ intake, maxLineBytes, ...(http && { maxBodyBytes: http.maxBodyBytes }) }),
    closing: () => stopping,
  });

  let resolveEnded: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (resolveEnded = resolve));
  const stopNow = async (): Promise<void> => {
    // Not ready any more before the first socket closes.
    stopping = true;
    admission.close();
    const closed = ports.close();
    lines.end();
    const timers = [
      setTimeout(() => lines.destroy(), drainMs),
      setTimeout(() => admission.destroy(), httpDrainMs),
    ];
    await closed;
    for (const timer of timers) clearTimeout(timer);
    await publisher.stop();
    resolveEnded();
  };
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= stopNow());

  const { port, tlsPort, httpPort } = await ports.open().catch(async (error: unknown) => {
    // Nobody must deliver lines to the ports that it did get.
    await stop();
    throw error;
  });
  return {
    name: 'collector',
    port,
    tlsPort,
    httpPort,
    accounting: () => publisher.accounting,
    observations: () => observer.report(),
    health: () => ({
      alive: true,
      ready: !stopping && publisher.losing === undefined,
      detail: `listening on ${settings.host}:${port}, ${admission.count} connections, ${stateOf(publisher, spool)}`,
    }),
    ended,
    stop,
  };
}

/** A spool that cannot be used is logged, and tried again by each append. */
async function openSpool({ spoolDir, settings, logger }: CollectorOptions): Promise<Spool> {
  const spool = new Spool({ dir: spoolDir, maxBytes: settings.spool.maxBytes });
  try {
    await spool.load();
  } catch (error) {
    logger.error(
      { err: error, dir: spoolDir },
      `The spool ${spoolDir} cannot be used: ${(error as Error).message}. Lines that the bus does not take are lost until it can.`,
    );
  }
  if (spool.records > 0)
    logger.info({ records: spool.records }, 'an earlier process left records in the spool');
  return spool;
}

function stateOf({ accounting, spooling, losing, spoolBytes }: Publisher, spool: Spool): string {
  const parts = [`${accounting.received} lines`];
  if (spooling) {
    const since = new Date(spooling.since).toISOString();
    parts.push(
      `spooling since ${since}: ${accounting.spooled} records, ${spoolBytes} bytes in ${spool.dir}: ${spooling.problem}`,
    );
  }
  if (losing !== undefined) parts.push(`losing lines: ${losing}`);
  return parts.join('; ');
}
