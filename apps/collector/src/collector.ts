import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { FrameSplitter, type Frame } from '@tripline/kong';
import {
  Gauge,
  isLoopbackHost,
  listenError,
  UserError,
  type Config,
  type RunningRole,
} from '@tripline/runtime';
import { addressOf, Admission } from './admission.ts';
import { serverCertificates, type Certificate } from './certificates.ts';
import { createFetchServer } from './http-server.ts';
import type { InheritedSockets } from './inherited.ts';
import { Intake, type IntakeOptions } from './intake.ts';
import { createLogHandler } from './log-handler.ts';
import type { Observations } from './observations.ts';
import type { Accounting } from './accounting.ts';
import { Spool } from './spool.ts';
import { UnfinishedLines } from './unfinished-lines.ts';

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
  /** The ports it got. */
  port: number;
  tlsPort: number | undefined;
  httpPort: number | undefined;
  accounting: () => Accounting;
  observations: () => Observations;
}

/** How long connections that were told to end may still deliver what they have under way. */
const drainMs = 1_000;
/** How long HTTP requests under way may take: a little more than the bus is waited for before the spool takes over. */
const httpDrainMs = 7_000;
/** Longest time of a TLS handshake. */
const maxHandshakeMs = 10_000;
/** Connections that the kernel holds while nobody accepts them; its own limit (somaxconn) counts too. */
const backlog = 4_096;

/**
 * Listens for Kong's tcp-log connections, and for http-log requests where `settings.http` says so, and puts every line on
 * the bus as an API call. Never writes a byte back to a tcp-log connection, never makes Kong wait. While the bus does not
 * answer, API calls wait in the spool. Rejects with a `UserError`, and listens to nothing, if
 * one of the ports cannot be had or the certificate cannot be used.
 */
export async function startCollector(options: CollectorOptions): Promise<Collector> {
  const { settings, logger } = options;
  const tls = options.certificates && {
    ...serverCertificates(options.certificates),
    handshakeTimeout: Math.min(maxHandshakeMs, settings.frameTimeoutMs),
  };
  const admission = new Admission(settings, options);
  const unfinished = new UnfinishedLines(settings.maxUnfinishedBytes);
  new Gauge({
    name: 'tripline_collector_unfinished_bytes',
    help: 'Memory of lines that have begun and not ended, of all connections (collector.maxUnfinishedBytes).',
    registers: [options.metrics],
    collect() {
      this.set(unfinished.bytes);
    },
  });
  const spool = new Spool({ dir: options.spoolDir, maxBytes: settings.spool.maxBytes });
  try {
    await spool.load();
  } catch (error) {
    logger.error(
      { err: error, dir: options.spoolDir },
      `The spool ${options.spoolDir} cannot be used: ${(error as Error).message}. Lines that the bus does not take are lost until it can.`,
    );
  }
  if (spool.records > 0)
    logger.info({ records: spool.records }, 'an earlier process left records in the spool');
  const intake = new Intake({ ...options, spool });
  const { publisher, observer } = intake;
  let stopping = false;

  const lineSockets = new Map<Socket, FrameSplitter>();
  /** Rejects an unfinished line and closes its connection: what follows could not be told apart from the line's rest. */
  const giveUp = (socket: Socket, reason: string, detail: string): void => {
    publisher.reject(reason, detail, () => '');
    lineSockets.get(socket)?.drop();
    socket.destroy();
  };
  /** Reads lines from a connection that was admitted. */
  const readLines = (socket: Socket): void => {
    const address = addressOf(socket);
    const splitter = new FrameSplitter(settings.maxLineBytes);
    const take = (frame: Frame): void => intake.take(frame);
    lineSockets.set(socket, splitter);
    let deadline: NodeJS.Timeout | undefined;
    socket.on('data', (chunk: Buffer) => {
      const counted = publisher.accounting.received;
      splitter.push(chunk, take);
      const lines = publisher.accounting.received - counted;
      if (lines > 0) observer.sent(address, lines);
      // The clock of a line runs from its first byte to its end, and starts anew with the next line.
      if (lines > 0 || splitter.pendingBytes === 0) {
        clearTimeout(deadline);
        deadline = undefined;
      }
      if (splitter.pendingBytes > 0) {
        deadline ??= setTimeout(
          () => giveUp(socket, 'unfinished', `not finished within ${settings.frameTimeoutMs} ms`),
          settings.frameTimeoutMs,
        );
      }
      for (const one of unfinished.update(socket, splitter.heldBytes)) {
        const all = `all unfinished lines together exceed ${settings.maxUnfinishedBytes} bytes`;
        giveUp(one, 'unfinished-bytes', `the largest when ${all} (collector.maxUnfinishedBytes)`);
      }
    });
    socket.setTimeout(settings.idleTimeoutMs, () => socket.destroy());
    socket.on('end', () => splitter.end(take));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(deadline);
      splitter.end(take);
      unfinished.update(socket, 0);
      lineSockets.delete(socket);
    });
  };

  const { host } = settings;
  const servers: Server[] = [];
  let resolveEnded: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (resolveEnded = resolve));
  const stop = async (): Promise<void> => {
    // Not ready any more before the first socket closes.
    stopping = true;
    admission.close();
    const closed = servers.map((server) => new Promise((resolve) => server.close(resolve)));
    // Half-close: Kong stops using the connection, and what it had already sent is still read.
    for (const socket of lineSockets.keys()) socket.end();
    const timers = [
      setTimeout(() => {
        for (const socket of lineSockets.keys()) socket.destroy();
      }, drainMs),
      setTimeout(() => {
        for (const socket of admission.connections) socket.destroy();
      }, httpDrainMs),
    ];
    await Promise.all(closed);
    for (const timer of timers) clearTimeout(timer);
    await publisher.stop();
    resolveEnded();
  };
  let stopped: Promise<void> | undefined;

  const open = async (): Promise<{
    port: number;
    tlsPort: number | undefined;
    httpPort: number | undefined;
  }> => {
    const plain = createServer({ noDelay: true }, (socket) => {
      if (admission.admit(socket)) readLines(socket);
    });
    servers.push(plain);
    const port = await listen(
      plain,
      { host, port: settings.port, key: 'collector.port' },
      options.sockets?.lines,
    );
    let tlsPort: number | undefined;
    if (tls && settings.tls) {
      const secure = createTlsServer(tls, readLines);
      // Before the handshake: this is the TCP connection as it was accepted.
      secure.on('connection', (socket: Socket) => admission.admit(socket));
      secure.on('tlsClientError', (_error, socket) => admission.refuse(socket, 'tls-handshake'));
      servers.push(secure);
      const place = { host, port: settings.tls.port, key: 'collector.tls.port' };
      tlsPort = await listen(secure, place, options.sockets?.['lines-tls']);
    }
    let httpPort: number | undefined;
    if (settings.http) {
      const { maxBodyBytes } = settings.http;
      const http = createFetchServer({
        handler: createLogHandler({ intake, maxLineBytes: settings.maxLineBytes, maxBodyBytes }),
        tls,
        bodyTimeoutMs: settings.frameTimeoutMs,
        closing: () => stopping,
      });
      http.on('connection', (socket: Socket) => admission.admit(socket));
      http.on('tlsClientError', (_error, socket: Socket) => admission.refuse(socket, 'tls-handshake'));
      servers.push(http);
      const place = { host, port: settings.http.port, key: 'collector.http.port' };
      httpPort = await listen(http, place, options.sockets?.http);
    }
    return { port, tlsPort, httpPort };
  };
  const { port, tlsPort, httpPort } = await open().catch(async (error: unknown) => {
    // One of its ports cannot be had: nobody must deliver lines to the others.
    await (stopped ??= stop());
    throw error;
  });

  const detail = (): string => {
    const { accounting, spooling, losing, spoolBytes } = publisher;
    const parts = [
      `listening on ${host}:${port}, ${admission.count} connections, ${accounting.received} lines`,
    ];
    if (spooling) {
      const since = new Date(spooling.since).toISOString();
      parts.push(
        `spooling since ${since}: ${accounting.spooled} records, ${spoolBytes} bytes in ${spool.dir}: ${spooling.problem}`,
      );
    }
    if (losing !== undefined) parts.push(`losing lines: ${losing}`);
    return parts.join('; ');
  };
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
      detail: detail(),
    }),
    ended,
    stop: () => (stopped ??= stop()),
  };
}

function listen(
  server: Server,
  place: { host: string; port: number; key: string },
  descriptor: number | undefined,
): Promise<number> {
  const { host, port } = place;
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (descriptor !== undefined) {
        reject(
          new UserError(`Descriptor ${descriptor} that was handed over is no socket: ${error.message}.`),
        );
        return;
      }
      reject(listenError(error, place));
    });
    const where = descriptor === undefined ? { host, port } : { fd: descriptor };
    server.listen({ ...where, backlog }, () => {
      const bound = server.address() as AddressInfo;
      // What may block relies on the host of the configuration; a handed-over socket has its own.
      if (isLoopbackHost(host) && !isLoopbackHost(bound.address)) {
        reject(
          new UserError(
            `collector.host is ${host}, but the socket that was handed over listens on ${bound.address}:${bound.port}, which ` +
              'others may reach. Set collector.host to that address, or let the socket unit listen on this machine only.',
          ),
        );
      } else resolve(bound.port);
    });
  });
}
