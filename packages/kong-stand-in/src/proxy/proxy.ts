import type { Entity, Store } from '../store.ts';
import type { TcpLogConfig } from '../tcp-log.ts';
import { AccessPhase } from './access.ts';
import type { Context } from './context.ts';
import { errorExit, type Exit } from './exit.ts';
import { answerBytes, inLine, lineText, logged, requestBytes, tryOf, type LogLine } from './log-line.ts';
import {
  lowerCase,
  parseQuery,
  splitOnce,
  type Headers,
  type StandInAnswer,
  type StandInRequest,
  type UpstreamAnswer,
  type UpstreamRequest,
} from './request.ts';
import { matchRoute, upstreamTarget } from './router.ts';

export interface Served {
  answer: StandInAnswer;
  latencyMs: number;
  /** The tcp-log line and where it goes; undefined if no tcp-log plugin applies. */
  line: { config: TcpLogConfig; text: string } | undefined;
}

/** The entities that the traffic sees. Kong's workers take over new plugins and routes only from time to time. */
export interface Snapshot {
  plugins: Entity[];
  routes: Entity[];
}

export interface ProxyOptions {
  store: Store;
  clock: () => number;
  newId: () => string;
  upstream: (request: UpstreamRequest) => UpstreamAnswer;
  version: string;
  workspace: string;
  workspaceId: string;
  proxyPort: () => number;
}

/**
 * The way of a request through Kong: route, authentication, plugins in Kong's order, upstream; and the tcp-log line
 * about it. Synchronous: it takes no longer than the computation.
 */
export class Proxy {
  snapshot: Snapshot = { plugins: [], routes: [] };
  readonly #options: ProxyOptions;
  readonly #access: AccessPhase;

  constructor(options: ProxyOptions) {
    this.#options = options;
    const { store, newId } = options;
    this.#access = new AccessPhase({ store, newId, plugins: () => this.snapshot.plugins });
  }

  serve(request: StandInRequest): Served {
    const startedAt = request.startedAt ?? this.#options.clock();
    const requestId = this.#options.newId().replaceAll('-', '');
    const headers = lowerCase<string | string[]>({ host: 'api.example.com', ...request.headers });
    const [path, search] = splitOnce(request.path);
    const route = matchRoute(this.snapshot.routes, request.method, path, headers);
    const base = {
      'x-kong-request-id': requestId,
      server: `kong/${this.#options.version}`,
      connection: headers['connection'] === 'close' ? 'close' : 'keep-alive',
    };
    const line = this.#startLine(request, startedAt, requestId, headers, search ?? '');
    if (!route) {
      const exit = errorExit(404, 'no Route matched with those values', headers, requestId);
      return this.#finish({ line, exit, base, added: {}, request, config: this.#access.tcpLog(undefined) });
    }

    const serviceKey = route.entity['service'] as { id: string } | null;
    const service = serviceKey ? this.#options.store.get('services', serviceKey.id) : undefined;
    const context: Context = {
      request,
      startedAt,
      path,
      query: line.request.querystring,
      headers,
      route: route.entity,
      service,
      consumer: undefined,
      credential: undefined,
      added: {},
      correlationId: undefined,
    };
    const exit = this.#access.run(context, requestId);
    const upstreamPath = upstreamTarget(route, service) + (search === undefined ? '' : `?${search}`);
    this.#addContext(line, context, upstreamPath);

    const rest = { line, base, added: context.added, request, config: this.#access.tcpLog(context) };
    if (exit) return this.#finish({ ...rest, exit });
    if (!service) {
      const message = 'no Service found with those values';
      return this.#finish({ ...rest, exit: errorExit(503, message, headers, requestId) });
    }
    return this.#finish({ ...rest, service, upstream: this.#callUpstream(context, service, upstreamPath) });
  }

  #callUpstream(context: Context, service: Entity, path: string): UpstreamAnswer {
    return this.#options.upstream({
      method: context.request.method,
      path,
      service: service['name'] as string | null,
      headers: context.headers,
      body: context.request.body ?? '',
      consumer: (context.consumer?.['username'] as string | null | undefined) ?? null,
    });
  }

  /** The part of the line that is known before a route is looked for. */
  #startLine(
    request: StandInRequest,
    startedAt: number,
    id: string,
    headers: Headers,
    search: string,
  ): LogLine {
    const host = [headers['host']].flat()[0] ?? 'kong';
    return {
      request: {
        id,
        method: request.method,
        uri: request.path,
        url: `http://${host.replace(/:\d+$/, '')}:${this.#options.proxyPort()}${request.path}`,
        size: requestBytes(request, headers),
        querystring: parseQuery(search),
        headers: logged(headers),
      },
      response: { status: 0, size: 0, headers: {} },
      latencies: { request: 0, kong: 0, proxy: -1, receive: 0 },
      client_ip: request.clientIp,
      started_at: startedAt,
      upstream_uri: '',
      upstream_status: '',
      source: 'kong',
      workspace: this.#options.workspaceId,
      workspace_name: this.#options.workspace,
    };
  }

  /** Adds what routing and plugins found out. */
  #addContext(line: LogLine, context: Context, upstreamPath: string): void {
    const { route, service, consumer, credential, correlationId, headers } = context;
    line.route = inLine(route, this.#options.workspaceId);
    if (service) line.service = inLine(service, this.#options.workspaceId);
    line.upstream_uri = upstreamPath;
    line.tries = [];
    if (consumer) line.consumer = inLine(consumer);
    if (credential) line.authenticated_entity = { id: credential.id };
    if (correlationId !== undefined) line.correlation_id = correlationId;
    line.request.headers = logged(headers);
  }

  #finish(from: {
    line: LogLine;
    base: Record<string, string>;
    added: Record<string, string>;
    request: StandInRequest;
    config: TcpLogConfig | undefined;
    exit?: NonNullable<Exit>;
    upstream?: UpstreamAnswer;
    service?: Entity;
  }): Served {
    const { line, upstream, exit, request, config } = from;
    const kongMs = 1;
    const upstreamMs = Math.round(upstream?.latencyMs ?? 0);
    const body = upstream?.body ?? exit?.body ?? '';
    const status = upstream?.status ?? exit?.status ?? 500;
    const hasBody = status !== 204 && status !== 304;
    const headers: Record<string, string> = {
      ...from.base,
      ...exit?.headers,
      ...(hasBody ? { 'content-length': String(Buffer.byteLength(body)) } : {}),
      ...lowerCase<string>(upstream?.headers ?? {}),
      ...from.added,
    };
    if (upstream && from.service) {
      headers['via'] = `1.1 kong/${this.#options.version}`;
      headers['x-kong-upstream-latency'] = String(upstreamMs);
      headers['x-kong-proxy-latency'] = String(kongMs);
      headers['date'] ??= new Date(line.started_at + kongMs + upstreamMs).toUTCString();
      line.upstream_status = String(status);
      line.source = 'upstream';
      line.tries = [tryOf(from.service, line.started_at + kongMs)];
      line.latencies = { request: kongMs + upstreamMs, kong: kongMs, proxy: upstreamMs, receive: 0 };
    } else {
      headers['x-kong-response-latency'] = String(kongMs);
      line.latencies = { request: kongMs, kong: kongMs, proxy: -1, receive: 0 };
    }
    const sentBytes = request.method === 'HEAD' || !hasBody ? 0 : Number(headers['content-length'] ?? 0);
    // The date is on the wire, but Kong logs it only where the upstream sent it.
    const date = headers['date'] ?? new Date(0).toUTCString();
    line.response = {
      status,
      size: answerBytes(status, { ...headers, date }, sentBytes),
      headers,
    };
    const answer = { status, headers, body: request.method === 'HEAD' || !hasBody ? '' : body };
    const sent = config && { config, text: lineText(line, config, request) };
    return { answer, latencyMs: upstreamMs, line: sent };
  }
}
