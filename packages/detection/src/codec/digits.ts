const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const VALUES = new Uint8Array(128);
for (let value = 0; value < 64; value++) VALUES[DIGITS.charCodeAt(value)] = value;
const CODES = Uint8Array.from(DIGITS, (digit) => digit.charCodeAt(0));
/** A number goes on behind a digit from here on. */
const MORE = 32;

/**
 * Whole numbers from 0 on, however large, as text without signs between them: five bits a digit, the lowest first, and a sixth that
 * says whether more follow. Small numbers, of which states are full, are one digit. Throws a RangeError on any other number, as its
 * text would be read back as something else.
 */
export function toNumerals(numbers: readonly number[]): string {
  const codes: number[] = [];
  for (let at = 0; at < numbers.length; at++) {
    let left = numbers[at]!;
    if (!(Number.isInteger(left) && left >= 0))
      throw new RangeError(`${left} has no numeral: allowed are whole numbers from 0 on.`);
    while (left >= MORE) {
      const higher = Math.floor(left / MORE);
      codes.push(CODES[MORE + (left - higher * MORE)]!);
      left = higher;
    }
    codes.push(CODES[left]!);
  }
  return String.fromCharCode(...codes);
}

/** The numbers of `toNumerals`. */
export function fromNumerals(text: string): number[] {
  const numbers: number[] = [];
  let number = 0;
  let unit = 1;
  for (let at = 0; at < text.length; at++) {
    const digit = VALUES[text.charCodeAt(at)]!;
    if (digit >= MORE) {
      number += (digit - MORE) * unit;
      unit *= MORE;
    } else {
      numbers.push(number + digit * unit);
      number = 0;
      unit = 1;
    }
  }
  return numbers;
}

/** A number that may be below 0 as one that is not: 0, -1, 1, -2, 2, … as 0, 1, 2, 3, 4, … */
export function unsigned(number: number): number {
  return number < 0 ? -2 * number - 1 : 2 * number;
}

/** The number of `unsigned`. */
export function signed(number: number): number {
  return number % 2 === 0 ? number / 2 : -(number + 1) / 2;
}

/**
 * Whole numbers as text to the base of 64, without signs between them: `width` says how many digits each has. What a number has
 * beyond its digits is lost.
 */
export function toDigits(numbers: readonly number[], width: number): string {
  const codes: number[] = [];
  for (const number of numbers)
    for (let shift = 6 * (width - 1); shift >= 0; shift -= 6) codes.push(CODES[(number >>> shift) & 63]!);
  return String.fromCharCode(...codes);
}

/** The numbers of `toDigits`. */
export function fromDigits(text: string, width: number): number[] {
  const numbers: number[] = [];
  for (let at = 0; at < text.length;) {
    let number = 0;
    for (let left = width; left > 0; left--) number = (number << 6) | VALUES[text.charCodeAt(at++)]!;
    numbers.push(number);
  }
  return numbers;
}
