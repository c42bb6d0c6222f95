import { createCache } from './cache.ts';

// Names are judged by their words: `x-acme-api-key`, `accessToken` and `user[password]` are x+acme+api+key, access+token
// and user+password.

/**
 * What the name of a header, parameter, cookie, JSON member or path segment says about the value after it:
 * - `secret`: it is a credential, whatever it looks like (`password`, `apikey`).
 * - `link`: it is the token of a one-time link, unless it looks like a word or a number (`reset`, `verify-email`, `invite`).
 * - `ticket`: it is a token or the id of an object, as its look says (`ticket`, `webhooks`, `appid`).
 * - `nationalid`: its digits are the number of a person (`cpf`, `pesel`, `passport`).
 * - `digest`: hexadecimal in it is a checksum, trace id or revision (`etag`, `traceparent`, `commits`).
 */
export type NameKind = 'secret' | 'link' | 'ticket' | 'nationalid' | 'digest' | 'other';

/** Words that make a name secret wherever they stand in it. */
const secretWords = new Set(
  `authorization bearer token tokens jwt pwd passphrase passcode passkey passwort session csrf xsrf otp totp signature sig
   hmac sid cvv cvc ssn appkey authkey accesskey secretkey privatekey masterkey authtoken samlresponse samlrequest
   assertion tok aspxauth tempauth wpnonce kennwort wachtwoord contrasena motdepasse senha losenord haslo`.split(
    /\s+/,
  ),
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
  `auth authorization oauth oob verification verify otp totp mfa sms pin access reset login security recovery backup device
   user confirmation activation invite invitation`.split(/\s+/),
);
const secretWhole = new Set(
  'cardnumber creditcard creditcardnumber ccnumber authcode accesscode verificationcode resetcode invitecode activationcode oobcode'.split(
    ' ',
  ),
);
/** A name that begins or ends so is about a credential, but is none: `token_type`, `max_tokens`, `session_count`. */
const harmlessFirstWords = new Set(['max', 'min', 'num', 'total']);
const harmlessLastWords = new Set(
  'type count limit length size expires expiry ttl at in policy enabled required identifier'.split(' '),
);

/** What one-time links are for, also in German, French, Spanish, Portuguese, Italian and Dutch. */
const linkWords =
  `reset magic verify verification confirm confirmation activate activation unsubscribe optin optout unlock
   invite invites invited invitation invitations recover recovery forgot passwordless autologin onetime redeem share shared
   zuruecksetzen bestaetigen bestaetigung freischalten einladung abmelden reinitialiser confirmer activer desabonnement
   restablecer confirmar activar invitacion redefinir ativar convite reimposta conferma attiva invito
   uitnodiging bevestigen`.split(/\s+/);
const linkWordSet = new Set(linkWords);
/** What they stand together with in one word or name: `emailverify`, `verify-account`. */
const linkObjects =
  'email mail account user link login signup registration subscription phone pw all request'.split(' ');
const joinedLinkWord = new RegExp(
  `^(?:${linkObjects.join('|')})?(?:${linkWords.join('|')})(?:${linkObjects.join('|')})?$`,
);
const ticketWords = 'ticket webhook webhooks hook hooks appid ical webcal signup join pgtid pgtiou eid'.split(
  ' ',
);
const ticketWordSet = new Set(ticketWords);
const nationalIdWords =
  `cpf cnpj bsn pesel dni nie nif curp aadhaar aadhar nino insee hetu cpr personnummer fodselsnummer steuerid
   idnr rut cuit cuil rrn nric hkid egn oib jmbg emso tckn cnp itin tfn ahv svnr amka niss codicefiscale henkilotunnus
   mynumber passport passportno`.split(/\s+/);
const nationalIdWordSet = new Set(nationalIdWords);
/** Of a name without separators. */
const nationalIdName =
  /^(?:.*(?:national|identity|personal|socialsecurity|social|nationalinsurance|taxpayer|tax|passport|idcard|driverslicen[cs]e|driverlicen[cs]e)(?:id|identification|identity)?(?:number|no|nr|code|num)|.*(?:nationalid|nationalidentity|taxid|personalid|steuer(?:liche)?id(?:nr)?|socialsecurity|idcard|nhsnumber)|sin|tin|nir)$/;
const digestWords = new Set(
  `etag etags sha sha1 sha224 sha256 sha384 sha512 md5 md5sum digest digests checksum checksums traceparent tracestate b3
   revision revisions rev revs commit commits changeset changesets blob blobs tree trees manifest manifests traceid spanid
   integrity`.split(/\s+/),
);
/** Of a name without separators. */
const digestName =
  /(?:(?:trace|span|request|requests|correlation|build|commit|transaction|revision)ids?|(?:commit|content|file|git|build|blob|tree|object|layer|tx|transaction|block)hash|ifnonematch|ifmatch|ifrange|sentrytrace|tracecontext|traces?)$/;

/** What the names of links and tickets, and of national ids, end in: after these a path segment is judged by its look. */
export const linkNameEndings: readonly string[] = [...linkWords, ...linkObjects, ...ticketWords];
export const nationalIdNameEndings: readonly string[] = [
  ...nationalIdWords,
  ...'id number no nr num code identity security card license licence'.split(' '),
];

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

function builtInKind(name: string): NameKind {
  // `contraseña` and `contrasena` are one word.
  const end = name
    .slice(-maxNameChars)
    .normalize('NFD')
    .replace(/[\u0300-\u036f]/g, '');
  // accessToken is two words, but PassWd and PaSsWoRd are one: a capital may begin a word or not.
  const words = wordsOf(end.replace(/([a-z\d])([A-Z])/g, '$1 $2'));
  if (isHarmlessByWords(words)) return 'other';
  if (isSecretByWords(words) || isSecretByWords(wordsOf(end))) return 'secret';
  const whole = compact(end);
  if (words.some((word) => nationalIdWordSet.has(word)) || nationalIdName.test(whole)) return 'nationalid';
  if (isDigestName(end, whole)) return 'digest';
  if (words.some((word) => linkWordSet.has(word) || joinedLinkWord.test(word))) return 'link';
  return words.some((word) => ticketWordSet.has(word)) || whole.endsWith('appid') ? 'ticket' : 'other';
}

/** In a name such as `commit_sha` or `x-b3-traceid` the last word counts, in one such as `b3` the whole. */
function isDigestName(name: string, whole: string): boolean {
  const last = name
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .findLast((word) => word !== '');
  return (last !== undefined && digestWords.has(last)) || digestName.test(whole);
}

const compact = (name: string): string => name.toLowerCase().replace(/[-_.[\]\s]+/g, '');

/** A judge of names, with its own bounded memory. `further` are the operator's names; case, `-`, `_` and `[]` do not count. */
export function createNameJudge(further: readonly string[]): (name: string) => NameKind {
  const own = new Set(further.map(compact));
  if (own.has('')) {
    throw new Error(
      `secretNames: ${JSON.stringify(further.find((name) => compact(name) === ''))} is not a name; ` +
        'allowed: names of headers, parameters or cookies such as "x-tenant-pass"; remove it or write the name out',
    );
  }
  const known = createCache<NameKind>();
  return (name) => {
    const seen = known.get(name);
    if (seen !== undefined) return seen;
    const decoded = decodeName(name);
    const isOwn = own.has(compact(decoded)) || own.has(compact(decoded.slice(decoded.lastIndexOf('[') + 1)));
    const kind = isOwn ? 'secret' : builtInKind(decoded);
    known.set(name, kind, 1);
    return kind;
  };
}
