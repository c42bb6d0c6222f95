import {
  createJudge,
  createTemplateLearner,
  ipv6NetworkOf,
  type Place,
  type ShownCredentials,
} from '@tripline/kong';
import type { ApiCall } from '@tripline/model';
import type { Sanitizer } from '@tripline/sanitize';
import { hashOf } from './random.ts';
import { entityJson, type Route } from './site.ts';

/** A Kong consumer with a key. */
export interface Consumer {
  id: string;
  username: string;
  customId: string;
  tags: readonly string[];
  credentialId: string;
  key: string;
}

/** What stays the same over the requests of one program on one device. */
export interface Client {
  /** Null: nobody whom Kong knows. */
  consumer: Consumer | null;
  userAgent: string;
  /** Cookie header of browsers. */
  cookie: string | null;
}

/** Decoded parameters as Kong logs them: `true` is a name without a value, a list a name that is repeated. */
export type Query = Record<string, string | true | (string | true)[]>;

/** One request and its answer, from which both forms are made: the log line, and the API call that it becomes. */
export interface Request {
  id: string;
  startedAt: number;
  /** When its line reaches the collector; 0 until it is sent. */
  arrivesAt: number;
  client: Client;
  ip: string;
  /** Null: Kong knows no such route. */
  route: Route | null;
  method: string;
  /** As sent, percent-encoded. */
  path: string;
  query: Query | null;
  status: number;
  /** Kong answered, no upstream was asked. */
  byKong: boolean;
  requestBytes: number;
  responseBytes: number;
  latencyMs: number;
  contentType: string | null;
  /** A key that Kong does not know. */
  wrongKey: string | null;
  /** User and password of basic authentication; Kong's line has keyed fingerprints of them. */
  login: { user: string; password: string } | null;
  /** A bearer token, seen as a fingerprint likewise. */
  bearer: string | null;
  /** A further header by which an object is asked for. */
  accountHeader: string | null;
}

/** The header that operators of this site keep (`collector.keepHeaders`). */
export const keptHeader = 'x-account-id';

/** 28 characters, as the base64 of a keyed SHA-1 inside Kong. */
export function fingerprint(text: string): string {
  const part = (salt: number): string => hashOf(text, salt).toString(36).padStart(7, '0');
  return `${part(1)}${part(2)}${part(3)}${part(4)}`.slice(0, 27) + '=';
}

/** Of the whole Authorization header of basic authentication. */
export const basicFingerprint = (login: { user: string; password: string }): string =>
  fingerprint(`${login.user}:${login.password}`);

export type ToApiCall = (request: Request) => ApiCall;

/**
 * Makes the API call that the collector would make of the request's line; the same fields in the same order. What depends
 * on free text goes through the very functions of the collector, the rest is put together directly.
 */
export function createToApiCall(
  sanitizer: Sanitizer,
  locate: (ip: string, atMs: number) => Place | undefined,
): ToApiCall {
  const judge = createJudge({ templates: createTemplateLearner() });
  const agents = new Map<string, string>();
  const cleanAgent = (userAgent: string): string => {
    let clean = agents.get(userAgent);
    if (clean === undefined) agents.set(userAgent, (clean = sanitizer.text(userAgent)));
    return clean;
  };
  return (request) => {
    const { client, startedAt, status, ip, route, byKong } = request;
    const { consumer } = client;
    const secret = secretOf(request);
    const credential = secret === undefined ? undefined : sanitizer.token('secret', secret);
    const path = sanitizer.path(request.path);
    const call: ApiCall = {
      id: `${request.id}.${startedAt}`,
      startedAt,
      actorKind: 'address',
      actorId: '',
      actorName: '',
      method: request.method,
      path,
      endpoint: '',
      status,
      source: byKong ? 'kong' : 'upstream',
      requestBytes: request.requestBytes,
      responseBytes: request.responseBytes,
      latencyMs: request.latencyMs,
    };
    if (consumer) {
      call.consumerId = consumer.id;
      call.consumerUsername = consumer.username;
      call.consumerCustomId = consumer.customId;
      if (consumer.tags.length > 0) call.consumerTags = consumer.tags as string[];
      call.credentialId = consumer.credentialId;
    }
    if (credential !== undefined) call.credential = credential;
    if (request.login) call.user = sanitizer.token('user', fingerprint(request.login.user));
    const scheme = schemeOf(request);
    if (scheme !== undefined) call.authScheme = scheme;
    call.ip = ip;
    const network = ipv6NetworkOf(ip);
    if (network !== undefined) call.network = network;
    const place = locate(ip, startedAt);
    if (place) {
      call.country = place.country!;
      if (place.city !== undefined) call.city = place.city;
      call.latitude = place.latitude!;
      call.longitude = place.longitude!;
      call.asn = place.asn!;
      call.asOrganization = place.asOrganization!;
    }
    call.host = host;
    if (route) {
      call.service = route.service.name;
      call.route = route.name;
    }
    judge(call, {
      answer: {
        wwwAuthenticate: challengeOf(request),
        contentLength: undefined,
        answerType: 'application/json',
        location: undefined,
      },
      routePaths: route?.paths,
      shown: shownOf(request, secret, scheme),
      consumer: consumer ? { id: consumer.id, name: consumer.username } : undefined,
      authenticatedEntity: consumer?.credentialId,
      declared: undefined,
      byKong,
      isPreflight: false,
      rawPath: request.path,
      request: () => undefined,
    });
    if (request.query) {
      const query: Record<string, string[]> = {};
      for (const name in request.query) {
        const value = request.query[name]!;
        query[sanitizer.text(name)] = (Array.isArray(value) ? value : [value])
          .filter((one) => one !== true)
          .map((one) => sanitizer.parameter(name, one));
      }
      call.query = query;
    }
    call.userAgent = cleanAgent(client.userAgent);
    if (request.contentType !== null) call.contentType = request.contentType;
    if (client.cookie !== null) call.cookies = sanitizer.cookies(client.cookie);
    if (request.accountHeader !== null)
      call.headers = { [keptHeader]: sanitizer.parameter(keptHeader, request.accountHeader) };
    if (byKong && consumer && status >= 400 && call.auth === undefined) call.refused = true;
    if (!byKong) call.upstreamMs = upstreamMs(request);
    return call;
  };
}

const host = 'api.example.com';

/** The key, the session cookie, or the fingerprint of the Authorization header. */
function secretOf(request: Request): string | undefined {
  if (request.login !== null) return basicFingerprint(request.login);
  if (request.bearer !== null) return fingerprint(request.bearer);
  const key = request.query?.['apikey'];
  return (
    request.wrongKey ?? request.client.consumer?.key ?? (typeof key === 'string' ? key : sessionOf(request))
  );
}

function sessionOf({ client }: Request): string | undefined {
  return client.cookie === null ? undefined : /(?:^|; )s(?:id|ession)=([^;]+)/.exec(client.cookie)?.[1];
}

function shownOf(request: Request, secret: string | undefined, scheme: string | undefined): ShownCredentials {
  const hasAuthorization = request.login !== null || request.bearer !== null;
  const hasSessionCookie = sessionOf(request) !== undefined;
  const { consumer, cookie } = request.client;
  return {
    secret,
    user: request.login ? fingerprint(request.login.user) : undefined,
    scheme,
    hasAuthorization,
    showsAuthorization: hasAuthorization,
    hasKey:
      (request.wrongKey ?? (hasAuthorization ? undefined : consumer?.key) ?? request.query?.['apikey']) !==
      undefined,
    hasSessionCookie,
    hasCookies: cookie !== null,
  };
}

/** Kong logs the Authorization header as REDACTED; a user's fingerprint, a key or what the answer asks for tells the kind. */
function schemeOf(request: Request): string | undefined {
  if (request.login) return 'basic';
  const asked = challengeOf(request);
  if (asked !== undefined) return asked.split(' ', 1)[0]!.toLowerCase();
  const hasKey =
    request.wrongKey !== null || request.client.consumer !== null || request.query?.['apikey'] !== undefined;
  return hasKey ? 'key' : undefined;
}

function challengeOf(request: Request): string | undefined {
  if (request.status !== 401) return undefined;
  if (request.login) return 'Basic realm="service"';
  return request.byKong ? 'Key' : 'Bearer error="invalid_token"';
}

function upstreamMs(request: Request): number {
  return Math.max(0, request.latencyMs - 1);
}

/** The line that Kong's tcp-log plugin would send, of the recorded shape, without the line feed. */
export function toLine(request: Request): string {
  const { client, ip, route, byKong, id, status, startedAt } = request;
  const { consumer } = client;
  const search = request.query === null ? '' : searchOf(request.query);
  const uri = JSON.stringify(request.path + search);
  const url = JSON.stringify(`http://${host}:8000${request.path}${search}`);
  const seconds = Math.floor(startedAt / 1_000);
  const key = request.wrongKey ?? (request.login || request.bearer !== null ? undefined : consumer?.key);
  const challenge = challengeOf(request);
  const proxyMs = byKong ? -1 : upstreamMs(request);

  const headers: string[] = [`"host":"${host}"`];
  if (client.cookie !== null) headers.push(`"cookie":${JSON.stringify(client.cookie)}`);
  headers.push('"accept":"*/*"');
  if (key !== undefined) headers.push(`"apikey":${JSON.stringify(key)}`);
  if (request.login || request.bearer !== null) headers.push('"authorization":"REDACTED"');
  if (request.contentType !== null) headers.push(`"content-type":${JSON.stringify(request.contentType)}`);
  if (request.accountHeader !== null)
    headers.push(`"${keptHeader}":${JSON.stringify(request.accountHeader)}`);
  if (consumer) {
    headers.push(
      `"x-consumer-id":"${consumer.id}","x-consumer-username":"${consumer.username}","x-consumer-custom-id":"${consumer.customId}","x-credential-identifier":"${consumer.credentialId}"`,
    );
  }
  headers.push(
    `"user-agent":${JSON.stringify(client.userAgent)},"x-forwarded-for":"${ip}","connection":"close"`,
  );
  const custom = request.login
    ? `"tripline":{"credential":"${basicFingerprint(request.login)}","user":"${fingerprint(request.login.user)}"},`
    : request.bearer !== null
      ? `"tripline":{"credential":"${fingerprint(request.bearer)}"},`
      : '';
  const entities =
    (consumer
      ? `"consumer":{"id":"${consumer.id}","tags":${JSON.stringify(consumer.tags)},"username":"${consumer.username}","custom_id":"${consumer.customId}","updated_at":1795303127,"created_at":1795303127},"authenticated_entity":{"id":"${consumer.credentialId}"},`
      : '') +
    (route ? `"service":${entityJson(route.service)},"route":${entityJson(route)},` : '') +
    (route && !byKong
      ? `"tries":[{"port":9100,"balancer_start":${startedAt},"balancer_start_ns":${startedAt / 1e12}e+18,"balancer_latency_ns":16640,"ip":"127.0.0.1","balancer_latency":0}],`
      : route
        ? '"tries":[],'
        : '');
  const answered = byKong
    ? '"x-kong-response-latency":"1"'
    : `"via":"1.1 kong/3.9.3","x-kong-upstream-latency":"${proxyMs}","x-kong-proxy-latency":"1"`;
  return (
    `{"started_at":${startedAt},${custom}"workspace":"3722b945-ae2e-4d43-aa18-b3bf2df2c523","workspace_name":"default",` +
    `"request":{"id":"${id}","size":${request.requestBytes},"headers":{${headers.join(',')}},"method":"${request.method}",` +
    `"uri":${uri},"url":${url},"querystring":${JSON.stringify(request.query ?? {})}},"upstream_uri":${route ? uri : '""'},` +
    `"latencies":{"receive":0,"proxy":${proxyMs},"kong":1,"request":${request.latencyMs}},${entities}` +
    `"upstream_status":"${byKong ? '' : status}","source":"${byKong ? 'kong' : 'upstream'}",` +
    `"response":{"status":${status},"size":${request.responseBytes},"headers":{"server":"kong/3.9.3","content-type":"application/json","x-kong-request-id":"${id}",${answered},` +
    (challenge === undefined ? '' : `"www-authenticate":${JSON.stringify(challenge)},`) +
    `"connection":"close","date":"${new Date(seconds * 1_000).toUTCString()}"}},"client_ip":"${ip}"}`
  );
}

function searchOf(query: Query): string {
  const pairs: string[] = [];
  for (const name in query) {
    const value = query[name]!;
    for (const one of Array.isArray(value) ? value : [value])
      pairs.push(
        one === true
          ? encodeURIComponent(name)
          : `${encodeURIComponent(name)}=${encodeURIComponent(one).replaceAll('%20', '+')}`,
      );
  }
  return `?${pairs.join('&')}`;
}
