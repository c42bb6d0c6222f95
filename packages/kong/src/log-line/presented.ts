import type { ApiCall } from '@tripline/model';
import type { JudgedLine } from './judged-line.ts';
import { lengthAsJson } from './kong-answer.ts';
import { joinedText } from './values.ts';

export type Presented = NonNullable<ApiCall['presented']>;

/** What is known of the endpoint and route, beside the call and its line. */
export interface PresentedFacts {
  /** The path or the operator's settings say that credentials are sent here in the body. */
  isAuthEndpoint: boolean;
  /** Whether Kong hides the credentials of this route's calls, as was seen of those that it authenticated. */
  hidesCredentials: boolean | undefined;
  /** Bytes of the request that no logged header accounts for; undefined where that cannot be computed. */
  hiddenBytes: () => number | undefined;
}

/** Lengths of key-auth's answers as JSON, and before 3.5, which has no request id in them. */
const noKeyLengths = new Set([96, 41]);
const wrongKeyLengths = new Set([81, 92, 26, 48]);
/** Of hmac-auth: signature wrong; user unknown or malformed; date missing or out of tolerance. */
const wrongSignatureLengths = new Set([98, 102, 169]);
const noSignatureLength = 81;
/** The header line `Authorization: Basic ` with its end, before base64, which comes in fours. */
const basicHeaderBytes = 23;
/** The shortest header line that could be a signature. */
const minSignatureBytes = 40;

/** Kong adds them to the request once it has authenticated it. */
const addedByKong = /^x-(?:consumer-(?:id|username|custom-id)|credential-identifier|anonymous-consumer)$/;

const methodsWithBody = new Set(['POST', 'PUT', 'PATCH']);

/**
 * Whether the client presented a credential; undefined where the line does not tell. A 401 to a client that presented nothing is
 * a challenge and no guess. Each authentication plugin of Kong tells it in its own way, also where it hides the credential from
 * the line.
 */
export function presentedOf(call: ApiCall, line: JudgedLine, facts: PresentedFacts): Presented | undefined {
  if (line.isPreflight) return 'nothing';
  if (call.status === 401)
    return line.byKong ? presentedToKong(line, facts) : presentedToUpstream(call, line, facts);
  const { shown } = line;
  if (isIdentified(line) || shown.hasAuthorization || shown.hasKey || shown.hasSessionCookie)
    return 'something';
  // With an `anonymous` fallback Kong says nothing about what was presented.
  const isAnonymous = call.consumerId !== undefined && !line.consumer;
  const isHidden =
    isAnonymous || shown.hasCookies || (facts.isAuthEndpoint && methodsWithBody.has(call.method));
  return isHidden ? undefined : 'nothing';
}

/** Kong authenticated the client, or it showed the credential that the operator declared for the service. */
function isIdentified({ authenticatedEntity, declared }: JudgedLine): boolean {
  return authenticatedEntity !== undefined || declared !== undefined;
}

function presentedToKong(
  { answer, shown }: JudgedLine,
  { hidesCredentials, hiddenBytes }: PresentedFacts,
): Presented | undefined {
  const challenge = joinedText(answer.wwwAuthenticate) ?? '';
  const length = lengthAsJson(answer) ?? NaN;
  const given = (was: boolean): Presented => (was ? 'something' : 'nothing');
  // With `hide_credentials` the header is missing in the line, and shows in nothing but the size of the request.
  const byHiddenBytes = (isCredential: (bytes: number) => boolean): Presented | undefined => {
    if (hidesCredentials === false) return 'nothing';
    const bytes = hiddenBytes();
    if (bytes === 0) return 'nothing';
    return bytes !== undefined && isCredential(bytes) ? 'something' : undefined;
  };
  switch (/^[a-z-]+/i.exec(challenge)?.[0].toLowerCase()) {
    case 'key':
      if (noKeyLengths.has(length)) return 'nothing';
      if (wrongKeyLengths.has(length) || shown.hasKey) return 'something';
      // gRPC answers have no body; of other lengths, such as those of an own error template, nothing is known.
      return length === 0 ? 'nothing' : undefined;
    case 'bearer':
      return given(/\berror=/.test(challenge));
    case 'ldap':
      return given(shown.hasAuthorization);
    case 'hmac':
      if (shown.hasAuthorization || wrongSignatureLengths.has(length)) return 'something';
      return length === noSignatureLength ? 'nothing' : byHiddenBytes((bytes) => bytes >= minSignatureBytes);
    case 'basic':
      return shown.hasAuthorization
        ? 'something'
        : byHiddenBytes((bytes) => bytes > basicHeaderBytes && (bytes - basicHeaderBytes) % 4 === 0);
    default:
      return given(shown.hasAuthorization || shown.hasKey);
  }
}

function presentedToUpstream(
  { method }: ApiCall,
  line: JudgedLine,
  { isAuthEndpoint }: PresentedFacts,
): Presented | undefined {
  const { answer, shown } = line;
  const challenge = joinedText(answer.wwwAuthenticate) ?? '';
  // The handshake goes on: NTLM and Negotiate answer with a message of their own, Digest with a fresh nonce.
  if (/\b(?:ntlm|negotiate) +[a-z0-9+/]{8}/i.test(challenge) || /\bstale *= *"?true/i.test(challenge))
    return 'nothing';
  if (isIdentified(line) || shown.hasAuthorization || shown.hasKey || shown.hasSessionCookie)
    return 'something';
  if (/\berror *= *"?invalid_token/i.test(challenge)) return 'something';
  if (!methodsWithBody.has(method)) return 'nothing';
  return isAuthEndpoint ? 'something' : undefined;
}

/**
 * Bytes of an HTTP/1.1 request beyond its request line, the headers that are logged, and its body: what Kong hid from the line.
 * `request` is the member of the log line; `isAuthenticated` says that Kong added headers of its own. Undefined where it cannot be computed: 100 headers are logged at most, REDACTED
 * hides a length, HTTP/2 compresses headers (the difference is negative then).
 */
export function hiddenBytesOf(request: unknown, isAuthenticated: boolean): number | undefined {
  if (typeof request !== 'object' || request === null) return undefined;
  const { headers, method, uri, size } = request as Record<string, unknown>;
  if (
    typeof headers !== 'object' ||
    headers === null ||
    typeof method !== 'string' ||
    typeof uri !== 'string'
  )
    return undefined;
  const entries = Object.entries(headers as Record<string, unknown>)
    .filter(([name]) => !isAuthenticated || !addedByKong.test(name))
    .flatMap(([name, value]) =>
      (Array.isArray(value) ? (value as unknown[]) : [value]).map((one) => [name, String(one)] as const),
    );
  if (
    entries.length >= 100 ||
    entries.some(([name, value]) => value === 'REDACTED' || name === 'transfer-encoding')
  )
    return undefined;
  const lineBytes = Buffer.byteLength(`${method} ${uri} HTTP/1.1\r\n`);
  const headerBytes = entries.reduce(
    (sum, [name, value]) => sum + Buffer.byteLength(`${name}: ${value}\r\n`),
    0,
  );
  const bodyBytes = Number(entries.find(([name]) => name === 'content-length')?.[1] ?? 0);
  const hidden = Number(size) - lineBytes - headerBytes - 2 - bodyBytes;
  return Number.isInteger(hidden) && hidden >= 0 ? hidden : undefined;
}
