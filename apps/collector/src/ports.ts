import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';
import { isLoopbackHost, listenError, UserError, type Config } from '@tripline/runtime';
import type { Admission } from './admission.ts';
import { createFetchServer } from './http-server.ts';
import type { InheritedSockets } from './inherited.ts';
import type { LineConnections } from './line-connections.ts';

export interface PortsOptions {
  settings: Config['collector'];
  /** Left out: no port speaks TLS. */
  tls: TlsOptions | undefined;
  sockets: InheritedSockets | undefined;
  admission: Admission;
  lines: LineConnections;
  /** Handles http-log requests. */
  handler: (request: Request) => Promise<Response>;
  /** Whether kept HTTP connections shall end with the answer under way. */
  closing: () => boolean;
}

/** Connections that the kernel holds while nobody accepts them; its own limit (somaxconn) counts too. */
const backlog = 4_096;

/** The ports of a collector: lines by TCP, and where the settings say so, by TLS and by HTTP. */
export class Ports {
  readonly #options: PortsOptions;
  readonly #servers: Server[] = [];

  constructor(options: PortsOptions) {
    this.#options = options;
  }

  /**
   * Listens; resolves with the port numbers. Rejects with a `UserError` if a port cannot be had; others may listen then,
   * until `close`.
   */
  async open(): Promise<{ port: number; tlsPort: number | undefined; httpPort: number | undefined }> {
    const { settings, sockets } = this.#options;
    const { host, tls, http } = settings;
    const port = await this.#listen(
      this.#linesServer(),
      { host, port: settings.port, key: 'collector.port' },
      sockets?.lines,
    );
    let tlsPort: number | undefined;
    if (this.#options.tls && tls) {
      const place = { host, port: tls.port, key: 'collector.tls.port' };
      tlsPort = await this.#listen(this.#secureLinesServer(this.#options.tls), place, sockets?.['lines-tls']);
    }
    let httpPort: number | undefined;
    if (http) {
      const place = { host, port: http.port, key: 'collector.http.port' };
      httpPort = await this.#listen(this.#httpServer(), place, sockets?.http);
    }
    return { port, tlsPort, httpPort };
  }

  /** Accepts no connection any more; resolves when those that are open have ended. */
  async close(): Promise<void> {
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }

  #linesServer(): Server {
    const { admission, lines } = this.#options;
    return createServer({ noDelay: true }, (socket) => {
      if (admission.admit(socket)) lines.read(socket);
    });
  }

  #secureLinesServer(tls: TlsOptions): Server {
    const { admission, lines } = this.#options;
    const server = createTlsServer(tls, (socket) => lines.read(socket));
    // Before the handshake: this is the TCP connection as it was accepted.
    server.on('connection', (socket: Socket) => admission.admit(socket));
    // Failed handshakes are counted, not logged.
    server.on('tlsClientError', (_error, socket) => admission.refuse(socket, 'tls-handshake'));
    return server;
  }

  #httpServer(): Server {
    const { admission, settings, tls, handler, closing } = this.#options;
    const server = createFetchServer({ handler, tls, bodyTimeoutMs: settings.frameTimeoutMs, closing });
    server.on('connection', (socket: Socket) => admission.admit(socket));
    server.on('tlsClientError', (_error, socket: Socket) => admission.refuse(socket, 'tls-handshake'));
    return server;
  }

  #listen(
    server: Server,
    place: { host: string; port: number; key: string },
    descriptor: number | undefined,
  ): Promise<number> {
    this.#servers.push(server);
    return listen(server, place, descriptor);
  }
}

function listen(
  server: Server,
  place: { host: string; port: number; key: string },
  descriptor: number | undefined,
): Promise<number> {
  const { host, port } = place;
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        descriptor === undefined
          ? listenError(error, place)
          : new UserError(`Descriptor ${descriptor} that was handed over is no socket: ${error.message}.`),
      );
    });
    const where = descriptor === undefined ? { host, port } : { fd: descriptor };
    server.listen({ ...where, backlog }, () => {
      const bound = server.address() as AddressInfo;
      // Policies that block rely on the host of the configuration; a handed-over socket has its own.
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
