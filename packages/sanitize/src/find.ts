import { blank, blankOut } from './blank.ts';
import { findPairs, findSecretSegments } from './by-name.ts';
import { findEmails, findKnownKeys, findPem, findSchemes, findUserInfo } from './by-shape.ts';
import { decode, plainView } from './decode.ts';
import type { View } from './decode.ts';
import { blankDigests } from './digests.ts';
import type { Digests } from './digests.ts';
import { findNationalIds } from './national-ids.ts';
import { findCardsAndPhones, findIbans } from './numbers.ts';
import { decodeBase64Text, isUserAndPassword, looksRandom } from './opaque.ts';
import type { Hit, Rules } from './rules.ts';
import {
  hasAt,
  hasEncoding,
  hasNumber,
  hasPair,
  hasPem,
  hasPlus,
  hasRun,
  hasScheme,
  hasSecretSegment,
  hasTilde,
  minRunChars,
  scan,
} from './scan.ts';

/** Rounds of decoding (percent-encoding, JSON escapes, base64) that are looked through. */
export const maxDecodingRounds = 3;

export const tokenPattern = /~[a-z]{1,16}~[A-Za-z0-9_-]{22}/g;
const uuidPattern =
  /(?<![A-Za-z0-9])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![A-Za-z0-9_-])/gi;

/** What is known of a text beside its characters. */
export interface Context {
  /** A slash separates segments and is never part of base64. */
  path: boolean;
  /** Which checksums, trace ids and revisions stay. */
  digests: Digests;
}

/** Everything in a text that looks like a secret, in order and without overlaps. Linear in the length of the text. */
export function findSecrets(text: string, context: Context, rules: Rules): Hit[] {
  if (text === '') return [];
  return merge(text, findInViews(text, context, rules, maxDecodingRounds));
}

/** Looks at the text as it stands, and at each decoded form of it. Hits overlap; they are in terms of `text`. */
function findInViews(text: string, context: Context, rules: Rules, rounds: number): Hit[] {
  const { path } = context;
  const hits: Hit[] = [];
  let view: View | undefined;
  let flags = look(text, undefined, context, rules, rounds, hits);
  let deepest = text;
  for (let round = 1; round <= rounds && (flags & hasEncoding) !== 0; round++) {
    const decoded = decode(view ?? plainView(text));
    if (decoded === undefined) break;
    view = decoded;
    deepest = decoded.text;
    // A decoded slash may be a character of base64, also in a path.
    flags = look(deepest, view, { ...context, path: false }, rules, rounds - round, hits);
  }
  if ((flags & hasPlus) !== 0) {
    const spaced = deepest.replaceAll('+', ' ');
    look(spaced, view, { ...context, path: path && view === undefined }, rules, 0, hits);
  }
  return hits;
}

/** Finds in one form of the text and tells the flags of that form. */
function look(
  text: string,
  view: View | undefined,
  { path, digests }: Context,
  rules: Rules,
  rounds: number,
  into: Hit[],
): number {
  const flags = scan(text, path, rules.nameEndings);
  if (flags === 0 && rules.patterns.length === 0) return 0;

  // Tokens are left alone by all rules, uuids by those that go by shape.
  const named = (flags & hasTilde) !== 0 ? blankOut(text, tokenPattern) : text;
  const found: Hit[] = [];
  if ((flags & hasPair) !== 0) findPairs(named, rules, found);
  if ((flags & hasSecretSegment) !== 0) findSecretSegments(named, rules, found);
  if ((flags & hasScheme) !== 0) findSchemes(named, found);
  if ((flags & hasPem) !== 0) findPem(named, found);
  if ((flags & hasAt) !== 0) {
    findEmails(named, findUserInfo(named, found), found);
  }
  if ((flags & (hasNumber | hasRun)) !== 0) {
    const known = named.includes('-') ? blankOut(named, uuidPattern) : named;
    const shapes = (flags & hasRun) !== 0 ? blankDigests(known, digests, rules.nameKind) : known;
    if ((flags & hasNumber) !== 0) found.push(...findCardsAndPhones(shapes));
    found.push(...findIbans(shapes), ...findNationalIds(shapes, (flags & hasNumber) === 0));
    if ((flags & hasRun) !== 0) {
      findKnownKeys(shapes, found);
      findRuns(shapes, { path, digests }, rules, rounds, found);
    }
  }
  for (const pattern of rules.patterns) {
    for (const match of named.matchAll(pattern)) {
      if (match[0] !== '') {
        found.push({
          start: match.index,
          end: match.index + match[0].length,
          kind: 'secret',
          secret: match[0],
        });
      }
    }
  }
  for (const hit of found) {
    for (const part of withoutBlanks(hit, named)) {
      if (view !== undefined) {
        part.start = view.starts[part.start]!;
        part.end = view.starts[part.end]!;
      }
      into.push(part);
    }
  }
  return flags;
}

/** What remains of a hit when the tokens in it stay. */
function withoutBlanks(hit: Hit, text: string): Hit[] {
  const part = text.slice(hit.start, hit.end);
  if (!part.includes(blank)) return [hit];
  const rest: Hit[] = [];
  for (const match of part.matchAll(/[^\uffff]+/g)) {
    const start = hit.start + match.index;
    rest.push({ start, end: start + match[0].length, kind: hit.kind, secret: match[0] });
  }
  return rest;
}

/** Overlapping hits become one, with the kind and secret of the widest; of equally wide ones the first. */
function merge(text: string, hits: Hit[]): Hit[] {
  if (hits.length < 2) return hits;
  const order = hits.map((_, index) => index);
  order.sort((a, b) => hits[a]!.start - hits[b]!.start || a - b);
  const merged: Hit[] = [];
  let group: Hit | undefined;
  let widest = 0;
  for (const index of order) {
    const hit = hits[index]!;
    const width = hit.end - hit.start;
    if (group === undefined || hit.start >= group.end) {
      group = { ...hit };
      widest = width;
      merged.push(group);
      continue;
    }
    const end = Math.max(group.end, hit.end);
    if (width > widest) {
      group.kind = hit.kind;
      group.secret = hit.secret;
      widest = width;
    }
    group.end = end;
    if (end - group.start > widest) group.secret = text.slice(group.start, end);
  }
  return merged;
}

/** 64 characters of random base64 hold one slash on average. */
const maxJoinedSegments = 8;

const runs = new RegExp(`[A-Za-z0-9+/_-]{${minRunChars},}={0,2}`, 'g');

/** Random tokens, and base64 of text that holds a secret. */
function findRuns(text: string, context: Context, rules: Rules, rounds: number, into: Hit[]): void {
  for (const match of text.matchAll(runs)) {
    let run = match[0];
    let start = match.index;
    if (text.charCodeAt(start - 1) === 37 && /^[0-9a-f]{2}/i.test(run)) {
      run = run.slice(2);
      start += 2;
    }
    if (!run.includes('/')) {
      judgeRun(run, start, context, rules, rounds, into);
      continue;
    }
    const before = into.length;
    const starts: number[] = [];
    let segmentStart = start;
    for (const segment of run.split('/')) {
      if (segment.length >= minRunChars) judgeRun(segment, segmentStart, context, rules, rounds, into);
      starts.push(segmentStart);
      segmentStart += segment.length + 1;
    }
    if (context.path || into.length > before) continue;
    // In free text a slash may also be a character of base64: then some segments are one run, up to the end.
    for (const joinedStart of starts.slice(-maxJoinedSegments, -1)) {
      const joined = run.slice(joinedStart - start);
      if (joined.length >= minRunChars) judgeRun(joined, joinedStart, context, rules, rounds, into);
      if (into.length > before) break;
    }
  }
}

function judgeRun(
  run: string,
  start: number,
  { digests }: Context,
  rules: Rules,
  rounds: number,
  into: Hit[],
): void {
  const end = start + run.length;
  const readable = rounds > 0 ? decodeBase64Text(run) : undefined;
  if (readable !== undefined) {
    const inside = merge(readable, findInViews(readable, { path: false, digests }, rules, rounds - 1));
    const only = inside[0];
    if (only !== undefined && only.start === 0 && only.end === readable.length) {
      into.push({ start, end, kind: only.kind, secret: only.secret });
      return;
    }
    if (only !== undefined || isUserAndPassword(readable))
      into.push({ start, end, kind: 'secret', secret: run });
    return;
  }
  if (looksRandom(run)) into.push({ start, end, kind: 'secret', secret: run });
}
