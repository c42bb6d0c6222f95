import { severities, type Severity } from '@tripline/model';
import type { AlertDigest, ChannelMessage } from '@tripline/notify';

/** A message on its way to the receiver. The receiver's answer to it concerns no other message. */
export interface Message {
  /** `alert:` and the alert's id, or `digest:` and the policy's. Of each there is one at a time. */
  key: string;
  content: ChannelMessage;
  policy: string;
  /** Wall clock, ms. */
  queuedAt: number;
  /** Attempts that ended without a delivery. */
  attempts: number;
  /** When it may be tried next; wall clock, ms. */
  notBefore: number;
  /** It is not tried any more and goes to the dead letters, under this reason. */
  dead?: { reason: string; problem: string };
}

/** An alert that the receiver was notified of. */
export interface NotifiedAlert {
  /** The highest severity that it was notified of: a repeated or older revision is then no news. */
  severity: Severity;
  closed: boolean;
  /** Wall clock, ms. */
  at: number;
  /** The policy whose action names the channel. Missing in what earlier versions saved. */
  policy?: string;
  /** So far the alert was only counted in digests. */
  digest?: true;
}

/** The keys under which the outbox of one channel is saved. */
export interface OutboxKeys {
  notified(alertId: string): string;
  message(messageKey: string): string;
  digest(policy: string): string;
  rate(): string;
}

export function outboxKeys(channelId: string): OutboxKeys {
  return {
    // The word of the first versions, so that what they saved is found after an upgrade.
    notified: (alertId) => `told:${channelId}:${alertId}`,
    message: (messageKey) => `outbox:${channelId}:${messageKey}`,
    digest: (policy) => `digest:${channelId}:${policy}`,
    rate: () => `rate:${channelId}`,
  };
}

// The decoders throw if the value is not what is saved here, as another version or a damaged store may have left it.

export function decodeNotified(value: string): NotifiedAlert {
  const alert = JSON.parse(value) as NotifiedAlert;
  if (!severities.includes(alert.severity) || typeof alert.closed !== 'boolean' || !Number.isFinite(alert.at))
    throw new Error('it is no note of an alert that a channel was notified of');
  return alert;
}

export function decodeMessage(value: string, name: string): Message {
  const message = JSON.parse(value) as Message;
  const { content, queuedAt, attempts, notBefore } = message;
  const isWhole =
    message.key === name &&
    [queuedAt, attempts, notBefore].every(Number.isFinite) &&
    (content.kind === 'alert' ? typeof content.alert.id === 'string' : isDigest(content.digest));
  if (!isWhole) throw new Error('it is no message to a channel as this version writes them');
  return message;
}

export function decodeDigest(value: string): AlertDigest {
  const digest = JSON.parse(value) as AlertDigest;
  if (!isDigest(digest)) throw new Error('it is no digest as this version writes them');
  return digest;
}

export function decodeRate(value: string): number[] {
  const times = JSON.parse(value) as number[];
  if (!Array.isArray(times) || !times.every(Number.isFinite)) throw new Error('it is no list of times');
  return times;
}

function isDigest(digest: AlertDigest): boolean {
  return (
    typeof digest.policy === 'string' &&
    [digest.from, digest.to, digest.messages].every(Number.isFinite) &&
    Array.isArray(digest.counts) &&
    Array.isArray(digest.alerts)
  );
}
