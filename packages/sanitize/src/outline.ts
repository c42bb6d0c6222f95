import { isHarmlessValue } from './by-name.ts';
import type { Sanitizer } from './sanitizer.ts';

// Plugins put whole request and response bodies into log lines, and anything may come in on the port. Of what was refused, an
// operator needs the structure to see what it is and who sent it, never the free text.

/** No outline is longer. */
export const maxOutlineChars = 2_000;

/** How the value of a field of Kong's log line, or of an API call, is shown; undefined if it has no such form. */
type Show = (value: string, sanitizer: Sanitizer) => string | undefined;

const ofForm =
  (form: RegExp): Show =>
  (value, sanitizer) =>
    form.test(value) && sanitizer.identifier(value) === value ? value : undefined;
const id = ofForm(/^[\w.:|/-]{1,100}$/);
const idOfCall = ofForm(/^[\w~-]{1,64}\.\d{1,16}$/);
const method = ofForm(/^[A-Z]{1,20}$/);
const origin = ofForm(/^(?:kong|upstream)$/);
const word = ofForm(/^[\w./-]{1,40}$/);
const address = ofForm(/^[0-9A-Fa-f.:]{2,45}$/);
const numbers = ofForm(/^[0-9, -]{1,40}$/);
const host = ofForm(/^[\w.-]{1,100}(?::\d{1,5})?$/);
const contentType: Show = (value, sanitizer) => word(value.split(';')[0]!, sanitizer);
const timeOrLimit = /^-?\d{1,19}(?:\.\d{1,9})?$/;

const shownFields = new Map<string, Show>();
for (const [show, paths] of [
  [
    id,
    `request.id consumer.id authenticated_entity.id authenticated_entity.consumer_id workspace workspace_name service.id
     service.name service.ws_id route.id route.name route.ws_id route.service.id api.id api.name`,
  ],
  [
    word,
    `service.protocol route.methods route.protocols tries.state request.tls.version request.tls.cipher
     response.headers.server response.headers.via`,
  ],
  [idOfCall, 'id'],
  [method, 'method request.method'],
  [origin, 'source'],
  [address, 'client_ip tries.ip ip'],
  [numbers, 'upstream_status request.size response.size response.status'],
  [host, 'request.headers.host service.host tries.hostname'],
  [contentType, 'request.headers.content-type response.headers.content-type'],
  [uri, 'path request.uri request.url request.request_uri upstream_uri service.path route.paths api.uris'],
] as const) {
  for (const path of paths.split(/\s+/)) shownFields.set(path, show);
}
/** Numbers of any size are times, limits and durations there; elsewhere they may be anybody's. */
const entityPath = /^(?:started_at|startedat|(?:service|route|api|tries|latencies|session)\..*)$/;
const maxNumberChars = 9;

/**
 * What a text is, without what it says: of JSON, also of broken or cut JSON, the names of members, numbers, `true`, `false`,
 * `null`, the lengths of strings (`"~text~ 512 chars"`), and those fields of a log line or an API call that hold no free text,
 * sanitised. Of other text the length and the first 80 characters with letters as `a` and `A`, digits as `9`. At most 2,000
 * characters; linear in the length of the text.
 */
export function outline(text: string, sanitizer: Sanitizer): string {
  const begin = /^[\ufeff\s]*/.exec(text)![0].length;
  const first = text.charAt(begin);
  return first === '{' || first === '[' ? outlineOfJson(text, begin, sanitizer) : outlineOfText(text);
}

function outlineOfJson(text: string, begin: number, sanitizer: Sanitizer): string {
  const parts: string[] = [];
  let chars = 0;
  /** Paths of the containers around, and of the member whose value comes next. */
  const outer: string[] = [];
  let container = '';
  let path = '';
  for (let at = begin; at < text.length && chars <= maxOutlineChars;) {
    const char = text.charAt(at);
    let shown = char;
    if (char === '"') {
      const end = endOfString(text, at);
      const value = decoded(text.slice(at + 1, end));
      at = end + 1;
      const isName = /^\s{0,16}:/.test(text.slice(at, at + 17));
      if (isName) path = (container === '' ? value : `${container}.${value}`).slice(0, 200).toLowerCase();
      shown = JSON.stringify(isName ? shownName(value, sanitizer) : shownString(path, value, sanitizer));
    } else if (/[{}[\],:\s]/.test(char)) {
      at++;
      if (char === '{' || char === '[') {
        outer.push(container);
        container = path;
      } else if (char === '}' || char === ']') path = container = outer.pop() ?? '';
      else if (char === ',') path = container;
      else if (char !== ':') shown = '';
    } else {
      const end = endOfWord(text, at);
      shown = shownWord(path, text.slice(at, end).trim(), sanitizer);
      at = end;
    }
    parts.push(shown);
    chars += shown.length;
  }
  return parts.join('').slice(0, maxOutlineChars);
}

/** The closing quote of the string that begins at `start`, or the end of the text. */
function endOfString(text: string, start: number): number {
  let end = start + 1;
  while (end < text.length && text.charAt(end) !== '"') end += text.charAt(end) === '\\' ? 2 : 1;
  return Math.min(end, text.length);
}

function endOfWord(text: string, start: number): number {
  let end = start;
  while (end < text.length && !/[{}[\],:"\n]/.test(text.charAt(end))) end++;
  return end;
}

function decoded(raw: string): string {
  if (!raw.includes('\\')) return raw;
  try {
    return JSON.parse(`"${raw}"`) as string;
  } catch {
    return raw;
  }
}

function shownName(name: string, sanitizer: Sanitizer): string {
  const plain = /^[\w.$-]{1,64}$/.test(name) && sanitizer.identifier(name) === name;
  return plain ? name : `~name~ ${name.length} chars`;
}

function shownString(path: string, value: string, sanitizer: Sanitizer): string {
  if (isHarmlessValue(value)) return value;
  return shownFields.get(path)?.(value, sanitizer) ?? `~text~ ${value.length} chars`;
}

/** Outside quotes: a number, a word of JSON, or what does not belong there. */
function shownWord(path: string, value: string, sanitizer: Sanitizer): string {
  if (value === '' || value === 'true' || value === 'false' || value === 'null') return value;
  if (!/^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(value)) return `"~text~ ${value.length} chars"`;
  if (entityPath.test(path) && timeOrLimit.test(value)) return value;
  const name = path.slice(path.lastIndexOf('.') + 1);
  const harmless = value.length <= maxNumberChars && sanitizer.parameter(name, value) === value;
  return harmless ? value : `"~number~ ${value.length} chars"`;
}

const maxParametersShown = 20;

/** The sanitised path of a URI, segments of plain characters only, and the names of its parameters. */
function uri(value: string, sanitizer: Sanitizer): string {
  const [, path = '', query] = /^([^?#]*)(?:\?([^#]*))?/.exec(value)!;
  const segments = sanitizer
    .url(path)
    .split('/')
    .map((segment) => (/^[\w.~:@!$()*,;=+{}-]{0,60}$/.test(segment) ? segment : '~text~'));
  if (query === undefined) return segments.join('/');
  const names = query
    .split('&', maxParametersShown)
    .map((pair) => `${shownName(pair.split('=')[0]!, sanitizer)}=~text~`);
  return `${segments.join('/')}?${names.join('&')}`;
}

/** What other programs begin with that speak to the wrong port. */
const protocolWords = new Set(
  'GET POST PUT PATCH DELETE HEAD OPTIONS CONNECT PRI HTTP HTTPS PROXY TCP UDP SSH EHLO HELO QUIT INFO xml html json Host'.split(
    ' ',
  ),
);
const beginningChars = 80;

function outlineOfText(text: string): string {
  const classes = text
    .slice(0, beginningChars)
    .replace(/[A-Za-z]+|[^]/g, (found) =>
      protocolWords.has(found) ? found : found.replace(/[^]/g, classOfChar),
    );
  return `~text~ ${text.length} chars, beginning: ${classes}`;
}

function classOfChar(char: string): string {
  if (/[a-z]/.test(char)) return 'a';
  if (/[A-Z]/.test(char)) return 'A';
  if (/\d/.test(char)) return '9';
  if (/[ -~]/.test(char)) return char;
  const code = char.charCodeAt(0);
  return code < 32 ? `\\x${code.toString(16).padStart(2, '0')}` : '?';
}
