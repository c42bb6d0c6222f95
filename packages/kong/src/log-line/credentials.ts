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
const sessionCookie = /(?:^|;)\s*([^=;]*(?:sess|sid|token|auth|jwt|remember)[^=;]*)=([^;]+)/gi;
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
    return {
      // Beside a key that is refused, an Authorization header is anything the client likes.
      secret: challengeOf(line) === 'key' ? (key ?? header ?? session) : (header ?? key ?? session),
      user: typeof line.user === 'string' ? line.user : basicUser(authorization),
      scheme: schemeOf(line, authorization, key !== undefined),
      hasAuthorization: fingerprint !== undefined || isGiven(authorizationHeader),
      showsAuthorization: isGiven(authorizationHeader),
      hasKey: key !== undefined,
      hasSessionCookie: session !== undefined,
      hasCookies: cookie !== undefined,
    };
  };
}

function sessionOf(cookie: unknown): string | undefined {
  for (const header of Array.isArray(cookie) ? (cookie as unknown[]) : [cookie]) {
    if (typeof header !== 'string') continue;
    for (const [, name, value] of header.matchAll(sessionCookie))
      if (!otherToken.test(name!)) return value!.trim();
  }
  return undefined;
}

/** What the service or Kong asks for where it refuses, as a client can name any scheme; else what was sent. */
function schemeOf(line: KongLogLine, authorization: string | undefined, hasKey: boolean): string | undefined {
  const asked = challengeOf(line);
  if (asked !== undefined) return asked;
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
