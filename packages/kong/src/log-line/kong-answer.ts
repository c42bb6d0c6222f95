import type { KongLogLine } from './log-line.ts';
import { joinedText } from './values.ts';

/** What of Kong's answer tells why it refused. */
export type KongAnswer = Pick<KongLogLine, 'wwwAuthenticate' | 'contentLength' | 'answerType'>;

/** By so many bytes Kong's error templates are longer than the JSON one. */
const longerThanJson: readonly [type: string, bytes: number][] = [
  ['text/html', 140],
  ['application/xml', 67],
  ['text/plain', -23],
];

/**
 * `content-length` that Kong's answer would have as JSON, whatever the client accepts: each reason has a length of its own.
 * Undefined if the answer has no length.
 */
export function lengthAsJson({ contentLength, answerType }: KongAnswer): number | undefined {
  const length = Number(joinedText(contentLength) ?? NaN);
  if (!Number.isInteger(length)) return undefined;
  const type = joinedText(answerType) ?? '';
  return length - (longerThanJson.find(([prefix]) => type.startsWith(prefix))?.[1] ?? 0);
}
