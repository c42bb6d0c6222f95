import type { ApiCall } from '@tripline/model';

/**
 * An API call with nothing filled in. All fields are there from the start, the empty ones undefined: so all calls have the same
 * hidden class in V8, and no field that is added later makes the object grow.
 */
export function emptyCall(): ApiCall {
  const call: { [Name in keyof Required<ApiCall>]: ApiCall[Name] | undefined } = {
    id: '',
    startedAt: 0,
    actorKind: 'address',
    actorId: '',
    actorName: '',
    method: '',
    path: '',
    endpoint: '',
    status: 0,
    source: 'upstream',
    requestBytes: 0,
    responseBytes: 0,
    latencyMs: 0,
    consumerId: undefined,
    consumerUsername: undefined,
    consumerCustomId: undefined,
    consumerTags: undefined,
    credentialId: undefined,
    credential: undefined,
    user: undefined,
    authScheme: undefined,
    ip: undefined,
    network: undefined,
    country: undefined,
    city: undefined,
    latitude: undefined,
    longitude: undefined,
    asn: undefined,
    asOrganization: undefined,
    host: undefined,
    service: undefined,
    route: undefined,
    grpcStatus: undefined,
    verifiedBy: undefined,
    presented: undefined,
    auth: undefined,
    addressSuccesses: undefined,
    query: undefined,
    userAgent: undefined,
    referer: undefined,
    contentType: undefined,
    cookies: undefined,
    headers: undefined,
    upstreamStatus: undefined,
    refused: undefined,
    upstreamMs: undefined,
    workspace: undefined,
    pathGone: undefined,
  };
  return call as ApiCall;
}
