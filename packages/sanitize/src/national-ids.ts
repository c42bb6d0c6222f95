// Numbers that states give to people. By shape only those are found that are written as people write them and whose check digits,
// dates or ranges are right; a plain run of digits that passes one check digit by chance is the id of an object in most APIs.

import type { FoundNumber } from './numbers.ts';

const digitsOf = (text: string): string => text.replace(/\D/g, '');

/** A check digit: the sum of digits times weights, modulo. */
function weighted(digits: string, weights: readonly number[], modulo: number): number {
  return weights.reduce((sum, weight, index) => sum + weight * Number(digits[index]), 0) % modulo;
}

function isDate(day: string, month: string): boolean {
  return /^(?:0[1-9]|[12]\d|3[01])$/.test(day) && /^(?:0[1-9]|1[0-2])$/.test(month);
}

function luhn(digits: string): boolean {
  let sum = 0;
  for (let index = 0; index < digits.length; index++) {
    const value = Number(digits[digits.length - 1 - index]) * (index % 2 === 0 ? 1 : 2);
    sum += value > 9 ? value - 9 : value;
  }
  return sum % 10 === 0;
}

/** United States: areas 000, 666 and 900 to 999, group 00 and serial 0000 were never given out. */
const isSsn = (id: string): boolean => /^(?!000|666|9)\d{3}.(?!00)\d{2}.(?!0000)\d{4}$/.test(id);

/** Brazil, people: two check digits modulo 11. */
function isCpf(id: string): boolean {
  const digits = digitsOf(id);
  if (/^(\d)\1*$/.test(digits)) return false;
  const first = ((weighted(digits, [10, 9, 8, 7, 6, 5, 4, 3, 2], 11) * 10) % 11) % 10;
  const second = ((weighted(digits, [11, 10, 9, 8, 7, 6, 5, 4, 3, 2], 11) * 10) % 11) % 10;
  return digits.endsWith(`${first}${second}`);
}

/** Brazil, companies, and people who are one. */
function isCnpj(id: string): boolean {
  const digits = digitsOf(id);
  const check = (weights: number[]): number => {
    const rest = weighted(digits, weights, 11);
    return rest < 2 ? 0 : 11 - rest;
  };
  return digits.endsWith(
    `${check([5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2])}${check([6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2])}`,
  );
}

/** Spain: the letter is the number modulo 23. Foreigners have X, Y or Z for 0, 1 or 2 in front. */
function isDni(id: string): boolean {
  const number = id.replace(/[^A-Z0-9]/g, '').replace(/^[XYZ]/, (letter) => String('XYZ'.indexOf(letter)));
  return (
    /^\d{8}[A-Z]$/.test(number) && 'TRWAGMYFPDXBNJZSQVHLCKE'[Number(number.slice(0, 8)) % 23] === number[8]
  );
}
const isNie = (id: string): boolean => /^[XYZ]/.test(id) && isDni(id);

/** Italy: values of the characters at odd places (1st, 3rd, …), of 0 to 9 and of A to Z. */
const oddValues = [
  1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
];
function isCodiceFiscale(id: string): boolean {
  const code = id.toUpperCase();
  if (!/^[A-Z]{6}\d\d[A-EHLMPR-T]\d\d[A-Z]\d{3}[A-Z]$/.test(code)) return false;
  let sum = 0;
  for (let index = 0; index < 15; index++) {
    const value = /\d/.test(code[index]!) ? Number(code[index]) : code.charCodeAt(index) - 65;
    sum += index % 2 === 0 ? oddValues[value]! : value;
  }
  return code.charCodeAt(15) - 65 === sum % 26;
}

/** France: sex, year, month, then a key modulo 97. */
function isNir(id: string): boolean {
  const digits = digitsOf(id);
  if (!/^[12]\d{2}(?:0[1-9]|1[0-2]|[23]\d|4[0-2]|[5-9]\d)/.test(digits)) return false;
  return 97 - (Number(digits.slice(0, 13)) % 97) === Number(digits.slice(13));
}

/** Sweden: a date and Luhn's check digit. People over 100 have + for the hyphen. */
function isPersonnummer(id: string): boolean {
  const digits = digitsOf(id).slice(-10);
  return isDate(digits.slice(4, 6), digits.slice(2, 4)) && luhn(digits);
}

/** Finland: day, month, year, the century's sign, and the number modulo 31. */
function isHetu(id: string): boolean {
  if (!/^\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]$/.test(id) || !isDate(id.slice(0, 2), id.slice(2, 4))) return false;
  return '0123456789ABCDEFHJKLMNPRSTUVWXY'[Number(id.slice(0, 6) + id.slice(7, 10)) % 31] === id[10];
}

/** Norway: a date (days of others are 41 to 71) and two check digits modulo 11. */
function isFodselsnummer(id: string): boolean {
  const digits = digitsOf(id);
  const day = String(Number(digits.slice(0, 2)) % 40).padStart(2, '0');
  if (!isDate(day, digits.slice(2, 4))) return false;
  const first = (11 - weighted(digits, [3, 7, 6, 1, 8, 9, 4, 5, 2], 11)) % 11;
  const second = (11 - weighted(digits, [5, 4, 3, 2, 7, 6, 5, 4, 3, 2], 11)) % 11;
  return digits.endsWith(`${first}${second}`);
}

/** Denmark: a date and, up to 2007, a check modulo 11. */
function isCpr(id: string): boolean {
  const digits = digitsOf(id);
  return (
    isDate(digits.slice(0, 2), digits.slice(2, 4)) &&
    weighted(digits, [4, 3, 2, 7, 6, 5, 4, 3, 2, 1], 11) === 0
  );
}

/** Verhoeff's checksum: the dihedral group of ten elements, and a permutation. */
const dihedral = (a: number, b: number): number => {
  const turn = a % 5;
  if (a < 5) return b < 5 ? (turn + b) % 5 : 5 + ((turn + b) % 5);
  return b < 5 ? 5 + ((turn - b + 5) % 5) : (turn - (b % 5) + 5) % 5;
};
const permutation = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
/** India: Verhoeff's check digit, the first digit is 2 to 9. */
function isAadhaar(id: string): boolean {
  const digits = digitsOf(id);
  let check = 0;
  for (let index = 0; index < digits.length; index++) {
    let value = Number(digits[digits.length - 1 - index]);
    for (let times = 0; times < index % 8; times++) value = permutation[value]!;
    check = dihedral(check, value);
  }
  return /^[2-9]/.test(digits) && check === 0;
}

/** China: a date in the middle, and ISO 7064 modulo 11-2. */
function isResidentId(id: string): boolean {
  if (!/^[1-9]\d{5}(?:19|20)\d{9}[\dX]$/i.test(id) || !isDate(id.slice(12, 14), id.slice(10, 12)))
    return false;
  const rest = weighted(id, [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2], 11);
  return '10X98765432'[rest] === id[17]!.toUpperCase();
}

/** United Kingdom: no check digit, but prefixes that were never given out, and a suffix of A to D. */
const isNino = (id: string): boolean =>
  /^(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][\d ]+[A-D]$/.test(id);

/** Germany: ISO 7064 modulo 11, 10; among the first ten digits exactly one comes twice or three times. */
function isSteuerId(id: string): boolean {
  const digits = digitsOf(id);
  const counts = new Map<string, number>();
  for (const digit of digits.slice(0, 10)) counts.set(digit, (counts.get(digit) ?? 0) + 1);
  if (digits.startsWith('0') || [...counts.values()].filter((count) => count > 1).length !== 1) return false;
  let product = 10;
  for (const digit of digits.slice(0, 10)) {
    const sum = (Number(digit) + product) % 10 || 10;
    product = (sum * 2) % 11;
  }
  return (11 - product) % 10 === Number(digits[10]);
}

/** Belgium: a date and a key modulo 97; of those born from 2000 on with a 2 in front. */
function isRijksregister(id: string): boolean {
  const digits = digitsOf(id);
  const key = Number(digits.slice(9));
  const number = Number(digits.slice(0, 9));
  return 97 - (number % 97) === key || 97 - ((2_000_000_000 + number) % 97) === key;
}

/** Switzerland: 756 and the check digit of EAN-13. */
const isAhv = (id: string): boolean =>
  id.startsWith('756') && weighted(digitsOf(id), [1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1], 10) === 0;

/** Chile: modulo 11, with K for 10. */
function isRut(id: string): boolean {
  const number = digitsOf(id.slice(0, -2)).padStart(8, '0');
  return '0K987654321'[weighted(number, [3, 2, 7, 6, 5, 4, 3, 2], 11)] === id.at(-1)!.toUpperCase();
}

/** Argentina: modulo 11; 20, 23, 24 and 27 are people. */
const isCuil = (id: string): boolean =>
  /^2[0347]/.test(id) && weighted(digitsOf(id), [5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1], 11) === 0;

/** Canada: Luhn. */
const isSin = (id: string): boolean => luhn(digitsOf(id));

/** South Korea: a date, and a check digit (of those given out up to 2020). */
function isRrn(id: string): boolean {
  const digits = digitsOf(id);
  const check = (11 - weighted(digits, [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5], 11)) % 10;
  return (
    isDate(digits.slice(4, 6), digits.slice(2, 4)) &&
    /^.{6}[1-8]/.test(digits) &&
    Number(digits[12]) === check
  );
}

/** Singapore: a letter that checks the number. */
function isNric(id: string): boolean {
  const letters = /^[ST]/.test(id) ? 'JZIHGFEDCBA' : 'XWUTRQPNMLK';
  const base = /^[TG]/.test(id) ? 4 : 0;
  return (
    /^[STFG]/.test(id) && letters[(base + weighted(id.slice(1), [2, 7, 6, 5, 4, 3, 2], 11)) % 11] === id[8]
  );
}

/** Mexico: initials, a date, sex and state. */
const isCurp = (id: string): boolean =>
  /^[A-Z][AEIOUX][A-Z]{2}\d{6}[HMX][A-Z]{2}[B-DF-HJ-NP-TV-Z]{3}[A-Z0-9]\d$/i.test(id) &&
  isDate(id.slice(8, 10), id.slice(6, 8));

/** Malaysia: a date and the number of a state. */
const isMyKad = (id: string): boolean =>
  isDate(id.slice(4, 6), id.slice(2, 4)) && /^.{7}(?!00|[79]\d)/.test(id);

/** Thailand: modulo 11. */
const isThai = (id: string): boolean =>
  (11 - weighted(digitsOf(id), [13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2], 11)) % 10 === Number(id.at(-1));

/** How the ids are written (9 is a digit, A a letter; all in capitals or all in small letters), and what they are then. */
const forms = new Map<string, readonly ((id: string) => boolean)[]>([
  ['999-99-9999', [isSsn]],
  ['999 99 9999', [isSsn]],
  ['999.999.999-99', [isCpf]],
  ['99.999.999/9999-99', [isCnpj]],
  ['99999999A', [isDni]],
  ['99999999-A', [isDni]],
  ['A9999999A', [isNie, isNric]],
  ['A-9999999-A', [isNie]],
  ['A9999999-A', [isNie]],
  ['AAAAAA99A99A999A', [isCodiceFiscale]],
  ['aaaaaa99a99a999a', [isCodiceFiscale]],
  ['AAAA999999AAAAAA99', [isCurp]],
  ['AAAA999999AAAAAAA9', [isCurp]],
  ['9 99 99 99 999 999 99', [isNir]],
  ['9999999999999 99', [isNir]],
  ['999999999999999', [isNir]],
  ['999999-9999', [isPersonnummer, isCpr, isHetu]],
  ['99999999-9999', [isPersonnummer]],
  ['999999+9999', [isPersonnummer, isHetu]],
  ['999999-999A', [isHetu]],
  ['999999A999A', [isHetu]],
  ['999999A9999', [isHetu]],
  ['999999 99999', [isFodselsnummer]],
  ['9999 9999 9999', [isAadhaar]],
  ['9999-9999-9999', [isAadhaar]],
  ['999999999999999999', [isResidentId]],
  ['99999999999999999A', [isResidentId]],
  ['AA999999A', [isNino]],
  ['AA 99 99 99 A', [isNino]],
  ['AA 999999 A', [isNino]],
  ['99 999 999 999', [isSteuerId]],
  ['99.99.99-999.99', [isRijksregister]],
  ['999.9999.9999.99', [isAhv]],
  ['99.999.999-9', [isRut]],
  ['99.999.999-A', [isRut]],
  ['99-99999999-9', [isCuil]],
  ['999-999-999', [isSin]],
  ['999999-9999999', [isRrn]],
  ['999999-99-9999', [isMyKad]],
  ['9-9999-99999-99-9', [isThai]],
]);

/** Any of the forms, the longest first, where no word, number or group of digits goes on before or behind it. */
function anyOf(all: readonly string[]): RegExp {
  const patterns = [...all]
    .sort((a, b) => b.length - a.length)
    .map((form) =>
      form.replace(/[^]/g, (char) =>
        char === '9' ? '\\d' : char === 'A' ? '[A-Z]' : char === 'a' ? '[a-z]' : `\\${char}`,
      ),
    );
  return new RegExp(`\\b(?<![A-Za-z0-9_][.-])(?:${patterns.join('|')})(?![A-Za-z0-9_]|[.-][A-Za-z0-9])`, 'g');
}
const anyForm = anyOf([...forms.keys()]);
const anyFormWithFewDigits = anyOf([...forms.keys()].filter((form) => /^[Aa]{4}/.test(form)));

/** National ids in a text that are written as people write them. `fewDigits`: the text has no run of digits for most of them. */
export function findNationalIds(text: string, fewDigits: boolean): FoundNumber[] {
  const found: FoundNumber[] = [];
  for (const match of text.matchAll(fewDigits ? anyFormWithFewDigits : anyForm)) {
    const id = match[0];
    const form = id.replace(/\d/g, '9').replace(/[A-Z]/g, 'A').replace(/[a-z]/g, 'a');
    if (!forms.get(form)!.some((isId) => isId(id))) continue;
    found.push({
      start: match.index,
      end: match.index + id.length,
      kind: 'nationalid',
      secret: compactNationalId(id),
    });
  }
  return found;
}

const maxNationalIdChars = 32;

/** True for the value of a name such as `cpf` that is a number of some digits, however written. */
export function looksLikeNationalId(value: string): boolean {
  return (
    value.length <= maxNationalIdChars &&
    /^[A-Za-z0-9 ./+-]+$/.test(value) &&
    value.replace(/\D/g, '').length >= 6
  );
}

/** Letters and digits only, so that all ways of writing an id give one token. */
export function compactNationalId(id: string): string {
  return id.replace(/[^A-Za-z0-9]/g, '').toUpperCase();
}
