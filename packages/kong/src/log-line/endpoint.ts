import { isExpectedLiteral, variable, type ExpectedSegment } from './route-paths.ts';

/** What stands in the template for the segment of `path` from `from` to `to`, the `index`th; '' for the segment itself. */
export type PlaceholderAt = (path: string, from: number, to: number, index: number) => string;

/**
 * The path template of a request: segments that look like an object's id become `{id}`, tokens of the sanitiser `{kind}`.
 * `/orders/123` and `/orders/7f3c…` both become `/orders/{id}`. Words stay, also when they name an object
 * (`/products/red-shoe`), unless `placeholderAt` knows better: see `TemplateLearner`.
 */
export function pathTemplate(path: string, placeholderAt: PlaceholderAt = placeholderFor): string {
  let template = '';
  let begin = 0;
  let changed = false;
  let index = 0;
  for (let at = 1; at <= path.length; at++) {
    if (at < path.length && path.charCodeAt(at) !== slash) continue;
    // `begin` is at a slash, except for a path that does not start with one.
    const from = path.charCodeAt(begin) === slash ? begin + 1 : begin;
    const placeholder = placeholderAt(path, from, at, index++);
    if (placeholder === '') template += path.slice(begin, at);
    else {
      template += path.slice(begin, from) + placeholder;
      changed = true;
    }
    begin = at;
  }
  const full = changed ? template : path;
  return full.length > maxTemplateChars ? `${full.slice(0, maxTemplateChars)}…` : full;
}

/** As the segment looks, and what Kong's route path says about it. */
export function placeholderBy(expected: ExpectedSegment, path: string, from: number, to: number): string {
  if (expected === undefined) return placeholderFor(path, from, to);
  if (expected !== variable && isExpectedLiteral(expected, path, from, to)) return '';
  const placeholder = placeholderFor(path, from, to);
  return placeholder === '' && expected === variable && to > from ? '{id}' : placeholder;
}

const maxTemplateChars = 200;
const slash = 47;
const tilde = 126;

/** `{id}`, `{kind}` of a token, or '' for a word. */
function placeholderFor(path: string, from: number, to: number): string {
  const length = to - from;
  if (length === 0) return '';
  if (path.charCodeAt(from) === tilde) {
    const end = path.indexOf('~', from + 1);
    if (end > from + 1 && end < to) return `{${path.slice(from + 1, end)}}`;
  }
  let digits = 0;
  let hex = 0;
  let marks = 0;
  let letters = 0;
  let switches = 0;
  let last = 0;
  for (let i = from; i < to; i++) {
    const code = path.charCodeAt(i);
    let kind = 3;
    if (code >= 48 && code <= 57) {
      digits++;
      hex++;
      kind = 1;
    } else if ((code >= 65 && code <= 90) || (code >= 97 && code <= 122)) {
      letters++;
      if ((code | 32) <= 102) hex++;
      kind = 2;
    } else marks++;
    if (kind !== 3 && last !== 3 && last !== 0 && kind !== last) switches++;
    last = kind;
  }
  if (digits === 0) return '';
  // Numbers, with the marks that numbers, dates and lists of numbers come with.
  if (letters === 0) return '{id}';
  // UUIDs and hashes.
  if (length === 36 && hex === 32 && marks === 4) return '{id}';
  if (length >= 8 && hex === length && digits >= 2) return '{id}';
  // Versions such as v1, v2.1, 2fa and names such as oauth2 or s3 are words.
  if (length <= 5 && digits <= 2) return '';
  // `ord_8a7Xk2`, `INV-2026-00017`: several digits, mixed with letters or in a run.
  return digits >= 3 || switches >= 3 ? '{id}' : '';
}
