import { createHash, createHmac } from 'node:crypto';
import type { Alert } from '@tripline/model';
import type { ChannelKind, ChannelMessage, ChannelSettings } from '../channel.ts';
import type { AlertDigest, AlertEvent } from '../digest.ts';

export interface WebhookSettings extends ChannelSettings {
  type: 'webhook';
  /** `https://…` or `http://…`. */
  url: string;
  /** Shared secret for the signature: `whsec_` and base64, or any text. */
  secret: string;
  /** Allow addresses that are not the public internet. Default false. */
  allowPrivate?: boolean | undefined;
}

/** A message of the Standard Webhooks specification: the same id and body at every attempt. */
export interface WebhookMessage {
  /** The `webhook-id` header, by which receivers recognise a repeated message. */
  id: string;
  body: string;
}

/** Sends alerts as signed webhooks. */
export const webhook: ChannelKind<WebhookSettings> = {
  type: 'webhook',
  create(settings, { now, http }) {
    const { type, id, maxPerMinute, digestMinutes, url, secret, allowPrivate = false } = settings;
    return {
      ...{ type, id, maxPerMinute, digestMinutes },
      // Without the secret, since it is the URL that is gone.
      destination: url,
      proxyHost: http.proxyHost(url),
      send(content, signal) {
        const message = webhookMessage(id, content);
        const timestampSeconds = Math.floor(now() / 1000);
        const headers = {
          'webhook-id': message.id,
          'webhook-timestamp': String(timestampSeconds),
          'webhook-signature': signWebhook(secret, message, timestampSeconds),
        };
        return http.post({ url, headers, body: message.body, allowPrivate, secret }, signal);
      },
    };
  },
};

/** The message for a channel. Id and body depend on the arguments only. */
export function webhookMessage(channelId: string, content: ChannelMessage): WebhookMessage {
  return content.kind === 'digest'
    ? digestMessage(channelId, content.digest)
    : alertMessage(content.event, content.alert);
}

function alertMessage(event: AlertEvent, alert: Alert): WebhookMessage {
  const happenedAt = event === 'raised' ? alert.raisedAt : alert.lastSeenAt;
  return {
    id: messageId([alert.id, alert.revision]),
    body: JSON.stringify({
      type: `alert.${event}`,
      timestamp: new Date(happenedAt).toISOString(),
      data: alert,
    }),
  };
}

/** Its id follows from channel and content, so that a digest must stay as it is from the first attempt on. */
function digestMessage(channelId: string, digest: AlertDigest): WebhookMessage {
  const body = JSON.stringify({
    type: 'alerts.digest',
    timestamp: new Date(digest.to).toISOString(),
    data: digest,
  });
  return { id: messageId([channelId, body]), body };
}

function messageId(parts: readonly (string | number)[]): string {
  return `msg_${createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32)}`;
}

/**
 * Computes the `webhook-signature` header: `v1,` and the base64 of HMAC-SHA-256 over `id.timestamp.body`.
 * Source: Standard Webhooks, https://www.standardwebhooks.com, version 1.
 */
export function signWebhook(secret: string, message: WebhookMessage, timestampSeconds: number): string {
  const key = secret.startsWith('whsec_') ? Buffer.from(secret.slice(6), 'base64') : Buffer.from(secret);
  const text = `${message.id}.${timestampSeconds}.${message.body}`;
  return `v1,${createHmac('sha256', key).update(text).digest('base64')}`;
}
