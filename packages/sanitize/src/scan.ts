import { linkNameEndings, nationalIdNameEndings } from './names.ts';

// The first looks at every string. `isPlain` is the cheaper one and proves most strings harmless; `scan` tells which rules
// could find anything in the others.

/** `@`: an e-mail address or user info. */
export const hasAt = 1;
/** `%41` or a backslash: something to decode. */
export const hasEncoding = 2;
/** `=` or `:` after a possible name. */
export const hasPair = 4;
/** Digits enough for a card, an IBAN or a phone number. */
export const hasNumber = 8;
/** Twelve or more characters of base64, other than a uuid. */
export const hasRun = 16;
/** A word that ends as an authentication scheme does, and a blank. */
export const hasScheme = 32;
/** A path segment that ends as a secret name or that of a link does. */
export const hasSecretSegment = 64;
/** These never matter alone: five hyphens may begin PEM, `+` may stand for a blank, `~` may begin a token. */
export const hasPem = 128;
export const hasPlus = 256;
export const hasTilde = 512;
const modifiers = hasPem | hasPlus | hasTilde;

const other = 0;
const letter = 1;
const digit = 2;
const hyphen = 3;
const underscore = 4;
const plus = 5;
const slash = 6;
const blank = 7;
const dot = 8;
const parenthesis = 9;
const equals = 10;
const colon = 11;
const percent = 12;
const backslash = 13;
const at = 14;
const tilde = 15;

const kinds = new Uint8Array(128);
for (let code = 0; code < 26; code++) kinds[65 + code] = kinds[97 + code] = letter;
for (let code = 48; code < 58; code++) kinds[code] = digit;
for (const [char, kind] of [
  ['-', hyphen],
  ['_', underscore],
  ['+', plus],
  ['/', slash],
  [' ', blank],
  ['\t', blank],
  ['.', dot],
  ['(', parenthesis],
  [')', parenthesis],
  ['=', equals],
  [':', colon],
  ['%', percent],
  ['\\', backslash],
  ['@', at],
  ['~', tilde],
] as const) {
  kinds[char.charCodeAt(0)] = kind;
}

/** The shortest piece of base64 that is looked at: 9 bytes. */
export const minRunChars = 12;

function isHexCode(code: number): boolean {
  return (code >= 48 && code <= 57) || (code >= 97 && code <= 102) || (code >= 65 && code <= 70);
}

/** Of a letter, digit, hyphen or underscore. */
function isWordKind(kind: number): boolean {
  return kind !== other && kind <= underscore;
}

/** True if a uuid with hyphens, and no further character of a word, begins at `start`. */
export function isUuidAt(text: string, start: number): boolean {
  if (text.charCodeAt(start + 8) !== 45 || text.charCodeAt(start + 13) !== 45) return false;
  for (let index = 0; index < 36; index++) {
    const code = text.charCodeAt(start + index);
    const wantsHyphen = index === 8 || index === 13 || index === 18 || index === 23;
    if (wantsHyphen ? code !== 45 : !isHexCode(code)) return false;
  }
  const next = text.charCodeAt(start + 36);
  return !(next < 128 && isWordKind(kinds[next]!));
}

/**
 * Endings of names after which the next path segment may be secret, three letters each (the first may be none), as a table:
 * a look at three letters is all that a segment costs. 1: the segment is secret whatever it looks like; 2: if it looks like a
 * token; 4: if it looks like a national id.
 */
export type NameEndings = Uint8Array;

export const secretEnding = 1;
const linkEnding = 2;
export const nationalIdEnding = 4;
/** The fewest digits of a national id. */
const minIdDigits = 6;
const builtInEndings = 'ken swd pwd ord ret key jwt otp pin ode uth ion ial ure sid ase ass sig ssn'.split(
  ' ',
);

function letterAt(text: string, index: number): number {
  const letter = (text.charCodeAt(index) | 32) - 97;
  return letter >= 0 && letter < 26 ? letter : -1;
}

function endingIndex(text: string, end: number): number {
  const third = letterAt(text, end - 1);
  if (third < 0) return -1;
  const second = letterAt(text, end - 2);
  if (second < 0) return -1;
  const first = letterAt(text, end - 3);
  return (first < 0 ? 26 : first) * 676 + second * 26 + third;
}

/** `further` are the operator's names. */
export function createNameEndings(further: readonly string[]): NameEndings {
  const endings = new Uint8Array(27 * 26 * 26);
  for (const [names, bit] of [
    [[...builtInEndings, ...further], secretEnding],
    [linkNameEndings, linkEnding],
    [nationalIdNameEndings, nationalIdEnding],
  ] as const) {
    for (const name of names) {
      const index = endingIndex(name, name.length);
      if (index >= 0) endings[index]! |= bit;
    }
  }
  return endings;
}

/** What the end of the name that ends before `end` tells: the sum of the kinds of names that end so. */
export function endingOf(text: string, end: number, endings: NameEndings): number {
  const index = endingIndex(text, end);
  return index < 0 ? 0 : endings[index]!;
}

/** The shortest token of a link, and the shortest that is a number or a word in capitals. */
export const minTokenChars = 5;
export const minNumberTokenChars = 20;
export const minWordChars = 16;
/** A token after the name of a link is one of so many segments: `/reset/<id>/<time>/<token>`. */
export const maxLinkSegments = 3;

/** False proves that no segment after a name that ends so is secret. */
function mayPrecedeSecret(text: string, slash: number, ending: number): boolean {
  if ((ending & secretEnding) !== 0) return true;
  return mayHoldToken(text, slash + 1, (ending & nationalIdEnding) !== 0 ? minIdDigits : minNumberTokenChars);
}

/** False proves that none of the segments from `start` on looks like a token or a national id with `minDigits`. */
function mayHoldToken(text: string, start: number, minDigits: number): boolean {
  let begin = start;
  for (let segments = 0; segments < maxLinkSegments && begin < text.length; segments++) {
    let digits = 0;
    let letters = 0;
    let capitals = 0;
    let index = begin;
    for (let code; index < text.length && (code = text.charCodeAt(index)) !== 47; index++) {
      if (code >= 48 && code <= 57) digits++;
      else if (code >= 65 && code <= 90) capitals++;
      else if (code >= 97 && code <= 122) letters++;
    }
    if (digits >= minDigits || capitals >= minWordChars) return true;
    if (index - begin >= minTokenChars && (digits > 0 ? letters + capitals > 0 : capitals > 1)) return true;
    begin = index + 1;
  }
  return false;
}

/** What a character may be part of: 1 a run, 2 a number, 4 something to look at closely; 8 is a slash, 16 a blank. */
const bits = new Uint8Array(128);
for (let code = 0; code < 128; code++) {
  const char = String.fromCharCode(code);
  if (/[A-Za-z0-9_/-]/.test(char)) bits[code]! |= 1;
  if (/[0-9 .()/-]/.test(char)) bits[code]! |= 2;
  if (/[@%\\=:+]/.test(char)) bits[code]! |= 4;
  if (char === '/') bits[code]! |= 8;
  if (/[ \t]/.test(char)) bits[code]! |= 16;
}
/** With fewer characters in a row no rule for numbers applies. */
const minNumberChars = 8;

/** True if a short look proves that no rule could find anything; false proves nothing. */
export function isPlain(text: string, path: boolean, endings: NameEndings): boolean {
  // In here, because a bundler turns the constants of a module into variables: that costs a third of the time.
  const table = bits;
  const maxRun = minRunChars;
  const maxNumber = minNumberChars;
  const minIdNumber = minIdDigits;
  let run = 0;
  let number = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    const bit = code < 128 ? table[code]! : 0;
    run = (bit & 1) === 0 ? 0 : run + 1;
    if ((bit & 2) !== 0) number++;
    // Behind some digits, a letter may end a national id.
    else number = number >= minIdNumber && run > 0 ? maxNumber : 0;
    if (bit >= 4) {
      if ((bit & 4) !== 0) return false;
      if ((bit & 8) === 0) {
        if (endsLikeScheme(text, index)) return false;
      } else {
        const ending = endingOf(text, index, endings);
        if (ending !== 0 && mayPrecedeSecret(text, index, ending)) return false;
        if (path) run = number = 0;
      }
    }
    if (run >= maxRun || number >= maxNumber) {
      const start = index + 1 - run;
      if (run === 0 || !isUuidAt(text, start)) return false;
      index = start + 35;
      run = number = 0;
    }
  }
  return true;
}

/** Flags of the rules that may find something in the text; 0 proves that none does. `path`: a slash ends a run of base64. */
export function scan(text: string, path: boolean, endings: NameEndings): number {
  let flags = 0;
  let run = 0;
  let letters = 0;
  let hyphens = 0;
  let previous = other;
  // The current stretch of digits: how many, what separates them, whether + or 00 opened it.
  let digits = 0;
  let gap = 0;
  let separated = false;
  let international = false;

  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    const kind = code < 128 ? kinds[code]! : other;
    const before = previous;
    previous = kind;
    if (kind === letter || kind === digit) {
      if (
        (before === other || before > underscore) &&
        text.charCodeAt(index + 8) === 45 &&
        isUuidAt(text, index)
      ) {
        index += 35;
        digits = letters = hyphens = 0;
        continue;
      }
      if (++run === minRunChars) flags |= hasRun;
      hyphens = 0;
      if (kind === letter) {
        letters++;
        if (digits >= minIdDigits) flags |= hasNumber;
        digits = 0;
        international = false;
        continue;
      }
      letters = 0;
      if (digits === 0) {
        gap = 0;
        separated = false;
        if (code === 48 && text.charCodeAt(index + 1) === 48) international = true;
      } else if (gap > 0) {
        gap = 0;
        separated = true;
      }
      digits++;
      if (digits >= 13 || (digits >= 9 && separated) || (digits >= 8 && international)) flags |= hasNumber;
      continue;
    }
    switch (kind) {
      case hyphen:
        if (++run === minRunChars) flags |= hasRun;
        if (++hyphens === 5) flags |= hasPem;
        if (++gap > 3) digits = 0;
        letters = 0;
        continue;
      case underscore:
        if (++run === minRunChars) flags |= hasRun;
        digits = 0;
        break;
      case plus:
        flags |= hasPlus;
        if (++run === minRunChars) flags |= hasRun;
        if (endsLikeScheme(text, index)) flags |= hasScheme;
        // Between digits it may stand for a blank, before them it may open an international number: either way, look.
        if (digits > 0) separated = true;
        international = true;
        break;
      case slash:
        if (path) run = 0;
        else if (++run === minRunChars) flags |= hasRun;
        if (letters >= 2 && endingOf(text, index, endings) !== 0) flags |= hasSecretSegment;
        if (path || ++gap > 3) digits = 0;
        break;
      case blank:
        if (endsLikeScheme(text, index)) flags |= hasScheme;
        run = 0;
        if (++gap > 3) digits = 0;
        break;
      case dot:
      case parenthesis:
        run = 0;
        if (++gap > 3) digits = 0;
        break;
      case colon:
        run = digits = 0;
        // A time of day and `https://` are no pairs: before a colon, a name does not end in a digit.
        if (before !== digit && text.charCodeAt(index + 1) !== 47) flags |= hasPair;
        break;
      case equals:
        run = digits = 0;
        flags |= hasPair;
        break;
      case percent:
        run = digits = 0;
        if (isHexCode(text.charCodeAt(index + 1)) && isHexCode(text.charCodeAt(index + 2)))
          flags |= hasEncoding;
        break;
      case backslash:
        run = digits = 0;
        flags |= hasEncoding;
        break;
      case at:
        run = digits = 0;
        flags |= hasAt;
        break;
      case tilde:
        run = digits = 0;
        flags |= hasTilde;
        break;
      default:
        run = digits = 0;
    }
    if (digits === 0 && kind !== plus && kind !== blank && kind !== parenthesis) international = false;
    letters = 0;
    hyphens = 0;
  }
  return (flags & ~modifiers) === 0 ? 0 : flags;
}

/** The last two letters of bearer, basic, digest, token, apikey, and of the BEGIN of a PEM block. */
function endsLikeScheme(text: string, end: number): boolean {
  const last = text.charCodeAt(end - 1) | 32;
  const before = text.charCodeAt(end - 2) | 32;
  if (before === 101) return last === 114 || last === 110 || last === 121; // er, en, ey
  // ic, in, st
  return before === 105 ? last === 99 || last === 110 : before === 115 && last === 116;
}
