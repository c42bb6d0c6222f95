import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry, type Metric } from 'prom-client';
import { listenError } from './errors.ts';
import type { RunningRole } from './role.ts';

export { Counter, Gauge, Histogram, Registry, type Metric };

/** A registry with the process's own figures (CPU, memory, event loop delay). */
export function createMetrics(): Registry {
  const registry = new Registry();
  // The default of 10 ms wakes an idle process a hundred times a second.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 50 });
  return registry;
}

/**
 * A further answer of the HTTP server, for `method path`; gives the status and a JSON body. Actions that change
 * something are reached only with the header `x-tripline`, which no web page of another origin can send.
 */
export type HttpAction = (url: URL) => Promise<{ status: number; body: unknown }>;

const origin = 'http://localhost';
/** Beyond it new connections are closed at once: whoever reaches this port may open as many as he likes. */
const maxConnections = 1_000;
const probes = ['GET /healthz', 'GET /readyz', 'GET /metrics'];

export interface ObserveServer {
  port: number;
  close(): Promise<void>;
}

/**
 * `/healthz` (200 while every role is alive), `/readyz` (200 once every role is ready), both with each role's detail as
 * JSON, `/metrics` for Prometheus, and the given actions, which only this machine may ask for, by a name of its own: they
 * show and change more than a probe needs. Rejects with a `UserError` if the port cannot be had.
 */
export async function serveObserve(options: {
  host: string;
  port: number;
  roles: () => RunningRole[];
  metrics: Registry;
  actions?: Record<string, HttpAction>;
}): Promise<ObserveServer> {
  publishHealth(options.metrics, options.roles);
  const answer = async (
    method: string,
    target: string,
    from: { thisMachine: boolean; host: string; ours: boolean },
  ): Promise<{ status: number; type: string; body: string }> => {
    // Anybody may send `//`, which is no path of any server.
    if (!URL.canParse(target, origin)) return json(400, { message: `${target.slice(0, 80)} is no path.` });
    const url = new URL(target, origin);
    if (method === 'GET' && (url.pathname === '/healthz' || url.pathname === '/readyz')) {
      const health = options.roles().map((role) => ({ role: role.name, ...role.health() }));
      const good = health.every((one) => (url.pathname === '/healthz' ? one.alive : one.alive && one.ready));
      return json(good ? 200 : 503, { status: good ? 'ok' : 'failing', roles: health });
    }
    if (method === 'GET' && url.pathname === '/metrics') {
      return { status: 200, type: options.metrics.contentType, body: await options.metrics.metrics() };
    }
    const action = options.actions?.[`${method} ${url.pathname}`];
    if (action && !from.thisMachine)
      return json(403, { message: 'Only /healthz, /readyz and /metrics are answered to other machines.' });
    // A web page whose name was made to lead to this machine asks from here, too, and may send any header.
    if (action && !isLoopback(from.host))
      return json(403, {
        message: `This is asked for as ${from.host.slice(0, 80)}; ask for localhost or 127.0.0.1.`,
      });
    if (action && method !== 'GET' && !from.ours)
      return json(403, { message: 'The header x-tripline is missing.' });
    if (action) {
      const { status, body } = await action(url);
      return json(status, body);
    }
    const known = [...probes, ...(from.thisMachine ? Object.keys(options.actions ?? {}) : [])];
    return json(404, { message: `There is no ${method} ${url.pathname}; there are ${known.join(', ')}.` });
  };
  const limits = { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 5_000 };
  const server = createServer(limits, (request, response) => {
    answer(request.method ?? 'GET', request.url ?? '/', {
      thisMachine: /^(::ffff:)?127\.|^::1$/.test(request.socket.remoteAddress ?? ''),
      host: request.headers.host ?? '',
      ours: request.headers['x-tripline'] !== undefined,
    })
      .catch((error: unknown) =>
        json(500, { message: error instanceof Error ? error.message : String(error) }),
      )
      .then(({ status, type, body }) => response.writeHead(status, { 'content-type': type }).end(body))
      .catch(() => response.destroy());
  });
  // Longer than who asks keeps an idle connection: closing it under a request that is on its way would fail that.
  server.keepAliveTimeout = 75_000;
  server.maxConnections = maxConnections;
  await listen(server, options.port, options.host);
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Does a `Host` header name this machine by an address or name that nobody else can lend? */
function isLoopback(host: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/i.test(host);
}

/** What probes see, for alerts: a role that waits for something outside is alive and not ready. */
function publishHealth(metrics: Registry, roles: () => RunningRole[]): void {
  for (const what of ['alive', 'ready'] as const) {
    new Gauge({
      name: `tripline_role_${what}`,
      help: `1 while the role is ${what}; /readyz says why it is not.`,
      labelNames: ['role'],
      registers: [metrics],
      collect() {
        for (const role of roles()) this.set({ role: role.name }, role.health()[what] ? 1 : 0);
      },
    });
  }
}

function json(status: number, body: unknown): { status: number; type: string; body: string } {
  return { status, type: 'application/json', body: `${JSON.stringify(body)}\n` };
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (error: Error): void => reject(listenError(error, { host, port, key: 'http.port' }));
    server.once('error', refuse);
    server.listen(port, host, () => {
      server.off('error', refuse);
      resolve();
    });
  });
}
