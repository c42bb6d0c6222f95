import type { WebhookReceiver } from './webhook.ts';

const maxChars = 200;

/**
 * The beginning of a receiver's answer, as text that is safe in a log line or a dead letter: one line of at most 200
 * characters without markup and control characters, and without what may be a secret: the receiver's secret, parts of its
 * URL, e-mail addresses, and runs of 20 or more characters that look like a key or a token.
 */
export function excerptOf(text: string, receiver: Pick<WebhookReceiver, 'url' | 'secret'>): string {
  const plain = text
    .replace(/<[^<>]*>/g, ' ')
    .replace(/[\p{C}\p{Zl}\p{Zp}\uFFFD]/gu, ' ')
    .replace(/\s+/g, ' ');
  const masked = secretsOf(receiver)
    .reduce((rest, secret) => rest.replaceAll(secret, '***'), plain)
    .replace(/[^\s@"'<>]{1,64}@[^\s@"'<>]{1,255}/g, '***')
    .replace(/[A-Za-z0-9+/_=.-]{20,}/g, (run) => (/[0-9]/.test(run) ? '***' : run))
    .trim();
  return masked.length > maxChars ? `${masked.slice(0, maxChars - 1)}…` : masked;
}

/** Longest first, so that a part of one does not spoil another. Short parts of the URL are words, not secrets. */
function secretsOf(receiver: Pick<WebhookReceiver, 'url' | 'secret'>): string[] {
  const url = new URL(receiver.url);
  const parts = [
    ...url.pathname.split('/'),
    ...[...url.searchParams].flat(),
    url.username,
    url.password,
  ].filter((part) => part.length >= 8);
  const secrets = [receiver.secret, receiver.secret.replace(/^whsec_/, ''), url.href, ...parts];
  return secrets.filter((secret) => secret !== '').sort((a, b) => b.length - a.length);
}
