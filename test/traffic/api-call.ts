import {
  createJudge,
  createTemplateLearner,
  ipv6NetworkOf,
  type Place,
  type ShownCredentials,
} from '@tripline/kong';
import type { ApiCall } from '@tripline/model';
import type { Sanitizer } from '@tripline/sanitize';
import {
  basicFingerprint,
  challengeOf,
  fingerprint,
  keptHeader,
  siteHost,
  upstreamMs,
  type Consumer,
  type Query,
  type Request,
} from './request.ts';

export type ToApiCall = (request: Request) => ApiCall;

/**
 * Makes the API call that the collector would make of the request's line, with the same fields in the same order. Free text
 * and everything that is judged go through the collector's own functions; the other fields are copied.
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
    const { client, startedAt, status, route, byKong } = request;
    const { consumer } = client;
    const secret = secretOf(request);
    const call = startCall(request, sanitizer);
    if (consumer) addConsumer(call, consumer);
    if (secret !== undefined) call.credential = sanitizer.token('secret', secret);
    if (request.login) call.user = sanitizer.token('user', fingerprint(request.login.user));
    const scheme = schemeOf(request);
    if (scheme !== undefined) call.authScheme = scheme;
    addPlace(call, request.ip, locate(request.ip, startedAt));
    call.host = siteHost;
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
    if (request.query) call.query = sanitizedQuery(request.query, sanitizer);
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

/** The fields that every API call has. The judge fills in the actor and the endpoint. */
function startCall(request: Request, sanitizer: Sanitizer): ApiCall {
  return {
    id: `${request.id}.${request.startedAt}`,
    startedAt: request.startedAt,
    actorKind: 'address',
    actorId: '',
    actorName: '',
    method: request.method,
    path: sanitizer.path(request.path),
    endpoint: '',
    status: request.status,
    source: request.byKong ? 'kong' : 'upstream',
    requestBytes: request.requestBytes,
    responseBytes: request.responseBytes,
    latencyMs: request.latencyMs,
  };
}

function addConsumer(call: ApiCall, consumer: Consumer): void {
  call.consumerId = consumer.id;
  call.consumerUsername = consumer.username;
  call.consumerCustomId = consumer.customId;
  if (consumer.tags.length > 0) call.consumerTags = consumer.tags as string[];
  call.credentialId = consumer.credentialId;
}

function addPlace(call: ApiCall, ip: string, place: Place | undefined): void {
  call.ip = ip;
  const network = ipv6NetworkOf(ip);
  if (network !== undefined) call.network = network;
  if (!place) return;
  call.country = place.country!;
  if (place.city !== undefined) call.city = place.city;
  call.latitude = place.latitude!;
  call.longitude = place.longitude!;
  call.asn = place.asn!;
  call.asOrganization = place.asOrganization!;
}

function sanitizedQuery(given: Query, sanitizer: Sanitizer): Record<string, string[]> {
  const query: Record<string, string[]> = {};
  for (const name in given) {
    const value = given[name]!;
    query[sanitizer.text(name)] = (Array.isArray(value) ? value : [value])
      .filter((one) => one !== true)
      .map((one) => sanitizer.parameter(name, one));
  }
  return query;
}

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
