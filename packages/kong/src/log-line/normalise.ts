import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import type { ApiCall } from '@tripline/model';
import type { Sanitizer } from '@tripline/sanitize';
import { createEndpointOf } from './endpoint-of.ts';
import { bytesOf, type LineBytes } from './frames.ts';
import { createLogLineReader, LogLineError, type KongLogLine } from './reader.ts';
import type { TemplateLearner } from './template-learner.ts';

/** Why a line was refused. */
export type RejectReason =
  'not-json' | 'too-deep' | 'not-a-log-line' | 'bad-time' | 'future-time' | 'missing-token' | 'wrong-token';

export type Normalised =
  { kind: 'accepted'; call: ApiCall } | { kind: 'rejected'; reason: RejectReason; detail: string };

/** Where an address is, from the operator's databases. */
export type Place = Pick<ApiCall, 'country' | 'city' | 'latitude' | 'longitude' | 'asn' | 'asOrganization'>;

export interface NormaliserOptions {
  sanitizer: Sanitizer;
  /** Deepest nesting that is followed; Kong's own lines have 4. */
  maxDepth?: number;
  /** A line must carry this in its custom field `tripline.token`. Left out: none is asked for. */
  token?: string;
  /** Lower-case names of further request headers to keep. */
  keepHeaders?: readonly string[];
  /** Lower-case names of headers and query parameters that carry API keys, besides the usual ones. */
  credentialNames?: readonly string[];
  /** How far a line's time may be ahead of `nowMs`, in ms. */
  maxAheadMs?: number;
  locate?: (ip: string) => Place | undefined;
  /** Learns which path segments name objects. Left out: their looks and Kong's route paths alone tell. */
  templates?: TemplateLearner;
}

const usualCredentialNames = ['apikey', 'x-api-key', 'api-key', 'x-auth-token', 'x-access-token'];
const credentialParameters = ['apikey', 'api_key', 'key', 'access_token', 'token', 'jwt'];
const readHeaders = [
  'host',
  'user-agent',
  'referer',
  'content-type',
  'cookie',
  'authorization',
  'x-anonymous-consumer',
];

// Kong 1.0 came out in December 2018: an older time is a wrong unit or a broken clock.
const earliestMs = Date.UTC(2015, 0, 1);
const maxNameChars = 200;
const maxTextChars = 1_000;
const maxPathChars = 2_000;
const maxParameters = 100;
const maxCookies = 50;
/** The words before a credential; what else stands there may be part of one. */
const knownSchemes = new Set(
  'basic bearer digest hmac apikey api-key key token negotiate ntlm hawk dpop oauth vapid aws4-hmac-sha256 signature'.split(
    ' ',
  ),
);
const knownMethods = new Set<unknown>(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS']);
const methodShape = /^[A-Za-z][A-Za-z_-]{0,19}$/;
const requestIdShape = /^[0-9A-Za-z-]{8,64}$/;

/**
 * Makes the function that turns one log line into an API call. `nowMs` is the
 * collector's clock, to refuse times ahead of it; Infinity where lines are replayed. Pure apart from the sanitiser's
 * cache and what `templates` learns; never throws on any input.
 */
export function createNormaliser(options: NormaliserOptions): (line: LineBytes, nowMs: number) => Normalised {
  const { sanitizer, token, locate } = options;
  const endpointOf = createEndpointOf(options.templates);
  const maxAheadMs = options.maxAheadMs ?? 5 * 60_000;
  const keepHeaders = (options.keepHeaders ?? []).map((name) => name.toLowerCase());
  const own = (options.credentialNames ?? []).map((name) => name.toLowerCase());
  const credentialHeaders = [...own, ...usualCredentialNames];
  const credentialQuery = [...own, ...credentialParameters];
  const headerNames = [...new Set([...readHeaders, ...credentialHeaders, ...keepHeaders])];
  const read = createLogLineReader({ maxDepth: options.maxDepth ?? 32, headerNames });
  const indexOf = (name: string): number => headerNames.indexOf(name);
  const at = {
    host: indexOf('host'),
    userAgent: indexOf('user-agent'),
    referer: indexOf('referer'),
    contentType: indexOf('content-type'),
    cookie: indexOf('cookie'),
    authorization: indexOf('authorization'),
    anonymous: indexOf('x-anonymous-consumer'),
    credentials: credentialHeaders.map(indexOf),
    kept: keepHeaders.map(indexOf),
  };

  const rejected = (reason: RejectReason, detail: string): Normalised => ({
    kind: 'rejected',
    reason,
    detail,
  });

  // The same addresses come again and again, and `isIP` is a regular expression.
  let knownAddresses = new Map<string, string | null>();

  /** IPv4-mapped IPv6 addresses become IPv4; anything that is no address undefined. */
  const address = (value: unknown): string | undefined => {
    if (typeof value !== 'string' || value.length > 45) return undefined;
    const known = knownAddresses.get(value);
    if (known !== undefined) return known ?? undefined;
    const unmapped = value.startsWith('::ffff:') && value.includes('.') ? value.slice(7) : value;
    // Copies: a piece of a line would keep all the bytes that came with it in memory.
    const ip = isIP(unmapped) === 0 ? undefined : copyOf(unmapped);
    if (knownAddresses.size >= 10_000) knownAddresses = new Map();
    knownAddresses.set(copyOf(value), ip ?? null);
    return ip;
  };

  const normalise = (line: KongLogLine, source: LineBytes, nowMs: number): Normalised => {
    const { startedAt, status } = line;
    if (typeof startedAt !== 'number' || typeof status !== 'number' || typeof line.uri !== 'string') {
      return rejected(
        'not-a-log-line',
        'started_at, request.uri or response.status is missing or of another type',
      );
    }
    if (!Number.isSafeInteger(startedAt) || startedAt < earliestMs) {
      return rejected('bad-time', `started_at is ${startedAt}, allowed: ms since the epoch, 2015 or later`);
    }
    if (startedAt > nowMs + maxAheadMs) {
      return rejected('future-time', `started_at is ${startedAt - nowMs} ms ahead of this machine's clock`);
    }
    if (token !== undefined && line.token !== token) {
      return line.token === undefined
        ? rejected('missing-token', 'the line carries no tripline.token, and a token is configured')
        : rejected('wrong-token', 'the line carries another tripline.token than the configured one');
    }

    const headers = line.requestHeaders;
    const kongAnswered = answeredByKong(line);
    const upstreamStatus = clean(line.upstreamStatus, 100);
    const authorization = first(headers[at.authorization]);
    const consumerId = maskedName(line.consumerId);
    // Kong marks the consumer of an `anonymous` fallback so, and takes the header from clients on such routes: it stands
    // for everybody who did not authenticate, and is nobody.
    const anonymous = line.authenticatedEntityId === undefined && first(headers[at.anonymous]) === 'true';
    const known = consumerId !== undefined && !anonymous;

    const ip = address(line.clientIp);
    const credential = credentialOf(line, authorization);
    const authScheme = schemeOf(line, authorization);
    const username = maskedName(line.consumerUsername);
    const customId = maskedName(line.consumerCustomId);

    const uri = line.uri;
    const queryAt = uri.indexOf('?');
    const path = cut(sanitizer.path(queryAt < 0 ? uri : uri.slice(0, queryAt)), maxPathChars);
    const method = methodOf(line.method);

    // An identity counts only when it was not refused: keys that somebody guesses are not actors.
    const refusedCredential = status === 401 || status === 403;
    const actorKind = known
      ? 'consumer'
      : credential !== undefined && !refusedCredential
        ? 'credential'
        : 'address';
    const actorId = known ? consumerId : actorKind === 'credential' ? credential! : (ip ?? 'unknown');
    const call: ApiCall = {
      id: `${sanitizer.identifier(callId(line, source))}.${startedAt}`,
      startedAt,
      actorKind,
      actorId,
      actorName: known ? (username ?? customId ?? consumerId) : actorId,
      method,
      path,
      endpoint: '',
      status: Math.min(Math.max(Math.trunc(status), 0), 65_535),
      source: kongAnswered ? 'kong' : 'upstream',
      requestBytes: whole(line.requestSize),
      responseBytes: whole(line.responseSize),
      latencyMs: whole(line.latencyRequest),
    };
    if (consumerId !== undefined) {
      call.consumerId = consumerId;
      if (username !== undefined) call.consumerUsername = username;
      if (customId !== undefined) call.consumerCustomId = customId;
      if (Array.isArray(line.consumerTags) && line.consumerTags.length > 0) {
        call.consumerTags = line.consumerTags.slice(0, 50).map((tag) => maskedName(String(tag)) ?? '');
      }
    }
    const credentialId = maskedName(line.authenticatedEntityId);
    if (credentialId !== undefined) call.credentialId = credentialId;
    if (credential !== undefined) call.credential = credential;
    if (typeof line.user === 'string') call.user = sanitizer.token('user', line.user);
    else if (authorization !== undefined) {
      const user = basicUser(authorization);
      if (user !== undefined) call.user = sanitizer.token('user', user);
    }
    if (authScheme !== undefined) call.authScheme = authScheme;
    if (ip !== undefined) {
      call.ip = ip;
      const place = locate?.(ip);
      if (place) Object.assign(call, place);
    }
    const host = clean(first(headers[at.host]), maxNameChars);
    if (host !== undefined) call.host = host;
    const service = maskedName(line.serviceName) ?? maskedName(line.serviceId);
    if (service !== undefined) call.service = service;
    const route = maskedName(line.routeName) ?? maskedName(line.routeId);
    if (route !== undefined) call.route = route;
    call.endpoint = endpointOf(call, line.routePaths);
    if (line.querystring.size > 0) call.query = queryOf(line.querystring);
    const userAgent = clean(first(headers[at.userAgent]), maxTextChars);
    if (userAgent !== undefined) call.userAgent = userAgent;
    const referer = first(headers[at.referer]);
    if (referer !== undefined) call.referer = cut(sanitizer.url(referer), maxTextChars);
    const contentType = clean(first(headers[at.contentType]), maxNameChars);
    if (contentType !== undefined) call.contentType = contentType;
    const cookie = headers[at.cookie];
    if (cookie !== undefined) call.cookies = cookiesOf(cookie);
    for (const [index, name] of keepHeaders.entries()) {
      const value = joined(headers[at.kept[index]!]);
      if (value) (call.headers ??= nameless())[name] = cut(sanitizer.parameter(name, value), maxTextChars);
    }
    // Mostly one upstream that answered what Kong passes on: not worth repeating in each record.
    if (upstreamStatus !== undefined && upstreamStatus !== String(status))
      call.upstreamStatus = upstreamStatus;
    if (known && kongAnswered && !upstreamStatus && status >= 400) call.refused = true;
    const upstreamMs = line.latencyProxy;
    if (typeof upstreamMs === 'number' && upstreamMs >= 0) call.upstreamMs = Math.trunc(upstreamMs);
    const workspace = maskedName(line.workspaceName);
    if (workspace !== undefined && workspace !== 'default') call.workspace = workspace;
    return { kind: 'accepted', call };
  };

  // Cut only what is sanitised: half of a secret would not be recognised.
  const clean = (value: unknown, maxChars: number): string | undefined =>
    typeof value === 'string' && value !== '' ? cut(sanitizer.text(value), maxChars) : undefined;

  /** Ids and what operators call their consumers are kept, unless they are secrets or personal data such as an e-mail address. */
  const maskedName = (value: unknown): string | undefined =>
    typeof value === 'string' && value !== '' ? sanitizer.identifier(value) : undefined;

  /** In capitals; what is no word of a method is not kept. */
  const methodOf = (value: unknown): string =>
    knownMethods.has(value)
      ? (value as string)
      : typeof value === 'string' && methodShape.test(value) && sanitizer.identifier(value) === value
        ? value.toUpperCase()
        : 'UNKNOWN';

  const credentialOf = (line: KongLogLine, authorization: string | undefined): string | undefined => {
    if (typeof line.credential === 'string') return sanitizer.token('secret', line.credential);
    if (authorization !== undefined) return sanitizer.token('secret', authorization);
    for (const index of at.credentials) {
      const value = first(line.requestHeaders[index]);
      if (value) return sanitizer.token('secret', value);
    }
    if (line.querystring.size > 0) {
      for (const name of credentialQuery) {
        const value = first(line.querystring.get(name));
        if (value) return sanitizer.token('secret', value);
      }
    }
    return undefined;
  };

  const schemeOf = (line: KongLogLine, authorization: string | undefined): string | undefined => {
    if (authorization !== undefined) {
      const scheme = /^([A-Za-z][A-Za-z0-9-]{1,19}) /.exec(authorization);
      return scheme && knownSchemes.has(scheme[1]!.toLowerCase()) ? scheme[1]!.toLowerCase() : 'other';
    }
    if (typeof line.user === 'string') return 'basic';
    if (typeof line.wwwAuthenticate === 'string') {
      const scheme = /^(Basic|Bearer|Key|HMAC|Digest)\b/i.exec(line.wwwAuthenticate);
      if (scheme) return scheme[1]!.toLowerCase();
    }
    return at.credentials.some((index) => line.requestHeaders[index] !== undefined) ? 'key' : undefined;
  };

  const queryOf = (query: Map<string, unknown>): Record<string, string[]> => {
    const kept = nameless<string[]>();
    let count = 0;
    for (const [name, value] of query) {
      if (++count > maxParameters) break;
      const shown = cut(sanitizer.text(name), maxNameChars);
      const values = Array.isArray(value) ? (value as unknown[]).slice(0, 20) : [value];
      kept[shown] = values
        .filter((one) => one !== true)
        .map((one) => cut(sanitizer.parameter(name, String(one)), maxTextChars));
    }
    return kept;
  };

  const cookiesOf = (cookie: unknown): Record<string, string> => {
    const kept = nameless<string>();
    let count = 0;
    for (const header of Array.isArray(cookie) ? (cookie as unknown[]) : [cookie]) {
      if (typeof header !== 'string') continue;
      const cookies = sanitizer.cookies(header);
      // The record has no prototype: these are its own names.
      for (const name in cookies) {
        if (++count <= maxCookies) kept[cut(name, maxNameChars)] = cookies[name]!;
      }
    }
    return kept;
  };

  return (source, nowMs) => {
    try {
      return normalise(read(source), source, nowMs);
    } catch (error) {
      if (error instanceof LogLineError) return rejected(error.reason, error.message);
      throw error;
    }
  };
}

/**
 * Kong before 3.6 has no `source`: there the answer is Kong's own if no upstream was tried, which is `latencies.proxy`
 * of -1 in every version.
 */
function answeredByKong(line: KongLogLine): boolean {
  if (line.source === 'kong') return true;
  if (line.source === 'upstream') return false;
  return line.latencyProxy === -1;
}

/** Kong's request id; before Kong 3.5 a hash of the line. */
function callId(line: KongLogLine, source: LineBytes): string {
  const id = line.requestId;
  return typeof id === 'string' && requestIdShape.test(id)
    ? id
    : createHash('sha256').update(bytesOf(source)).digest('hex').slice(0, 32);
}

/** Name of a `Basic` credential in clear; Kong writes REDACTED, other gateways or versions may not. */
function basicUser(authorization: string): string | undefined {
  if (!/^basic /i.test(authorization)) return undefined;
  const decoded = Buffer.from(authorization.slice(6), 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  return colon > 0 ? decoded.slice(0, colon) : undefined;
}

function copyOf(text: string): string {
  return Buffer.from(text).toString();
}

/** Headers and parameters are strings, `true`, or lists of them when repeated. REDACTED says nothing. */
function first(value: unknown): string | undefined {
  const one: unknown = Array.isArray(value) ? value[0] : value;
  return typeof one === 'string' && one !== '' && one !== 'REDACTED' ? one : undefined;
}

function joined(value: unknown): string | undefined {
  return Array.isArray(value) ? value.map(String).join(', ') : typeof value === 'string' ? value : undefined;
}

function cut(value: string, maxChars: number): string {
  return value.length > maxChars ? value.slice(0, maxChars) : value;
}

/** Sizes and durations: numbers, or in older versions numbers in a string. */
function whole(value: unknown): number {
  const number = typeof value === 'number' ? value : typeof value === 'string' ? Number(value) : 0;
  return Number.isFinite(number) && number > 0 ? Math.min(Math.trunc(number), Number.MAX_SAFE_INTEGER) : 0;
}

/** A record without a prototype: parameters may be called `__proto__`. */
function nameless<Value>(): Record<string, Value> {
  return Object.create(null) as Record<string, Value>;
}
