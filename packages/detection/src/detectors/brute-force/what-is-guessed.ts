import type { ApiCall } from '@tripline/model';

/** Names of schemes whose header differs from call to call although the secret is the same: dates, nonces, legs of a handshake. */
const signing = /hmac|digest|ntlm|negotiate|signature/;

/** Whether another credential token in each call says nothing about another secret. */
export function signsEachCall({ authScheme }: Pick<ApiCall, 'authScheme'>): boolean {
  return authScheme !== undefined && signing.test(authScheme);
}

const codeWords =
  /(^|[^a-z0-9])(otp|totp|hotp|mfa|2fa|tfa|pin|passcode|passcodes|code|codes|sms)([^a-z0-9]|$)/;
const verifyWords = /(^|[^a-z0-9])(verify|verification|confirm|challenge)([^a-z0-9]|$)/;
const loginWords =
  /(^|[^a-z0-9])(log-?in|sign-?in|log-?on|auth|authenticate|session|sessions|token|tokens|oauth2?|refresh|password|reset)([^a-z0-9]|$)/;

/** Endpoints repeat, and there are few of those that refuse; the patterns are not run for each call again. */
const knownEndpoints = new Map<string, { code: boolean; login: boolean }>();
const ENDPOINTS_REMEMBERED = 2_000;

function look(endpoint: string): { code: boolean; login: boolean } {
  let known = knownEndpoints.get(endpoint);
  if (known) return known;
  const words = endpoint.replace(/([a-z0-9])([A-Z])/g, '$1-$2').toLowerCase();
  const isGet = words.startsWith('get ');
  const code = codeWords.test(words) || (!isGet && verifyWords.test(words));
  known = { code, login: code || (!isGet && loginWords.test(words)) };
  if (knownEndpoints.size >= ENDPOINTS_REMEMBERED) knownEndpoints.clear();
  knownEndpoints.set(endpoint, known);
  return known;
}

/** Whether the endpoint's name says that it checks codes, which people type and which are all of one length. */
export function asksForCode({ endpoint }: Pick<ApiCall, 'endpoint'>): boolean {
  return look(endpoint).code;
}

/**
 * Whether the secret that was refused is one that the endpoint itself checks, in the body of the call: by its name, or as it
 * refuses secrets by another status than 401 and 403, which the collector knows of login endpoints only.
 */
export function isLogin({ endpoint, status }: Pick<ApiCall, 'endpoint' | 'status'>): boolean {
  return (status !== 401 && status !== 403) || look(endpoint).login;
}
