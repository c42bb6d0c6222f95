import type { ApiCall, AuthOutcome } from '@tripline/model';
import type { AuthEndpoint } from './auth-endpoints.ts';
import { lengthAsJson, type KongAnswer } from './kong-answer.ts';
import type { KongLogLine } from './log-line.ts';
import { simplePattern } from './simple-pattern.ts';
import { joinedText } from './values.ts';

export interface OutcomeFacts {
  answer: KongAnswer & Pick<KongLogLine, 'location'>;
  call: Pick<ApiCall, 'status' | 'source' | 'grpcStatus' | 'responseBytes' | 'actorKind'>;
  presented: ApiCall['presented'];
  /** As it was sent, without query. */
  path: string;
  endpoint: AuthEndpoint | undefined;
  isPreflight: boolean;
  /** What the answers of an endpoint that says 200 whatever happens were learnt to mean. */
  learnt: () => 'failure' | 'success' | undefined;
  /** A credential or user name was shown. */
  showsCredential: boolean;
}

const unauthenticated = 16;
/** Invalid argument, not found, permission denied, exhausted, failed precondition, unauthenticated. */
const failedLogins = new Set([3, 5, 7, 8, 9, unauthenticated]);
const failedStatuses = new Set([400, 401, 403, 422, 429]);
/** Kong's jwt plugin: `{"exp":"token expired"}`. Its hmac-auth: date missing or outside the tolerance of the clocks. */
const expiredLengths = { bearer: 23, hmac: 169 };

/** What a call says about credentials; undefined if nothing. */
export function authOutcomeOf(facts: OutcomeFacts): AuthOutcome | undefined {
  const { call, presented, endpoint, isPreflight } = facts;
  const { status, grpcStatus } = call;
  if (status === 401 || grpcStatus === unauthenticated) {
    if (isPreflight || (presented === 'nothing' && !(endpoint && grpcStatus !== undefined)))
      return 'challenge';
    return isExpired(facts) ? 'expired' : 'failure';
  }
  if (endpoint) return atEndpoint(facts, endpoint);
  const forbidden = status === 403 && call.source === 'upstream' && call.actorKind === 'address';
  return forbidden && facts.showsCredential ? 'failure' : undefined;
}

function isExpired({ answer, call }: OutcomeFacts): boolean {
  const challenge = joinedText(answer.wwwAuthenticate) ?? '';
  if (/\bexpired\b/i.test(challenge) && !/invalid or has expired/i.test(challenge)) return true;
  if (call.source !== 'kong') return false;
  const length = lengthAsJson(answer);
  return (
    (/^bearer/i.test(challenge) && length === expiredLengths.bearer) ||
    (/^hmac/i.test(challenge) && length === expiredLengths.hmac)
  );
}

function atEndpoint(
  { answer, call, path, learnt }: OutcomeFacts,
  endpoint: AuthEndpoint,
): AuthOutcome | undefined {
  const { status, grpcStatus } = call;
  const failure = endpoint === 'recognised' ? undefined : endpoint.failure;
  if (failure?.statuses?.includes(status) || failedStatuses.has(status)) return 'failure';
  if (grpcStatus !== undefined && grpcStatus !== 0)
    return failedLogins.has(grpcStatus) ? 'failure' : undefined;
  if (status < 200 || status >= 400) return undefined;
  if (failure?.responseBytesBelow !== undefined)
    return call.responseBytes < failure.responseBytesBelow ? 'failure' : 'success';
  const target = pathOf(joinedText(answer.location));
  if (status >= 300 && target !== undefined) {
    const pathOnly = target.split('?', 1)[0]!;
    if (failure?.redirectTo !== undefined)
      return simplePattern(failure.redirectTo)(pathOnly) ? 'failure' : 'success';
    return pathOnly === path || /(?:log-?in|sign-?in|error|fail|invalid|denied)\b/i.test(target)
      ? 'failure'
      : 'success';
  }
  return learnt() ?? 'success';
}

/** Path and query of a `Location`, which may be a whole URL. */
function pathOf(location: string | undefined): string | undefined {
  return location?.replace(/^[a-z]+:\/\/[^/]*/i, '').slice(0, 1_000);
}
