import { lineOf, type LineBytes } from './frames.ts';

const quote = 34;
const comma = 44;
const openBracket = 91;
const backslash = 92;
const closeBracket = 93;
const openBrace = 123;
const closeBrace = 125;
const lineFeed = 10;

/**
 * The log lines in a body of Kong's http-log plugin: one object, or the elements of an array. Cuts only and checks
 * nothing: each line is for the normaliser to judge, and so is what follows where the array is cut off or goes wrong. The
 * lines stand where they stood in `body`, which is written to: a line feed takes the place of the comma behind each.
 */
export function* linesOfBody(body: Buffer): Generator<LineBytes> {
  let at = overSpace(body, 0);
  if (body[at] !== openBracket) {
    if (at < body.length) yield lineOf(body.subarray(at));
    return;
  }
  const latin1 = body.toString('latin1');
  let depth = 1;
  let begin = ++at;
  for (; at < body.length; at++) {
    const code = body[at];
    if (code === quote) {
      at = endOfString(body, at);
      continue;
    }
    if (code === openBrace || code === openBracket) depth++;
    else if (code === closeBrace || code === closeBracket) depth--;
    else if (code !== comma || depth > 1) continue;
    const elementEnds = depth === 0 || (code === comma && depth === 1);
    if (!elementEnds) continue;
    // A brace that closes the array is no end that a line may have.
    if (depth === 0 && code === closeBrace) break;
    if (overSpace(body, begin) < at) {
      body[at] = lineFeed;
      yield { bytes: body, begin, end: at + 1, latin1 };
    }
    begin = at + 1;
    if (depth === 0) break;
  }
  const rest = overSpace(body, begin);
  if (rest < body.length) yield lineOf(body.subarray(rest));
}

/** The closing quote of the string that begins at `at`, or the end. */
function endOfString(body: Buffer, at: number): number {
  let end = at;
  for (;;) {
    end = body.indexOf(quote, end + 1);
    if (end < 0) return body.length;
    let slashes = 0;
    while (body[end - 1 - slashes] === backslash) slashes++;
    if (slashes % 2 === 0) return end;
  }
}

function overSpace(body: Buffer, from: number): number {
  let at = from;
  while (at < body.length && (body[at] === 32 || body[at] === 9 || body[at] === 10 || body[at] === 13)) at++;
  return at;
}
