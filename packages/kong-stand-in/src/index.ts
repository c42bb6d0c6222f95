import { randomUUID } from 'node:crypto';
import * as http from 'node:http';
import type { Socket } from 'node:net';
import { AdminServer } from './admin/server.ts';
import { clientIp, headersOf, listen, portOf, readBody, stop } from './http.ts';
import { Proxy, type Served } from './proxy/proxy.ts';
import {
  echoUpstream,
  type StandInAnswer,
  type StandInRequest,
  type UpstreamAnswer,
  type UpstreamRequest,
} from './proxy/request.ts';
import { defaultSeed } from './seed.ts';
import { Store, type Seed } from './store.ts';
import { TcpLogSender } from './tcp-log.ts';

export { defaultSeed, demoKey } from './seed.ts';
export { echoUpstream } from './proxy/request.ts';
export type { Seed } from './store.ts';
export { TcpLogSender } from './tcp-log.ts';
export type { StandInAnswer, StandInRequest, UpstreamAnswer, UpstreamRequest } from './proxy/request.ts';

export interface KongStandInOptions {
  /** Ports on `host`; 0 (default) takes free ones. */
  adminPort?: number;
  proxyPort?: number;
  /** Default `127.0.0.1`. */
  host?: string;
  /** PEM: the Admin API speaks HTTPS. */
  adminTls?: { key: string; cert: string };
  /** Entities to begin with. Default: `defaultSeed()`. */
  seed?: Seed;
  /** What answers behind the proxy. Default: `echoUpstream`. */
  upstream?: (request: UpstreamRequest) => UpstreamAnswer;
  /**
   * How often changed plugins and routes reach the traffic, ms. Default 5,000 as in Kong (`worker_state_update_frequency`);
   * 0: at once; Infinity: only by `rebuild()`.
   */
  rebuildEveryMs?: number;
  /** Each sends its lines over its own connection. Default 2. */
  workers?: number;
  /** ms since the epoch. Default `Date.now`. */
  clock?: () => number;
  /** For ids of entities and requests. Default: random. */
  newId?: () => string;
  /** No database: the Admin API reads, but answers writes with 405. */
  dbless?: boolean;
  /** Enterprise RBAC: requests to the Admin API without this `Kong-Admin-Token` get 401. */
  rbacToken?: string;
  /**
   * Enterprise workspace that holds all entities of the seed, reached by `/{workspace}/…`; a path without the prefix
   * reaches the empty workspace `default`. Default: none, prefixes are 404 as in the open-source edition.
   */
  workspace?: string;
  /** How long the Admin API takes to answer, ms. Default 0. */
  adminLatencyMs?: number;
}

export interface StandInCounters {
  /** Requests to the Admin API by method and path without query: `"GET /plugins"`. */
  adminRequests: Record<string, number>;
  /** Requests to the Admin API with another method than GET, HEAD and OPTIONS. */
  adminWrites: number;
  proxied: number;
  linesSent: number;
  /** Lines that were dropped because the collector could not be reached. */
  linesFailed: number;
  /** tcp-log connections. */
  connectionsOpened: number;
}

export interface KongStandIn {
  adminUrl: string;
  proxyUrl: string;
  /** A request through the proxy without HTTP: the same way through routes and plugins, the same line, no waiting. */
  handle(request: StandInRequest): StandInAnswer;
  /** Lets plugins and routes take effect now. */
  rebuild(): void;
  /** Resolves when every line so far was sent or dropped. */
  flushed(): Promise<void>;
  counters(): StandInCounters;
  /** The next `n` requests to the Admin API get this status; with `afterEffect` they are carried out nevertheless. */
  failNext(n: number, status: number, options?: { afterEffect?: boolean }): void;
  /** The Admin API refuses connections; open ones break. */
  down(): Promise<void>;
  /** The Admin API listens again, on the same port. */
  up(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Starts a Kong in this process: Admin API and proxy over HTTP, tcp-log lines over TCP or TLS. It answers like the
 * recorded Kong Gateway 3.9.3, as far as `fixtures/admin-api` and `fixtures/tcp-log` go. The plugins key-auth, basic-auth,
 * ip-restriction, rate-limiting, request-termination, correlation-id and tcp-log have an effect on traffic; others are
 * only stored.
 */
export async function startKongStandIn(options: KongStandInOptions = {}): Promise<KongStandIn> {
  const standIn = new StandIn(options);
  await standIn.start();
  return standIn;
}

const version = '3.9.3';
const workspaceId = '3722b945-ae2e-4d43-aa18-b3bf2df2c523';

class StandIn implements KongStandIn {
  readonly #options: KongStandInOptions;
  readonly #store: Store;
  readonly #proxy: Proxy;
  readonly #proxyServer: http.Server;
  readonly #admin: AdminServer;
  readonly #sender: TcpLogSender;
  readonly #sockets = new Set<Socket>();
  #changed = false;
  #proxied = 0;
  #adminPort = 0;
  #proxyPort = 0;
  #rebuildTimer: NodeJS.Timeout | undefined;

  constructor(options: KongStandInOptions) {
    this.#options = options;
    const { clock = Date.now, newId = randomUUID, workspace = 'default', dbless = false } = options;
    const changed = (): void => this.#onChange();
    const newStore = (): Store => new Store({ clock, newId, readOnly: dbless, changed });
    this.#store = newStore();
    this.#proxy = new Proxy({
      ...{ store: this.#store, clock, newId, version, workspace, workspaceId },
      upstream: options.upstream ?? echoUpstream,
      proxyPort: () => portOf(this.#proxyServer),
    });
    this.#sender = new TcpLogSender(options.workers ?? 2);
    this.#store.load(options.seed ?? defaultSeed());
    this.rebuild();
    this.#proxyServer = http.createServer((request, response) => this.#onProxyRequest(request, response));
    this.#admin = new AdminServer({
      settings: {
        workspaces: new Map([['default', newStore()]]).set(workspace, this.#store),
        prefixes: options.workspace !== undefined,
        dbless,
        rbacToken: options.rbacToken,
        hostname: 'kong-stand-in',
        version,
      },
      tls: options.adminTls,
      latencyMs: options.adminLatencyMs ?? 0,
    });
  }

  async start(): Promise<void> {
    const { adminPort = 0, proxyPort = 0, rebuildEveryMs = defaultRebuildMs } = this.#options;
    for (const server of [this.#admin.server, this.#proxyServer]) {
      server.on('connection', (socket: Socket) => {
        this.#sockets.add(socket);
        socket.on('close', () => this.#sockets.delete(socket));
      });
    }
    await listen(this.#proxyServer, proxyPort, this.#host);
    await listen(this.#admin.server, adminPort, this.#host);
    this.#adminPort = portOf(this.#admin.server);
    this.#proxyPort = portOf(this.#proxyServer);
    if (rebuildEveryMs > 0 && rebuildEveryMs < Infinity)
      this.#rebuildTimer = setInterval(() => this.rebuild(), rebuildEveryMs).unref();
  }

  get #host(): string {
    return this.#options.host ?? '127.0.0.1';
  }

  get adminUrl(): string {
    return `${this.#options.adminTls ? 'https' : 'http'}://${this.#host}:${this.#adminPort}`;
  }

  get proxyUrl(): string {
    return `http://${this.#host}:${this.#proxyPort}`;
  }

  handle(request: StandInRequest): StandInAnswer {
    const served = this.#serve(request);
    this.#log(served);
    return served.answer;
  }

  rebuild(): void {
    if (!this.#changed) return;
    this.#changed = false;
    this.#proxy.snapshot = { plugins: this.#store.all('plugins'), routes: this.#store.all('routes') };
  }

  flushed(): Promise<void> {
    return this.#sender.flushed();
  }

  counters(): StandInCounters {
    const { sent, failed, connectionsOpened } = this.#sender.counters;
    return {
      ...structuredClone(this.#admin.counters),
      proxied: this.#proxied,
      linesSent: sent,
      linesFailed: failed,
      connectionsOpened,
    };
  }

  failNext(n: number, status: number, { afterEffect = false } = {}): void {
    this.#admin.failNext(n, status, afterEffect);
  }

  down(): Promise<void> {
    return stop(this.#admin.server, this.#sockets, this.#adminPort);
  }

  up(): Promise<void> {
    return listen(this.#admin.server, this.#adminPort, this.#host);
  }

  async close(): Promise<void> {
    clearInterval(this.#rebuildTimer);
    this.#sender.close();
    await Promise.all([stop(this.#admin.server, this.#sockets), stop(this.#proxyServer, this.#sockets)]);
  }

  #onChange(): void {
    this.#changed = true;
    if (this.#options.rebuildEveryMs === 0) this.rebuild();
  }

  #onProxyRequest(request: http.IncomingMessage, response: http.ServerResponse): void {
    readBody(request, (body) => {
      const served = this.#serve({
        method: request.method ?? 'GET',
        path: request.url ?? '/',
        headers: headersOf(request),
        clientIp: clientIp(request),
        body,
      });
      setTimeout(() => {
        const { status, headers, body: text } = served.answer;
        response.writeHead(status, headers).end(text);
        // Kong logs when the request is over.
        this.#log(served);
      }, served.latencyMs);
    });
  }

  #serve(request: StandInRequest): Served {
    this.#proxied += 1;
    return this.#proxy.serve(request);
  }

  #log({ line }: Served): void {
    if (line) this.#sender.send(line.config, line.text);
  }
}

/** `worker_state_update_frequency` of Kong. */
const defaultRebuildMs = 5_000;
