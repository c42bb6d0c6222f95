import type { KongLogLine } from './log-line.ts';
import { firstText, isGiven } from './values.ts';

/** What a line shows of the credentials that the client sent, nothing sanitised. Evidence: anybody can invent them. */
export interface ShownCredentials {
  /** The secret, or its fingerprint where Kong computed one; undefined where the line hides it. */
  secret: string | undefined;
  /** User name or its fingerprint, of basic authentication. */
  user: string | undefined;
  /** `basic`, `bearer`, `key`, …, lower-case. */
  scheme: string | undefined;
  /** An Authorization header was sent, be it only as Kong's word REDACTED. */
  hasAuthorization: boolean;
  /** It stands in the line. */
  showsAuthorization: boolean;
  /** An API key, in a header or parameter that is known to carry one. */
  hasKey: boolean;
  /** A cookie whose name says that it is a session. */
  hasSessionCookie: boolean;
  /** Cookies at all: of those with an unknown name one may be the session. */
  hasCookies: boolean;
}

const usualHeaders = ['apikey', 'x-api-key', 'api-key', 'x-auth-token', 'x-access-token'];
const usualParameters = ['apikey', 'api_key', 'access_token', 'jwt'];
/** Parameters that carry a key as often as something else (`?key=checkout.title`): their value has to look like a secret. */
const ambiguousParameters = ['key', 'token'];
const secretLook = /^(?=.*[0-9])(?=.*[A-Za-z])[\w.~+/=-]{12,}$/;
const sessionName = /sess|sid|token|auth|jwt|remember/i;
const otherToken = /csrf|xsrf/i;

/** The words before a credential; what else stands there may be part of one. */
const knownSchemes = new Set(
  'basic bearer digest hmac apikey api-key key token negotiate ntlm hawk dpop oauth vapid aws4-hmac-sha256 signature'.split(
    ' ',
  ),
);

/** Names of request headers that have to be read for it, lower-case. */
export function credentialHeaders(credentialNames: readonly string[]): string[] {
  return ['authorization', 'proxy-authorization', 'cookie', ...credentialNames, ...usualHeaders];
}

/**
 * Makes the function that finds the credentials in a line. `credentialNames`: further headers and parameters that carry API
 * keys, lower-case. `headerIndex` tells where the reader puts a header.
 */
export function createCredentialReader(
  credentialNames: readonly string[],
  headerIndex: (name: string) => number,
): (line: KongLogLine) => ShownCredentials {
  const authorizationAt = headerIndex('authorization');
  const proxyAuthorizationAt = headerIndex('proxy-authorization');
  const cookieAt = headerIndex('cookie');
  const keyHeadersAt = [...credentialNames, ...usualHeaders].map(headerIndex);
  const parameters = [...credentialNames, ...usualParameters];

  const keyOf = (line: KongLogLine): string | undefined => {
    for (const at of keyHeadersAt) {
      const value = firstText(line.requestHeaders[at]);
      if (value !== undefined) return value;
    }
    if (line.querystring.size === 0) return undefined;
    for (const name of parameters) {
      const value = firstText(line.querystring.get(name));
      if (value !== undefined) return value;
    }
    for (const name of ambiguousParameters) {
      const value = firstText(line.querystring.get(name));
      if (value !== undefined && secretLook.test(value)) return value;
    }
    return undefined;
  };

  return (line) => {
    const headers = line.requestHeaders;
    const authorizationHeader = headers[authorizationAt] ?? headers[proxyAuthorizationAt];
    const authorization = firstText(authorizationHeader);
    const cookie = headers[cookieAt];
    const key = keyOf(line);
    const session = cookie === undefined ? undefined : sessionOf(cookie);
    const fingerprint = typeof line.credential === 'string' ? line.credential : undefined;
    const header = fingerprint ?? authorization;
    const challenge = challengeOf(line);
    const showsAuthorization = isGiven(authorizationHeader);
    return {
      // Beside a key that is refused, an Authorization header is anything the client likes.
      secret: challenge === 'key' ? (key ?? header ?? session) : (header ?? key ?? session),
      user: typeof line.user === 'string' ? line.user : basicUser(authorization),
      // Where the service or Kong refuses, what they ask for counts: a client can name any scheme.
      scheme: challenge ?? sentScheme(line, authorization, key !== undefined),
      hasAuthorization: fingerprint !== undefined || showsAuthorization,
      showsAuthorization,
      hasKey: key !== undefined,
      hasSessionCookie: session !== undefined,
      hasCookies: cookie !== undefined,
    };
  };
}

/** The value of the first cookie whose name says that it is a session. */
function sessionOf(cookie: unknown): string | undefined {
  for (const header of Array.isArray(cookie) ? (cookie as unknown[]) : [cookie]) {
    const session = typeof header === 'string' ? sessionIn(header) : undefined;
    if (session !== undefined) return session;
  }
  return undefined;
}

function sessionIn(header: string): string | undefined {
  let equals = header.indexOf('=');
  for (let begin = 0; equals >= 0;) {
    const semicolon = header.indexOf(';', begin);
    const end = semicolon < 0 ? header.length : semicolon;
    if (equals < end - 1) {
      const name = header.slice(begin, equals);
      if (sessionName.test(name) && !otherToken.test(name)) return header.slice(equals + 1, end).trim();
    }
    if (semicolon < 0) return undefined;
    begin = end + 1;
    if (equals < begin) equals = header.indexOf('=', begin);
  }
  return undefined;
}

/** The scheme of the credential that was sent. */
function sentScheme(
  line: KongLogLine,
  authorization: string | undefined,
  hasKey: boolean,
): string | undefined {
  if (authorization !== undefined) {
    const sent = /^([A-Za-z][A-Za-z0-9-]{1,19}) /.exec(authorization)?.[1]!.toLowerCase();
    return sent !== undefined && knownSchemes.has(sent) ? sent : 'other';
  }
  if (typeof line.user === 'string') return 'basic';
  return hasKey ? 'key' : undefined;
}

function challengeOf(line: KongLogLine): string | undefined {
  const challenge = firstText(line.wwwAuthenticate);
  return (
    challenge && /^(?:Basic|Bearer|Key|HMAC|LDAP|Digest|NTLM|Negotiate)\b/i.exec(challenge)?.[0].toLowerCase()
  );
}

/** Name of a `Basic` credential in clear; Kong writes REDACTED, other gateways or versions may not. */
function basicUser(authorization: string | undefined): string | undefined {
  if (authorization === undefined || !/^basic /i.test(authorization)) return undefined;
  const decoded = Buffer.from(authorization.slice(6), 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  return colon > 0 ? decoded.slice(0, colon) : undefined;
}
