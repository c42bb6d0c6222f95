import { decodeForm } from './decode.ts';
import type { NameKind } from './names.ts';
import { compactNationalId, looksLikeNationalId } from './national-ids.ts';
import { looksLikeToken, maxLinkTokenChars } from './opaque.ts';
import type { Hit, Rules } from './rules.ts';
import { endingOf, maxLinkSegments, nationalIdEnding, secretEnding } from './scan.ts';

/** Values that tell nothing: Kong's word for a header it took out, and the words of JSON. */
export function isHarmlessValue(value: string): boolean {
  return value === '' || value === 'REDACTED' || value === 'true' || value === 'false' || value === 'null';
}

/** What of the value of a name is secret because of the name and its look: undefined if the name says nothing. */
export function secretByName(kind: NameKind, value: string): Pick<Hit, 'kind' | 'secret'> | undefined {
  if ((kind === 'link' || kind === 'ticket') && looksLikeToken(value, kind === 'ticket'))
    return { kind: 'secret', secret: value };
  return kind === 'nationalid' && looksLikeNationalId(value)
    ? { kind: 'nationalid', secret: compactNationalId(value) }
    : undefined;
}

const maxNameChars = 64;
const scheme = /^(?:bearer|basic|digest|token|apikey|negotiate|ntlm|hmac|hawk|dpop|aws4-hmac-sha256)[ \t]+/i;

/** The authentication scheme that a value begins with, and the blanks after it; empty if there is none. */
export function schemeOf(value: string): string {
  return scheme.exec(value)?.[0] ?? '';
}

function isNameChar(code: number): boolean {
  return (
    (code >= 97 && code <= 122) ||
    (code >= 65 && code <= 90) ||
    (code >= 48 && code <= 57) ||
    code === 45 || // -
    code === 46 || // .
    code === 95 || // _
    code === 91 || // [
    code === 93 || // ]
    code === 37 // %
  );
}

/** Values of telling names: `name=value`, `name: value`, `"name": value`; of secret ones also in arrays and objects. */
export function findPairs(text: string, rules: Rules, into: Hit[]): void {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code !== 61 && (code !== 58 || text.charCodeAt(index + 1) === 47)) continue;
    const name = nameBefore(text, index);
    const kind = name === '' ? 'other' : rules.nameKind(name);
    // The value ends where the search for the next pair begins, so that no character is read twice.
    if (kind === 'secret') index = takeValue(text, index + 1, code === 61, name, into) - 1;
    else if (kind !== 'other' && kind !== 'digest') takeJudged(text, index + 1, code === 61, kind, into);
  }
}

/** Takes the value that begins at `start` (after blanks) if it looks like what the name says. */
function takeJudged(text: string, start: number, form: boolean, kind: NameKind, into: Hit[]): void {
  let first = start;
  while (first - start < 4 && (text.charCodeAt(first) === 32 || text.charCodeAt(first) === 9)) first++;
  const char = text.charAt(first);
  const quote = char === '"' || char === "'" ? char : undefined;
  if (quote !== undefined) first++;
  const limit = Math.min(text.length, first + maxLinkTokenChars + 1);
  let end = first;
  while (end < limit && (quote === undefined ? !endsValue(text, end, false) : text.charAt(end) !== quote))
    end++;
  const value = text.slice(first, end);
  const found = secretByName(kind, form ? decodeForm(value) : value);
  if (found !== undefined) into.push({ start: first, end, ...found });
}

/** The name, perhaps in quotes and with blanks after it, that ends before `end`; empty if there is none. */
function nameBefore(text: string, end: number): string {
  let last = end;
  for (let blanks = 0; blanks < 2 && text.charCodeAt(last - 1) === 32; blanks++) last--;
  const quote = text.charCodeAt(last - 1);
  const quoted = quote === 34 || quote === 39;
  if (quoted) last--;
  let first = last;
  while (first > 0 && last - first < maxNameChars && isNameChar(text.charCodeAt(first - 1))) first--;
  // `12:30` holds no name.
  const lastCode = text.charCodeAt(last - 1);
  if (!quoted && text.charCodeAt(end) === 58 && lastCode >= 48 && lastCode <= 57) return '';
  return text.slice(first, last);
}

/** Takes the value that begins at `start` (after blanks) and tells where it ends. */
function takeValue(text: string, start: number, form: boolean, name: string, into: Hit[]): number {
  let first = start;
  while (first - start < 4 && (text.charCodeAt(first) === 32 || text.charCodeAt(first) === 9)) first++;
  const char = text.charAt(first);
  if (char === '"' || char === "'") return takeQuoted(text, first, into);
  if (!form && (char === '[' || char === '{')) return takeNested(text, first, into);

  // A header's value is the rest of its line; others end at the first blank.
  const wholeLine = !form && /authorization$|cookie$/i.test(name);
  let end = first;
  while (end < text.length && !endsValue(text, end, wholeLine)) end++;
  take(text, first, end, form, into);
  return Math.max(end, start);
}

function endsValue(text: string, index: number, wholeLine: boolean): boolean {
  const code = text.charCodeAt(index);
  if (code === 10 || code === 13 || code === 34) return true;
  if (code === 92) return text.charCodeAt(index + 1) === 34; // \"
  if (wholeLine) return false;
  // Blank, tab, &, ', <, >
  if (code === 32 || code === 9 || code === 38 || code === 39 || code === 60 || code === 62) return true;
  // , ; ) } ] end a value only where something else begins: they may be part of a password.
  if (code === 44 || code === 59)
    return /^(?:\s|$|["'[{]|[\w.-]{1,64}[=:])/.test(text.slice(index + 1, index + 67));
  if (code === 41 || code === 125 || code === 93)
    return /^(?:[\s,;)}\]]|$)/.test(text.slice(index + 1, index + 2));
  return false;
}

/** Takes a string in quotes, which begins at `start`, and tells where it ends. */
function takeQuoted(text: string, start: number, into: Hit[]): number {
  const quote = text.charCodeAt(start);
  let end = start + 1;
  while (end < text.length && text.charCodeAt(end) !== quote) end += text.charCodeAt(end) === 92 ? 2 : 1;
  end = Math.min(end, text.length);
  take(text, start + 1, end, false, into);
  return end + 1;
}

/** Takes every string and number of an array or object, which begins at `start`, and tells where it ends. */
function takeNested(text: string, start: number, into: Hit[]): number {
  let depth = 0;
  let index = start;
  while (index < text.length) {
    const code = text.charCodeAt(index);
    if (code === 91 || code === 123) depth++;
    else if (code === 93 || code === 125) {
      if (--depth === 0) return index + 1;
    } else if (code === 34) {
      const taken = into.length;
      index = takeQuoted(text, index, into);
      // The name of a member stays, its value goes.
      if (/^\s{0,4}:/.test(text.slice(index, index + 5))) into.length = taken;
      continue;
    } else if (code >= 48 && code <= 57) {
      let end = index + 1;
      while (end < text.length && /[\w.+-]/.test(text.charAt(end))) end++;
      take(text, index, end, false, into);
      index = end;
      continue;
    }
    index++;
  }
  return index;
}

function take(text: string, start: number, end: number, form: boolean, into: Hit[]): void {
  const value = text.slice(start, end);
  if (isHarmlessValue(value)) return;
  const kept = schemeOf(value).length;
  if (kept === value.length) return;
  const rest = value.slice(kept);
  into.push({ start: start + kept, end, kind: 'secret', secret: form ? decodeForm(rest) : rest });
}

/** Path segments that follow a secret name and are still none: `/password/reset`, `/token/v2`. */
const pathVerbs = new Set(
  `reset forgot forgotten change refresh revoke rotate login logout verify validate check introspect new edit create update
   delete me current self status info list search policy rules strength request confirm send resend issue exchange
   generate callback metadata keys accept decline complete`.split(/\s+/),
);
/** Names that are as often the name of a part of an API: only a segment with a digit in it is secret after them. */
const vagueSegment = /^(?:o?auth|.*authorization|.*authentication|code|key|session|pass|sign|login)$/i;

/** What may stand between the name of a link and its token: numbers, short ids in base64, tokens that are there already. */
const beforeToken = /^(?:\d{1,19}|(?=[a-z_-]*[A-Z0-9])[A-Za-z0-9_-]{1,8}|e?mail|account|link|\uffff+)$/;

function segmentEnd(text: string, start: number): number {
  let end = start;
  while (end < text.length && !/[/?#&\s"'<>;,]/.test(text.charAt(end))) end++;
  return end;
}

/** `/token/abc123`, `/reset/5f2b9c0d`: the segments after the name of a secret or a link. */
export function findSecretSegments(text: string, rules: Rules, into: Hit[]): void {
  for (let slash = text.indexOf('/'); slash >= 0; slash = text.indexOf('/', slash + 1)) {
    const ending = endingOf(text, slash, rules.nameEndings);
    if (ending === 0) continue;
    let first = slash;
    while (first > 0 && slash - first < maxNameChars && isNameChar(text.charCodeAt(first - 1))) first--;
    const name = text.slice(first, slash);
    const kind = rules.nameKind(name);
    // The short look at a text goes by the endings, so these decide here as well.
    if (kind === 'nationalid' && (ending & (nationalIdEnding | secretEnding)) === 0) continue;
    if (kind !== 'secret') findJudgedSegment(text, slash, kind, rules, into);
    else if ((ending & secretEnding) === 0) findJudgedSegment(text, slash, 'link', rules, into);
    else {
      const end = segmentEnd(text, slash + 1);
      const value = text.slice(slash + 1, end);
      if (value === '' || /^v\d/.test(value)) continue;
      if (pathVerbs.has(value.toLowerCase())) {
        // `/password/edit/5f2b9c0d`
        if (text.charCodeAt(end) === 47) findJudgedSegment(text, end, 'link', rules, into);
        continue;
      }
      if (vagueSegment.test(name) && !/\d/.test(value)) continue;
      into.push({ start: slash + 1, end, kind: 'secret', secret: value });
      slash = end - 1;
    }
  }
}

/** Of the segments after the slash, the one that looks like a token: the first, or after a link's name one of three. */
function findJudgedSegment(text: string, slash: number, kind: NameKind, rules: Rules, into: Hit[]): void {
  if (kind === 'other' || kind === 'digest') return;
  let start = slash + 1;
  for (let count = 0; count < (kind === 'link' ? maxLinkSegments : 1); count++) {
    const end = segmentEnd(text, start);
    const value = text.slice(start, end);
    // What is encoded is judged in decoded form.
    const found = /%[0-9A-Fa-f]{2}/.test(value) ? undefined : secretByName(kind, value);
    if (found !== undefined) {
      into.push({ start, end, ...found });
      return;
    }
    const goesOn =
      beforeToken.test(value) || pathVerbs.has(value.toLowerCase()) || rules.nameKind(value) === 'link';
    if (!goesOn || text.charCodeAt(end) !== 47) return;
    start = end + 1;
  }
}
