/** A value of a log line as the line has it: untrusted, not sanitised, of any type. Undefined if the line has none. */
type Untrusted = unknown;

/**
 * What a call must be like for a route to take it, as the route entity says it. Of a route that was read before it is the same
 * object.
 */
export interface RouteMatch {
  paths: Untrusted;
  hosts: Untrusted;
  methods: Untrusted;
  headers: Untrusted;
  snis: Untrusted;
}

/** The fields of a log line that Tripline reads. */
export interface KongLogLine {
  startedAt: Untrusted;
  clientIp: Untrusted;
  upstreamStatus: Untrusted;
  source: Untrusted;
  workspaceName: Untrusted;
  requestId: Untrusted;
  method: Untrusted;
  uri: Untrusted;
  requestSize: Untrusted;
  /** In the order of the reader's `headerNames`. */
  requestHeaders: readonly Untrusted[];
  querystring: Map<string, Untrusted>;
  status: Untrusted;
  responseSize: Untrusted;
  wwwAuthenticate: Untrusted;
  /** Response header `content-length`, by which Kong's own refusals are told apart. */
  contentLength: Untrusted;
  /** Response header `content-type`. */
  answerType: Untrusted;
  location: Untrusted;
  grpcStatus: Untrusted;
  latencyRequest: Untrusted;
  latencyProxy: Untrusted;
  consumerId: Untrusted;
  consumerUsername: Untrusted;
  consumerCustomId: Untrusted;
  consumerTags: Untrusted;
  authenticatedEntityId: Untrusted;
  serviceId: Untrusted;
  serviceName: Untrusted;
  routeId: Untrusted;
  routeName: Untrusted;
  routePaths: Untrusted;
  /** Undefined without a route. */
  routeMatch: RouteMatch | undefined;
  token: Untrusted;
  credential: Untrusted;
  user: Untrusted;
  claim: Untrusted;
  /** Whether the line has these members, of `session` only if it is an object. */
  hasRequest: boolean;
  hasResponse: boolean;
  hasSession: boolean;
}

/** Whether the line is of a TCP or TLS session: it has `session` instead of `request` and `response`. */
export function isStreamSession({ hasSession, hasRequest, hasResponse }: KongLogLine): boolean {
  return hasSession && !hasRequest && !hasResponse;
}

/** Never written to: most lines have no parameters, and need no map of their own. */
export const noParameters = new Map<string, unknown>();

export function emptyLine(requestHeaders: readonly unknown[]): KongLogLine {
  return {
    startedAt: undefined,
    clientIp: undefined,
    upstreamStatus: undefined,
    source: undefined,
    workspaceName: undefined,
    requestId: undefined,
    method: undefined,
    uri: undefined,
    requestSize: undefined,
    requestHeaders,
    querystring: noParameters,
    status: undefined,
    responseSize: undefined,
    wwwAuthenticate: undefined,
    contentLength: undefined,
    answerType: undefined,
    location: undefined,
    grpcStatus: undefined,
    latencyRequest: undefined,
    latencyProxy: undefined,
    consumerId: undefined,
    consumerUsername: undefined,
    consumerCustomId: undefined,
    consumerTags: undefined,
    authenticatedEntityId: undefined,
    serviceId: undefined,
    serviceName: undefined,
    routeId: undefined,
    routeName: undefined,
    routePaths: undefined,
    routeMatch: undefined,
    token: undefined,
    credential: undefined,
    user: undefined,
    claim: undefined,
    hasRequest: false,
    hasResponse: false,
    hasSession: false,
  };
}
