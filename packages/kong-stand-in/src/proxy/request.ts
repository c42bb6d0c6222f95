/** A request of a client. */
export interface StandInRequest {
  method: string;
  /** Request target as sent, with query. */
  path: string;
  /** Names in any case. `host` is `api.example.com` if left out. */
  headers?: Headers;
  /** What Kong takes for the client's address. */
  clientIp: string;
  body?: string;
  /** ms since the epoch; default: now. */
  startedAt?: number;
}

export interface StandInAnswer {
  status: number;
  /** Lower-case names. */
  headers: Record<string, string>;
  body: string;
}

/** What reaches the service behind Kong. */
export interface UpstreamRequest {
  method: string;
  /** Path with query as Kong passes it on. */
  path: string;
  service: string | null;
  headers: Headers;
  body: string;
  consumer: string | null;
}

export interface UpstreamAnswer {
  status: number;
  headers?: Record<string, string>;
  body?: string;
  /** Reported in the line; over HTTP the answer is held back for so long. */
  latencyMs?: number;
}

/** Header or query values as they were sent: a list where a name came more than once. */
export type Headers = Record<string, string | string[]>;
export type Query = Record<string, string | true | (string | true)[]>;

/** Answers by method and path: `/…/status/503` with that status, else what a plain REST service would say. */
export function echoUpstream(request: UpstreamRequest): UpstreamAnswer {
  const asked = /\/status\/([1-5]\d\d)(?:[/?]|$)/.exec(request.path)?.[1];
  const byMethod: Record<string, number> = { POST: 201, DELETE: 204 };
  const status = asked === undefined ? (byMethod[request.method] ?? 200) : Number(asked);
  const body = JSON.stringify({ method: request.method, path: request.path });
  return { status, headers: { 'content-type': 'application/json' }, body, latencyMs: 4 };
}

/** As nginx reads arguments: at most 100, `true` without a value, a list when repeated, no empty names. */
export function parseQuery(search: string): Query {
  const query: Query = {};
  for (const pair of search.split('&').slice(0, 100)) {
    const [rawName, rawValue] = splitOnce(pair, '=');
    const name = unescape(rawName);
    if (name === '') continue;
    const value = rawValue === undefined ? true : unescape(rawValue);
    const before = Object.hasOwn(query, name) ? query[name] : undefined;
    const now = before === undefined ? value : [before, value].flat();
    Object.defineProperty(query, name, { value: now, enumerable: true, configurable: true, writable: true });
  }
  return query;
}

function unescape(text: string): string {
  const spaced = text.replaceAll('+', ' ');
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced;
  }
}

export function splitOnce(text: string, at = '?'): [string, string?] {
  const index = text.indexOf(at);
  return index < 0 ? [text] : [text.slice(0, index), text.slice(index + 1)];
}

export function lowerCase<T extends string | string[]>(headers: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}
