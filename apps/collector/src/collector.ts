import { BlockList, createServer, isIPv6, type AddressInfo, type Server, type Socket } from 'node:net';
import { createSecureContext, createServer as createTlsServer } from 'node:tls';
import { FrameSplitter, type Frame } from '@tripline/kong';
import { Counter, Gauge, listenError, UserError, type Config, type RunningRole } from '@tripline/runtime';
import { createFetchServer } from './http-server.ts';
import type { InheritedSockets } from './inherited.ts';
import { Intake, type IntakeOptions } from './intake.ts';
import { createLogHandler } from './log-handler.ts';
import type { Observations } from './observations.ts';
import type { Accounting } from './publisher.ts';
import { Spool } from './spool.ts';

export interface CollectorOptions extends Omit<IntakeOptions, 'spool'> {
  settings: Config['collector'];
  /** Where API calls wait on disk while the bus does not answer; this process's own. */
  spoolDir: string;
  /** PEM certificate chain and key of `settings.tls`: listens with TLS too, and HTTP becomes HTTPS. */
  tls?: { cert: Buffer; key: Buffer };
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
  if (options.tls) mindCertificate(options.tls);
  /** Every open connection, with its address. */
  const sockets = new Map<Socket, string>();
  const perAddress = new Map<string, number>();
  const refused = new Counter({
    name: 'tripline_collector_connections_refused_total',
    help: 'Connections that were closed at once, by reason.',
    labelNames: ['reason'],
    registers: [options.metrics],
  });
  new Gauge({
    name: 'tripline_collector_connections',
    help: 'Open connections.',
    registers: [options.metrics],
    collect() {
      this.set(sockets.size);
    },
  });

  const allowed = allowList(settings.allow);
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

  const refuse = (socket: Socket, reason: string): false => {
    refused.inc({ reason });
    socket.destroy();
    return false;
  };

  /** Counts a new connection, or refuses it. */
  const admit = (socket: Socket): boolean => {
    // A broken connection is Kong's to open again; there is nobody to answer.
    socket.on('error', () => undefined);
    const address = socket.remoteAddress?.replace(/^::ffff:/, '') ?? '';
    if (allowed && !allowed.check(address, isIPv6(address) ? 'ipv6' : 'ipv4'))
      return refuse(socket, 'address');
    if (stopping) return refuse(socket, 'stopping');
    if (sockets.size >= settings.maxConnections) return refuse(socket, 'too-many');
    const fromHere = perAddress.get(address) ?? 0;
    if (fromHere >= settings.maxConnectionsPerAddress) return refuse(socket, 'too-many-from-address');
    perAddress.set(address, fromHere + 1);
    sockets.set(socket, address);
    socket.on('close', () => {
      sockets.delete(socket);
      const left = (perAddress.get(address) ?? 1) - 1;
      if (left > 0) perAddress.set(address, left);
      else perAddress.delete(address);
    });
    return true;
  };

  const lineSockets = new Set<Socket>();
  const connected = (socket: Socket): void => {
    if (!admit(socket)) return;
    const address = sockets.get(socket)!;
    const splitter = new FrameSplitter(settings.maxLineBytes);
    const take = (frame: Frame): void => intake.take(frame);
    lineSockets.add(socket);
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
        deadline ??= setTimeout(() => {
          publisher.reject('unfinished', `not finished within ${settings.frameTimeoutMs} ms`, () => '');
          splitter.drop();
          socket.destroy();
        }, settings.frameTimeoutMs);
      }
    });
    socket.setTimeout(settings.idleTimeoutMs, () => socket.destroy());
    socket.on('end', () => splitter.end(take));
    socket.on('close', () => {
      clearTimeout(deadline);
      splitter.end(take);
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
    const closed = servers.map((server) => new Promise((resolve) => server.close(resolve)));
    // Half-close: Kong stops using the connection, and what it had already sent is still read.
    for (const socket of lineSockets) socket.end();
    const timers = [
      setTimeout(() => {
        for (const socket of lineSockets) socket.destroy();
      }, drainMs),
      setTimeout(() => {
        for (const socket of sockets.keys()) socket.destroy();
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
    const plain = createServer({ noDelay: true }, connected);
    servers.push(plain);
    const port = await listen(
      plain,
      { host, port: settings.port, key: 'collector.port' },
      options.sockets?.lines,
    );
    let tlsPort: number | undefined;
    if (options.tls && settings.tls) {
      const secure = createTlsServer({ ...options.tls, handshakeTimeout: 10_000 }, connected);
      // A failed handshake is a stranger's affair.
      secure.on('tlsClientError', (_error, socket) => refuse(socket, 'tls-handshake'));
      servers.push(secure);
      const place = { host, port: settings.tls.port, key: 'collector.tls.port' };
      tlsPort = await listen(secure, place, options.sockets?.['lines-tls']);
    }
    let httpPort: number | undefined;
    if (settings.http) {
      const { maxBodyBytes } = settings.http;
      const http = createFetchServer({
        handler: createLogHandler({ intake, maxLineBytes: settings.maxLineBytes, maxBodyBytes }),
        tls: options.tls,
        bodyTimeoutMs: settings.frameTimeoutMs,
        closing: () => stopping,
      });
      http.on('connection', admit);
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
    const parts = [`listening on ${host}:${port}, ${sockets.size} connections, ${accounting.received} lines`];
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

function mindCertificate(tls: { cert: Buffer; key: Buffer }): void {
  try {
    createSecureContext(tls);
  } catch (error) {
    throw new UserError(
      `collector.tls: certFile and keyFile cannot be used: ${(error as Error).message}; ` +
        'allowed are a PEM certificate chain and its PEM private key, without a passphrase.',
    );
  }
}

function allowList(networks: readonly string[]): BlockList | undefined {
  if (networks.length === 0) return undefined;
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', prefix] = network.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    try {
      if (prefix === undefined) list.addAddress(address, family);
      else list.addSubnet(address, Number(prefix), family);
    } catch {
      throw new UserError(
        `collector.allow: "${network}" is neither an address nor a network; allowed: 10.1.2.3, 10.0.0.0/8, 2001:db8::/32.`,
      );
    }
  }
  return list;
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
    server.listen({ ...where, backlog }, () => resolve((server.address() as AddressInfo).port));
  });
}
