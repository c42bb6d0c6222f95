import { blank, blankOut } from './blank.ts';
import type { NameKind } from './names.ts';

/**
 * Which checksums, trace ids and revisions stay in a text: all that have their form, as the text is the value of a name such as
 * `etag`; those after such a name in the text; or none.
 */
export type Digests = 'all' | 'named' | 'none';

/** MD5, SHA-1, SHA-256, SHA-384 and SHA-512 in hexadecimal; MD5 is also as long as a trace id. The digits of `%22` are not part of it. */
const hexDigest =
  /(?:\b|(?<=%[0-9a-f]{2})|(?<=_))(?:[0-9a-f]{128}|[0-9a-f]{96}|[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})(?![A-Za-z0-9])/gi;
/** Of a span, beside that of its trace. */
const spanId = /(?<![A-Za-z0-9])[0-9a-f]{16}(?![A-Za-z0-9])/gi;
const hexRun = /[0-9a-f]{32}/i;
/** The same in base64, as in `Content-MD5` and `Content-Digest`. */
const base64Digest =
  /(?<![A-Za-z0-9+/])(?:[A-Za-z0-9+/]{22}==|[A-Za-z0-9+/]{27}=|[A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{64}|[A-Za-z0-9+/]{86}==)(?![A-Za-z0-9+/=])/g;

/** Quotes and `W/` of an ETag, an algorithm (`sha256:`), the version of a traceparent, the first of two revisions (`a...b`). */
const nameBefore =
  /([A-Za-z0-9_.[\]-]{1,64})[\\"']{0,4} {0,2}[=:/] {0,2}[\\"']{0,4}(?:W\/)?[\\"']{0,4}(?:(?:sha|md)-?\d{1,3}[:=-]|00-)?(?:\uffff{32,128}\.{2,3})?$/;
const maxBeforeChars = 220;

/** The text with blanks in place of the digests that stay. */
export function blankDigests(text: string, digests: Digests, nameKind: (name: string) => NameKind): string {
  if (digests === 'none') return text;
  if (digests === 'all') return [hexDigest, spanId, base64Digest].reduce(blankOut, text);
  if (!hexRun.test(text)) return text;
  let blanked = text;
  for (const match of text.matchAll(hexDigest)) {
    const end = match.index + match[0].length;
    const before = blanked.slice(Math.max(0, match.index - maxBeforeChars), match.index);
    const name = nameBefore.exec(before.replace(/%(?:22|27|2f|3a|3d|40)/gi, decodeURIComponent))?.[1];
    if (name === undefined || nameKind(name) !== 'digest') continue;
    blanked = blanked.slice(0, match.index) + blank.repeat(match[0].length) + blanked.slice(end);
  }
  return blanked;
}
