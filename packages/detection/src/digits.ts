const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const VALUES = new Uint8Array(128);
for (let value = 0; value < 64; value++) VALUES[DIGITS.charCodeAt(value)] = value;

/** Room to work in: most of what states cost is what is thrown away when they are read and written. */
const codes: number[] = [];

/**
 * Whole numbers as text to the base of 64, without signs between them: `widths` says how many digits each has, and begins again
 * where there are more numbers. What a number has beyond its digits is lost.
 */
export function toDigits(numbers: readonly number[], widths: readonly number[]): string {
  codes.length = 0;
  for (let at = 0; at < numbers.length; at++) {
    for (let shift = 6 * (widths[at % widths.length]! - 1); shift >= 0; shift -= 6)
      codes.push(DIGITS.charCodeAt((numbers[at]! >>> shift) & 63));
  }
  return String.fromCharCode(...codes);
}

/** The numbers of `toDigits`. */
export function fromDigits(text: string, widths: readonly number[]): number[] {
  const numbers: number[] = [];
  for (let at = 0; at < text.length;) {
    let number = 0;
    for (let left = widths[numbers.length % widths.length]!; left > 0; left--)
      number = (number << 6) | VALUES[text.charCodeAt(at++)]!;
    numbers.push(number);
  }
  return numbers;
}
