/** True if the pattern has no wildcard: it then matches exactly one text. */
export function isLiteral(pattern: string): boolean {
  return !/[*?]/.test(pattern);
}

/**
 * Matches a whole text against a pattern, case-sensitively: `*` stands for any run of characters, `?` for one. See
 * `compileGlob` for a pattern that is used more than once.
 */
export function matchesGlob(pattern: string, text: string): boolean {
  return compileGlob(pattern)(text);
}

const star = -1;
const anyCharacter = -2;

/**
 * Prepares a pattern of `*` (any run of characters) and `?` (one character) for matching whole texts. A match takes at most
 * pattern length × text length steps, whatever the pattern: on a mismatch only the last `*` takes one character more.
 */
export function compileGlob(pattern: string): (text: string) => boolean {
  if (isLiteral(pattern)) return (text) => text === pattern;
  const wanted = Array.from(pattern, (character) =>
    character === '*' ? star : character === '?' ? anyCharacter : character.codePointAt(0)!,
  );
  return (text) => {
    let at = 0;
    let position = 0;
    let lastStar = -1;
    let lastStarEnd = 0;
    while (position < text.length) {
      const given = text.codePointAt(position)!;
      if (wanted[at] === star) {
        lastStar = at++;
        lastStarEnd = position;
      } else if (wanted[at] === anyCharacter || wanted[at] === given) {
        at++;
        position += widthOf(given);
      } else if (lastStar !== -1) {
        at = lastStar + 1;
        lastStarEnd += widthOf(text.codePointAt(lastStarEnd)!);
        position = lastStarEnd;
      } else {
        return false;
      }
    }
    while (wanted[at] === star) at++;
    return at === wanted.length;
  };
}

/** UTF-16 units of a character. */
function widthOf(codePoint: number): 1 | 2 {
  return codePoint > 0xffff ? 2 : 1;
}
