import { STATUS_CODES } from 'node:http';
import { BlockList, isIPv6 } from 'node:net';
import type { Values } from './schema.ts';
import { passwordHash } from './store.ts';
import type { Entity, Store } from './store.ts';
import { customFields } from './tcp-log.ts';
import type { TcpLogConfig } from './tcp-log.ts';

/** A request of a client. */
export interface StandInRequest {
  method: string;
  /** Request target as sent, with query. */
  path: string;
  /** Names in any case. `host` is `api.example.com` if left out. */
  headers?: Record<string, string | string[]>;
  /** What Kong takes for the client's address. */
  clientIp: string;
  body?: string;
  /** ms since the epoch; default: now. */
  startedAt?: number;
}

export interface StandInAnswer {
  status: number;
  /** Lower-case names. */
  headers: Record<string, string>;
  body: string;
}

/** What reaches the service behind Kong. */
export interface UpstreamRequest {
  method: string;
  /** Path with query as Kong passes it on. */
  path: string;
  service: string | null;
  headers: Record<string, string | string[]>;
  body: string;
  consumer: string | null;
}

export interface UpstreamAnswer {
  status: number;
  headers?: Record<string, string>;
  body?: string;
  /** Reported in the line; over HTTP the answer is held back for so long. */
  latencyMs?: number;
}

export interface Served {
  answer: StandInAnswer;
  latencyMs: number;
  /** The tcp-log line and where it goes; undefined if no tcp-log plugin applies. */
  line: { config: TcpLogConfig; text: string } | undefined;
}

/** What the traffic sees of the entities: Kong's workers take new plugins and routes only now and then. */
export interface Snapshot {
  plugins: Entity[];
  routes: Entity[];
}

interface Context {
  request: StandInRequest;
  startedAt: number;
  path: string;
  query: Record<string, string | true | (string | true)[]>;
  headers: Record<string, string | string[]>;
  route: Entity;
  service: Entity | undefined;
  consumer: Entity | undefined;
  credential: Entity | undefined;
  /** Headers that plugins add to the answer. */
  added: Record<string, string>;
  correlationId: string | undefined;
}

type Exit = { status: number; headers?: Record<string, string>; body: string } | undefined;

/**
 * The way of a request through Kong: route, authentication, plugins in Kong's order, upstream; and the tcp-log line
 * that comes of it. Synchronous: it takes no longer than the computation.
 */
export class Proxy {
  snapshot: Snapshot = { plugins: [], routes: [] };
  readonly #options: ProxyOptions;
  /** Requests per limit, identifier and window. */
  #usage = new Map<string, { count: number; endsAt: number }>();

  constructor(options: ProxyOptions) {
    this.#options = options;
  }

  serve(request: StandInRequest): Served {
    const startedAt = request.startedAt ?? this.#options.clock();
    const requestId = this.#options.newId().replaceAll('-', '');
    const headers = lowerCase<string | string[]>({ host: 'api.example.com', ...request.headers });
    const [path, search] = splitOnce(request.path);
    const route = matchRoute(this.snapshot.routes, request.method, path, headers);
    const keepAlive = headers['connection'] === 'close' ? 'close' : 'keep-alive';
    const base = {
      'x-kong-request-id': requestId,
      server: `kong/${this.#options.version}`,
      connection: keepAlive,
    };

    const line = this.#lineStart(request, startedAt, requestId, headers, search ?? '');
    if (!route) {
      const exit = errorExit(404, 'no Route matched with those values', accept(headers), requestId);
      return this.#finish({ line, exit, base, added: {}, request, config: this.#tcpLog(undefined) });
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
    const exit = this.#access(context, requestId);

    const upstreamPath = upstreamTarget(route, service) + (search === undefined ? '' : `?${search}`);
    line.route = inLine(route.entity, this.#options.workspaceId);
    if (service) line.service = inLine(service, this.#options.workspaceId);
    line.upstream_uri = upstreamPath;
    line.tries = [];
    if (context.consumer) line.consumer = inLine(context.consumer);
    if (context.credential) line.authenticated_entity = { id: context.credential.id };
    if (context.correlationId !== undefined) line.correlation_id = context.correlationId;
    line.request.headers = logged(headers);

    const config = this.#tcpLog(context);
    const rest = { line, base, added: context.added, request, config };
    if (exit) return this.#finish({ ...rest, exit });
    if (!service) {
      const message = 'no Service found with those values';
      return this.#finish({ ...rest, exit: errorExit(503, message, accept(headers), requestId) });
    }
    return this.#finish({ ...rest, service, upstream: this.#askUpstream(context, service, upstreamPath) });
  }

  #askUpstream(context: Context, service: Entity, path: string): UpstreamAnswer {
    return this.#options.upstream({
      method: context.request.method,
      path,
      service: service['name'] as string | null,
      headers: context.headers,
      body: context.request.body ?? '',
      consumer: (context.consumer?.['username'] as string | null | undefined) ?? null,
    });
  }

  // ---- plugins ----

  /** The configuration of the plugin that applies, the most specific scope first. */
  #plugin(name: string, context: Context | undefined): Entity | undefined {
    const consumer = context?.consumer?.id;
    const route = context?.route.id;
    const service = context?.service?.id;
    let best: Entity | undefined;
    let bestRank = -1;
    for (const plugin of this.snapshot.plugins) {
      if (plugin['name'] !== name || plugin['enabled'] !== true) continue;
      const fits = (field: string, id: string | undefined): boolean => {
        const key = plugin[field] as { id: string } | null;
        return key === null || key.id === id;
      };
      if (!fits('consumer', consumer) || !fits('route', route) || !fits('service', service)) continue;
      const scope = (['consumer', 'route', 'service'] as const)
        .map((field) => (plugin[field] ? field[0] : ''))
        .join('');
      const rank = precedence.indexOf(scope);
      if (rank > bestRank) [best, bestRank] = [plugin, rank];
    }
    return best;
  }

  #config(name: string, context: Context): Values | undefined {
    return this.#plugin(name, context)?.['config'] as Values | undefined;
  }

  #tcpLog(context: Context | undefined): TcpLogConfig | undefined {
    return this.#plugin('tcp-log', context)?.['config'] as TcpLogConfig | undefined;
  }

  /** Kong's access phase, plugins by priority; the first answer ends it. */
  #access(context: Context, requestId: string): Exit {
    this.#correlationId(context);
    const error = (status: number, message: string, headers: Record<string, string> = {}): Exit => {
      const exit = errorExit(status, message, accept(context.headers), requestId);
      return { ...exit, headers: { ...exit.headers, ...headers } };
    };
    return (
      this.#keyAuth(context, error) ??
      this.#basicAuth(context, error) ??
      this.#ipRestriction(context, error) ??
      this.#rateLimiting(context, error) ??
      this.#requestTermination(context)
    );
  }

  #correlationId(context: Context): void {
    const config = this.#config('correlation-id', context);
    if (!config) return;
    const name = String(config['header_name']).toLowerCase();
    const given = context.headers[name];
    const id = typeof given === 'string' && given !== '' ? given : this.#options.newId();
    context.headers[name] = id;
    context.correlationId = id;
    if (config['echo_downstream']) context.added[name] = id;
  }

  #keyAuth(context: Context, error: ErrorExit): Exit {
    const config = this.#config('key-auth', context);
    if (!config || context.credential) return undefined;
    const found = (config['key_names'] as string[]).flatMap((name) => {
      const inHeader = config['key_in_header'] ? context.headers[name.toLowerCase()] : undefined;
      const inQuery = config['key_in_query'] ? context.query[name] : undefined;
      return [inHeader ?? inQuery].filter((value) => value !== undefined);
    });
    const duplicate =
      Array.isArray(found[0]) || (config['key_names'] as string[]).some((name) => both(context, name));
    const credential = this.#options.store.findBy('keyauth_credentials', 'key', found[0]);
    if (credential && !duplicate) {
      this.#authenticated(context, credential, credential.id);
      return undefined;
    }
    if (this.#anonymous(context, config)) return undefined;
    const realm = typeof config['realm'] === 'string' ? ` realm="${config['realm']}"` : '';
    const message = duplicate
      ? 'Duplicate API key found'
      : found[0]
        ? 'Unauthorized'
        : 'No API key found in request';
    return error(401, message, { 'www-authenticate': `Key${realm}` });
  }

  #basicAuth(context: Context, error: ErrorExit): Exit {
    const config = this.#config('basic-auth', context);
    if (!config || context.credential) return undefined;
    const header = context.headers['authorization'];
    const encoded = typeof header === 'string' ? /^\s*[Bb]asic\s+(.+)$/.exec(header)?.[1] : undefined;
    const [, user, password] =
      /^([^:]*):([\s\S]*)$/.exec(Buffer.from(encoded ?? '', 'base64').toString()) ?? [];
    const credential = this.#options.store.findBy('basicauth_credentials', 'username', user);
    const owner = credential?.['consumer'] as { id: string } | undefined;
    if (credential && owner && passwordHash(password ?? '', owner.id) === credential['password']) {
      this.#authenticated(context, credential, user ?? '');
      return undefined;
    }
    if (this.#anonymous(context, config)) return undefined;
    const realm = typeof config['realm'] === 'string' ? ` realm="${config['realm']}"` : '';
    return error(401, 'Unauthorized', { 'www-authenticate': `Basic${realm}` });
  }

  #authenticated(context: Context, credential: Entity, identifier: string): void {
    const consumer = this.#options.store.get('consumers', (credential['consumer'] as { id: string }).id);
    context.credential = credential;
    context.consumer = consumer;
    this.#consumerHeaders(context);
    context.headers['x-credential-identifier'] = identifier;
    delete context.headers['x-anonymous-consumer'];
  }

  #anonymous(context: Context, config: Values): boolean {
    const name = config['anonymous'];
    const consumer = typeof name === 'string' ? this.#options.store.find('consumers', name) : undefined;
    if (!consumer) return false;
    context.consumer = consumer;
    this.#consumerHeaders(context);
    delete context.headers['x-credential-identifier'];
    context.headers['x-anonymous-consumer'] = 'true';
    return true;
  }

  #consumerHeaders(context: Context): void {
    const names = { id: 'x-consumer-id', custom_id: 'x-consumer-custom-id', username: 'x-consumer-username' };
    for (const [field, header] of Object.entries(names)) {
      const value = context.consumer?.[field];
      if (typeof value === 'string') context.headers[header] = value;
      else Reflect.deleteProperty(context.headers, header);
    }
  }

  #ipRestriction(context: Context, error: ErrorExit): Exit {
    const config = this.#config('ip-restriction', context);
    if (!config) return undefined;
    const { clientIp } = context.request;
    const lists = (name: string): boolean => isListed(config[name] as string[] | null, clientIp);
    const allowed = (config['allow'] as string[] | null)?.length ? lists('allow') : true;
    if (allowed && !lists('deny')) return undefined;
    const message = (config['message'] as string | null) ?? `IP address not allowed: ${clientIp}`;
    return error((config['status'] as number | null) ?? 403, message);
  }

  #rateLimiting(context: Context, error: ErrorExit): Exit {
    const plugin = this.#plugin('rate-limiting', context);
    if (!plugin) return undefined;
    const config = plugin['config'] as Values;
    const { clientIp } = context.request;
    const identifiers: Record<string, string | undefined> = {
      consumer: context.consumer?.id,
      credential: context.credential?.id,
      service: context.service?.id,
      path: context.path === config['path'] ? context.path : undefined,
    };
    const identifier = identifiers[String(config['limit_by'])] ?? clientIp;
    const scope = [plugin['route'], plugin['service']].map((key) => (key as { id: string } | null)?.id ?? '');

    // The window that is nearest to its end decides what the general headers say.
    const now = context.startedAt;
    const windows = periods.flatMap((period) => {
      const limit = config[period];
      if (typeof limit !== 'number') return [];
      const [start, endsAt] = windowAt(period, now);
      const key = [...scope, identifier, period, start].join(':');
      const used = this.#usage.get(key)?.count ?? 0;
      const resetS = Math.max(1, Math.ceil((endsAt - now) / 1000));
      return [{ period, limit, key, endsAt, left: limit - used, resetS }];
    });
    const exhausted = windows.find((window) => window.left <= 0);
    const shown = windows.map((window) => ({
      ...window,
      left: Math.max(0, window.left - (!exhausted || exhausted === window ? 1 : 0)),
    }));
    if (!exhausted) for (const { key, endsAt } of windows) this.#count(key, endsAt, now);
    const tightest = shown.reduce((a, b) => (b.left < a.left ? b : a));
    const headers: Record<string, string> = {};
    if (!config['hide_client_headers']) {
      for (const { period, limit, left } of shown) {
        headers[`x-ratelimit-limit-${period}`] = String(limit);
        headers[`x-ratelimit-remaining-${period}`] = String(left);
      }
      headers['ratelimit-limit'] = String(tightest.limit);
      headers['ratelimit-remaining'] = String(tightest.left);
      headers['ratelimit-reset'] = String(tightest.resetS);
    }
    if (!exhausted) return void Object.assign(context.added, headers);
    if (!config['hide_client_headers']) headers['retry-after'] = String(tightest.resetS);
    return error(Number(config['error_code']), String(config['error_message']), headers);
  }

  #count(key: string, endsAt: number, now: number): void {
    this.#usage.set(key, { count: (this.#usage.get(key)?.count ?? 0) + 1, endsAt });
    if (this.#usage.size < 10_000) return;
    for (const [old, window] of this.#usage) if (window.endsAt < now) this.#usage.delete(old);
  }

  #requestTermination(context: Context): Exit {
    const config = this.#config('request-termination', context);
    if (!config) return undefined;
    const trigger = config['trigger'] as string | null;
    if (
      trigger !== null &&
      context.headers[trigger.toLowerCase()] === undefined &&
      !(trigger in context.query)
    ) {
      return undefined;
    }
    const status = config['status_code'] as number;
    if (config['body'] !== null) {
      const type = (config['content_type'] as string | null) ?? 'application/json; charset=utf-8';
      // nginx adds the character set to plain HTML.
      const contentType = type === 'text/html' ? 'text/html; charset=UTF-8' : type;
      return { status, headers: { 'content-type': contentType }, body: config['body'] as string };
    }
    const message = (config['message'] as string | null) ?? defaultMessage[status];
    const body = JSON.stringify(message === undefined ? {} : { message });
    return { status, headers: { 'content-type': 'application/json; charset=utf-8' }, body };
  }

  // ---- the line ----

  #lineStart(
    request: StandInRequest,
    startedAt: number,
    id: string,
    headers: Record<string, string | string[]>,
    search: string,
  ): Line {
    const host = [headers['host']].flat()[0] ?? 'kong';
    return {
      request: {
        id,
        method: request.method,
        uri: request.path,
        url: `http://${host.replace(/:\d+$/, '')}:${this.#options.proxyPort()}${request.path}`,
        size: wireSize(`${request.method} ${request.path} HTTP/1.1`, headers, bodyBytes(request, headers)),
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

  #finish(from: {
    line: Line;
    base: Record<string, string>;
    added: Record<string, string>;
    request: StandInRequest;
    config: TcpLogConfig | undefined;
    exit?: NonNullable<Exit>;
    upstream?: UpstreamAnswer;
    service?: Entity;
  }): Served {
    const { line, upstream, exit, request } = from;
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
      size: wireSize(`HTTP/1.1 ${status} ${reasonPhrase(status)}`, { ...headers, date }, sentBytes),
      headers,
    };
    const answer = { status, headers, body: request.method === 'HEAD' || !hasBody ? '' : body };
    return { answer, latencyMs: upstreamMs, line: this.#write(from.config, line, request) };
  }

  #write(config: TcpLogConfig | undefined, line: Line, request: StandInRequest): Served['line'] {
    if (!config) return undefined;
    const authorization = [lowerCase(request.headers ?? {})['authorization']].flat()[0];
    const whole = { ...line, ...customFields(config.custom_fields_by_lua, authorization) };
    // Lua writes big numbers with 14 digits, as in 1.7953031347491e+18.
    const text = JSON.stringify(whole).replace(
      /("balancer_start_ns":)(\d+)/g,
      (_, name: string, ns: string) => {
        return name + Number(ns).toExponential(13).replace(/0+e/, 'e').replace('.e', 'e');
      },
    );
    return { config, text };
  }
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

interface Line {
  request: {
    id: string;
    method: string;
    uri: string;
    url: string;
    size: number;
    querystring: Context['query'];
    headers: Record<string, string | string[]>;
  };
  response: { status: number; size: number; headers: Record<string, string> };
  latencies: { request: number; kong: number; proxy: number; receive: number };
  client_ip: string;
  started_at: number;
  upstream_uri: string;
  upstream_status: string;
  source: 'upstream' | 'kong';
  workspace: string;
  workspace_name: string;
  tries?: Values[];
  route?: Values;
  service?: Values;
  consumer?: Values;
  authenticated_entity?: { id: string };
  correlation_id?: string;
}

type ErrorExit = (status: number, message: string, headers?: Record<string, string>) => Exit;

/** Kong's order of scopes, least specific first: c(onsumer), r(oute), s(ervice). */
const precedence = ['', 's', 'r', 'c', 'rs', 'cs', 'cr', 'crs'];
const periods = ['second', 'minute', 'hour', 'day', 'month', 'year'] as const;
const windowMs = { second: 1_000, minute: 60_000, hour: 3_600_000, day: 86_400_000 };
const defaultMessage: Record<number, string> = {
  401: 'Unauthorized',
  404: 'Not found',
  405: 'Method not allowed',
  500: 'An unexpected error occurred',
  502: 'Bad gateway',
  503: 'Service unavailable',
};

/** nginx' words where they differ from Node's: they count in the size of the answer. */
const nginxReasons: Record<number, string> = {
  302: 'Moved Temporarily',
  408: 'Request Time-out',
  413: 'Request Entity Too Large',
  414: 'Request-URI Too Large',
  416: 'Requested Range Not Satisfiable',
  451: '',
  503: 'Service Temporarily Unavailable',
  504: 'Gateway Time-out',
};
const reasonPhrase = (status: number): string => nginxReasons[status] ?? STATUS_CODES[status] ?? '';

/** Begin and end of the window, ms; months and years of the calendar, in UTC. */
function windowAt(period: (typeof periods)[number], now: number): [number, number] {
  const date = new Date(now);
  const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
  if (period === 'year') return [Date.UTC(year, 0), Date.UTC(year + 1, 0)];
  if (period === 'month') return [Date.UTC(year, month), Date.UTC(year, month + 1)];
  const start = now - (now % windowMs[period]);
  return [start, start + windowMs[period]];
}

const accept = (headers: Record<string, string | string[]>): string => String(headers['accept'] ?? '');

/** Kong's own error answer, in the form that the client asked for. */
function errorExit(status: number, message: string, accepted: string, requestId: string): NonNullable<Exit> {
  if (accepted.startsWith('text/html')) {
    const lines = [
      '<!doctype html>',
      '<html>',
      '  <head>',
      '    <meta charset="utf-8">',
      '    <title>Error</title>',
      '  </head>',
      '  <body>',
      '    <h1>Error</h1>',
      `    <p>${message}.</p>`,
      `    <p>request_id: ${requestId}</p>`,
      '  </body>',
      '</html>',
      '',
    ];
    return { status, headers: { 'content-type': 'text/html; charset=utf-8' }, body: lines.join('\n') };
  }
  const body = `{\n  "message":${JSON.stringify(message)},\n  "request_id":"${requestId}"\n}`;
  return { status, headers: { 'content-type': 'application/json; charset=utf-8' }, body };
}

interface Matched {
  entity: Entity;
  /** Length of the path prefix that matched. */
  prefix: number;
  path: string;
}

/** Kong's traditional router: more kinds of conditions first, then regular expressions, then the longer prefix. */
function matchRoute(
  routes: Entity[],
  method: string,
  rawPath: string,
  headers: Record<string, string | string[]>,
): Matched | undefined {
  let path: string;
  try {
    path = decodeURIComponent(rawPath);
  } catch {
    // Not UTF-8: Kong 3.9 finds no route.
    return undefined;
  }
  let best: (Matched & { rank: number[] }) | undefined;
  for (const entity of routes) {
    const methods = entity['methods'] as string[] | null;
    const hosts = entity['hosts'] as string[] | null;
    const wanted = entity['headers'] as Record<string, string[]> | null;
    const host = String(headers['host'] ?? '').replace(/:\d+$/, '');
    if (methods && !methods.includes(method)) continue;
    if (hosts && !hosts.includes(host)) continue;
    if (wanted && !Object.entries(wanted).every(([name, values]) => values.includes(String(headers[name]))))
      continue;
    const conditions = [methods, hosts, wanted, entity['paths']].filter((one) => one !== null).length;
    for (const pattern of (entity['paths'] as string[] | null) ?? ['/']) {
      const isRegex = pattern.startsWith('~');
      const regex = isRegex ? new RegExp(`^${pattern.slice(1)}`).exec(path) : null;
      if (isRegex ? !regex : !path.startsWith(pattern)) continue;
      const prefix = regex ? regex[0].length : pattern.length;
      const rank = [
        conditions,
        isRegex ? 1 : 0,
        isRegex ? Number(entity['regex_priority']) : 0,
        pattern.length,
      ];
      if (!best || isHigher(rank, best.rank)) best = { entity, prefix, path: rawPath, rank };
    }
  }
  return best;
}

function isHigher(a: number[], b: number[]): boolean {
  const index = a.findIndex((value, at) => value !== b[at]);
  return index >= 0 && a[index]! > b[index]!;
}

function upstreamTarget(matched: Matched, service: Entity | undefined): string {
  const rest = matched.entity['strip_path'] ? matched.path.slice(matched.prefix) : matched.path;
  const base = ((service?.['path'] as string | null | undefined) ?? '').replace(/\/$/, '');
  return base + (rest.startsWith('/') ? rest : `/${rest}`);
}

/** As nginx reads arguments: at most 100, `true` without a value, a list when repeated, no empty names. */
function parseQuery(search: string): Context['query'] {
  const query: Context['query'] = {};
  for (const pair of search.split('&').slice(0, 100)) {
    const [rawName, rawValue] = splitOnce(pair, '=');
    const name = unescape(rawName);
    if (name === '') continue;
    const value = rawValue === undefined ? true : unescape(rawValue);
    const before = Object.hasOwn(query, name) ? query[name] : undefined;
    const now = before === undefined ? value : [before, value].flat();
    Object.defineProperty(query, name, { value: now, enumerable: true, configurable: true, writable: true });
  }
  return query;
}

function unescape(text: string): string {
  const spaced = text.replaceAll('+', ' ');
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced;
  }
}

function splitOnce(text: string, at = '?'): [string, string?] {
  const index = text.indexOf(at);
  return index < 0 ? [text] : [text.slice(0, index), text.slice(index + 1)];
}

function lowerCase<T extends string | string[]>(headers: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

/** Kong never logs credentials of these two headers. */
function logged(headers: Record<string, string | string[]>): Record<string, string | string[]> {
  const shown = { ...headers };
  for (const name of ['authorization', 'proxy-authorization'])
    if (shown[name] !== undefined) shown[name] = 'REDACTED';
  return shown;
}

const both = (context: Context, name: string): boolean =>
  context.headers[name.toLowerCase()] !== undefined && context.query[name] !== undefined;

function bodyBytes(request: StandInRequest, headers: Record<string, string | string[]>): number {
  return request.body === undefined
    ? Number(headers['content-length'] ?? 0)
    : Buffer.byteLength(request.body);
}

function wireSize(firstLine: string, headers: Record<string, string | string[]>, bytes: number): number {
  let size = Buffer.byteLength(firstLine) + 4 + bytes;
  for (const [name, values] of Object.entries(headers)) {
    for (const value of [values].flat()) size += name.length + Buffer.byteLength(value) + 4;
  }
  return size;
}

/** An entity as tcp-log writes it: what is unset is absent, consumers without the workspace. */
function inLine(entity: Entity, workspaceId?: string): Values {
  const shown = Object.fromEntries(Object.entries(entity).filter(([, value]) => value !== null));
  return workspaceId === undefined ? shown : { ...shown, ws_id: workspaceId };
}

const tryOf = (service: Entity, startMs: number): Values => ({
  ip: service['host'],
  port: service['port'],
  balancer_start: startMs,
  balancer_start_ns: startMs * 1_000_000,
  balancer_latency: 0,
  balancer_latency_ns: 19_200,
});

function isListed(networks: string[] | null, ip: string): boolean {
  if (!networks || networks.length === 0) return false;
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', bits] = network.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  return list.check(ip, isIPv6(ip) ? 'ipv6' : 'ipv4');
}

/** Answers by method and path: `/…/status/503` with that status, else what a plain REST service would say. */
export function echoUpstream(request: UpstreamRequest): UpstreamAnswer {
  const asked = /\/status\/([1-5]\d\d)(?:[/?]|$)/.exec(request.path)?.[1];
  const byMethod: Record<string, number> = { POST: 201, DELETE: 204 };
  const status = asked === undefined ? (byMethod[request.method] ?? 200) : Number(asked);
  const body = JSON.stringify({ method: request.method, path: request.path });
  return { status, headers: { 'content-type': 'application/json' }, body, latencyMs: 4 };
}
