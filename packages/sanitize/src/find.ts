import { blank, blankOut } from './blank.ts';
import { decode, decodeForm, plainView } from './decode.ts';
import type { View } from './decode.ts';
import { blankDigests } from './digests.ts';
import type { Digests } from './digests.ts';
import type { NameKind } from './names.ts';
import { compactNationalId, findNationalIds, looksLikeNationalId } from './national-ids.ts';
import { findCardsAndPhones, findIbans } from './numbers.ts';
import {
  decodeBase64Text,
  isUserAndPassword,
  looksLikeToken,
  looksRandom,
  maxLinkTokenChars,
} from './opaque.ts';
import {
  endingOf,
  hasAt,
  hasEncoding,
  hasNumber,
  hasPair,
  hasPem,
  hasPlus,
  hasRun,
  hasScheme,
  hasSecretSegment,
  hasTilde,
  maxLinkSegments,
  minRunChars,
  nationalIdEnding,
  scan,
  secretEnding,
} from './scan.ts';
import type { NameEndings } from './scan.ts';

/** A part of a text to replace by the token of `secret`, which is the part in decoded and plain form. */
export interface Hit {
  start: number;
  end: number;
  kind: string;
  secret: string;
}

export interface Rules {
  nameKind: (name: string) => NameKind;
  nameEndings: NameEndings;
  /** The operator's; flags `gu`. */
  patterns: readonly RegExp[];
}

/** Rounds of decoding (percent-encoding, JSON escapes, base64) that are looked through. */
export const maxDecodingRounds = 3;

export const tokenPattern = /~[a-z]{1,16}~[A-Za-z0-9_-]{22}/g;
const uuidPattern =
  /(?<![A-Za-z0-9])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![A-Za-z0-9_-])/gi;

/** Values that tell nothing: Kong's word for a header it took out, and the words of JSON. */
export function isHarmlessValue(value: string): boolean {
  return value === '' || value === 'REDACTED' || value === 'true' || value === 'false' || value === 'null';
}

/** What is known of a text beside its characters. */
export interface Context {
  /** A slash separates segments and is never part of base64. */
  path: boolean;
  /** Which checksums, trace ids and revisions stay. */
  digests: Digests;
}

/** Everything in a text that looks like a secret, in order and without overlaps. Linear in the length of the text. */
export function findSecrets(text: string, context: Context, rules: Rules): Hit[] {
  if (text === '') return [];
  return merge(text, findInViews(text, context, rules, maxDecodingRounds));
}

/** What of the value of a name is secret because of the name and its look: undefined if the name says nothing. */
export function secretByName(kind: NameKind, value: string): Pick<Hit, 'kind' | 'secret'> | undefined {
  if ((kind === 'link' || kind === 'ticket') && looksLikeToken(value, kind === 'ticket'))
    return { kind: 'secret', secret: value };
  return kind === 'nationalid' && looksLikeNationalId(value)
    ? { kind: 'nationalid', secret: compactNationalId(value) }
    : undefined;
}

/** Looks at the text as it stands, and at each decoded form of it. Hits overlap; they are in terms of `text`. */
function findInViews(text: string, context: Context, rules: Rules, rounds: number): Hit[] {
  const { path } = context;
  const hits: Hit[] = [];
  let view: View | undefined;
  let flags = look(text, undefined, context, rules, rounds, hits);
  let deepest = text;
  for (let round = 1; round <= rounds && (flags & hasEncoding) !== 0; round++) {
    const decoded = decode(view ?? plainView(text));
    if (decoded === undefined) break;
    view = decoded;
    deepest = decoded.text;
    // A decoded slash may be a character of base64, also in a path.
    flags = look(deepest, view, { ...context, path: false }, rules, rounds - round, hits);
  }
  if ((flags & hasPlus) !== 0) {
    const spaced = deepest.replaceAll('+', ' ');
    look(spaced, view, { ...context, path: path && view === undefined }, rules, 0, hits);
  }
  return hits;
}

/** Finds in one form of the text and tells the flags of that form. */
function look(
  text: string,
  view: View | undefined,
  { path, digests }: Context,
  rules: Rules,
  rounds: number,
  into: Hit[],
): number {
  const flags = scan(text, path, rules.nameEndings);
  if (flags === 0 && rules.patterns.length === 0) return 0;

  // Tokens are left alone by all rules, uuids by those that go by shape.
  const named = (flags & hasTilde) !== 0 ? blankOut(text, tokenPattern) : text;
  const found: Hit[] = [];
  if ((flags & hasPair) !== 0) findPairs(named, rules, found);
  if ((flags & hasSecretSegment) !== 0) findSecretSegments(named, rules, found);
  if ((flags & hasScheme) !== 0) findSchemes(named, found);
  if ((flags & hasPem) !== 0) findPem(named, found);
  if ((flags & hasAt) !== 0) {
    findEmails(named, findUserInfo(named, found), found);
  }
  if ((flags & (hasNumber | hasRun)) !== 0) {
    const known = named.includes('-') ? blankOut(named, uuidPattern) : named;
    const shapes = (flags & hasRun) !== 0 ? blankDigests(known, digests, rules.nameKind) : known;
    if ((flags & hasNumber) !== 0) found.push(...findCardsAndPhones(shapes));
    found.push(...findIbans(shapes), ...findNationalIds(shapes, (flags & hasNumber) === 0));
    if ((flags & hasRun) !== 0) {
      findKnownKeys(shapes, found);
      findRuns(shapes, { path, digests }, rules, rounds, found);
    }
  }
  for (const pattern of rules.patterns) {
    for (const match of named.matchAll(pattern)) {
      if (match[0] !== '') {
        found.push({
          start: match.index,
          end: match.index + match[0].length,
          kind: 'secret',
          secret: match[0],
        });
      }
    }
  }
  for (const hit of found) {
    for (const part of withoutBlanks(hit, named)) {
      if (view !== undefined) {
        part.start = view.starts[part.start]!;
        part.end = view.starts[part.end]!;
      }
      into.push(part);
    }
  }
  return flags;
}

/** What remains of a hit when the tokens in it stay. */
function withoutBlanks(hit: Hit, text: string): Hit[] {
  const part = text.slice(hit.start, hit.end);
  if (!part.includes(blank)) return [hit];
  const rest: Hit[] = [];
  for (const match of part.matchAll(/[^\uffff]+/g)) {
    const start = hit.start + match.index;
    rest.push({ start, end: start + match[0].length, kind: hit.kind, secret: match[0] });
  }
  return rest;
}

/** Overlapping hits become one, with the kind and secret of the widest; of equally wide ones the first. */
function merge(text: string, hits: Hit[]): Hit[] {
  if (hits.length < 2) return hits;
  const order = hits.map((_, index) => index);
  order.sort((a, b) => hits[a]!.start - hits[b]!.start || a - b);
  const merged: Hit[] = [];
  let group: Hit | undefined;
  let widest = 0;
  for (const index of order) {
    const hit = hits[index]!;
    const width = hit.end - hit.start;
    if (group === undefined || hit.start >= group.end) {
      group = { ...hit };
      widest = width;
      merged.push(group);
      continue;
    }
    const end = Math.max(group.end, hit.end);
    if (width > widest) {
      group.kind = hit.kind;
      group.secret = hit.secret;
      widest = width;
    }
    group.end = end;
    if (end - group.start > widest) group.secret = text.slice(group.start, end);
  }
  return merged;
}

// ---- by name -------------------------------------------------------------------------------------------------------

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
function findPairs(text: string, rules: Rules, into: Hit[]): void {
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
function findSecretSegments(text: string, rules: Rules, into: Hit[]): void {
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

// ---- by shape ------------------------------------------------------------------------------------------------------

const schemes = /(?<![A-Za-z0-9])(bearer|basic|digest|token|apikey)[ \t]+([^\s"',;<>]+)/gi;

/** `Bearer <value>`, `Basic <value>`, `Digest <the rest of the line>`; words of prose after Basic and Token stay. */
function findSchemes(text: string, into: Hit[]): void {
  for (const match of text.matchAll(schemes)) {
    const value = match[2]!;
    const end = match.index + match[0].length;
    const start = end - value.length;
    const name = match[1]!.toLowerCase();
    if (name === 'digest' && /^\w+=/.test(value)) {
      const lineEnd = /[\r\n]/.exec(text.slice(start))?.index ?? text.length - start;
      into.push({ start, end: start + lineEnd, kind: 'secret', secret: text.slice(start, start + lineEnd) });
      continue;
    }
    // `Basic realm="service"` is what a server asks with.
    if (/^[a-z_]+=$/i.test(value) && text.charAt(end) === '"') continue;
    if (name !== 'bearer' && /^[A-Za-z]?[a-z]+[.:!?]?$/.test(value) && !isCredential(value)) continue;
    into.push({ start, end, kind: 'secret', secret: value });
  }
}

function isCredential(value: string): boolean {
  const decoded = decodeBase64Text(value);
  return decoded !== undefined && decoded.includes(':');
}

const pem = /-----BEGIN [A-Z0-9 ]{1,40}-----[^]*?(?:-----END [A-Z0-9 ]{1,40}-----|$)/g;

function findPem(text: string, into: Hit[]): void {
  for (const match of text.matchAll(pem)) {
    into.push({ start: match.index, end: match.index + match[0].length, kind: 'secret', secret: match[0] });
  }
}

const maxUserInfoChars = 512;

/** `user:password@` and `user@` after `//`. Tells where each @ stands, as it belongs to no address. */
function findUserInfo(text: string, into: Hit[]): Set<number> {
  const ends = new Set<number>();
  for (let slashes = text.indexOf('//'); slashes >= 0; slashes = text.indexOf('//', slashes + 2)) {
    const start = slashes + 2;
    const limit = Math.min(text.length, start + maxUserInfoChars);
    let end = start;
    let at = -1;
    let firstSlash = -1;
    for (; end < limit && !/[\s"'<>?#]/.test(text.charAt(end)); end++) {
      const code = text.charCodeAt(end);
      if (code === 47) {
        if (firstSlash < 0) firstSlash = end;
        if (at >= 0 || text.charCodeAt(end + 1) === 47) break;
        // A slash ends the authority, unless what looks like a port is none: then it is part of a password.
        if (!/:\D/.test(text.slice(start, firstSlash))) break;
      } else if (code === 64) at = end;
    }
    if (at <= start) continue;
    ends.add(at);
    into.push({ start, end: at, kind: 'secret', secret: text.slice(start, at) });
  }
  return ends;
}

const maxLocalChars = 64;
const maxDomainChars = 253;

function isLocalChar(code: number): boolean {
  return (
    (code >= 97 && code <= 122) ||
    (code >= 64 && code <= 90 && code !== 64) ||
    (code >= 48 && code <= 57) ||
    (code >= 128 && code !== 0xffff && code !== 0xfffd) ||
    code === 46 || // .
    code === 95 || // _
    code === 45 || // -
    code === 43 // +
  );
}

/** E-mail addresses, around each @ that is not in `userInfo`. */
function findEmails(text: string, userInfo: ReadonlySet<number>, into: Hit[]): void {
  for (let at = text.indexOf('@'); at >= 0; at = text.indexOf('@', at + 1)) {
    if (userInfo.has(at)) continue;
    let start = at;
    while (start > 0 && at - start < maxLocalChars && isLocalChar(text.charCodeAt(start - 1))) start--;
    // The digits of `%3D` are not part of the address.
    if (text.charCodeAt(start - 1) === 37 && /^[0-9a-f]{2}/i.test(text.slice(start, at))) start += 2;
    if (start >= at) continue;
    let end = at + 1;
    while (end < text.length && end - at < maxDomainChars && isDomainChar(text.charCodeAt(end))) end++;
    while (end > at + 1 && /[.-]/.test(text.charAt(end - 1))) end--;
    const domain = text.slice(at + 1, end);
    const dot = domain.lastIndexOf('.');
    // `package@1.2.3` and `logo@2x.png` are none.
    if (dot < 1 || domain.length - dot < 3 || /\d$|^\dx\./.test(domain)) continue;
    into.push({ start, end, kind: 'email', secret: text.slice(start, end).toLowerCase() });
  }
}

function isDomainChar(code: number): boolean {
  return isLocalChar(code) && code !== 95 && code !== 43;
}

/** Key formats that their issuers made recognisable. `sk-` alone also begins ordinary words: see below. */
const knownKeys = new RegExp(
  '(?<![A-Za-z0-9])(?:' +
    [
      'eyJ[\\w-]{8,}(?:\\.[\\w-]*)*', // JSON Web Token
      'gh[opusr]_[A-Za-z0-9]{16,}',
      'github_pat_\\w{16,}',
      'glpat-[\\w-]{16,}',
      'npm_[A-Za-z0-9]{30,}',
      '[sr]k_(?:live|test)_[A-Za-z0-9]{10,}',
      'whsec_[A-Za-z0-9+/=]{16,}',
      'sk-[\\w-]{20,}',
      'xox[a-z]-[\\w-]{10,}',
      'xapp-[\\w-]{10,}',
      '(?:AKIA|ASIA)[A-Z0-9]{16}',
      'AIza[\\w-]{30,}',
      'ya29\\.[\\w-]{16,}',
      'SG\\.[\\w-]{16,}\\.[\\w-]{16,}',
      'hf_[A-Za-z0-9]{30,}',
      'shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}',
      '(?:ST|PT|PGT|TGT|PGTIOU)-\\d{1,10}-(?=[A-Za-z_.-]*\\d)[\\w.-]{10,}', // CAS
      '(?<=bot\\d{6,12}:)[\\w-]{30,}', // Telegram
      '(?<=services/T[A-Z0-9]{5,12}/B[A-Z0-9]{5,12}/)[A-Za-z0-9]{16,}', // Slack
      '(?<=\\([SFAX]\\()[A-Za-z0-9_-]{20,}', // ASP.NET without cookies
      '(?<=[/=]private-)(?=[a-z]*\\d)[a-z0-9]{10,}', // calendars
    ].join('|') +
    ')',
  'g',
);

function findKnownKeys(text: string, into: Hit[]): void {
  for (const match of text.matchAll(knownKeys)) {
    const key = match[0];
    // A slug such as sk-sneakers-for-children has no capital and digit.
    if (key.startsWith('sk-') && !(/\d/.test(key) && /[A-Z]/.test(key)) && !looksRandom(key)) continue;
    into.push({ start: match.index, end: match.index + key.length, kind: 'secret', secret: key });
  }
}

/** 64 characters of random base64 hold one slash on average. */
const maxJoinedSegments = 8;

const runs = new RegExp(`[A-Za-z0-9+/_-]{${minRunChars},}={0,2}`, 'g');

/** Random tokens, and base64 of text that holds a secret. */
function findRuns(text: string, context: Context, rules: Rules, rounds: number, into: Hit[]): void {
  for (const match of text.matchAll(runs)) {
    let run = match[0];
    let start = match.index;
    if (text.charCodeAt(start - 1) === 37 && /^[0-9a-f]{2}/i.test(run)) {
      run = run.slice(2);
      start += 2;
    }
    if (!run.includes('/')) {
      judgeRun(run, start, context, rules, rounds, into);
      continue;
    }
    const before = into.length;
    const starts: number[] = [];
    let segmentStart = start;
    for (const segment of run.split('/')) {
      if (segment.length >= minRunChars) judgeRun(segment, segmentStart, context, rules, rounds, into);
      starts.push(segmentStart);
      segmentStart += segment.length + 1;
    }
    if (context.path || into.length > before) continue;
    // In free text a slash may also be a character of base64: then some segments are one run, up to the end.
    for (const joinedStart of starts.slice(-maxJoinedSegments, -1)) {
      const joined = run.slice(joinedStart - start);
      if (joined.length >= minRunChars) judgeRun(joined, joinedStart, context, rules, rounds, into);
      if (into.length > before) break;
    }
  }
}

function judgeRun(
  run: string,
  start: number,
  { digests }: Context,
  rules: Rules,
  rounds: number,
  into: Hit[],
): void {
  const end = start + run.length;
  const readable = rounds > 0 ? decodeBase64Text(run) : undefined;
  if (readable !== undefined) {
    const inside = merge(readable, findInViews(readable, { path: false, digests }, rules, rounds - 1));
    const only = inside[0];
    if (only !== undefined && only.start === 0 && only.end === readable.length) {
      into.push({ start, end, kind: only.kind, secret: only.secret });
      return;
    }
    if (only !== undefined || isUserAndPassword(readable))
      into.push({ start, end, kind: 'secret', secret: run });
    return;
  }
  if (looksRandom(run)) into.push({ start, end, kind: 'secret', secret: run });
}
