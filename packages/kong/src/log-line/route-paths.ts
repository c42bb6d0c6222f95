/** What a route's path says about one segment: the literal text, `variable`, or undefined if it leaves it open. */
export type ExpectedSegment = string | typeof variable | undefined;

/** A segment that Kong's route path says is different for each object. */
export const variable = Symbol('variable');

/** What Kong's route paths say about the paths that they match, segment by segment. */
export type RouteShapes = readonly Shape[];

interface Shape {
  /** What a path must start with; '' where the segments are compared. */
  prefix: string;
  segments: readonly ExpectedSegment[];
  /** Nothing may follow the segments. */
  whole: boolean;
}

const maxPaths = 50;
const maxPathChars = 300;
/** Before Kong 3.0 a path with any other character was a regular expression; since then `~` marks one. */
const plainPath = /^[\w.\-~/%]*$/;
const noSegments: readonly ExpectedSegment[] = [];

/**
 * Reads `route.paths` of a log line, of any type. A plain path is a prefix, so its segments are literal. A regular
 * expression (`~/products/(?<slug>[^/]+)/reviews$`) is read, never run: one that is harmless in Kong's engine may take for
 * ever in ours. A segment of it is variable if it captures a repeated class or is nothing but one, and literal if it has
 * nothing special in it; other segments, and all from the first optional or nested slash on, are left open.
 * (Format: the traditional router in Kong's documentation.)
 */
export function routeShapes(paths: unknown): RouteShapes {
  if (!Array.isArray(paths)) return [];
  const shapes: Shape[] = [];
  for (const path of paths.slice(0, maxPaths) as unknown[]) {
    if (typeof path !== 'string' || path.length < 2 || path.length > maxPathChars) continue;
    // A copy: a piece of a line would keep all the bytes that came with it in memory.
    const own = Buffer.from(path).toString();
    if (own.startsWith('/') && plainPath.test(own))
      shapes.push({ prefix: own, segments: own.slice(1).split('/'), whole: false });
    else shapes.push(readExpression(own.replace(/^~?\^?/, '')));
  }
  // A path that matches several says most by the one with the most literal segments.
  return shapes
    .filter(({ segments }) => segments.length > 0)
    .sort((a, b) => literals(b) - literals(a) || b.segments.length - a.segments.length);
}

/** What the first shape that the path fits says about its segments. Empty if there is none. */
export function expectedSegments(shapes: RouteShapes, path: string): readonly ExpectedSegment[] {
  for (const shape of shapes) if (fits(shape, path)) return shape.segments;
  return noSegments;
}

/** Is the segment from `from` to `to` the literal one that the route's path has there? */
export function isExpectedLiteral(
  expected: ExpectedSegment,
  path: string,
  from: number,
  to: number,
): boolean {
  return typeof expected === 'string' && expected.length === to - from && path.startsWith(expected, from);
}

function literals({ segments }: Shape): number {
  return segments.filter((segment) => typeof segment === 'string').length;
}

function fits(shape: Shape, path: string): boolean {
  if (shape.prefix !== '') return path.startsWith(shape.prefix);
  let from = 1;
  for (const expected of shape.segments) {
    if (from > path.length) return false;
    const next = path.indexOf('/', from);
    const to = next < 0 ? path.length : next;
    if (expected === variable ? to === from : typeof expected === 'string') {
      if (!isExpectedLiteral(expected, path, from, to)) return false;
    }
    from = to + 1;
  }
  return !shape.whole || from > path.length;
}

/** Segments of a regular expression, up to the first slash inside of a group or class. */
function readExpression(source: string): Shape {
  const ended = source.endsWith('$') && !source.endsWith('\\$');
  const body = ended ? source.slice(0, -1) : source;
  const parts: string[] = [];
  let depth = 0;
  let inClass = false;
  let begin = 0;
  let whole = ended;
  for (let at = 0; at < body.length; at++) {
    const char = body[at];
    if (char === '\\') at++;
    else if (inClass) inClass = char !== ']';
    else if (char === '[') {
      inClass = true;
      // A `]` that comes first is a member, and so is the `/` of `[^/]`.
      if (body[at + 1] === '^') at++;
      if (body[at + 1] === ']') at++;
    } else if (char === '(') depth++;
    else if (char === ')') depth--;
    else if (char === '|' && depth === 0) return { prefix: '', segments: [], whole: false };
    else if (char === '/') {
      if (depth > 0) {
        // The group, and the segment that it begins in, may have several segments.
        return { prefix: '', segments: parts.slice(1).map(readSegment), whole: false };
      }
      parts.push(body.slice(begin, at));
      begin = at + 1;
      // `/?`: the slash may be missing.
      if (body[begin] === '?' || body[begin] === '*') {
        whole = false;
        begin = body.length;
        break;
      }
    }
  }
  if (begin < body.length) parts.push(body.slice(begin));
  else if (body.endsWith('/')) parts.push('');
  const segments = parts.slice(1).map(readSegment);
  // What ends without `$` may go on within its last segment; `.` goes over slashes.
  if (!ended && typeof segments.at(-1) === 'string') segments.pop();
  if (parts.some(hasAnyCharacter)) whole = false;
  return { prefix: '', segments, whole };
}

const hasAnyCharacter = (part: string): boolean => /(^|[^\\])\.[*+{]/.test(part);
const repeatedClass = String.raw`(?:\\[dwSD]|\.|\[[^\]]+\])(?:[+*]|\{\d+,?\d*\})\??`;
const captured = new RegExp(String.raw`\((?:\?P?<\w+>|(?!\?))[^()|]*${repeatedClass}`);
const nothingElse = new RegExp(`^(?:\\(\\?:)?${repeatedClass}\\)?$`);

function readSegment(part: string): ExpectedSegment {
  if (captured.test(part) || nothingElse.test(part)) return variable;
  const text = part.replace(/\\([^\w])/g, '$1');
  return /[\\()[\]{}*+?|^$.]/.test(part.replace(/\\[^\w]/g, '')) ? undefined : text;
}
