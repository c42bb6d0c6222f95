import { createScanner, parseTree, printParseErrorCode, type Node, type ParseError } from 'jsonc-parser';

/** A JSON value and where it stands in the text, as offsets in UTF-16 units. */
export interface JsonNode {
  value: unknown;
  at: number;
  /** Offset of its name, if it is a property. */
  keyAt?: number;
  /** Children of an object (by name) or of a list (by index, as text). */
  children?: Map<string, JsonNode>;
  /** Names that an object gives more than once, each with the offset of the second. */
  repeated?: { key: string; at: number }[];
}

/** Thrown for a text that is no JSON; `at` is the offset of the mistake. */
export class JsonSyntaxError extends Error {
  override name = 'JsonSyntaxError';
  readonly at: number;
  constructor(message: string, at: number) {
    super(message);
    this.at = at;
  }
}

const depthMax = 64;
const byteOrderMark = '\ufeff';

/**
 * Reads JSON (RFC 8259) together with the position of each value. Accepts what `JSON.parse` accepts, and a byte order mark
 * before it. Throws `JsonSyntaxError`, also for values nested deeper than 64.
 */
export function readJson(text: string): JsonNode {
  // A space keeps the offsets.
  const source = text.startsWith(byteOrderMark) ? ` ${text.slice(1)}` : text;
  checkDepth(source);
  const errors: ParseError[] = [];
  const root = parseTree(source, errors, { disallowComments: true, allowTrailingComma: false });
  const [first] = errors;
  if (first) throw describeError(source, first);
  return nodeOf(root!);
}

/** The parser is recursive: a text of brackets alone must not exhaust the stack. */
function checkDepth(text: string): void {
  let depth = 0;
  for (const at of tokensOf(text)) {
    if ('{['.includes(text[at]!) && ++depth > depthMax + 1)
      throw new JsonSyntaxError(`values are nested deeper than ${depthMax}`, at);
    if ('}]'.includes(text[at]!)) depth--;
  }
}

/** The offsets of all tokens, white space left out. */
function* tokensOf(text: string): Generator<number> {
  const scanner = createScanner(text, true);
  for (scanner.scan(); scanner.getTokenLength() > 0; scanner.scan()) yield scanner.getTokenOffset();
}

function nodeOf(node: Node): JsonNode {
  if (node.type === 'array') {
    const items = (node.children ?? []).map(nodeOf);
    const children = new Map(items.map((item, index) => [String(index), item]));
    return { value: items.map((item) => item.value), at: node.offset, children };
  }
  if (node.type !== 'object') return { value: node.value as unknown, at: node.offset };
  const value: Record<string, unknown> = {};
  const children = new Map<string, JsonNode>();
  const repeated: { key: string; at: number }[] = [];
  for (const { children: [name, content] = [] } of node.children ?? []) {
    const key = name!.value as string;
    if (children.has(key)) repeated.push({ key, at: name!.offset });
    const child = { ...nodeOf(content!), keyAt: name!.offset };
    children.set(key, child);
    // Not an assignment: `__proto__` is a name like any other.
    Object.defineProperty(value, key, {
      value: child.value,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return { value, at: node.offset, children, repeated };
}

function describeError(text: string, { error, offset }: ParseError): JsonSyntaxError {
  const code = printParseErrorCode(error);
  if (/String|Unicode|Character/.test(code)) {
    return new JsonSyntaxError(
      'this text has no closing quote, or holds a line break or an unknown \\ escape',
      offset,
    );
  }
  if (code === 'UnexpectedEndOfNumber') return new JsonSyntaxError('this number is not complete', offset);
  const before = text.slice(0, offset).trimEnd();
  const close = text[offset] ?? '';
  if (before.endsWith(',') && (close === '}' || close === ']'))
    return new JsonSyntaxError(`a comma must not stand before ${close}`, before.length - 1);
  return new JsonSyntaxError(`${expectedAt(text, offset)}; found ${foundAt(text, offset)}`, offset);
}

/** What JSON allows behind the tokens before this offset, in words. */
function expectedAt(text: string, offset: number): string {
  const open: string[] = [];
  let expected: 'value' | 'name' | 'colon' | 'end' = 'value';
  for (const at of tokensOf(text.slice(0, offset))) {
    const char = text[at]!;
    if (char === '{' || char === '[') open.push(char === '{' ? '}' : ']');
    if (char === '}' || char === ']') open.pop();
    if (char === '{' || (char === ',' && open.at(-1) === '}')) expected = 'name';
    else if ('[,:'.includes(char)) expected = 'value';
    else expected = expected === 'name' && char === '"' ? 'colon' : 'end';
  }
  const inner = open.at(-1);
  if (expected === 'end')
    return inner === undefined ? 'the text must end here' : `a comma or ${inner} is expected here`;
  return {
    value: 'a value is expected here',
    name: 'a name is expected here, in double quotes',
    colon: 'a colon is expected here',
  }[expected];
}

function foundAt(text: string, offset: number): string {
  if (offset >= text.length) return 'the end of the text';
  if (/^\/[/*]/.test(text.slice(offset, offset + 2))) return 'a comment (JSON has none)';
  const word = /^[A-Za-z_$][\w$]*/.exec(text.slice(offset, offset + 80))?.[0];
  return word === undefined ? JSON.stringify(text[offset]) : `${word} (texts need double quotes)`;
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
