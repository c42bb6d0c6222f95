import { BlockList, createServer, isIPv6, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Bus } from '@tripline/bus';
import { bytesOf, FrameSplitter, type Frame, type LineBytes, type Normalised } from '@tripline/kong';
import {
  Counter,
  Gauge,
  UserError,
  type Config,
  type RoleContext,
  type RunningRole,
} from '@tripline/runtime';
import type { Sanitizer } from '@tripline/sanitize';
import { Observer, type Observations } from './observations.ts';
import { Publisher, type Accounting } from './publisher.ts';

export interface CollectorOptions extends RoleContext {
  bus: Bus;
  /** Turns one line into an API call; `nowMs` is the wall clock. */
  normalise: (line: LineBytes, nowMs: number) => Normalised;
  sanitizer: Sanitizer;
  settings: Config['collector'];
  /** PEM certificate chain and key; listens with TLS too if given. */
  tls?: { cert: Buffer; key: Buffer };
  /** How many accepted lines may wait for the bus in memory. Default 100,000. */
  maxInFlightRecords?: number;
}

export interface Collector extends RunningRole {
  /** The ports it got. */
  port: number;
  tlsPort: number | undefined;
  accounting: () => Accounting;
  observations: () => Observations;
}

/** How long connections that were told to end may still deliver what they have under way. */
const drainMs = 1_000;
const tellEveryMs = 10_000;

/**
 * Listens for Kong's tcp-log connections and puts every line on the bus as an API call. Never writes a byte back, never
 * makes Kong wait. Rejects if it cannot listen.
 */
export async function startCollector(options: CollectorOptions): Promise<Collector> {
  const { settings, logger, now, normalise, sanitizer } = options;
  const sockets = new Map<Socket, FrameSplitter>();
  const perAddress = new Map<string, number>();
  const observer = new Observer();
  const refused = new Counter({
    name: 'tripline_collector_connections_refused_total',
    help: 'Connections that were closed at once, by reason.',
    labelNames: ['reason'],
    registers: [options.metrics],
  });

  let toldAt = 0;
  let untold = 0;
  const publisher = new Publisher({
    bus: options.bus,
    maxInFlightRecords: options.maxInFlightRecords ?? 100_000,
    now,
    onDrop: (reason, lines, problem) => {
      untold += lines;
      if (now() - toldAt < tellEveryMs) return;
      logger.error({ reason, lines: untold, problem }, `${untold} lines were dropped: ${problem}`);
      toldAt = now();
      untold = 0;
    },
  });
  publishMetrics(options, publisher.accounting, () => sockets.size);

  const allowed = allowList(settings.allow);
  let stopping = false;

  const take = (frame: Frame): void => {
    if (frame.kind === 'too-long') {
      publisher.reject('too-long', `longer than ${settings.maxLineBytes} bytes`, () =>
        sample(frame.beginning),
      );
      return;
    }
    const at = now();
    const result = normalise(frame, at);
    if (result.kind === 'accepted') {
      observer.saw(result.call, at);
      publisher.accept(result.call);
    } else publisher.reject(result.reason, result.detail, () => sample(bytesOf(frame)));
  };
  // Cut only what is sanitised: half of a secret would not be recognised.
  const sample = (line: Buffer): string =>
    sanitizer.unknown(line.subarray(0, 10_000).toString('utf8')).slice(0, 2_000);

  const refuse = (socket: Socket, reason: string): void => {
    refused.inc({ reason });
    socket.destroy();
  };

  const connected = (socket: Socket): void => {
    // A broken connection is Kong's to open again; there is nobody to answer.
    socket.on('error', () => undefined);
    const address = socket.remoteAddress?.replace(/^::ffff:/, '') ?? '';
    if (allowed && !allowed.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')) {
      refuse(socket, 'address');
      return;
    }
    if (stopping || sockets.size >= settings.maxConnections) {
      refuse(socket, stopping ? 'stopping' : 'too-many');
      return;
    }
    const fromHere = perAddress.get(address) ?? 0;
    if (fromHere >= settings.maxConnectionsPerAddress) {
      refuse(socket, 'too-many-from-address');
      return;
    }
    perAddress.set(address, fromHere + 1);
    const splitter = new FrameSplitter(settings.maxLineBytes);
    sockets.set(socket, splitter);

    let deadline: NodeJS.Timeout | undefined;
    let counted = publisher.accounting.received;
    socket.on('data', (chunk: Buffer) => {
      counted = publisher.accounting.received;
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
      sockets.delete(socket);
      const left = (perAddress.get(address) ?? 1) - 1;
      if (left > 0) perAddress.set(address, left);
      else perAddress.delete(address);
    });
  };

  const plain = createServer({ noDelay: true }, connected);
  const servers: Server[] = [plain];
  const port = await listen(plain, settings.host, settings.port, 'collector.port');
  let tlsPort: number | undefined;
  if (options.tls && settings.tls) {
    const secure = createTlsServer({ ...options.tls, handshakeTimeout: 10_000 }, connected);
    // A failed handshake is a stranger's affair.
    secure.on('tlsClientError', (_error, socket) => refuse(socket, 'tls-handshake'));
    servers.push(secure);
    tlsPort = await listen(secure, settings.host, settings.tls.port, 'collector.tls.port');
  }

  let resolveEnded: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (resolveEnded = resolve));
  const stop = async (): Promise<void> => {
    stopping = true;
    const closed = servers.map((server) => new Promise((resolve) => server.close(resolve)));
    // Half-close: Kong stops using the connection, and what it had already sent is still read.
    for (const socket of sockets.keys()) socket.end();
    const timer = setTimeout(() => {
      for (const socket of sockets.keys()) socket.destroy();
    }, drainMs);
    await Promise.all(closed);
    clearTimeout(timer);
    await publisher.drain();
    resolveEnded();
  };
  let stopped: Promise<void> | undefined;
  return {
    name: 'collector',
    port,
    tlsPort,
    accounting: () => publisher.accounting,
    observations: () => observer.report(),
    health: () => ({
      alive: true,
      ready: !stopping,
      detail: `listening on ${settings.host}:${port}, ${sockets.size} connections, ${publisher.accounting.received} lines`,
    }),
    ended,
    stop: () => (stopped ??= stop()),
  };
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

function listen(server: Server, host: string, port: number, key: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EADDRINUSE'
          ? 'another program has it (a second Tripline?)'
          : error.code === 'EACCES'
            ? 'ports below 1024 need privileges'
            : error.message;
      reject(new UserError(`Cannot listen on ${host}:${port}: ${why}. Set ${key} to another port.`));
    });
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port));
  });
}

function publishMetrics(context: RoleContext, accounting: Accounting, connections: () => number): void {
  const registers = [context.metrics];
  const total = (name: string, help: string, read: () => number): void => {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  };
  const byReason = (name: string, help: string, counts: Map<string, number>): void => {
    new Counter({
      name,
      help,
      labelNames: ['reason'],
      registers,
      collect() {
        this.reset();
        for (const [reason, count] of counts) this.inc({ reason }, count);
      },
    });
  };
  total('tripline_collector_lines_received_total', 'Lines read, good or bad.', () => accounting.received);
  total(
    'tripline_collector_lines_published_total',
    'Lines on the bus as API calls.',
    () => accounting.published,
  );
  byReason('tripline_collector_lines_rejected_total', 'Lines refused, by reason.', accounting.rejected);
  byReason(
    'tripline_collector_lines_dropped_total',
    'Good lines that were lost, by reason.',
    accounting.dropped,
  );
  new Gauge({
    name: 'tripline_collector_lines_in_flight',
    help: 'Accepted lines that wait for the bus. received = published + rejected + dropped + in flight.',
    registers,
    collect() {
      this.set(accounting.inFlight);
    },
  });
  new Gauge({
    name: 'tripline_collector_connections',
    help: 'Open connections.',
    registers,
    collect() {
      this.set(connections());
    },
  });
}
