import { createHash, createHmac } from 'node:crypto';
import type { LookupFunction } from 'node:net';
import { Agent, ProxyAgent, request, type Dispatcher } from 'undici';
import type { Alert } from '@tripline/model';
import type { AlertDigest } from './digest.ts';
import { excerptOf } from './excerpt.ts';
import { proxyFor, type ProxySettings } from './proxy.ts';
import { assertPublicName, assertPublicUrl, PrivateTargetError, publicLookup } from './target.ts';

/** Where alerts go. */
export interface WebhookReceiver {
  /** What policies name. */
  id: string;
  /** `https://…` or `http://…`. */
  url: string;
  /** Shared secret for the signature: `whsec_` and base64, or any text. */
  secret: string;
  /** Allow addresses that are not the public internet. Default false. */
  allowPrivate?: boolean | undefined;
  /** Messages per minute at most, retries included; alerts above it are collected into digests. Default 30. */
  maxPerMinute?: number | undefined;
  /** A digest is sent this often, in minutes, while there are alerts to collect. Default 1. */
  digestMinutes?: number | undefined;
}

export type WebhookEvent = 'alert.raised' | 'alert.updated' | 'alert.closed';

/** A message of the Standard Webhooks specification: the same id and body at every attempt. */
export interface WebhookMessage {
  /** The `webhook-id` header, by which receivers know what they have had already. */
  id: string;
  body: string;
}

/**
 * How one attempt ended. `gone`: the receiver answered 410. `failed`: it may pass by itself (`transient`: no answer, 408,
 * 425, 429, 5xx), or it is a refusal that lasts until somebody changes the message, the receiver or its URL (any other
 * answer that is not 2xx, or an address that is not allowed). `answer` is the beginning of what the receiver wrote, as
 * `excerptOf` gives it. `busy`: the receiver asks for a pause in all that is sent to it (429, or 503 with `Retry-After`).
 */
export type DeliveryOutcome =
  | { kind: 'delivered'; status: number }
  | { kind: 'gone'; problem: string; answer?: string }
  | {
      kind: 'failed';
      transient: boolean;
      problem: string;
      answer?: string;
      retryAfterMs?: number;
      busy?: boolean;
    };

export interface WebhookSender {
  /** One attempt. Never rejects. `signal` ends it early, which counts as a transient failure. */
  send(receiver: WebhookReceiver, message: WebhookMessage, signal?: AbortSignal): Promise<DeliveryOutcome>;
  close(): Promise<void>;
}

export interface WebhookSenderOptions {
  /** Wall clock in ms, for the signed timestamp. */
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

/** What is read of an answer: only its status matters, and the beginning of a refusal, which says why. */
const maxResponseBytes = 16 * 1024;
const maxRefusalBytes = 4 * 1024;
const maxRetryAfterMs = 3_600_000;

/** The message that tells a receiver about a state of an alert. Id and body depend on the arguments only. */
export function webhookMessage(type: WebhookEvent, alert: Alert): WebhookMessage {
  const hash = createHash('sha256')
    .update(JSON.stringify([alert.id, alert.revision]))
    .digest('hex');
  const happenedAt = type === 'alert.raised' ? alert.raisedAt : alert.lastSeenAt;
  return {
    id: `msg_${hash.slice(0, 32)}`,
    body: JSON.stringify({ type, timestamp: new Date(happenedAt).toISOString(), data: alert }),
  };
}

/**
 * The message that stands for many alerts. Its id follows from the receiver and the content, so the caller keeps a digest
 * as it is from the first attempt on.
 */
export function digestMessage(receiverId: string, digest: AlertDigest): WebhookMessage {
  const body = JSON.stringify({
    type: 'alerts.digest',
    timestamp: new Date(digest.to).toISOString(),
    data: digest,
  });
  const hash = createHash('sha256')
    .update(JSON.stringify([receiverId, body]))
    .digest('hex');
  return { id: `msg_${hash.slice(0, 32)}`, body };
}

/**
 * The `webhook-signature` header: `v1,` and the base64 of HMAC-SHA-256 over `id.timestamp.body`.
 * Source: Standard Webhooks, https://www.standardwebhooks.com, version 1.
 */
export function signWebhook(secret: string, message: WebhookMessage, timestampSeconds: number): string {
  const key = secret.startsWith('whsec_') ? Buffer.from(secret.slice(6), 'base64') : Buffer.from(secret);
  const text = `${message.id}.${timestampSeconds}.${message.body}`;
  return `v1,${createHmac('sha256', key).update(text).digest('base64')}`;
}

/**
 * How long to wait before the next attempt, ms: twice as long each time, from 1 s to 5 min where the failure may pass by
 * itself, from 1 min to 1 h where somebody has to mend something; the upper half of it at random, so that many waiting
 * do not return at once. A longer `Retry-After` is honoured, up to 1 h.
 */
export function retryDelayMs(
  failedAttempts: number,
  outcome: { transient: boolean; retryAfterMs?: number },
  random: () => number,
): number {
  const [firstMs, longestMs] = outcome.transient ? [1_000, 300_000] : [60_000, 3_600_000];
  const delayMs = Math.min(firstMs * 2 ** Math.min(failedAttempts - 1, 30), longestMs);
  return Math.max(Math.round(delayMs * (0.5 + random() / 2)), outcome.retryAfterMs ?? 0);
}

/**
 * Sends signed webhooks. Redirects are not followed. Unless the receiver's configuration allows it, addresses that are
 * not the public internet are refused, after the name was resolved. Behind a proxy it is the proxy that resolves names:
 * there, addresses and names that are private as they stand are refused, and what a public name leads to is the proxy's
 * to check.
 */
export function createWebhookSender(options: WebhookSenderOptions): WebhookSender {
  const timeoutMs = options.timeoutMs ?? 15_000;
  const limits = { headersTimeout: timeoutMs, bodyTimeout: timeoutMs, pipelining: 0 };
  const open = new Agent({
    ...limits,
    connect: { timeout: timeoutMs, ...(options.lookup && { lookup: options.lookup }) },
  });
  const guarded = new Agent({
    ...limits,
    connect: { timeout: timeoutMs, lookup: publicLookup(options.lookup) },
  });
  const proxies = new Map<string, ProxyAgent>();

  function throughProxy(proxy: URL): ProxyAgent {
    // `https://` goes through a CONNECT tunnel, `http://` is forwarded, as other programs do.
    const made =
      proxies.get(proxy.href) ??
      new ProxyAgent({
        ...limits,
        uri: proxy.href,
        proxyTunnel: false,
        // A user name without a password is valid; undici sends only both.
        ...(proxy.username && { token: basicCredentials(proxy) }),
        proxyTls: { timeout: timeoutMs },
      });
    proxies.set(proxy.href, made);
    return made;
  }

  function dispatcherFor(url: URL, allowPrivate: boolean): Dispatcher {
    const proxy = proxyFor(url, options.proxy);
    if (!allowPrivate) assertPublicUrl(url);
    if (!allowPrivate && proxy) assertPublicName(url);
    if (proxy) return throughProxy(proxy);
    return allowPrivate ? open : guarded;
  }

  return {
    async send(receiver, message, signal) {
      const timestamp = Math.floor(options.now() / 1000);
      const deadline = AbortSignal.timeout(timeoutMs);
      try {
        const url = new URL(receiver.url);
        const answer = await request(url, {
          dispatcher: dispatcherFor(url, receiver.allowPrivate ?? false),
          method: 'POST',
          headers: {
            'content-type': 'application/json',
            'user-agent': 'tripline',
            'webhook-id': message.id,
            'webhook-timestamp': String(timestamp),
            'webhook-signature': signWebhook(receiver.secret, message, timestamp),
          },
          body: message.body,
          signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
        });
        const { statusCode, headers, body } = answer;
        if (statusCode >= 200 && statusCode < 300) {
          // The status is what counts: an answer that is too long or never ends is cut off, and was an answer.
          await body.dump({ limit: maxResponseBytes, signal: deadline }).catch(() => undefined);
          return { kind: 'delivered', status: statusCode };
        }
        const beginning = await beginningOf(body);
        const excerpt = excerptOf(options.sanitize?.(beginning) ?? beginning, receiver);
        return judge(statusCode, headers['retry-after'], excerpt, options.now());
      } catch (error) {
        const refused = findPrivateTarget(error);
        if (refused) return { kind: 'failed', transient: false, problem: refused.message };
        const problem = deadline.aborted ? `no answer within ${timeoutMs} ms` : describe(error);
        return { kind: 'failed', transient: true, problem: problem + throughWhich(receiver, options.proxy) };
      }
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

/** Which proxy stands between, for messages; never its user name or password. */
function throughWhich(receiver: WebhookReceiver, settings: ProxySettings | undefined): string {
  const proxy = proxyFor(new URL(receiver.url), settings);
  return proxy ? ` (through the proxy ${proxy.host})` : '';
}

/** The beginning of an answer, as far as it came before it was cut off or the deadline passed. */
async function beginningOf(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of body) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes >= maxRefusalBytes) break;
    }
  } catch {
    // What came is worth as much as all of it.
  }
  return Buffer.concat(chunks).subarray(0, maxRefusalBytes).toString('utf8');
}

function judge(
  status: number,
  retryAfter: string | string[] | undefined,
  excerpt: string,
  nowMs: number,
): DeliveryOutcome {
  const answer = excerpt === '' ? {} : { answer: excerpt };
  if (status === 410) return { kind: 'gone', problem: 'the receiver answered 410 Gone', ...answer };
  const transient = status >= 500 || status === 408 || status === 425 || status === 429;
  const problem =
    status >= 300 && status < 400
      ? `the receiver answered with a redirect (${status}), which is not followed: configure the final URL`
      : `the receiver answered ${status}`;
  const retryAfterMs = parseRetryAfter([retryAfter].flat()[0], nowMs);
  const busy = status === 429 || (status === 503 && retryAfterMs !== undefined);
  return {
    kind: 'failed',
    transient,
    problem,
    ...answer,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    ...(busy && { busy }),
  };
}

/** Seconds or an HTTP date (RFC 9110, 10.2.3), as ms from now, at most 1 h; undefined if it is neither. */
function parseRetryAfter(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined;
  const waitMs = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  return Number.isNaN(waitMs) ? undefined : Math.min(Math.max(waitMs, 0), maxRetryAfterMs);
}

/** The refusal, wherever the layers of connecting have wrapped it. */
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
