import { createCache } from './cache.ts';

// Names are judged by their words: `x-acme-api-key`, `accessToken` and `user[password]` are x+acme+api+key, access+token
// and user+password.

/** Words that make a name secret wherever they stand in it. */
const secretWords = new Set(
  `authorization bearer token tokens jwt pwd passphrase passcode passkey passwort session csrf xsrf otp totp signature sig
   hmac sid cvv cvc ssn appkey authkey accesskey secretkey privatekey masterkey authtoken samlresponse samlrequest
   assertion`.split(/\s+/),
);
/** Parts of a word that do so, for names written without separators (`USERPASSWORD`, `jsessionid`, `phpsessid`). */
const secretParts = ['password', 'passwd', 'apikey', 'credential', 'sessid', 'sessionid', 'clientsecret'];
/** Words that do so at the end of the name only: `auth` but not `auth_time`. */
const secretLastWords = new Set(['auth', 'pass', 'pw', 'pin', 'cookie', 'verifier']);
/** `key` at the end is secret, except after these. */
const harmlessKeys = new Set(
  'sort order primary foreign partition group cache row idempotency websocket translation public object lookup unique range routing'.split(
    ' ',
  ),
);
/** `code` at the end is secret after these, or alone (OAuth). */
const secretCodes = new Set(
  'auth authorization oauth verification verify otp totp mfa sms pin access reset login security recovery backup device user confirmation activation'.split(
    ' ',
  ),
);
const secretWhole = new Set(['cardnumber', 'creditcard', 'creditcardnumber', 'ccnumber']);
/** A name that begins or ends so is about a credential, but is none: `token_type`, `max_tokens`, `session_count`. */
const harmlessFirstWords = new Set(['max', 'min', 'num', 'total']);
const harmlessLastWords = new Set(
  'type count limit length size expires expiry ttl at in policy enabled required identifier'.split(' '),
);

/** Names longer than this are judged by their end. */
const maxNameChars = 128;

function wordsOf(name: string): string[] {
  return name
    .toLowerCase()
    .split(/[^a-z]+/)
    .filter((word) => word !== '');
}

function decodeName(name: string): string {
  let decoded = name;
  for (let round = 0; round < 3 && decoded.includes('%'); round++) {
    decoded = decoded.replace(/%([2-7][0-9a-f])/gi, (_, hex: string) =>
      String.fromCharCode(parseInt(hex, 16)),
    );
  }
  return decoded;
}

function isSecretWord(word: string): boolean {
  return (
    secretWords.has(word) ||
    word.endsWith('token') ||
    (word.includes('secret') && !word.startsWith('secretar')) ||
    secretParts.some((part) => word.includes(part))
  );
}

function isHarmlessByWords(words: readonly string[]): boolean {
  return words.length > 1 && (harmlessFirstWords.has(words[0]!) || harmlessLastWords.has(words.at(-1)!));
}

function isSecretByWords(words: readonly string[]): boolean {
  const last = words.at(-1);
  if (last === undefined) return false;
  if (secretWhole.has(words.join(''))) return true;
  const before = words.at(-2);
  if (last === 'key') return before === undefined || !harmlessKeys.has(before);
  if (last === 'code') return before === undefined || secretCodes.has(before);
  return secretLastWords.has(last) || words.some(isSecretWord);
}

function isBuiltIn(name: string): boolean {
  const end = name.slice(-maxNameChars);
  // accessToken is two words, but PassWd and PaSsWoRd are one: a capital may begin a word or not.
  const words = wordsOf(end.replace(/([a-z\d])([A-Z])/g, '$1 $2'));
  return !isHarmlessByWords(words) && (isSecretByWords(words) || isSecretByWords(wordsOf(end)));
}

/** A judge of names, with its own bounded memory. `further` are the operator's names; case, `-`, `_` and `[]` do not count. */
export function createNameJudge(further: readonly string[]): (name: string) => boolean {
  const compact = (name: string): string => name.toLowerCase().replace(/[-_.[\]\s]+/g, '');
  const own = new Set(further.map(compact));
  if (own.has('')) {
    throw new Error(
      `secretNames: ${JSON.stringify(further.find((name) => compact(name) === ''))} is not a name; ` +
        'allowed: names of headers, parameters or cookies such as "x-tenant-pass"; remove it or write the name out',
    );
  }
  const known = createCache<boolean>();
  return (name) => {
    const seen = known.get(name);
    if (seen !== undefined) return seen;
    const decoded = decodeName(name);
    const secret =
      own.has(compact(decoded)) ||
      own.has(compact(decoded.slice(decoded.lastIndexOf('[') + 1))) ||
      isBuiltIn(decoded);
    known.set(name, secret, 1);
    return secret;
  };
}
