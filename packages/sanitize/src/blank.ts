/** Stands for what no rule may touch: Unicode keeps this code unit free of meaning. */
export const blank = '\uffff';

/** The text with as many blanks in place of each match. */
export function blankOut(text: string, pattern: RegExp): string {
  return text.replace(pattern, (match) => blank.repeat(match.length));
}
