import type { ApiCall } from '@tripline/model';
import { pathTemplate, placeholderBy } from './endpoint.ts';
import { isExpectedLiteral, type ExpectedSegment } from './route-paths.ts';

/** Who made a call that reached its service and succeeded, so that what it asked for exists. */
export type Teacher = Pick<ApiCall, 'actorId' | 'ip' | 'method'>;

/** That what follows `under` names objects, but for `words`. JSON, to be kept over a restart. */
export interface LearntTemplate {
  service: string;
  /** Template of the path before, without a slash at its end: `/catalog/products`; '' for the first segment. */
  under: string;
  /** What stays as it is: `search`. */
  words: string[];
}

/** Learns from successful calls which path segments name objects although they are words. See `createTemplateLearner`. */
export interface TemplateLearner {
  /**
   * The path template: segments that name objects, by their looks, by `expected` of Kong's route path or by what was learnt,
   * are placeholders. `teacher` is given if the call may teach.
   */
  template: (
    service: string,
    path: string,
    expected: readonly ExpectedSegment[],
    teacher: Teacher | undefined,
  ) => string;
  /** Another number whenever something was learnt. */
  readonly revision: number;
  /** Everything that was learnt, in a stable order. */
  learnt: () => LearntTemplate[];
}

export interface TemplateLearnerOptions {
  /** What an earlier learner had learnt. */
  learnt?: readonly LearntTemplate[];
  /** How many segments, of all services together, are remembered. Default 50,000, about 10 MB. */
  maxNodes?: number;
}

/** Words under one parent are counted in blocks of so many calls. */
const BLOCK_CALLS = 1_000;
/**
 * So many new words in a block after the first are no fixed set: of 250 names, asked for as unevenly as usual (Zipf), 4 in
 * 100 calls are new in the second block, of 1,000 objects 15.
 */
const NEW_WORDS = 50;
/** So many new words within a block need no second one: no API has as many names under one parent. */
const NEW_WORDS_AT_ONCE = 400;
/** Words remembered under one parent. Further ones still count as new. */
const MAX_WORDS = 1_000;
/** Segments behind this one are told by their looks only. */
const MAX_DEPTH = 12;
/** Longer words are told apart by their beginning. */
const MAX_WORD_CHARS = 64;

/**
 * A word with so many times the calls of the 16th most frequent one is no object among objects (`/users/me`). Objects that
 * are asked for very unevenly (Zipf, exponent 1.2) stay below: the first has 28 times the calls of the 16th.
 */
const ESTABLISHED_FACTOR = 32;
const ESTABLISHED_RANK = 16;
/**
 * Nor are those above a step down to an eighth, among the most frequent quarter of the words: branches of an API that are in
 * daily use. From the first object to the second it is half, and less from there on.
 */
const ESTABLISHED_STEP = 8;
const ESTABLISHED_SHARE = 0.25;
/** So is a word with something under it that was asked for so often, and that no other word has (`/products/search/suggest`). */
const ESTABLISHED_CALLS = 20;
/** And so is one that so many POSTs went to, if that is so of few of them: an action (`/users/login`). */
const ESTABLISHED_POSTS = 20;
const FEW_SHARE = 0.02;

/** A segment of a path, under those before it. */
interface Node {
  calls: number;
  /** Of these the POSTs to it, not to something under it. */
  posts: number;
  /** A word that stays: a route's, or one that was established when its siblings turned out to be objects. */
  stays: boolean;
  below: Position | undefined;
}

/** What is known of the segments under one parent. */
interface Position {
  /** By word or placeholder. */
  children: Map<string, Node>;
  /** Words that do not stay are objects. Once true, always true. */
  variable: boolean;
  /** Of the present block: calls for words, and how many were new. */
  calls: number;
  newWords: number;
  seasoned: boolean;
  /** Hash of who brought the last new word. */
  teacher: number;
}

const objectKey = '{id}';
const openBrace = 123;
const dot = 46;

/**
 * Makes a learner. Per service it keeps a tree of path segments. A position becomes variable, and the words there objects
 * (`{id}`), when new words keep coming: `/products/red-shoe` is then `/products/{id}`. A fixed set of names is soon known
 * and stays. So do, once a position is variable, the words of Kong's route paths, those that were asked for far more than
 * the others before, those that lead further in a way of their own, and those that alone were posted to. Files with a
 * leading dot are no objects.
 *
 * Only successful calls teach, and new words in a row from one actor at one address count as one: neither who guesses nor
 * who walks alone through everything teaches. What was learnt is never taken back. Pure: the same calls in the same order
 * give the same templates.
 *
 * When `maxNodes` are in use, the words with the fewest calls are forgotten, never what was decided; if decisions alone
 * fill it, nothing more is learnt.
 */
export function createTemplateLearner(options: TemplateLearnerOptions = {}): TemplateLearner {
  return new PathTree(options.maxNodes ?? 50_000, options.learnt ?? []);
}

class PathTree implements TemplateLearner {
  revision = 0;
  readonly #maxNodes: number;
  readonly #services = new Map<string, Node>();
  #nodes = 0;
  /** Decisions alone fill the tree: nothing more is learnt. */
  #full = false;
  // Where the walk along a path is, what Kong's route path says about it, and who teaches by it.
  #at: Node | undefined;
  #expected: readonly ExpectedSegment[] = [];
  #teacher: Teacher | undefined;

  constructor(maxNodes: number, learnt: readonly LearntTemplate[]) {
    this.#maxNodes = maxNodes;
    // Parents first: what stays under them must be known before what was learnt below it.
    const parentsFirst = [...learnt].sort((a, b) => compare(a.under, b.under));
    for (const { service, under, words } of parentsFirst) {
      let node = this.#rootOf(service);
      const segments = under === '' ? [] : under.slice(1).split('/');
      for (const segment of segments) node = this.#ensure((node.below ??= newPosition()), segment);
      const position = (node.below ??= newPosition());
      if (position.variable) continue;
      this.#makeVariable(position);
      for (const word of words) this.#ensure(position, word).stays = true;
    }
  }

  template(
    service: string,
    path: string,
    expected: readonly ExpectedSegment[],
    teacher: Teacher | undefined,
  ): string {
    if (teacher && !this.#full && this.#nodes + MAX_DEPTH + 1 > this.#maxNodes) this.#makeRoom();
    this.#teacher = this.#full ? undefined : teacher;
    this.#at = this.#teacher ? this.#rootOf(service) : this.#services.get(service);
    this.#expected = expected;
    const template = pathTemplate(path, this.#placeholderAt);
    if (this.#at && this.#teacher?.method === 'POST') this.#at.posts++;
    return template;
  }

  learnt(): LearntTemplate[] {
    const found: LearntTemplate[] = [];
    for (const [service, root] of this.#services) gather(service, '', root, found);
    return found.sort((a, b) => compare(a.service, b.service) || compare(a.under, b.under));
  }

  #placeholderAt = (path: string, from: number, to: number, index: number): string => {
    const expected = this.#expected[index];
    const placeholder = placeholderBy(expected, path, from, to);
    if (this.#at === undefined) return placeholder;
    if (index >= MAX_DEPTH || (this.#at.below === undefined && this.#teacher === undefined)) {
      this.#at = undefined;
      return placeholder;
    }
    const position = (this.#at.below ??= newPosition());
    const key = placeholder !== '' ? placeholder : path.slice(from, Math.min(to, from + MAX_WORD_CHARS));
    const ofRoute = isExpectedLiteral(expected, path, from, to);
    const isFree = placeholder === '' && !ofRoute && to > from && path.charCodeAt(from) !== dot;
    let child = position.children.get(key);
    if (isFree && position.variable && child === undefined) {
      this.#at = position.children.get(objectKey);
      if (this.#at && this.#teacher) this.#at.calls++;
      return objectKey;
    }
    if (this.#teacher === undefined) {
      this.#at = child;
      return placeholder;
    }
    if (isFree && !position.variable) {
      position.calls++;
      if (child === undefined) {
        const teacher = hashOf(this.#teacher);
        if (teacher !== position.teacher) position.newWords++;
        position.teacher = teacher;
      }
    }
    if (child === undefined && position.children.size < MAX_WORDS) child = this.#ensure(position, key);
    if (child) {
      child.calls++;
      if (ofRoute) child.stays = true;
    }
    this.#at = child;
    if (!isFree || position.variable) return placeholder;
    if (position.calls < BLOCK_CALLS && position.newWords < NEW_WORDS_AT_ONCE) return placeholder;
    const objects = this.#endBlock(position);
    this.#at = position.children.get(key);
    if (this.#at !== undefined || !objects) return placeholder;
    this.#at = position.children.get(objectKey);
    return objectKey;
  };

  #newNode(): Node {
    this.#nodes++;
    return { calls: 0, posts: 0, stays: false, below: undefined };
  }

  #ensure(position: Position, key: string): Node {
    let node = position.children.get(key);
    if (!node) {
      node = this.#newNode();
      // A copy: a piece of a line would keep all the bytes that came with it in memory.
      position.children.set(Buffer.from(key).toString(), node);
    }
    return node;
  }

  #makeVariable(position: Position): void {
    const words = [...position.children].filter(([key, node]) => isWord(key) && !node.stays);
    const stays = established(words);
    for (const [, node] of stays) node.stays = true;
    position.variable = true;
    this.revision++;
    const object = this.#ensure(position, objectKey);
    for (const [key, node] of words) {
      if (node.stays) continue;
      position.children.delete(key);
      this.#merge(object, node);
    }
  }

  /** Takes what is known of `from` over; `from` is gone then. */
  #merge(into: Node, from: Node): void {
    this.#nodes--;
    into.calls += from.calls;
    into.posts += from.posts;
    into.stays ||= from.stays;
    if (from.below === undefined) return;
    if (into.below === undefined) {
      into.below = from.below;
      return;
    }
    const to = into.below;
    if (to.variable !== from.below.variable) this.#makeVariable(to.variable ? from.below : to);
    for (const [key, node] of from.below.children) {
      const known = to.children.get(key);
      if (known) this.#merge(known, node);
      else if (to.children.size < MAX_WORDS || !isForgettable(node, to)) to.children.set(key, node);
      else this.#nodes -= sizeOf(node);
    }
    to.seasoned = true;
    to.calls = 0;
    to.newWords = 0;
  }

  /** Judges what the block brought; true if the words are objects from now on. */
  #endBlock(position: Position): boolean {
    const { newWords, seasoned } = position;
    position.calls = 0;
    position.newWords = 0;
    position.seasoned = true;
    if (newWords >= NEW_WORDS_AT_ONCE || (seasoned && newWords >= NEW_WORDS)) {
      this.#makeVariable(position);
      return true;
    }
    if (position.children.size >= MAX_WORDS) this.#forget(position, 1);
    return false;
  }

  /** Forgets words with at most so many calls. */
  #forget(position: Position, calls: number): void {
    for (const [key, node] of position.children) {
      if (node.calls <= calls && isForgettable(node, position)) {
        position.children.delete(key);
        this.#nodes -= sizeOf(node);
      } else if (node.below) this.#forget(node.below, calls);
    }
  }

  #makeRoom(): void {
    for (let calls = 1; calls < 2 ** 31 && this.#nodes > this.#maxNodes * 0.75; calls *= 2) {
      for (const [service, root] of this.#services) {
        if (root.below) this.#forget(root.below, calls);
        if (!root.below?.variable && !root.below?.children.size) {
          this.#services.delete(service);
          this.#nodes--;
        }
      }
    }
    this.#full = this.#nodes > this.#maxNodes * 0.75;
  }

  #rootOf(service: string): Node {
    let root = this.#services.get(service);
    if (!root) this.#services.set(Buffer.from(service).toString(), (root = this.#newNode()));
    return root;
  }
}

function newPosition(): Position {
  return { children: new Map(), variable: false, calls: 0, newWords: 0, seasoned: false, teacher: 0 };
}

function isWord(key: string): boolean {
  return key !== '' && key.charCodeAt(0) !== openBrace && key.charCodeAt(0) !== dot;
}

/** Which of these siblings are no objects, whatever the others are. */
function established(words: readonly [string, Node][]): [string, Node][] {
  const byCalls = words.map(([, { calls }]) => Math.max(1, calls)).sort((a, b) => b - a);
  let enough = (byCalls[Math.min(ESTABLISHED_RANK, byCalls.length) - 1] ?? 1) * ESTABLISHED_FACTOR;
  for (let rank = 1; rank <= byCalls.length * ESTABLISHED_SHARE; rank++) {
    const calls = byCalls[rank - 1]!;
    if (calls >= ESTABLISHED_CALLS && calls >= byCalls[rank]! * ESTABLISHED_STEP)
      enough = Math.min(enough, calls);
  }
  // How many of the words lead on to each.
  const leadTo = new Map<string, number>();
  for (const [, { below }] of words)
    for (const key of below?.children.keys() ?? []) leadTo.set(key, (leadTo.get(key) ?? 0) + 1);
  const posted = words.filter(([, { posts }]) => posts > 0).length;
  const hasActions = posted <= Math.max(1, words.length * FEW_SHARE);
  return words.filter(([, { calls, posts, below }]) => {
    if (calls >= enough || (hasActions && posts >= ESTABLISHED_POSTS)) return true;
    for (const [key, node] of below?.children ?? [])
      if (node.calls >= ESTABLISHED_CALLS && isWord(key) && leadTo.get(key) === 1) return true;
    return false;
  });
}

/** Is nothing decided here or below? */
function isForgettable({ stays, below }: Node, position: Position): boolean {
  if ((stays && position.variable) || below?.variable) return false;
  if (below) for (const child of below.children.values()) if (!isForgettable(child, below)) return false;
  return true;
}

function sizeOf({ below }: Node): number {
  let size = 1;
  for (const child of below?.children.values() ?? []) size += sizeOf(child);
  return size;
}

function gather(service: string, under: string, { below }: Node, found: LearntTemplate[]): void {
  if (below === undefined) return;
  if (below.variable) {
    const words = [...below.children].filter(([key, node]) => isWord(key) && node.stays);
    found.push({ service, under, words: words.map(([key]) => key).sort(compare) });
  }
  for (const [key, node] of below.children) gather(service, `${under}/${key}`, node, found);
}

/** By code units: the same everywhere. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** FNV-1a. */
function hashOf({ actorId, ip = '' }: Teacher): number {
  let hash = 0x811c_9dc5;
  for (const text of [actorId, ip])
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x0100_0193);
  return hash >>> 0;
}
