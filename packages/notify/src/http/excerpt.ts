const charsMax = 200;

/** What an excerpt must not show: the receiver's URL and its secret. */
export interface Secrets {
  url: string;
  secret: string;
}

/**
 * Makes the beginning of a receiver's answer safe for a log line or a dead letter: one line of at most 200 characters,
 * without markup and control characters. Possible secrets become `***`: the receiver's own, parts of its URL, e-mail
 * addresses, and runs of 20 or more characters that look like a key or a token.
 */
export function excerptOf(text: string, receiver: Secrets): string {
  const plain = text
    .replace(/<[^<>]*>/g, ' ')
    .replace(/[\p{C}\p{Zl}\p{Zp}\uFFFD]/gu, ' ')
    .replace(/\s+/g, ' ');
  const masked = secretsOf(receiver)
    .reduce((rest, secret) => rest.replaceAll(secret, '***'), plain)
    .replace(/[^\s@"'<>]{1,64}@[^\s@"'<>]{1,255}/g, '***')
    .replace(/[A-Za-z0-9+/_=.-]{20,}/g, (run) => (/[0-9]/.test(run) ? '***' : run))
    .trim();
  return masked.length > charsMax ? `${masked.slice(0, charsMax - 1)}…` : masked;
}

/** Longest first, since one may be a part of another. Short parts of the URL are words, not secrets. */
function secretsOf(receiver: Secrets): string[] {
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
