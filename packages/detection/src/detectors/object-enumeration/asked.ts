import type { ApiCall } from '@tripline/model';
import { objectHash } from '../../sketches/seen.ts';

/** One call asks for at most so many objects here; further ones are not looked at. */
export const OBJECTS_MOST = 200;
/**
 * Of at least so many characters, letters and digits mixed in at least so many without a mark between: drawn by lot, nobody
 * guesses or counts through such ids.
 */
const RANDOM_LENGTH = 16;
const MIXED_LENGTH = 8;

/** Parameters and kept headers that name an object: `id`, `ids`, `order_id`, `orderId`, `account`, `username`, … */
const OBJECT_NAME =
  /(^|[-_.[])(id|ids|uuid|key|number|no)[\])[]*$|[a-z](Id|Ids|ID|IDs)(\[\])?$|^(account|user|username|user_name|login|email|e-mail|mail|phone|customer|member|order|invoice|ticket|document|sku|isbn|vin)s?(\[\])?$/;
/** Not objects, although they end like one. */
const NO_OBJECT_NAME = /request|correlation|trace|span|session|device|client|idempotency|api|public/i;
const PAGE_NAME = /^(page|offset|skip|cursor|after|before|page_?token|next_?token|continuation)$/i;
const LIMIT_NAME = /^(limit|size|count|top|first|per_?page|page_?size|max_?results)$/i;

/**
 * Pictures and pieces of maps and films come by the dozen with each page that somebody looks at: one in 8, chosen by hash,
 * counts. A service that takes any suffix for the same object gives away the seven others.
 */
const MEDIA_BITS = 3;
const MEDIA_WORD = /\/(previews?|thumbs?|thumbnails?|tiles?|avatars?|icons?)(\/|$)/i;
const MEDIA_FILE = /\.(png|jpe?g|gif|webp|avif|svg|ico|mp4|m4s|ts|mp3|pbf|mvt)$/i;

const OBJECT = 1;
const PAGE = 2;
const LIMIT = 3;
/** What a name is, remembered: there are few of them, and attackers can send many. */
const NAMES_MOST = 1_000;

const hyphen = 45;
const dot = 46;
const underscore = 95;

/** What a call asks for. */
export interface Asked {
  /** Hashes of the objects. Endpoints, parameters and ids in it; ids that nobody can guess are left out. */
  objects: number[];
  /** Their numeric ids, the largest of each object; NaN if it has none. */
  numbers: number[];
  /** Hash of the page of a list: endpoint, position and size; -1 if it is none. */
  page: number;
  /** As the call asked for; 0 if it did not. */
  limit: number;
  /** Hash of the path before the last id in it; the first of `objects` is then the path's; -1 if no object is in the path. */
  collection: number;
}

/** Reads what calls ask for. Holds a bounded memory of names; what it returns is overwritten by the next call. */
export function createAsked(): (call: ApiCall) => Asked {
  const asked: Asked = { objects: [], numbers: [], page: -1, limit: 0, collection: -1 };
  const kinds = new Map<string, number>();
  const kindOf = (name: string): number => {
    let kind = kinds.get(name);
    if (kind !== undefined) return kind;
    kind = PAGE_NAME.test(name)
      ? PAGE
      : LIMIT_NAME.test(name)
        ? LIMIT
        : OBJECT_NAME.test(name) && !NO_OBJECT_NAME.test(name)
          ? OBJECT
          : 0;
    if (kinds.size >= NAMES_MOST) kinds.clear();
    kinds.set(name, kind);
    return kind;
  };
  /** The ids of one parameter: `7`, or `7,8,9`. */
  const addValue = (text: string, seed: number): void => {
    let from = 0;
    while (from < text.length && asked.objects.length < OBJECTS_MOST) {
      const comma = text.indexOf(',', from);
      const to = comma < 0 ? text.length : comma;
      if (to > from && !isRandom(text, from, to)) {
        asked.objects.push(objectHash(text, seed, from, to));
        asked.numbers.push(numberIn(text, from, to));
      }
      from = to + 1;
    }
  };

  let latest: ApiCall | undefined;
  return (call) => {
    if (call === latest) return asked;
    latest = call;
    asked.objects.length = 0;
    asked.numbers.length = 0;
    asked.page = -1;
    asked.limit = 0;
    asked.collection = -1;
    if (call.endpoint.includes('{')) addPath(asked, call);
    const { query, headers } = call;
    if (query !== undefined) {
      let page = 0;
      for (const name in query) {
        const kind = kindOf(name);
        if (kind === 0) continue;
        const values = query[name]!;
        if (kind === OBJECT) {
          const seed = objectHash(name, objectHash(call.endpoint, 0));
          for (const value of values) addValue(value, seed);
          continue;
        }
        for (const value of values) {
          // Added up, so that the order of the parameters does not matter.
          page += 1 + objectHash(value, objectHash(name, 0));
          if (kind === LIMIT) asked.limit = Math.max(asked.limit, Number(value) || 0);
        }
      }
      if (page > 0) asked.page = objectHash(call.endpoint, page & 0xffff_ffff);
    }
    if (headers !== undefined)
      for (const name in headers)
        if (kindOf(name) === OBJECT) addValue(headers[name]!, objectHash(name, objectHash(call.endpoint, 1)));
    return asked;
  };
}

/** The path as one object, however many ids are in it, unless none of them can be guessed. */
function addPath(asked: Asked, { endpoint, path }: ApiCall): void {
  let at = endpoint.indexOf('/');
  let begin = 0;
  let guessable = false;
  let largest = NaN;
  let collectionEnd = 0;
  // Segment by segment, of the template and of the path together.
  while (at >= 0 && begin >= 0 && begin < path.length) {
    const next = path.indexOf('/', begin + 1);
    if (endpoint.charCodeAt(at + 1) === 123) {
      const to = next < 0 ? path.length : next;
      collectionEnd = begin;
      if (!isRandom(path, begin + 1, to)) {
        guessable = true;
        const number = numberIn(path, begin + 1, to);
        if (!(number <= largest)) largest = Number.isNaN(number) ? largest : number;
      }
    }
    at = endpoint.indexOf('/', at + 1);
    begin = next;
  }
  if (!guessable) return;
  const hash = objectHash(path, 0);
  if (isMedia(endpoint, path) && hash >>> (24 - MEDIA_BITS) !== 0) return;
  asked.objects.push(hash);
  asked.numbers.push(largest);
  asked.collection = collectionHash(path, collectionEnd);
}

/** Of a path up to `end`, without a slash there. */
export function collectionHash(path: string, end = path.length): number {
  return objectHash(path, 1, 0, end > 1 && path.charCodeAt(end - 1) === 47 ? end - 1 : end);
}

/** By a word of the endpoint, which is the service's, or by the kind of file. */
function isMedia(endpoint: string, path: string): boolean {
  if (MEDIA_WORD.test(endpoint)) return true;
  const mark = path.lastIndexOf('.');
  return mark >= path.length - 6 && mark > 0 && MEDIA_FILE.test(path);
}

/** Is it drawn by lot: a uuid, a hash, a secret's token? Tokens of e-mail addresses, user names and phones are not. */
function isRandom(text: string, from: number, to: number): boolean {
  if (to - from < RANDOM_LENGTH) return false;
  if (text.charCodeAt(from) === 126) return !/^~(email|user|phone|card|iban)~/.test(text.slice(from, to));
  // Words and numbers with marks between them (`running-shoe-2026`) can be guessed; a uuid has long mixed pieces.
  let digits = false;
  let letters = false;
  let begin = from;
  for (let at = from; at <= to; at++) {
    const code = at < to ? text.charCodeAt(at) : hyphen;
    if (code === hyphen || code === underscore || code === dot) {
      if (digits && letters && at - begin >= MIXED_LENGTH) return true;
      digits = letters = false;
      begin = at + 1;
    } else if (code >= 48 && code <= 57) digits = true;
    else if (code > 64) letters = true;
  }
  return false;
}

/** The number that the text is, or ends with; NaN if there is none. */
function numberIn(text: string, from: number, to: number): number {
  let first = to;
  while (first > from && to - first < 15) {
    const code = text.charCodeAt(first - 1);
    if (code < 48 || code > 57) break;
    first--;
  }
  if (first === to) return NaN;
  let number = 0;
  for (let at = first; at < to; at++) number = number * 10 + text.charCodeAt(at) - 48;
  return number;
}
