import type { LookupFunction } from 'node:net';
import { Agent, ProxyAgent, request, type Dispatcher } from 'undici';
import type { Delivery } from '../delivery.ts';
import { excerptOf } from './excerpt.ts';
import { proxyFor, type ProxySettings } from './proxy.ts';
import { assertPublicName, assertPublicUrl, PrivateTargetError, publicLookup } from './target.ts';

export interface HttpPost {
  url: string;
  headers: Record<string, string>;
  /** JSON. */
  body: string;
  /** Allow addresses that are not the public internet. */
  allowPrivate: boolean;
  /** Taken out of what is quoted of the answer. */
  secret: string;
}

/** Posts JSON to receivers, for all channels that are reached over HTTP. */
export interface HttpPoster {
  /**
   * Makes one attempt. Never rejects. `signal` ends it early.
   *
   * Redirects are not followed. Unless `allowPrivate` is set, addresses that are not the public internet are refused, after
   * the name was resolved. A proxy resolves names itself: then only addresses and names are refused that are private as
   * they stand, and what a public name leads to is for the proxy to check.
   */
  post(post: HttpPost, signal?: AbortSignal): Promise<Delivery>;
  /** Host of the proxy through which this URL is reached; undefined if it is reached directly. */
  proxyHost(url: string): string | undefined;
  close(): Promise<void>;
}

export interface HttpPosterOptions {
  /** Wall clock, ms. */
  now: () => number;
  /** For one attempt, from connecting to the end of the answer. Default 15,000. */
  timeoutMs?: number;
  /** Resolves names; default: the system's. */
  lookup?: LookupFunction;
  /** The proxies that lead out of this network; default: none, every connection is direct. */
  proxy?: ProxySettings | undefined;
  /** Takes further secrets out of the excerpts of answers. */
  sanitize?: ((text: string) => string) | undefined;
}

/** Of an answer only the status matters, and of a refusal its beginning, which says why. */
const responseBytesMax = 16 * 1024;
const refusalBytesMax = 4 * 1024;

export function createHttpPoster(options: HttpPosterOptions): HttpPoster {
  const { timeoutMs = 15_000, now, proxy, sanitize = (text: string) => text } = options;
  const connections = createConnections(timeoutMs, options.lookup, proxy);
  return {
    async post({ url: to, headers, body, allowPrivate, secret }, signal) {
      const deadline = AbortSignal.timeout(timeoutMs);
      try {
        const url = new URL(to);
        const answer = await request(url, {
          dispatcher: connections.dispatcherFor(url, allowPrivate),
          method: 'POST',
          headers: { 'content-type': 'application/json', 'user-agent': 'tripline', ...headers },
          body,
          signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
        });
        if (answer.statusCode >= 200 && answer.statusCode < 300) {
          // The status is what counts: an answer that is too long or never ends is cut off, and was an answer.
          await answer.body.dump({ limit: responseBytesMax, signal: deadline }).catch(() => undefined);
          return { kind: 'delivered' };
        }
        const excerpt = excerptOf(sanitize(await beginningOf(answer.body)), { url: to, secret });
        return judge(answer.statusCode, answer.headers['retry-after'], excerpt, now());
      } catch (error) {
        const refused = findPrivateTarget(error);
        if (refused) return { kind: 'rejected', problem: refused.message };
        const problem = deadline.aborted ? `no answer within ${timeoutMs} ms` : describe(error);
        const via = proxyFor(new URL(to), proxy);
        // Never the proxy's user name or password.
        return { kind: 'retry', problem: via ? `${problem} (through the proxy ${via.host})` : problem };
      }
    },
    proxyHost: (url) => proxyFor(new URL(url), proxy)?.host,
    close: () => connections.close(),
  };
}

/** The connections of one poster: direct ones with and without the check of addresses, and those through proxies. */
function createConnections(
  timeoutMs: number,
  lookup: LookupFunction | undefined,
  settings: ProxySettings | undefined,
): { dispatcherFor(url: URL, allowPrivate: boolean): Dispatcher; close(): Promise<void> } {
  const limits = { headersTimeout: timeoutMs, bodyTimeout: timeoutMs, pipelining: 0 };
  const open = new Agent({ ...limits, connect: { timeout: timeoutMs, ...(lookup && { lookup }) } });
  const guarded = new Agent({ ...limits, connect: { timeout: timeoutMs, lookup: publicLookup(lookup) } });
  const proxies = new Map<string, ProxyAgent>();

  function through(proxy: URL): ProxyAgent {
    // `https://` goes through a CONNECT tunnel, `http://` is forwarded, as other programs do.
    const agent =
      proxies.get(proxy.href) ??
      new ProxyAgent({
        ...limits,
        uri: proxy.href,
        proxyTunnel: false,
        // A user name without a password is valid; undici sends only both.
        ...(proxy.username && { token: basicCredentials(proxy) }),
        proxyTls: { timeout: timeoutMs },
      });
    proxies.set(proxy.href, agent);
    return agent;
  }

  return {
    dispatcherFor(url, allowPrivate) {
      const proxy = proxyFor(url, settings);
      if (!allowPrivate) assertPublicUrl(url);
      if (!allowPrivate && proxy) assertPublicName(url);
      if (proxy) return through(proxy);
      return allowPrivate ? open : guarded;
    },
    async close() {
      await Promise.all([open, guarded, ...proxies.values()].map((agent) => agent.destroy()));
    },
  };
}

function basicCredentials(proxy: URL): string {
  const text = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return `Basic ${Buffer.from(text).toString('base64')}`;
}

/** The beginning of an answer, as far as it came before it was cut off or the deadline passed. */
async function beginningOf(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of body) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes >= refusalBytesMax) break;
    }
  } catch {
    // What came until then is used.
  }
  return Buffer.concat(chunks).subarray(0, refusalBytesMax).toString('utf8');
}

/** What an answer that is not 2xx means. 408, 425, 429 and 5xx may pass by themselves; everything else is a refusal. */
function judge(
  status: number,
  retryAfter: string | string[] | undefined,
  excerpt: string,
  nowMs: number,
): Delivery {
  const answer = excerpt === '' ? {} : { answer: excerpt };
  if (status === 410) return { kind: 'gone', problem: 'the receiver answered 410 Gone', ...answer };
  const problem =
    status >= 300 && status < 400
      ? `the receiver answered with a redirect (${status}), which is not followed: configure the final URL`
      : `the receiver answered ${status}`;
  const retryAfterMs = parseRetryAfter([retryAfter].flat()[0], nowMs);
  const details = { problem, ...answer, ...(retryAfterMs !== undefined && { retryAfterMs }) };
  const isTransient = status >= 500 || status === 408 || status === 425 || status === 429;
  if (!isTransient) return { kind: 'rejected', ...details };
  const pauseAll = status === 429 || (status === 503 && retryAfterMs !== undefined);
  return { kind: 'retry', ...details, ...(pauseAll && { pauseAll }) };
}

const retryAfterMaxMs = 3_600_000;

/** Seconds or an HTTP date (RFC 9110, 10.2.3), as ms from now, at most 1 h; undefined if it is neither. */
function parseRetryAfter(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined;
  const waitMs = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  return Number.isNaN(waitMs) ? undefined : Math.min(Math.max(waitMs, 0), retryAfterMaxMs);
}

/** Finds the refusal of an address in the errors that the layers of connecting have wrapped around it. */
function findPrivateTarget(error: unknown): PrivateTargetError | undefined {
  if (error instanceof PrivateTargetError) return error;
  if (error instanceof AggregateError) return error.errors.map(findPrivateTarget).find(Boolean);
  return error instanceof Error && error.cause ? findPrivateTarget(error.cause) : undefined;
}

function describe(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return describe(error.errors[0]);
  // Never the URL: its path may be a secret.
  return error instanceof Error ? error.message || error.name : String(error);
}
