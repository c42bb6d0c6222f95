import { createHash } from 'node:crypto';
import type { ApiCall } from '@tripline/model';
import type { Sanitizer } from '@tripline/sanitize';
import { emptyCall } from './call-draft.ts';
import { ClientAddresses } from './client-addresses.ts';
import { createCredentialReader, credentialHeaders } from './credentials.ts';
import { createDeclaredCaller, declaredHeaders } from './declared-identity.ts';
import type { EqualLines } from './equal-lines.ts';
import { bytesOf, type LineBytes } from './frames.ts';
import { LogLineError } from './json-cursor.ts';
import { createJudge, type JudgeOptions } from './judge.ts';
import type { JudgedLine } from './judged-line.ts';
import { isStreamSession, type KongLogLine } from './log-line.ts';
import { createLogLineReader } from './reader.ts';
import { createSecretCheck } from './same-secret.ts';
import type { ServedPaths } from './served-paths.ts';
import { firstText, isGiven, joinedText } from './values.ts';

/** Why a line was refused. */
export type RejectReason =
  'not-json' | 'too-deep' | 'not-a-log-line' | 'bad-time' | 'future-time' | 'missing-token' | 'wrong-token';

interface Rejected {
  kind: 'rejected';
  reason: RejectReason;
  detail: string;
}

export type Normalised =
  | { kind: 'accepted'; call: ApiCall }
  /** The end of a TCP or TLS session of a stream route: a line of Kong, and no API call. */
  | { kind: 'stream-session' }
  | Rejected;

/** Where an address is, from the operator's databases. */
export type Place = Pick<ApiCall, 'country' | 'city' | 'latitude' | 'longitude' | 'asn' | 'asOrganization'>;

export interface NormaliserOptions extends JudgeOptions {
  sanitizer: Sanitizer;
  /** Deepest nesting that is followed; Kong's own lines have 4. Default 32. */
  maxDepth?: number;
  /** A line must carry this in its custom field `tripline.token`. Left out: no token is required. */
  token?: string;
  /** Lower-case names of further request headers to keep. */
  keepHeaders?: readonly string[];
  /** Lower-case names of headers and query parameters that carry API keys, besides the usual ones. */
  credentialNames?: readonly string[];
  /** How far a line's time may be ahead of `nowMs`, in ms. Default 5 minutes. */
  maxAheadMs?: number;
  locate?: (ip: string) => Place | undefined;
  /** Remembers what was served, for `pathGone`. Left out: no call has it. */
  served?: ServedPaths;
}

/** Further request headers that are read, besides those that carry credentials. */
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
const maxUpstreamStatusChars = 100;
const maxTags = 50;
const maxParameters = 100;
const maxParameterValues = 20;
const maxCookies = 50;
const knownMethods = new Set<unknown>(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS']);
const methodShape = /^[A-Za-z][A-Za-z_-]{0,19}$/;
const requestIdShape = /^[0-9A-Za-z-]{8,64}$/;

/**
 * Makes the function that turns one log line into an API call. `nowMs` is the collector's clock, by which times ahead of it are
 * refused; Infinity where lines are replayed. `equalLines` tells equal lines without a request id apart; left out, they are one
 * call that came twice. Pure apart from bounded caches, `equalLines`, and what `templates`, `served` and `verifying` learn. Never
 * throws on any input.
 */
export function createNormaliser(
  options: NormaliserOptions,
): (line: LineBytes, nowMs: number, equalLines?: EqualLines) => Normalised {
  const normaliser = new Normaliser(options);
  return (line, nowMs, equalLines) => {
    try {
      return normaliser.normalise(line, nowMs, equalLines);
    } catch (error) {
      if (error instanceof LogLineError) return rejected(error.reason, error.message);
      throw error;
    }
  };
}

class Normaliser {
  readonly #sanitizer: Sanitizer;
  readonly #maxAheadMs: number;
  readonly #locate: NormaliserOptions['locate'];
  readonly #served: ServedPaths | undefined;
  readonly #hasToken: (token: unknown) => boolean;
  readonly #read: (line: LineBytes) => KongLogLine;
  readonly #addresses = new ClientAddresses();
  readonly #credentialsOf: ReturnType<typeof createCredentialReader>;
  readonly #declaredCallerOf: ReturnType<typeof createDeclaredCaller>;
  readonly #judge: ReturnType<typeof createJudge>;
  /** Indexes into the line's request headers. */
  readonly #at: Record<'host' | 'userAgent' | 'referer' | 'contentType' | 'cookie', number> &
    Record<'anonymous' | 'credentialIdentifier' | 'preflight', number>;
  readonly #keptHeaders: readonly (readonly [name: string, index: number])[];

  constructor(options: NormaliserOptions) {
    const lowerCase = (names: readonly string[] = []): string[] => names.map((name) => name.toLowerCase());
    const keepHeaders = lowerCase(options.keepHeaders);
    const credentialNames = lowerCase(options.credentialNames);
    const services = options.services ?? [];
    const headerNames = [
      ...new Set([
        ...readHeaders,
        ...credentialHeaders(credentialNames),
        ...declaredHeaders(services),
        ...keepHeaders,
      ]),
    ];
    const indexOf = (name: string): number => headerNames.indexOf(name);
    this.#sanitizer = options.sanitizer;
    this.#maxAheadMs = options.maxAheadMs ?? 5 * 60_000;
    this.#locate = options.locate;
    this.#served = options.served;
    this.#hasToken = options.token === undefined ? () => true : createSecretCheck(options.token);
    this.#read = createLogLineReader({ maxDepth: options.maxDepth ?? 32, headerNames });
    this.#credentialsOf = createCredentialReader(credentialNames, indexOf);
    this.#declaredCallerOf = createDeclaredCaller(services, indexOf);
    this.#judge = createJudge(options);
    this.#at = {
      host: indexOf('host'),
      userAgent: indexOf('user-agent'),
      referer: indexOf('referer'),
      contentType: indexOf('content-type'),
      cookie: indexOf('cookie'),
      anonymous: indexOf('x-anonymous-consumer'),
      credentialIdentifier: indexOf('x-credential-identifier'),
      preflight: indexOf('access-control-request-method'),
    };
    this.#keptHeaders = keepHeaders.map((name) => [name, indexOf(name)]);
  }

  normalise(source: LineBytes, nowMs: number, equalLines: EqualLines | undefined): Normalised {
    const line = this.#read(source);
    if (isStreamSession(line))
      return this.#hasToken(line.token) ? { kind: 'stream-session' } : rejectedToken(line);
    const { startedAt, status, uri } = line;
    if (typeof startedAt !== 'number' || typeof status !== 'number' || typeof uri !== 'string') {
      return rejected(
        'not-a-log-line',
        'started_at, request.uri or response.status is missing or of another type',
      );
    }
    const problem = this.#problemOf(line, startedAt, nowMs);
    if (problem) return problem;

    const id = this.#sanitizer.identifier(callId(line, source, equalLines));
    const call = emptyCall();
    call.id = `${id}.${startedAt}`;
    call.startedAt = startedAt;
    call.status = Math.min(Math.max(Math.trunc(status), 0), 65_535);
    const judged = this.#fillInRequest(call, line, uri);
    judged.request = () => (JSON.parse(bytesOf(source).toString()) as { request?: unknown }).request;
    this.#judge(call, judged);
    this.#fillInDetails(call, line, status);
    if (judged.consumer && judged.byKong && status >= 400 && call.auth === undefined) call.refused = true;
    if (this.#served?.observe(call, line.routeMatch)) call.pathGone = true;
    return { kind: 'accepted', call };
  }

  #problemOf(line: KongLogLine, startedAt: number, nowMs: number): Rejected | undefined {
    if (!Number.isSafeInteger(startedAt) || startedAt < earliestMs)
      return rejected('bad-time', `started_at is ${startedAt}, allowed: ms since the epoch, 2015 or later`);
    if (startedAt > nowMs + this.#maxAheadMs)
      return rejected('future-time', `started_at is ${startedAt - nowMs} ms ahead of this machine's clock`);
    return this.#hasToken(line.token) ? undefined : rejectedToken(line);
  }

  /** Fills in all that the judge needs of the call; returns what it needs besides. */
  #fillInRequest(call: ApiCall, line: KongLogLine, uri: string): JudgedLine {
    const sanitizer = this.#sanitizer;
    const headers = line.requestHeaders;
    const at = this.#at;
    const kongAnswered = answeredByKong(line);
    const queryAt = uri.indexOf('?');
    const rawPath = queryAt < 0 ? uri : uri.slice(0, queryAt);
    const method = this.#method(line.method);
    call.method = method;
    call.path = cut(sanitizer.path(rawPath), maxPathChars);
    call.source = kongAnswered ? 'kong' : 'upstream';
    call.requestBytes = whole(line.requestSize);
    call.responseBytes = whole(line.responseSize);
    call.latencyMs = whole(line.latencyRequest);
    const consumer = this.#fillInConsumer(call, line);
    const credentialId = this.#name(line.authenticatedEntityId);
    if (credentialId !== undefined) call.credentialId = credentialId;
    const shown = this.#credentialsOf(line);
    if (shown.secret !== undefined) call.credential = sanitizer.token('secret', shown.secret);
    if (shown.user !== undefined) call.user = sanitizer.token('user', shown.user);
    if (shown.scheme !== undefined) call.authScheme = shown.scheme;
    this.#fillInAddress(call, line.clientIp);
    const host = this.#text(firstText(headers[at.host]), maxNameChars);
    if (host !== undefined) call.host = host;
    const service = this.#name(line.serviceName) ?? this.#name(line.serviceId);
    if (service !== undefined) call.service = service;
    const route = this.#name(line.routeName) ?? this.#name(line.routeId);
    if (route !== undefined) call.route = route;
    const grpcStatus = grpcStatusOf(line.grpcStatus);
    if (grpcStatus !== undefined) call.grpcStatus = grpcStatus;
    const caller = this.#declaredCallerOf(call.service, line);
    return {
      answer: line,
      routePaths: line.routePaths,
      shown,
      consumer,
      authenticatedEntity: this.#authenticatedEntity(line, credentialId),
      declared: caller && sanitizer.token(caller.kind, caller.value),
      // 502 and 504 of a dead upstream are Kong's answers, too, but an upstream was asked.
      byKong: kongAnswered && !(typeof line.upstreamStatus === 'string' && line.upstreamStatus !== ''),
      isPreflight: method === 'OPTIONS' && isGiven(headers[at.preflight]),
      rawPath,
      request: noRequest,
    };
  }

  /** Returns the consumer that Kong authenticated; undefined if there is none, or the one that stands for the anonymous. */
  #fillInConsumer(call: ApiCall, line: KongLogLine): JudgedLine['consumer'] {
    const id = this.#name(line.consumerId);
    if (id === undefined) return undefined;
    const username = this.#name(line.consumerUsername);
    const customId = this.#name(line.consumerCustomId);
    call.consumerId = id;
    if (username !== undefined) call.consumerUsername = username;
    if (customId !== undefined) call.consumerCustomId = customId;
    const tags = line.consumerTags;
    if (Array.isArray(tags) && tags.length > 0)
      call.consumerTags = tags.slice(0, maxTags).map((tag) => this.#name(String(tag)) ?? '');
    // Kong marks the consumer of an `anonymous` fallback with this header, and takes it from clients on such routes: that
    // consumer stands for everybody who did not authenticate, and is nobody.
    const isAnonymous =
      line.authenticatedEntityId === undefined &&
      firstText(line.requestHeaders[this.#at.anonymous]) === 'true';
    return isAnonymous ? undefined : { id, name: username ?? customId ?? id };
  }

  #fillInAddress(call: ApiCall, clientIp: unknown): void {
    const address = this.#addresses.read(clientIp);
    if (!address) return;
    call.ip = address.ip;
    if (address.network !== undefined) call.network = address.network;
    const place = this.#locate?.(address.ip);
    if (place) Object.assign(call, place);
  }

  /** The id of what Kong authenticated. That of ldap-auth changes with the password; its user does not. */
  #authenticatedEntity(line: KongLogLine, credentialId: string | undefined): string | undefined {
    if (credentialId === undefined) return undefined;
    if (!String(line.authenticatedEntityId).startsWith('ldap_auth_cache:')) return credentialId;
    const user = firstText(line.requestHeaders[this.#at.credentialIdentifier]);
    return user === undefined ? credentialId : this.#sanitizer.token('user', user);
  }

  /** Fills in what the judge does not need. */
  #fillInDetails(call: ApiCall, line: KongLogLine, status: number): void {
    const headers = line.requestHeaders;
    const at = this.#at;
    if (line.querystring.size > 0) call.query = this.#query(line.querystring);
    const userAgent = this.#text(firstText(headers[at.userAgent]), maxTextChars);
    if (userAgent !== undefined) call.userAgent = userAgent;
    const referer = firstText(headers[at.referer]);
    if (referer !== undefined) call.referer = cut(this.#sanitizer.url(referer), maxTextChars);
    const contentType = this.#text(firstText(headers[at.contentType]), maxNameChars);
    if (contentType !== undefined) call.contentType = contentType;
    const cookie = headers[at.cookie];
    if (cookie !== undefined) call.cookies = this.#cookies(cookie);
    for (const [name, index] of this.#keptHeaders) {
      const value = joinedText(headers[index]);
      if (value)
        (call.headers ??= nameless())[name] = cut(this.#sanitizer.parameter(name, value), maxTextChars);
    }
    const upstreamStatus = this.#text(line.upstreamStatus, maxUpstreamStatusChars);
    // Mostly one upstream that answered what Kong passes on: not worth repeating in each record.
    if (upstreamStatus !== undefined && upstreamStatus !== String(status))
      call.upstreamStatus = upstreamStatus;
    const upstreamMs = line.latencyProxy;
    if (typeof upstreamMs === 'number' && upstreamMs >= 0) call.upstreamMs = Math.trunc(upstreamMs);
    const workspace = this.#name(line.workspaceName);
    if (workspace !== undefined && workspace !== 'default') call.workspace = workspace;
  }

  /** A text is cut only when it is sanitised: half of a secret would not be recognised. */
  #text(value: unknown, maxChars: number): string | undefined {
    return typeof value === 'string' && value !== '' ? cut(this.#sanitizer.text(value), maxChars) : undefined;
  }

  /** Ids and names of the operator's are kept, unless they are secrets or personal data such as an e-mail address. */
  #name(value: unknown): string | undefined {
    return typeof value === 'string' && value !== '' ? this.#sanitizer.identifier(value) : undefined;
  }

  /** In capitals; what is no word of a method is not kept. */
  #method(value: unknown): string {
    if (knownMethods.has(value)) return value as string;
    const isWord =
      typeof value === 'string' && methodShape.test(value) && this.#sanitizer.identifier(value) === value;
    return isWord ? value.toUpperCase() : 'UNKNOWN';
  }

  #query(parameters: ReadonlyMap<string, unknown>): Record<string, string[]> {
    const query = nameless<string[]>();
    let count = 0;
    for (const [name, value] of parameters) {
      if (++count > maxParameters) break;
      const shown = cut(this.#sanitizer.text(name), maxNameChars);
      const values = Array.isArray(value) ? (value as unknown[]).slice(0, maxParameterValues) : [value];
      const kept: string[] = [];
      // `true` is a name without a value.
      for (const one of values)
        if (one !== true) kept.push(cut(this.#sanitizer.parameter(name, String(one)), maxTextChars));
      query[shown] = kept;
    }
    return query;
  }

  #cookies(cookie: unknown): Record<string, string> {
    const kept = nameless<string>();
    let count = 0;
    for (const header of Array.isArray(cookie) ? (cookie as unknown[]) : [cookie]) {
      if (typeof header !== 'string') continue;
      const cookies = this.#sanitizer.cookies(header);
      // The record has no prototype: these are its own names.
      for (const name in cookies) if (++count <= maxCookies) kept[cut(name, maxNameChars)] = cookies[name]!;
    }
    return kept;
  }
}

function rejected(reason: RejectReason, detail: string): Rejected {
  return { kind: 'rejected', reason, detail };
}

function rejectedToken(line: KongLogLine): Rejected {
  return line.token === undefined
    ? rejected('missing-token', 'the line carries no tripline.token, and a token is configured')
    : rejected('wrong-token', 'the line carries another tripline.token than the configured one');
}

/**
 * Kong before 3.6 writes no `source`: there the answer is Kong's own if no upstream was tried, which is `latencies.proxy` of -1 in
 * every version.
 */
function answeredByKong(line: KongLogLine): boolean {
  if (line.source === 'kong') return true;
  if (line.source === 'upstream') return false;
  return line.latencyProxy === -1;
}

/** Header values are text; undefined for what is no number of gRPC. */
function grpcStatusOf(value: unknown): number | undefined {
  if (value === undefined) return undefined;
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

function noRequest(): undefined {
  return undefined;
}

function cut(value: string, maxChars: number): string {
  return value.length > maxChars ? value.slice(0, maxChars) : value;
}

/** Sizes and durations: numbers, in older versions of Kong numbers in a string. */
function whole(value: unknown): number {
  const number = typeof value === 'number' ? value : typeof value === 'string' ? Number(value) : 0;
  return Number.isFinite(number) && number > 0 ? Math.min(Math.trunc(number), Number.MAX_SAFE_INTEGER) : 0;
}

/** A record without a prototype: parameters may be called `__proto__`. */
function nameless<Value>(): Record<string, Value> {
  return Object.create(null) as Record<string, Value>;
}
