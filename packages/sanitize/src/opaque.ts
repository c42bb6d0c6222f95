import { minNumberTokenChars, minTokenChars, minWordChars } from './scan.ts';

// Is a run of characters a random token, base64 of something readable, or a word?

/** Random tokens of one case and digits, and hexadecimal ones, are masked from this length on; object ids are shorter. */
const minPlainTokenChars = 32;
/** Random tokens of both cases are masked from this length on. */
const minMixedTokenChars = 24;
const minDistinctChars = 8;

const separator = 0;
const lower = 1;
const upper = 2;
const digit = 3;

function classOf(code: number): number {
  if (code >= 97 && code <= 122) return lower;
  if (code >= 65 && code <= 90) return upper;
  if (code >= 48 && code <= 57) return digit;
  return separator;
}

/**
 * True if a run of base64 characters looks drawn by lot: hexadecimal of 32 or more, else long enough, of several classes
 * of characters, and less than half of it in parts that people write. Such parts are what stands between separators with
 * at most one change of class (`v2`, `Blue`, `2026`), and longer runs of one class (`Customer`, a capital included).
 */
export function looksRandom(run: string): boolean {
  if (run.length < minMixedTokenChars) return false;
  let seen = 0;
  let hex = true;
  const distinct = new Set<number>();
  for (let index = 0; index < run.length; index++) {
    const code = run.charCodeAt(index);
    const kind = classOf(code);
    seen |= 1 << kind;
    distinct.add(code);
    if (kind === separator || (kind !== digit && (code | 32) > 102)) hex = false;
  }
  const hasLetters = (seen & ((1 << lower) | (1 << upper))) !== 0;
  const hasDigits = (seen & (1 << digit)) !== 0;
  const mixedCase = (seen & (1 << lower)) !== 0 && (seen & (1 << upper)) !== 0;
  if (!hasLetters || distinct.size < minDistinctChars) return false;
  if (hex && hasDigits && run.length >= minPlainTokenChars) return true;
  if (!mixedCase && !(hasDigits && run.length >= minPlainTokenChars)) return false;
  if (mixedCase) return writtenShare(run, hasDigits ? 6 : 5) < 0.5;
  // In one case and digits, runs of letters are long by chance. Ids that people write have separators.
  return run.split(/[^A-Za-z0-9]/).some(isRandomChunk) || writtenShare(run, 5) < 0.5;
}

/** True for letters of one case and digits that take turns more often than in words and numbers. */
function isRandomChunk(chunk: string): boolean {
  return (
    chunk.length >= minMixedTokenChars && (chunk.match(/\d(?=[A-Za-z])|[A-Za-z](?=\d)/g)?.length ?? 0) >= 4
  );
}

/** Share of the letters and digits of a run that stand in parts that people write: see `looksRandom`. */
function writtenShare(run: string, minWordChars: number): number {
  let total = 0;
  let written = 0;
  let chunkChars = 0;
  let chunkChanges = 0;
  let chunkWords = 0;
  let previous = separator;
  let wordChars = 0;
  for (let index = 0; index <= run.length; index++) {
    const kind = index < run.length ? classOf(run.charCodeAt(index)) : separator;
    const capitalised = previous === upper && kind === lower && wordChars === 1;
    if (kind === previous || capitalised) {
      wordChars++;
    } else {
      if (wordChars >= minWordChars) chunkWords += wordChars;
      if (kind !== separator && previous !== separator) chunkChanges++;
      wordChars = 1;
    }
    if (kind === separator) {
      written += chunkChanges <= 1 ? chunkChars : chunkWords;
      total += chunkChars;
      chunkChars = chunkChanges = chunkWords = 0;
    } else {
      chunkChars++;
    }
    previous = kind;
  }
  return total === 0 ? 1 : written / total;
}

/** What a run of base64 or base64url encodes, if that is readable text (UTF-8 without control characters). */
export function decodeBase64Text(run: string): string | undefined {
  const bytes = Buffer.from(run, 'base64');
  // The first few bytes settle most cases before a string is made.
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index]!;
    if (
      byte < 0x20 ? byte !== 9 && byte !== 10 && byte !== 13 : byte === 0x7f || byte === 0xc0 || byte > 0xf4
    )
      return undefined;
  }
  const text = bytes.toString('utf8');
  return text.includes('\ufffd') ? undefined : text;
}

/** `name:secret` as in basic authentication; but not the ids and cursors of GraphQL (`User:42`, `cursor:100`). */
export function isUserAndPassword(text: string): boolean {
  return (
    /^[^\s:{}[\]"'<>,/]{1,64}:[^\s].*$/s.test(text) &&
    !/^(?:[A-Z][A-Za-z]*|cursor|arrayconnection):\d+$/.test(text)
  );
}

/** Longer values under a telling name are judged by the rules for any text only. */
export const maxLinkTokenChars = 256;
const tokenChars = /^[\w.~:=+!*$-]+$/;
const fileName = /\.(?:m?js|css|map|png|jpe?g|gif|svg|ico|woff2?)$/i;
const dateOrTime =
  /^\d{4}-?\d{2}-?\d{2}(?:[T_]\d{2}(?:[:.]?\d{2}){0,2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:?\d{2})?)?$/;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * True if the value of a name such as `reset` or `invite` looks like a token: neither words nor numbers nor what people make
 * of both (`step-2`, `ABC-12345`, `server12`, `2026-11-21`). With `mayBeId` also what is as often the id of an object stays:
 * uuids and a few letters before a number (`INC0012345`).
 */
export function looksLikeToken(value: string, mayBeId: boolean): boolean {
  if (value.length < minTokenChars || value.length > maxLinkTokenChars || !tokenChars.test(value))
    return false;
  if (uuid.test(value)) return !mayBeId && /\d/.test(value);
  if (dateOrTime.test(value) || fileName.test(value)) return false;
  return value.split(/[^A-Za-z0-9]+/).some((part) => isTokenPart(part, mayBeId));
}

function isTokenPart(part: string, mayBeId: boolean): boolean {
  if (/^\d*$/.test(part)) return part.length >= minNumberTokenChars;
  if (/^[A-Za-z]+$/.test(part)) return isLetterSalad(part);
  const oneCase = part === part.toLowerCase() || part === part.toUpperCase();
  // `v2`, `2FA`, `s3`; `server12`, `Step10`; `10min`.
  if (oneCase && part.length <= 5 && part.replace(/\D/g, '').length <= 2) return false;
  if (/^(?:[A-Z]?[a-z]{3,}|[A-Z]{4,})\d{1,3}$/.test(part) && part.length > 6) return false;
  if (/^\d{1,2}(?:[a-z]{3,}|[A-Z]{3,})$/.test(part)) return false;
  return !(mayBeId && /^(?:[A-Z]{1,5}|[a-z]{1,5})\d{3,}$/.test(part));
}

/** Capitals where no word begins, as in `kTxQbLmZ` and not in `verifyEmailAddress`; or too many for one word. */
function isLetterSalad(letters: string): boolean {
  if (letters === letters.toUpperCase()) return letters.length >= minWordChars;
  const words = letters.match(/[A-Z]+(?![a-z])|[A-Z]?[a-z]+/g) ?? [];
  return letters.length >= 8 && letters.length / words.length < 3;
}
