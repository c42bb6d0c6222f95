import { createHash, createHmac } from 'node:crypto';
import type { LookupFunction } from 'node:net';
import { Agent, request } from 'undici';
import type { Alert } from '@tripline/model';
import { assertPublicUrl, PrivateTargetError, publicLookup } from './target.ts';

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
}

export type WebhookEvent = 'alert.raised' | 'alert.updated' | 'alert.closed';

/** A message of the Standard Webhooks specification: the same id and body at every attempt. */
export interface WebhookMessage {
  /** The `webhook-id` header, by which receivers know what they have had already. */
  id: string;
  body: string;
}

/**
 * How one attempt ended. `gone`: the receiver said that it wants no more (410). `failed`: worth another attempt, soon
 * where it may pass by itself (`transient`), else later, when somebody may have mended it.
 */
export type DeliveryOutcome =
  | { kind: 'delivered'; status: number }
  | { kind: 'gone'; problem: string }
  | { kind: 'failed'; transient: boolean; problem: string; retryAfterMs?: number };

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
}

/** What is read of an answer; only its status matters. */
const maxResponseBytes = 16 * 1024;
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
 * not the public internet are refused, after the name was resolved.
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

  return {
    async send(receiver, message, signal) {
      const timestamp = Math.floor(options.now() / 1000);
      const deadline = AbortSignal.timeout(timeoutMs);
      try {
        const url = new URL(receiver.url);
        if (!receiver.allowPrivate) assertPublicUrl(url);
        const answer = await request(url, {
          dispatcher: receiver.allowPrivate ? open : guarded,
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
        // The status is what counts: an answer that is too long or never ends is cut off, and was an answer.
        await answer.body.dump({ limit: maxResponseBytes, signal: deadline }).catch(() => undefined);
        return judge(answer.statusCode, answer.headers['retry-after'], options.now());
      } catch (error) {
        const refused = findPrivateTarget(error);
        if (refused) return { kind: 'failed', transient: false, problem: refused.message };
        const problem = deadline.aborted ? `no answer within ${timeoutMs} ms` : describe(error);
        return { kind: 'failed', transient: true, problem };
      }
    },
    async close() {
      await Promise.all([open.destroy(), guarded.destroy()]);
    },
  };
}

function judge(status: number, retryAfter: string | string[] | undefined, nowMs: number): DeliveryOutcome {
  if (status >= 200 && status < 300) return { kind: 'delivered', status };
  if (status === 410) return { kind: 'gone', problem: 'the receiver answered 410 Gone' };
  const transient = status >= 500 || status === 408 || status === 429;
  const problem =
    status >= 300 && status < 400
      ? `the receiver answered with a redirect (${status}), which is not followed: configure the final URL`
      : `the receiver answered ${status}`;
  const retryAfterMs = parseRetryAfter([retryAfter].flat()[0], nowMs);
  return { kind: 'failed', transient, problem, ...(retryAfterMs !== undefined && { retryAfterMs }) };
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
