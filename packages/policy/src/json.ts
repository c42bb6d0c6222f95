/** Where a value stands in the text: offsets in UTF-16 units, `keyAt` of its key if it is a property. */
export interface JsonNode {
  value: unknown;
  at: number;
  keyAt?: number;
  /** Children of an object (by name) or of a list (by index, as text). */
  children?: Map<string, JsonNode>;
  /** Names that an object gives more than once, each with the place of the second. */
  repeated?: { key: string; at: number }[];
}

/** Not JSON: what was found where. */
export class JsonSyntaxError extends Error {
  override name = 'JsonSyntaxError';
  readonly at: number;
  constructor(message: string, at: number) {
    super(message);
    this.at = at;
  }
}

const maxDepth = 64;
const spaces = /[ \t\r\n]*/y;
// eslint-disable-next-line no-control-regex -- JSON forbids control characters in texts
const strings = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const numbers = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const words = /[A-Za-z_$][A-Za-z0-9_$]*/y;

/**
 * Reads JSON (RFC 8259) and remembers where each value stands, which JSON.parse does not tell. Takes time linear in the
 * text. Throws `JsonSyntaxError`, also for values nested deeper than 64.
 */
export function readJson(text: string): JsonNode {
  let at = 0;

  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    if (found) at += found.length;
    return found;
  };
  const fail = (message: string, where = at): never => {
    throw new JsonSyntaxError(message, where);
  };
  const describe = (): string => {
    const char = text[at];
    if (char === undefined) return 'the end of the text';
    if (text.startsWith('//', at) || text.startsWith('/*', at)) return 'a comment (JSON has none)';
    return JSON.stringify(char);
  };

  const readString = (what: string): string => {
    if (text[at] !== '"') fail(`${what} is expected here, in double quotes; found ${describe()}`);
    const found = take(strings);
    if (!found) return fail('this text has no closing quote, or holds a line break or an unknown \\ escape');
    return JSON.parse(found) as string;
  };

  const readValue = (depth: number): JsonNode => {
    if (depth > maxDepth) fail(`values are nested deeper than ${maxDepth}`);
    const start = at;
    const char = text[at];
    if (char === '{') return readObject(depth, start);
    if (char === '[') return readList(depth, start);
    if (char === '"') return { value: readString('a text'), at: start };
    const number = take(numbers);
    if (number) return { value: Number(number), at: start };
    const word = take(words);
    if (word === 'true') return { value: true, at: start };
    if (word === 'false') return { value: false, at: start };
    if (word === 'null') return { value: null, at: start };
    return fail(
      word
        ? `a value is expected here; found ${word} (texts need double quotes)`
        : `a value is expected here; found ${describe()}`,
      start,
    );
  };

  /** After an entry: true if another one follows. */
  const another = (close: string): boolean => {
    take(spaces);
    if (text[at] === close) {
      at++;
      return false;
    }
    if (text[at] !== ',') fail(`a comma or ${close} is expected here; found ${describe()}`);
    const comma = at++;
    take(spaces);
    if (text[at] === close) fail(`a comma must not stand before ${close}`, comma);
    return true;
  };

  const readObject = (depth: number, start: number): JsonNode => {
    const value: Record<string, unknown> = {};
    const children = new Map<string, JsonNode>();
    const repeated: { key: string; at: number }[] = [];
    at++;
    take(spaces);
    if (text[at] === '}') at++;
    else {
      do {
        const keyAt = at;
        const key = readString('a name');
        take(spaces);
        if (text[at] !== ':') fail(`a colon is expected here; found ${describe()}`);
        at++;
        take(spaces);
        const child = readValue(depth + 1);
        if (children.has(key)) repeated.push({ key, at: keyAt });
        children.set(key, { ...child, keyAt });
        // Not an assignment: `__proto__` is a name like any other.
        Object.defineProperty(value, key, {
          value: child.value,
          enumerable: true,
          configurable: true,
          writable: true,
        });
      } while (another('}'));
    }
    return { value, at: start, children, repeated };
  };

  const readList = (depth: number, start: number): JsonNode => {
    const value: unknown[] = [];
    const children = new Map<string, JsonNode>();
    at++;
    take(spaces);
    if (text[at] === ']') at++;
    else {
      do {
        const child = readValue(depth + 1);
        children.set(String(value.length), child);
        value.push(child.value);
      } while (another(']'));
    }
    return { value, at: start, children };
  };

  if (text.startsWith('\ufeff')) at = 1;
  take(spaces);
  const root = readValue(0);
  take(spaces);
  if (at < text.length) fail(`the text must end here; found ${describe()}`);
  return root;
}

/** Line and column (both from 1) of an offset. */
export function lineAndColumn(text: string, offset: number): { line: number; column: number } {
  let line = 1;
  let lineStart = 0;
  for (let at = text.indexOf('\n'); at !== -1 && at < offset; at = text.indexOf('\n', at + 1)) {
    line++;
    lineStart = at + 1;
  }
  return { line, column: offset - lineStart + 1 };
}
