import type { KongLogLine } from './log-line.ts';
import { firstText } from './values.ts';

/**
 * Which credential of a service that authenticates callers itself is the caller (`services[].identity`): the value of a
 * header, a cookie or a query parameter, or a claim of the JSON Web Token in it; a claim alone is one of the bearer token.
 */
export interface DeclaredIdentity {
  header?: string | undefined;
  cookie?: string | undefined;
  query?: string | undefined;
  claim?: string | undefined;
}

/** What of the declaration the line shows, in clear: to be replaced by a token at once. */
export interface DeclaredCaller {
  kind: 'user' | 'secret';
  value: string;
}

const maxTokenChars = 16_384;

/** Names of the request headers that the declarations need, lower-case. */
export function declaredHeaders(services: readonly { identity?: DeclaredIdentity | undefined }[]): string[] {
  return services.flatMap(({ identity }) =>
    identity?.header === undefined ? [] : [identity.header.toLowerCase()],
  );
}

/**
 * Makes the function that reads the declared caller of a service's line; undefined if nothing is declared or nothing of it was
 * sent. `headerIndex` tells where the reader puts a header.
 */
export function createDeclaredCaller(
  services: readonly { name: string; identity?: DeclaredIdentity | undefined }[],
  headerIndex: (name: string) => number,
): (service: string | undefined, line: KongLogLine) => DeclaredCaller | undefined {
  const declared = new Map(services.map(({ name, identity }) => [name, identity]));
  const cookieAt = headerIndex('cookie');
  const authorizationAt = headerIndex('authorization');

  const carrierOf = (identity: DeclaredIdentity, line: KongLogLine): string | undefined => {
    const { header, cookie, query } = identity;
    const name = header?.toLowerCase();
    if (name === 'authorization' && identity.claim === undefined && typeof line.credential === 'string')
      return line.credential;
    if (name !== undefined) return firstText(line.requestHeaders[headerIndex(name)]);
    if (cookie !== undefined) return cookieValue(line.requestHeaders[cookieAt], cookie);
    if (query !== undefined) return firstText(line.querystring.get(query));
    return firstText(line.requestHeaders[authorizationAt]);
  };

  return (service, line) => {
    const identity = service === undefined ? undefined : declared.get(service);
    if (!identity) return undefined;
    const { claim } = identity;
    const isBearerClaim =
      identity.header === undefined && identity.cookie === undefined && identity.query === undefined;
    // Kong shows no Authorization header; the expression that `kong connect` installs tells a fingerprint of the claim.
    if (isBearerClaim && typeof line.claim === 'string') return { kind: 'user', value: line.claim };
    const carrier = carrierOf(identity, line);
    if (carrier === undefined) return undefined;
    if (claim === undefined) return { kind: 'secret', value: carrier };
    const value = claimOf(carrier, claim);
    return value === undefined ? undefined : { kind: 'user', value };
  };
}

function cookieValue(cookies: unknown, name: string): string | undefined {
  for (const header of Array.isArray(cookies) ? (cookies as unknown[]) : [cookies]) {
    if (typeof header !== 'string') continue;
    for (const pair of header.split(';')) {
      const equals = pair.indexOf('=');
      if (pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim() || undefined;
    }
  }
  return undefined;
}

/** A claim of a JSON Web Token, whose signature is the service's business; undefined if it is none or has no such claim. */
function claimOf(carrier: string, claim: string): string | undefined {
  const token = carrier.replace(/^Bearer +/i, '');
  const payload = token.length > maxTokenChars ? undefined : token.split('.')[1];
  if (payload === undefined) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    const value =
      typeof claims === 'object' && claims !== null ? (claims as Record<string, unknown>)[claim] : undefined;
    return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
  } catch {
    return undefined;
  }
}
