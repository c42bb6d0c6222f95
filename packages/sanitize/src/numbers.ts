// Card numbers, IBANs and phone numbers. All of them carry a structure that ordinary ids and timestamps rarely have.

/** A part of a text: `secret` is the number in its plain form, so that all ways of writing it give one token. */
export interface FoundNumber {
  start: number;
  end: number;
  kind: 'card' | 'iban' | 'phone' | 'nationalid';
  secret: string;
}

/** Luhn's checksum (ISO/IEC 7812-1, annex B). */
function passesLuhn(digits: string): boolean {
  let sum = 0;
  for (let index = 0; index < digits.length; index++) {
    const digit = digits.charCodeAt(digits.length - 1 - index) - 48;
    const doubled = digit * 2;
    sum += index % 2 === 0 ? digit : doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}

/** EAN-13: the number of an article, which a shop's paths are full of. */
function isArticleNumber(digits: string): boolean {
  if (digits.length !== 13) return false;
  let sum = 0;
  for (let index = 0; index < 13; index++) sum += (digits.charCodeAt(index) - 48) * (index % 2 === 0 ? 1 : 3);
  return sum % 10 === 0;
}

/** Issuer prefixes with the lengths that they come in. */
const issuers: readonly { prefix: RegExp; lengths: readonly number[] }[] = [
  { prefix: /^4/, lengths: [13, 16, 19] }, // Visa
  { prefix: /^(?:5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720)/, lengths: [16] }, // Mastercard
  { prefix: /^3[47]/, lengths: [15] }, // American Express
  { prefix: /^(?:6011|64[4-9]|65)/, lengths: [16, 17, 18, 19] }, // Discover
  { prefix: /^(?:30[0-59]|3[689])/, lengths: [14, 16, 17, 18, 19] }, // Diners Club
  { prefix: /^35(?:2[89]|[3-8])/, lengths: [16, 17, 18, 19] }, // JCB
  { prefix: /^62/, lengths: [16, 17, 18, 19] }, // UnionPay
  { prefix: /^(?:50(?:18|20|38)|5893|6304|6759|676[1-3])/, lengths: [13, 14, 15, 16, 17, 18, 19] }, // Maestro
  { prefix: /^220[0-4]/, lengths: [16, 17, 18, 19] }, // Mir
];

function isCard(digits: string): boolean {
  const issued = issuers.some(
    ({ prefix, lengths }) => lengths.includes(digits.length) && prefix.test(digits),
  );
  return issued && passesLuhn(digits) && !isArticleNumber(digits);
}

const maxCardDigits = 19;
/** 19 digits and as many separators. */
const maxCardChars = 38;

/** The card number that begins at `start`: the longest one that ends where a group of digits ends. */
function cardAt(stretch: string, start: number): { end: number; digits: string } | undefined {
  let digits = '';
  let firstGroup = 0;
  let found: { end: number; digits: string } | undefined;
  const limit = Math.min(stretch.length, start + maxCardChars);
  for (let index = start; index < limit && digits.length <= maxCardDigits; index++) {
    const char = stretch.charAt(index);
    if (char === ' ' || char === '-') {
      if (firstGroup === 0) firstGroup = digits.length;
      // Written in groups, a card number begins with four digits.
      if (firstGroup !== 4) break;
      continue;
    }
    if (char < '0' || char > '9') break;
    digits += char;
    const next = stretch.charCodeAt(index + 1);
    const groupEnds = !(next >= 48 && next <= 57);
    if (groupEnds && digits.length >= 13 && isCard(digits)) found = { end: index + 1, digits };
  }
  return found;
}

function findCards(stretch: string, offset: number, into: FoundNumber[]): void {
  for (let index = 0; index < stretch.length; index++) {
    const code = stretch.charCodeAt(index);
    if (code < 48 || code > 57) continue;
    const before = stretch.charAt(index - 1);
    const groupBegins = before < '0' || before > '9';
    // The fraction of a decimal number is no card.
    const fraction = before === '.' && index > 1;
    const card = groupBegins && !fraction ? cardAt(stretch, index) : undefined;
    if (card !== undefined) {
      into.push({ start: offset + index, end: offset + card.end, kind: 'card', secret: card.digits });
      index = card.end - 1;
    }
  }
}

/** North American: 3-3-4 with separators. */
const nationalAmerican =
  /(?:\([2-9]\d{2}\) ?|(?<![\d.-])(?:1[ .-])?[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}(?!\d|[.-]\d)/;
/** A trunk zero, an area code, one to five further groups. */
const nationalTrunk = /^\(?0[1-9]\d{0,4}\)?(?:[ /-]{1,2}\d{2,8}){1,5}/;
/** French with dots. */
const nationalDots = /^0[1-9](?:\.\d{2}){4}(?![.\d])/;
/** Freephone and premium numbers are companies', never people's; part numbers look like them (`0800-7310-4410`). */
const serviceNumber = /^\(?0[89]00\b/;
const date = /\d{1,2}[./-]\d{1,2}[./-]\d{4}|\d{4}[./-]\d{1,2}[./-]\d{1,2}/;

/** The part of a stretch of digits and separators that is a phone number. */
function phoneIn(stretch: string): { start: number; end: number } | undefined {
  const digits = stretch.replace(/\D/g, '');
  const whole = { start: 0, end: stretch.length };
  if (stretch.includes('+')) return digits.length >= 8 && !digits.startsWith('0') ? whole : undefined;
  if (/^00[1-9]/.test(digits) && digits.length >= 12 && digits.length <= 17) {
    // Without separators, ids and article numbers can begin with zeros, too.
    if (stretch === digits) return digits.length >= 13 && !isArticleNumber(digits) ? whole : undefined;
    if (!date.test(stretch)) return whole;
  }
  const american = nationalAmerican.exec(stretch);
  if (american) return { start: american.index, end: american.index + american[0].length };
  const trunk = nationalTrunk.exec(stretch) ?? nationalDots.exec(stretch);
  if (trunk === null || date.test(trunk[0]) || serviceNumber.test(trunk[0])) return undefined;
  const trunkDigits = trunk[0].replace(/\D/g, '').length;
  return trunkDigits >= 9 && trunkDigits <= 13 ? { start: 0, end: trunk[0].length } : undefined;
}

const stretches = /(?:\+ ?)?\(?\d(?:[ .()/-]{0,3}\d){7,}/g;

/** Cards and phone numbers in a text. */
export function findCardsAndPhones(text: string): FoundNumber[] {
  const found: FoundNumber[] = [];
  for (const match of text.matchAll(stretches)) {
    let stretch = match[0];
    let start = match.index;
    // The second half of `%20` is not a digit of the number.
    if (text.charCodeAt(start - 1) === 37 && /^\d\d/.test(stretch)) {
      stretch = stretch.slice(2);
      start += 2;
    }
    const cardsBefore = found.length;
    findCards(stretch, start, found);
    if (found.length > cardsBefore || /[\w.]/.test(text.charAt(start - 1))) continue;
    const phone = phoneIn(stretch);
    if (phone === undefined) continue;
    found.push({
      start: start + phone.start,
      end: start + phone.end,
      kind: 'phone',
      secret: stretch.slice(phone.start, phone.end).replace(/[^\d+]/g, ''),
    });
  }
  return found;
}

/** Lengths of IBANs by country, from the IBAN registry of SWIFT. */
const ibanChars = new Map(
  (
    'AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 ' +
    'FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 ' +
    'LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 ' +
    'RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30'
  )
    .split(' ')
    .map((entry) => [entry.slice(0, 2), Number(entry.slice(2))] as const),
);
const ibanBeginnings = /(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?=[ -]?[A-Za-z0-9])/g;

/** The check digits of ISO 13616: with the first four characters at the end and letters as numbers, 1 modulo 97. */
function passesMod97(iban: string): boolean {
  let rest = 0;
  for (const char of iban.slice(4) + iban.slice(0, 4)) {
    const value = parseInt(char, 36);
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97;
  }
  return rest === 1;
}

/** IBANs in a text, with or without blanks or hyphens between their groups. */
export function findIbans(text: string): FoundNumber[] {
  const found: FoundNumber[] = [];
  for (const match of text.matchAll(ibanBeginnings)) {
    const length = ibanChars.get(match[0].slice(0, 2).toUpperCase());
    if (length === undefined) continue;
    let iban = '';
    let end = match.index;
    let separators = 0;
    while (iban.length < length && separators < 2 && end < text.length) {
      const char = text.charAt(end++);
      if (char === ' ' || char === '-') separators++;
      else if (/[A-Za-z0-9]/.test(char)) {
        separators = 0;
        iban += char.toUpperCase();
      } else break;
    }
    if (iban.length !== length || /[A-Za-z0-9]/.test(text.charAt(end)) || !passesMod97(iban)) continue;
    found.push({ start: match.index, end, kind: 'iban', secret: iban });
  }
  return found;
}
