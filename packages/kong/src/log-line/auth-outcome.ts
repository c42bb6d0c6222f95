import type { ApiCall, AuthOutcome } from '@tripline/model';
import type { AuthEndpoint } from './auth-endpoints.ts';
import type { JudgedLine } from './judged-line.ts';
import { lengthAsJson } from './kong-answer.ts';
import { simplePattern } from './simple-pattern.ts';
import { joinedText } from './values.ts';

/** What is known of the endpoint, beside the call and its line. */
export interface OutcomeFacts {
  presented: ApiCall['presented'];
  endpoint: AuthEndpoint | undefined;
  /** What the answers of a login that always answers 200 were learnt to mean. */
  learnt: () => 'failure' | 'success' | undefined;
}

const unauthenticated = 16;
/** Invalid argument, not found, permission denied, exhausted, failed precondition, unauthenticated. */
const failedLogins = new Set([3, 5, 7, 8, 9, unauthenticated]);
const failedStatuses = new Set([400, 401, 403, 422, 429]);
/** Kong's jwt plugin: `{"exp":"token expired"}`. Its hmac-auth: date missing or outside the tolerance of the clocks. */
const expiredLengths = { bearer: 23, hmac: 169 };

/** What a call says about credentials; undefined if nothing. */
export function authOutcomeOf(call: ApiCall, line: JudgedLine, facts: OutcomeFacts): AuthOutcome | undefined {
  const { endpoint } = facts;
  const { status, grpcStatus } = call;
  if (status === 401 || grpcStatus === unauthenticated) {
    if (line.isPreflight || (facts.presented === 'nothing' && !(endpoint && grpcStatus !== undefined)))
      return 'challenge';
    return isExpired(call, line) ? 'expired' : 'failure';
  }
  if (endpoint) return outcomeAt(endpoint, call, line, facts);
  const isForbidden = status === 403 && call.source === 'upstream' && call.actorKind === 'address';
  return isForbidden && (call.user ?? call.credential) !== undefined ? 'failure' : undefined;
}

function isExpired(call: ApiCall, { answer }: JudgedLine): boolean {
  const challenge = joinedText(answer.wwwAuthenticate) ?? '';
  if (/\bexpired\b/i.test(challenge) && !/invalid or has expired/i.test(challenge)) return true;
  if (call.source !== 'kong') return false;
  const length = lengthAsJson(answer);
  return (
    (/^bearer/i.test(challenge) && length === expiredLengths.bearer) ||
    (/^hmac/i.test(challenge) && length === expiredLengths.hmac)
  );
}

function outcomeAt(
  endpoint: AuthEndpoint,
  call: ApiCall,
  { answer, rawPath }: JudgedLine,
  { learnt }: OutcomeFacts,
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
    const path = target.split('?', 1)[0]!;
    if (failure?.redirectTo !== undefined)
      return simplePattern(failure.redirectTo)(path) ? 'failure' : 'success';
    return path === rawPath || /(?:log-?in|sign-?in|error|fail|invalid|denied)\b/i.test(target)
      ? 'failure'
      : 'success';
  }
  return learnt() ?? 'success';
}

/** Path and query of a `Location`, which may be a whole URL. */
function pathOf(location: string | undefined): string | undefined {
  return location?.replace(/^[a-z]+:\/\/[^/]*/i, '').slice(0, 1_000);
}
