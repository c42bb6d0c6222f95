import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import type { ApiCall } from '@tripline/model';
import type { Sanitizer } from '@tripline/sanitize';
import { createCredentialReader, credentialHeaders } from './credentials.ts';
import { createDeclaredCaller, declaredHeaders } from './declared-identity.ts';
import type { EqualLines } from './equal-lines.ts';
import { bytesOf, type LineBytes } from './frames.ts';
import { createJudge, type JudgeOptions } from './judge.ts';
import { ipv6NetworkOf, withoutIpv6Prefix } from './network.ts';
import { LogLineError } from './json-cursor.ts';
import { isStreamSession, type KongLogLine } from './log-line.ts';
import { createLogLineReader } from './reader.ts';
import { createSecretCheck } from './same-secret.ts';
import type { ServedPaths } from './served-paths.ts';
import { firstText, isGiven, joinedText } from './values.ts';

/** Why a line was refused. */
export type RejectReason =
  'not-json' | 'too-deep' | 'not-a-log-line' | 'bad-time' | 'future-time' | 'missing-token' | 'wrong-token';

export type Normalised =
  | { kind: 'accepted'; call: ApiCall }
  /** The end of a TCP or TLS session of a stream route: a line of Kong, and no API call. */
  | { kind: 'stream-session' }
  | { kind: 'rejected'; reason: RejectReason; detail: string };

/** Where an address is, from the operator's databases. */
export type Place = Pick<ApiCall, 'country' | 'city' | 'latitude' | 'longitude' | 'asn' | 'asOrganization'>;

export interface NormaliserOptions extends JudgeOptions {
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
  /** Remembers what was served, for `pathGone`. Left out: no call has it. */
  served?: ServedPaths;
}

const readHeaders = [
  'host',
  'user-agent',
  'referer',
  'content-type',
  'x-anonymous-consumer',
  'x-credential-identifier',
  'access-control-request-method',
];

// Kong 1.0 came out in December 2018: an older time is a wrong unit or a broken clock.
const earliestMs = Date.UTC(2015, 0, 1);
const maxNameChars = 200;
const maxTextChars = 1_000;
const maxPathChars = 2_000;
const maxParameters = 100;
const maxCookies = 50;
const knownMethods = new Set<unknown>(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS']);
const methodShape = /^[A-Za-z][A-Za-z_-]{0,19}$/;
const requestIdShape = /^[0-9A-Za-z-]{8,64}$/;

/**
 * Makes the function that turns one log line into an API call. `nowMs` is the
 * collector's clock, to refuse times ahead of it; Infinity where lines are replayed. `equalLines` tells equal lines without a
 * request id apart; left out, they are one call that came twice. Pure apart from the sanitiser's cache, `equalLines`, and
 * what `templates`, `served` and `verifying` learn; never throws on any input.
 */
export function createNormaliser(
  options: NormaliserOptions,
): (line: LineBytes, nowMs: number, equalLines?: EqualLines) => Normalised {
  const { sanitizer, token, locate } = options;
  const maxAheadMs = options.maxAheadMs ?? 5 * 60_000;
  const keepHeaders = (options.keepHeaders ?? []).map((name) => name.toLowerCase());
  const credentialNames = (options.credentialNames ?? []).map((name) => name.toLowerCase());
  const services = options.services ?? [];
  const headerNames = [
    ...new Set([
      ...readHeaders,
      ...credentialHeaders(credentialNames),
      ...declaredHeaders(services),
      ...keepHeaders,
    ]),
  ];
  const read = createLogLineReader({ maxDepth: options.maxDepth ?? 32, headerNames });
  const indexOf = (name: string): number => headerNames.indexOf(name);
  const credentialsOf = createCredentialReader(credentialNames, indexOf);
  const declaredCallerOf = createDeclaredCaller(services, indexOf);
  const judge = createJudge(options);
  const at = {
    host: indexOf('host'),
    userAgent: indexOf('user-agent'),
    referer: indexOf('referer'),
    contentType: indexOf('content-type'),
    cookie: indexOf('cookie'),
    anonymous: indexOf('x-anonymous-consumer'),
    credentialIdentifier: indexOf('x-credential-identifier'),
    preflight: indexOf('access-control-request-method'),
    kept: keepHeaders.map(indexOf),
  };

  const rejected = (reason: RejectReason, detail: string): Normalised => ({
    kind: 'rejected',
    reason,
    detail,
  });

  const networks = new Map<string, string | undefined>();
  const networkOf = (ip: string): string | undefined => {
    if (!ip.includes(':')) return undefined;
    if (networks.size >= 10_000) networks.clear();
    if (!networks.has(ip)) networks.set(ip, ipv6NetworkOf(ip));
    return networks.get(ip);
  };

  // The same addresses come again and again, and `isIP` is a regular expression.
  let knownAddresses = new Map<string, string | null>();

  /** Addresses that stand for an IPv4 address become that one; anything that is no address undefined. */
  const address = (value: unknown): string | undefined => {
    if (typeof value !== 'string' || value.length > 45) return undefined;
    const known = knownAddresses.get(value);
    if (known !== undefined) return known ?? undefined;
    const unmapped = withoutIpv6Prefix(value);
    // Copies: a piece of a line would keep all the bytes that came with it in memory.
    const ip = isIP(unmapped) === 0 ? undefined : copyOf(unmapped);
    if (knownAddresses.size >= 10_000) knownAddresses = new Map();
    knownAddresses.set(copyOf(value), ip ?? null);
    return ip;
  };

  const hasToken = token === undefined ? () => true : createSecretCheck(token);
  const withoutToken = (line: KongLogLine): Normalised =>
    line.token === undefined
      ? rejected('missing-token', 'the line carries no tripline.token, and a token is configured')
      : rejected('wrong-token', 'the line carries another tripline.token than the configured one');

  const normalise = (
    line: KongLogLine,
    source: LineBytes,
    nowMs: number,
    equalLines: EqualLines | undefined,
  ): Normalised => {
    const { startedAt, status } = line;
    if (isStreamSession(line)) return hasToken(line.token) ? { kind: 'stream-session' } : withoutToken(line);
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
    if (!hasToken(line.token)) return withoutToken(line);

    const headers = line.requestHeaders;
    const kongAnswered = answeredByKong(line);
    const upstreamStatus = clean(line.upstreamStatus, 100);
    // 502 and 504 of a dead upstream are Kong's answers, too, but an upstream was asked.
    const byKong = kongAnswered && upstreamStatus === undefined;
    const consumerId = maskedName(line.consumerId);
    // Kong marks the consumer of an `anonymous` fallback so, and takes the header from clients on such routes: it stands
    // for everybody who did not authenticate, and is nobody.
    const anonymous = line.authenticatedEntityId === undefined && firstText(headers[at.anonymous]) === 'true';
    const known = consumerId !== undefined && !anonymous;

    const shown = credentialsOf(line);
    const credential = shown.secret === undefined ? undefined : sanitizer.token('secret', shown.secret);
    const username = maskedName(line.consumerUsername);
    const customId = maskedName(line.consumerCustomId);

    const uri = line.uri;
    const queryAt = uri.indexOf('?');
    const rawPath = queryAt < 0 ? uri : uri.slice(0, queryAt);
    const path = cut(sanitizer.path(rawPath), maxPathChars);
    const method = methodOf(line.method);

    const ip = address(line.clientIp);
    const call: ApiCall = {
      id: `${sanitizer.identifier(callId(line, source, equalLines))}.${startedAt}`,
      startedAt,
      actorKind: 'address',
      actorId: '',
      actorName: '',
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
    if (shown.user !== undefined) call.user = sanitizer.token('user', shown.user);
    if (shown.scheme !== undefined) call.authScheme = shown.scheme;
    if (ip !== undefined) {
      call.ip = ip;
      const network = networkOf(ip);
      if (network !== undefined) call.network = network;
      const place = locate?.(ip);
      if (place) Object.assign(call, place);
    }
    const host = clean(firstText(headers[at.host]), maxNameChars);
    if (host !== undefined) call.host = host;
    const service = maskedName(line.serviceName) ?? maskedName(line.serviceId);
    if (service !== undefined) call.service = service;
    const route = maskedName(line.routeName) ?? maskedName(line.routeId);
    if (route !== undefined) call.route = route;
    const grpcStatus = grpcStatusOf(line.grpcStatus);
    if (grpcStatus !== undefined) call.grpcStatus = grpcStatus;
    const consumer = known ? { id: consumerId, name: username ?? customId ?? consumerId } : undefined;
    const caller = declaredCallerOf(call.service, line);
    judge(call, {
      answer: line,
      routePaths: line.routePaths,
      shown,
      consumer,
      authenticatedEntity: entityOf(line, credentialId),
      declared: caller && sanitizer.token(caller.kind, caller.value),
      byKong,
      isPreflight: method === 'OPTIONS' && isGiven(headers[at.preflight]),
      rawPath,
      request: () => (JSON.parse(bytesOf(source).toString()) as { request?: unknown }).request,
    });
    if (line.querystring.size > 0) call.query = queryOf(line.querystring);
    const userAgent = clean(firstText(headers[at.userAgent]), maxTextChars);
    if (userAgent !== undefined) call.userAgent = userAgent;
    const referer = firstText(headers[at.referer]);
    if (referer !== undefined) call.referer = cut(sanitizer.url(referer), maxTextChars);
    const contentType = clean(firstText(headers[at.contentType]), maxNameChars);
    if (contentType !== undefined) call.contentType = contentType;
    const cookie = headers[at.cookie];
    if (cookie !== undefined) call.cookies = cookiesOf(cookie);
    for (const [index, name] of keepHeaders.entries()) {
      const value = joinedText(headers[at.kept[index]!]);
      if (value) (call.headers ??= nameless())[name] = cut(sanitizer.parameter(name, value), maxTextChars);
    }
    // Mostly one upstream that answered what Kong passes on: not worth repeating in each record.
    if (upstreamStatus !== undefined && upstreamStatus !== String(status))
      call.upstreamStatus = upstreamStatus;
    if (known && byKong && status >= 400 && call.auth === undefined) call.refused = true;
    const upstreamMs = line.latencyProxy;
    if (typeof upstreamMs === 'number' && upstreamMs >= 0) call.upstreamMs = Math.trunc(upstreamMs);
    const workspace = maskedName(line.workspaceName);
    if (workspace !== undefined && workspace !== 'default') call.workspace = workspace;
    if (options.served?.observe(call, line.routeMatch)) call.pathGone = true;
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

  /** The id of what Kong authenticated without a consumer. That of ldap-auth changes with the password; its user does not. */
  const entityOf = (line: KongLogLine, credentialId: string | undefined): string | undefined => {
    if (credentialId === undefined) return undefined;
    const user = firstText(line.requestHeaders[at.credentialIdentifier]);
    const isLdap = String(line.authenticatedEntityId).startsWith('ldap_auth_cache:');
    return isLdap && user !== undefined ? sanitizer.token('user', user) : credentialId;
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

  return (source, nowMs, equalLines) => {
    try {
      return normalise(read(source), source, nowMs, equalLines);
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

/** Header values are text; undefined for what is no number of gRPC. */
function grpcStatusOf(value: unknown): number | undefined {
  const status = typeof value === 'string' && /^[0-9]{1,3}$/.test(value) ? Number(value) : value;
  return typeof status === 'number' && Number.isInteger(status) && status >= 0 ? status : undefined;
}

/** Kong's request id; before Kong 3.5 a hash of the line, numbered where equal lines came before. */
function callId(line: KongLogLine, source: LineBytes, equalLines: EqualLines | undefined): string {
  const id = line.requestId;
  if (typeof id === 'string' && requestIdShape.test(id)) return id;
  const hash = createHash('sha256').update(bytesOf(source)).digest('hex').slice(0, 32);
  const before = equalLines?.next(hash) ?? 0;
  return before === 0 ? hash : `${hash}-${before}`;
}

function copyOf(text: string): string {
  return Buffer.from(text).toString();
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
