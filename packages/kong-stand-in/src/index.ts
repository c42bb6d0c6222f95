import { randomUUID } from 'node:crypto';
import * as http from 'node:http';
import * as https from 'node:https';
import { isIP } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { answerAdmin } from './admin-api.ts';
import type { AdminAnswer, AdminSettings } from './admin-api.ts';
import { echoUpstream, Proxy } from './proxy.ts';
import type { Served, StandInAnswer, StandInRequest, UpstreamAnswer, UpstreamRequest } from './proxy.ts';
import { defaultSeed } from './seed.ts';
import { Store } from './store.ts';
import type { Seed } from './store.ts';
import { TcpLogSender } from './tcp-log.ts';

export { defaultSeed, demoKey } from './seed.ts';
export { echoUpstream } from './proxy.ts';
export type { Seed } from './store.ts';
export type { StandInAnswer, StandInRequest, UpstreamAnswer, UpstreamRequest } from './proxy.ts';

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
   * Enterprise workspace in which all entities of the seed are, reached by `/{workspace}/…`; without the prefix one
   * sees the empty workspace `default`. Default: none, prefixes are 404 as in the open-source edition.
   */
  workspace?: string;
  /** How long the Admin API takes to answer, ms. Default 0. */
  adminLatencyMs?: number;
}

export interface StandInCounters {
  /** By method and path without query: `"GET /plugins"`. */
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

const version = '3.9.3';
const workspaceId = '3722b945-ae2e-4d43-aa18-b3bf2df2c523';

/**
 * Starts a Kong in this process: Admin API and proxy over HTTP, tcp-log lines over TCP or TLS. It answers like the
 * recorded Kong Gateway 3.9.3, as far as `fixtures/admin-api` and `fixtures/tcp-log` go. Effects on traffic have
 * key-auth, basic-auth, ip-restriction, rate-limiting, request-termination, correlation-id and tcp-log; other plugins
 * are only kept.
 */
export async function startKongStandIn(options: KongStandInOptions = {}): Promise<KongStandIn> {
  const host = options.host ?? '127.0.0.1';
  const clock = options.clock ?? Date.now;
  const newId = options.newId ?? randomUUID;
  const rebuildEveryMs = options.rebuildEveryMs ?? 5_000;
  const workspace = options.workspace ?? 'default';

  let changed = false;
  const onChange = (): void => {
    changed = true;
    if (rebuildEveryMs === 0) rebuild();
  };
  const newStore = (): Store =>
    new Store({ clock, newId, readOnly: options.dbless ?? false, changed: onChange });
  const store = newStore();
  const workspaces = new Map([['default', newStore()]]).set(workspace, store);
  const proxy = new Proxy({
    ...{ store, clock, newId, version, workspace, workspaceId },
    upstream: options.upstream ?? echoUpstream,
    proxyPort: () => portOf(proxyServer),
  });
  const rebuild = (): void => {
    if (!changed) return;
    changed = false;
    proxy.snapshot = { plugins: store.all('plugins'), routes: store.all('routes') };
  };
  const sender = new TcpLogSender(options.workers ?? 2);
  const counters = { adminRequests: {} as Record<string, number>, adminWrites: 0, proxied: 0 };
  store.load(options.seed ?? defaultSeed());
  rebuild();

  // ---- proxy ----
  const serve = (request: StandInRequest): Served => {
    counters.proxied += 1;
    return proxy.serve(request);
  };
  const log = ({ line }: Served): void => {
    if (line) sender.send(line.config, line.text);
  };
  const proxyServer = http.createServer((request, response) => {
    readBody(request, (body) => {
      const served = serve({
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
        log(served);
      }, served.latencyMs);
    });
  });

  // ---- Admin API ----
  const settings: AdminSettings = {
    workspaces,
    prefixes: options.workspace !== undefined,
    dbless: options.dbless ?? false,
    rbacToken: options.rbacToken,
    hostname: 'kong-stand-in',
    version,
  };
  const failures: { status: number; afterEffect: boolean }[] = [];
  const answer = (request: http.IncomingMessage, body: string): AdminAnswer => {
    const { method = 'GET', url = '/' } = request;
    const name = `${method} ${url.replace(/\?.*/, '')}`;
    counters.adminRequests[name] = (counters.adminRequests[name] ?? 0) + 1;
    if (!['GET', 'HEAD', 'OPTIONS'].includes(method)) counters.adminWrites += 1;
    const failure = failures.shift();
    const failed = (status: number): AdminAnswer => ({
      status,
      headers: { 'Content-Type': 'application/json; charset=utf-8' },
      body: JSON.stringify({
        message: status === 429 ? 'Too many requests' : 'An unexpected error occurred',
      }),
    });
    if (failure && !failure.afterEffect) return failed(failure.status);
    const headers = request.headers as Record<string, string | undefined>;
    const result = answerAdmin(settings, { method, target: url, headers, body });
    return failure ? failed(failure.status) : result;
  };
  const onAdmin = (request: http.IncomingMessage, response: http.ServerResponse): void => {
    readBody(request, (body) => {
      const { status, headers, body: text } = answer(request, body);
      const common = {
        'Access-Control-Allow-Origin': '*',
        'Access-Control-Allow-Credentials': 'true',
        'X-Kong-Admin-Latency': '4',
        Server: `kong/${version}`,
        Connection: 'keep-alive',
      };
      const length = status === 204 ? {} : { 'Content-Length': Buffer.byteLength(text) };
      setTimeout(() => {
        response.writeHead(status, { ...common, ...headers, ...length });
        response.end(request.method === 'HEAD' ? undefined : text);
      }, options.adminLatencyMs ?? 0);
    });
  };
  const adminServer = options.adminTls
    ? https.createServer(options.adminTls, onAdmin)
    : http.createServer(onAdmin);
  const sockets = new Set<Socket>();
  for (const server of [adminServer, proxyServer]) {
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
    });
  }

  await listen(proxyServer, options.proxyPort ?? 0, host);
  await listen(adminServer, options.adminPort ?? 0, host);
  const adminPort = portOf(adminServer);
  const timer =
    rebuildEveryMs > 0 && rebuildEveryMs < Infinity ? setInterval(rebuild, rebuildEveryMs) : undefined;
  timer?.unref();

  return {
    adminUrl: `${options.adminTls ? 'https' : 'http'}://${host}:${adminPort}`,
    proxyUrl: `http://${host}:${portOf(proxyServer)}`,
    handle(request) {
      const served = serve(request);
      log(served);
      return served.answer;
    },
    rebuild,
    flushed: () => sender.flushed(),
    counters: () => ({
      ...structuredClone(counters),
      linesSent: sender.counters.sent,
      linesFailed: sender.counters.failed,
      connectionsOpened: sender.counters.connectionsOpened,
    }),
    failNext(n, status, { afterEffect = false } = {}) {
      for (let i = 0; i < n; i += 1) failures.push({ status, afterEffect });
    },
    async down() {
      await stop(adminServer, sockets, adminPort);
    },
    async up() {
      await listen(adminServer, adminPort, host);
    },
    async close() {
      clearInterval(timer);
      sender.close();
      await Promise.all([stop(adminServer, sockets), stop(proxyServer, sockets)]);
    },
  };
}

const portOf = (server: http.Server): number => (server.address() as AddressInfo).port;

function listen(server: http.Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Stops listening and breaks the connections, with `port` only those to it. */
function stop(server: http.Server, sockets: Set<Socket>, port?: number): Promise<void> {
  if (!server.listening) return Promise.resolve();
  return new Promise((resolve) => {
    server.close(() => resolve());
    for (const socket of sockets) if (port === undefined || socket.localPort === port) socket.destroy();
  });
}

/** A client that goes away before its body is complete is forgotten. */
function readBody(request: http.IncomingMessage, done: (body: string) => void): void {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('error', () => undefined);
  request.on('end', () => done(Buffer.concat(chunks).toString('utf8')));
}

function headersOf(request: http.IncomingMessage): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {};
  for (const [name, values] of Object.entries(request.headersDistinct)) {
    if (values) headers[name] = values.length === 1 ? values[0]! : values;
  }
  return headers;
}

/** As Kong with `trusted_ips=0.0.0.0/0,::/0`: the last entry of X-Forwarded-For if it is an address, else the peer. */
function clientIp(request: http.IncomingMessage): string {
  const entries = [request.headers['x-forwarded-for']].flat().join(',').split(',');
  const last = (entries.at(-1) ?? '').trim().replace(/^\[(.*)\](?::\d+)?$/, '$1');
  const address = /^\d+\.\d+\.\d+\.\d+:\d+$/.test(last) ? last.replace(/:\d+$/, '') : last;
  return isIP(address) > 0 ? address.toLowerCase() : (request.socket.remoteAddress ?? '127.0.0.1');
}
