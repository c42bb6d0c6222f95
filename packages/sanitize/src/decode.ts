/** A text in decoded form, and where each of its characters stood in the original. */
export interface View {
  text: string;
  /** For each UTF-16 unit of `text` the index in the original where it begins, and the original's length at the end. */
  starts: Int32Array;
}

const escapes: Record<string, string> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

function hexValue(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

/** The byte that `%41` at `index` stands for, or -1. */
function byteAt(text: string, index: number): number {
  if (text.charCodeAt(index) !== 37) return -1;
  const high = hexValue(text.charCodeAt(index + 1));
  const low = hexValue(text.charCodeAt(index + 2));
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/** The character, and the length of its encoded form, that a percent-encoded byte sequence at `index` stands for. */
function percentAt(text: string, index: number): { char: string; length: number } | undefined {
  const first = byteAt(text, index);
  if (first < 0) return undefined;
  const more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc2 ? 1 : 0;
  let codePoint = more === 3 ? first & 7 : more === 2 ? first & 15 : more === 1 ? first & 31 : first;
  for (let step = 1; step <= more; step++) {
    const byte = byteAt(text, index + step * 3);
    // Not UTF-8: each byte stands for itself, as in Latin-1.
    if (byte < 0x80 || byte > 0xbf) return { char: String.fromCharCode(first), length: 3 };
    codePoint = codePoint * 64 + (byte & 63);
  }
  if (codePoint > 0x10ffff) return { char: String.fromCharCode(first), length: 3 };
  return { char: String.fromCodePoint(codePoint), length: 3 + more * 3 };
}

/** The character that a JSON escape at `index` stands for. */
function escapeAt(text: string, index: number): { char: string; length: number } | undefined {
  const char = text.charAt(index + 1);
  const simple = Object.hasOwn(escapes, char) ? escapes[char] : undefined;
  if (simple !== undefined) return { char: simple, length: 2 };
  if (char !== 'u') return undefined;
  let code = 0;
  for (let step = 2; step < 6; step++) {
    const value = hexValue(text.charCodeAt(index + step));
    if (value < 0) return undefined;
    code = code * 16 + value;
  }
  return { char: String.fromCharCode(code), length: 6 };
}

/** One round of decoding: percent-encoding (UTF-8) and the escapes of JSON. Undefined if there is nothing to decode. */
export function decode(view: View): View | undefined {
  const { text } = view;
  const starts = new Int32Array(text.length + 1);
  const parts: string[] = [];
  let length = 0;
  let copied = 0;
  for (let index = 0; index < text.length;) {
    const code = text.charCodeAt(index);
    const found = code === 37 ? percentAt(text, index) : code === 92 ? escapeAt(text, index) : undefined;
    if (found === undefined) {
      starts[length++] = view.starts[index++]!;
      continue;
    }
    parts.push(text.slice(copied, index), found.char);
    for (let unit = 0; unit < found.char.length; unit++) starts[length++] = view.starts[index]!;
    index += found.length;
    copied = index;
  }
  if (copied === 0) return undefined;
  starts[length] = view.starts[text.length]!;
  parts.push(text.slice(copied));
  return { text: parts.join(''), starts: starts.subarray(0, length + 1) };
}

/** The view of a text as it stands. */
export function plainView(text: string): View {
  const starts = new Int32Array(text.length + 1);
  for (let index = 0; index <= text.length; index++) starts[index] = index;
  return { text, starts };
}

/** A value as a server reads it: `+` is a blank, percent-encoding is decoded once. */
export function decodeForm(value: string): string {
  const spaced = value.includes('+') ? value.replaceAll('+', ' ') : value;
  if (!spaced.includes('%')) return spaced;
  let decoded = '';
  for (let index = 0; index < spaced.length;) {
    const found = percentAt(spaced, index);
    decoded += found?.char ?? spaced.charAt(index);
    index += found?.length ?? 1;
  }
  return decoded;
}
