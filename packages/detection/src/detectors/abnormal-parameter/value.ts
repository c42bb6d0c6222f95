import type { Scalar } from './flatten.ts';

/** What a value looks like, from the narrowest to the widest. */
export const kinds = [
  'empty',
  'boolean',
  'integer',
  'decimal',
  'date',
  'uuid',
  'hex',
  'token',
  'masked',
  'email',
  'ip',
  'url',
  'json',
  'path',
  'list',
  'word',
  'slug',
  'text',
  'symbols',
] as const;
export type Kind = (typeof kinds)[number];

/** As it is said in a reason. */
export const kindWords: Record<Kind, string> = {
  empty: 'an empty value',
  boolean: 'true or false',
  integer: 'an integer',
  decimal: 'a decimal number',
  date: 'a date or time',
  uuid: 'a uuid',
  hex: 'hexadecimal digits',
  token: 'a long random-looking token',
  masked: 'a masked secret',
  email: 'an e-mail address',
  ip: 'an IP address',
  url: 'a URL',
  json: 'JSON',
  path: 'a path',
  list: 'a list',
  word: 'a word',
  slug: 'an identifier',
  text: 'free text',
  symbols: 'text with special characters',
};

/** One value, seen by the detector. Nothing of it can be read back. */
export interface SeenValue {
  kind: Kind;
  /** Characters, as sent. */
  length: number;
  /** Readings of a number or a date (ms): "1,234" has two. Empty for anything else. */
  numbers: number[];
  /** Hashes of the value, of each member of a list, or of each member's name of JSON; without case. */
  hashes: number[];
  /**
   * What of the form stays where values differ: the host of a URL (as a hash), the ending of a path, else letters as `a` and
   * digits as `9`, runs as one, so that "SKU-1234" is "a-9". Empty where the form says nothing.
   */
  form: string;
  /** Encoded once more than usual, and the decoded form holds nothing special. */
  encoded: boolean;
  /** Encoded twice more than usual, or in overlong UTF-8: only useful to get past filters. */
  doubleEncoded: boolean;
  /** NUL or another control character. */
  control: boolean;
  lineBreak: boolean;
  /** A line break with a header line behind it. */
  headerBreak: boolean;
  /** Digits of a number, for reasons. */
  digits: number;
  attack: AttackShape | undefined;
}

export interface AttackShape {
  /** As it is said in a reason. */
  name: string;
  /** Its number in the Common Weakness Enumeration. */
  weakness: string;
  /** Nobody writes it by chance, in free text neither. */
  certain: boolean;
}

/** Characters that are looked at; the rest of a longer value counts by its length only. */
const MAX_CHARS = 4_096;

/**
 * Shapes of well-known attacks. Never a reason by themselves: they add to the surprise about a value that its parameter's
 * profile does not allow. On the decoded value, in lower case.
 */
const attackShapes: readonly [name: string, weakness: string, shape: RegExp][] = [
  ['JNDI lookup', 'CWE-917', /\$\{[^}]{0,60}(jndi|::-|lower:|upper:|env:)/],
  [
    'template expression',
    'CWE-1336',
    /\{\{[^}]{1,200}\}\}|\$\{[^}]{1,200}\}|<%[^>]{1,200}%>|#\{[^}]{1,200}\}/,
  ],
  [
    'SQL injection',
    'CWE-89',
    /(['"`)]|^-?\d+)\s*(or|and|\|\||&&)\s*['"(]?[\w]{1,20}['")]?\s*(=|<|>|like\b|is\b|between\b|in\b)|\bunion\b[\s(/*+]{1,10}(all\s+|distinct\s+)?\bselect\b|;\s*(drop|insert|update|delete|alter|create|truncate|select|exec|shutdown|declare)\b|\b(sleep|benchmark|pg_sleep|extractvalue|updatexml|load_file)\s*\(|\bwaitfor\s+delay\b|['")]\s*(--|#|;)|\bselect\b\s+(\*|[\w.,@()]{1,80})\s+\bfrom\b|^['"]+$/,
  ],
  [
    'SQL injection',
    'CWE-89',
    /\b(where|having)\s+\(*(\d+|['"]\w{1,20}['"])\)*\s*=|\b(order|group)\s+by\s+\d|\brlike\s*\(|\(\s*select\b|\bselect\s*[(']|\bselect\s+count\s*\(|\bcase\s+when\b|\b(iif|elt|make_set|chr|char|randomblob|generate_series|regexp_substring)\s*\(|\b(dbms|utl)_\w{2,20}\.|\binformation_schema\b|\brdb\$|\bdrop\s+(table|function|procedure|database)\b/,
  ],
  [
    'cross-site scripting',
    'CWE-79',
    /<\s*\/?\s*(script|img|svg|iframe|body|object|embed|video|audio|input|details|math|style|link|meta|form|a)\b[^<]{0,300}|\bon[a-z]{3,20}\s*=\s*["'\w(]|javascript:|vbscript:|data:text\/html|\bdocument\s*\.\s*(cookie|write|domain|location)\b|\b(alert|confirm|prompt|expression|eval)\s*\(|<\s*\w{1,40}\s[^<]{0,200}=\s*["']/,
  ],
  ['XML entity', 'CWE-611', /<!(doctype|entity)\b/],
  [
    'path traversal',
    'CWE-22',
    /(^|[\\/=])\.\.+([\\/;]|$)|(0x2e){2}|\.\.0x[25][cf]|[\\/]\.{2,}|(\/\.){2}|\/\/\.|\/etc\/(passwd|shadow|hosts|group)|[a-z]:\\(windows|winnt|boot)|\/proc\/(self|\d+)\/|web-inf\/|[a-z]:[\\/]+inetpub\b/,
  ],
  [
    'command injection',
    'CWE-78',
    /(?:[;&|\n`]|\$\()\s*(cat|ls|id|whoami|wget|curl|nc|ncat|bash|sh|ping|uname|rm|powershell|cmd|nslookup|dir|type|python\d?|perl|php|sleep|echo|touch|env|ifconfig|netstat|ps|kill|chmod)\b|\$\([^)]{1,200}\)|`[^`]{1,200}`|(^|[;&|\s])\/?(usr\/)?s?bin\/[a-z]{2,12}\b|#exec\s+cmd\b|[;&|+]\s*dir[\s+]+[a-z]:/,
  ],
  [
    'URL of an internal system',
    'CWE-918',
    /^(https?:)?\/\/([^/@]{0,100}@)?(localhost|127\.|10\.|192\.168\.|169\.254\.|172\.(1[6-9]|2\d|3[01])\.|0\.0\.0\.0|0x7f|2130706433|\[::|metadata\b|[\w.-]{0,100}\.(internal|local|localdomain|corp|lan)\b)|^(gopher|file|dict|ldaps?|ftp|tftp|sftp|jar|netdoc|phar|php|expect):/,
  ],
  [
    'query operator',
    'CWE-943',
    /(^|[[{"'.])\$(ne|gt|gte|lt|lte|where|regex|in|nin|exists|or|and|not|expr)\b/,
  ],
  ['LDAP filter', 'CWE-90', /\*?\)\s*\(\s*[|&!]|\)\(\w{1,30}=\*/],
  [
    'hidden or backup file',
    'CWE-530',
    /\.(bak|old|orig|swp|swo|save|backup|tmp|copy|inc|config|sql|log)~?$|[\w]~$|(^|[\\/])\.(git|env|ht\w{2,8}|svn|aws|ssh|ds_store|bash_history)\b/,
  ],
];

/** Of these shapes, what ordinary sentences, names and addresses do not contain: "; drop table", not "select all that apply". */
const certainShapes = new RegExp(
  [
    /<\s*script\b|\bdocument\.cookie\b|['"]\s*;\s*alert\s*\(|\bon(error|load|click|mouseover|focus)\s*=|javascript:/,
    /\$\{[^}]{0,60}jndi|\{\{\s*\d+\s*[*+]|<%=|[#$]\{\s*\d+\s*[*+]/,
    /\bunion\b[\s(/*+]{1,10}(all\s+)?select\b|['"`)]\s*(or|and|\|\|)\s*['"(]?\w{1,20}['")]?\s*(=|<|>|like\b)|\b(or|and)\s+\d+\s*=\s*\d|(^-?\d+|['"`)%])\s*(order|group)\s+by\s+\d+\s*(--|#)|\bwhere\s+(\d+)\s*=\s*\d|\b(elt|make_set|iif)\s*\(\s*\d+\s*=|\bselect\s*\(\s*case\s+when\b|\(\s*select\s+(\*|[a-z_]{2,20}\()|;\s*call\s+\w{2,30}\(/,
    /;\s*(drop|alter|create|truncate)\s+(table|database|schema|view)\b|;\s*(delete\s+from|insert\s+into|update\s+\w+\s+set|declare\s+@|select\s+(count\s*\(|\*\s*from\b|[a-z_]{2,20}\())/,
    /\b(sleep|benchmark|pg_sleep)\s*\(\s*\d|\bwaitfor\s+delay\b|'\s*--\s*$/,
    /(\.\.[\\/]){2}|\/etc\/(passwd|shadow)\b/,
    /[;|&]\s*(cat|wget|curl|nc|bash|sh|ping|rm|ls)\s+(-\w|\/\w|https?:|\$|\d{1,3}\.)|[;|]\s*(id|whoami|ls)\s*;?\s*$|[;|]\s*\/?(usr\/)?bin\/[a-z]{2,12}\b|\$\((whoami|id|cat|curl|wget|sleep)\b|`(id|whoami|cat|ls)\b/,
    /<!(doctype|entity)\b|\b169\.254\.169\.254\b/,
  ]
    .map((shape) => shape.source)
    .join('|'),
);

/** "014e35" and "12e5" are identifiers sooner than numbers. */
const numberShape =
  /^[+-]?(\d+|\d+[.,]\d+|[.,]\d+|\d{1,3}([.,' ]\d{3})+([.,]\d+)?|([1-9]|\d+\.\d+)e[+-]?\d{1,3})%?$/i;
const isoDate = /^\d{4}-\d{2}(-\d{2}([T ]\d{2}:?\d{2}(:?\d{2}([.,]\d{1,9})?)?\s?(Z|[+-]\d{2}:?\d{2})?)?)?$/i;
const writtenDate = /^(\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./]\d{1,2}[./]\d{1,2}|\d{1,2}:\d{2}(:\d{2})?)$/;
const uuidShape = /^\{?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\}?$/i;
const naturalText =
  // eslint-disable-next-line no-misleading-character-class -- parts of emoji are meant one by one
  /^[\p{L}\p{M}\p{N}\s.,;:!?¡¿'"’‘“”„«»()\-–—…/&#@%+*_°§\p{Sc}\p{So}\p{Po}\p{Pd}\p{Ps}\p{Pe}\p{Pi}\p{Pf}\u200d\ufe0f\u{1f3fb}-\u{1f3ff}]+$/u;
const unnatural = /[\\[\]{}]/;

/** Looks at one value. Linear in its length, which is cut at 4,096 characters; never throws. */
export function seeValue(value: Scalar): SeenValue {
  const raw = value === null ? '' : String(value);
  const seen: SeenValue = {
    kind: 'empty',
    length: raw.length,
    numbers: [],
    hashes: [],
    form: '',
    encoded: false,
    doubleEncoded: false,
    control: false,
    lineBreak: false,
    headerBreak: false,
    digits: 0,
    attack: undefined,
  };
  // Most values are short numbers and words, in which nothing of what follows can be found.
  if (/^\d{1,15}$/.test(raw)) {
    seen.kind = 'integer';
    seen.numbers = [Number(raw)];
    seen.digits = raw.length;
    seen.hashes = [hashOf(raw)];
    return seen;
  }
  if (/^[a-z]{1,15}$/i.test(raw)) {
    const lower = raw.toLowerCase();
    seen.kind = /^(true|false|yes|no|on|off)$/.test(lower) ? 'boolean' : 'word';
    seen.hashes = [hashOf(lower)];
    return seen;
  }
  let text = raw.length > MAX_CHARS ? raw.slice(0, MAX_CHARS) : raw;
  if (/%[0-9a-f]{2}/i.test(text)) {
    seen.doubleEncoded = /%c0%a[ef]|%25(25)*[0-9a-f]{2}/i.test(text);
    for (let round = 0; round < 3 && /%[0-9a-f]{2}/i.test(text); round++) {
      const decoded = percentDecoded(text);
      if (decoded === text) break;
      if (round > 0) seen.doubleEncoded = true;
      seen.encoded = true;
      text = decoded;
    }
  }
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  seen.control = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(text);
  seen.lineBreak = /[\r\n]/.test(text);
  seen.headerBreak = seen.lineBreak && /[\r\n]\s*[\w-]{2,40}:\s?\S|[\r\n]\s*(http\/\d|<)/i.test(text);
  const trimmed = text.trim();
  if (trimmed === '') {
    if (text !== '' && seen.control) seen.kind = 'symbols';
    return seen;
  }
  const lower = trimmed.toLowerCase();
  const { kind, numbers } = kindOf(trimmed, lower);
  seen.kind = kind;
  seen.numbers = numbers;
  seen.digits = numbers.length > 0 ? lower.replace(/\D/g, '').length : 0;
  if (kind === 'json') seen.hashes = memberNames(trimmed).map(hashOf);
  else if (kind === 'list') seen.hashes = lower.split(/[,;|]/).map((part) => hashOf(part.trim()));
  else seen.hashes = [hashOf(lower)];
  seen.form = formOf(kind, lower);
  if (kind !== 'integer' && kind !== 'uuid' && kind !== 'word' && kind !== 'boolean' && kind !== 'masked') {
    for (const [name, weakness, shape] of attackShapes) {
      if (shape.test(lower)) {
        seen.attack = { name, weakness, certain: certainShapes.test(lower) };
        break;
      }
    }
  }
  return seen;
}

function kindOf(text: string, lower: string): { kind: Kind; numbers: number[] } {
  const is = (kind: Kind, numbers: number[] = []): { kind: Kind; numbers: number[] } => ({ kind, numbers });
  const masked = /^~([a-z]+)~[\w-]{22}$/.exec(text);
  if (masked) return is(masked[1] === 'email' ? 'email' : 'masked');
  if (/^(true|false|yes|no|on|off)$/.test(lower)) return is('boolean');
  if (/^[+-]?\d+$/.test(text)) return is('integer', [Number(text)]);
  if (isoDate.test(text)) {
    const ms = Date.parse(lower.toUpperCase().replace(' ', 'T').replace(',', '.'));
    return Number.isNaN(ms) ? is('slug') : is('date', [ms]);
  }
  if (/^(\d{1,3}\.){3}\d{1,3}(\/\d{1,2})?$/.test(text)) return is('ip');
  if (writtenDate.test(text)) return is('date');
  if (numberShape.test(text)) return is('decimal', numberReadings(lower));
  if (uuidShape.test(text)) return is('uuid');
  if (/^(0x)?[0-9a-f]{8,}$/i.test(text) && /\d/.test(text) && /[a-f]/i.test(text)) return is('hex');
  if (/^[^\s@<>"'();,]{1,64}@[^\s@<>"'();,]{1,255}\.[a-z]{2,24}$/i.test(text)) return is('email');
  if (isToken(text)) return is('token');
  if (
    /^([a-z][a-z0-9+.-]{1,12}:)?\/\/[^\s]+$/i.test(text) ||
    /^(javascript|data|mailto|tel|urn):\S+$/i.test(text)
  ) {
    return is('url');
  }
  // What cannot be JSON at a glance is not tried: a parse that fails costs more than all the rest.
  if (/^[{[]\s*(["{[\]}\d-]|true|false|null)/.test(text) && parsesAsJson(text)) return is('json');
  if (/^[\p{L}\p{M}\p{N}_.~%@+:=-]*(\/[\p{L}\p{M}\p{N}_.~%@+:=-]*)+$/u.test(text)) return is('path');
  if (/^[\p{L}\p{M}\p{N}_.:+-]+([,;|] ?[\p{L}\p{M}\p{N}_.:+-]+)+$/u.test(text)) {
    // "Berlin, Germany" is text, "id, name" could be either: a blank makes it text.
    return is(text.includes(' ') ? 'text' : 'list');
  }
  if (/^[\p{L}\p{M}]+$/u.test(text)) return is('word');
  if (/^[\p{L}\p{M}\p{N}_.:@#+-]+$/u.test(text)) return is('slug');
  if (naturalText.test(text) && !unnatural.test(text) && /[\p{L}\p{So}\p{N}]/u.test(text)) return is('text');
  return is('symbols');
}

/** JWT, base64, cursors, random ids: long, of several character classes, and not words with separators. */
function isToken(text: string): boolean {
  if (/^eyj[\w-]{8,}(\.[\w-]*){0,4}$/i.test(text)) return true;
  if (text.length < 16 || !/^[\w+/.-]+={0,3}$/.test(text)) return false;
  if (text.endsWith('=')) return true;
  const classes = Number(/[a-z]/.test(text)) + Number(/[A-Z]/.test(text)) + Number(/\d/.test(text));
  if (classes < 3 && !(classes === 2 && text.length >= 20 && /\d/.test(text) && !/[-_./+]/.test(text)))
    return false;
  const parts = text.split(/[-_./+]/);
  const words = parts.filter(
    (part) => part.length <= 12 && /^([A-Za-z]?[a-z]*|[A-Z]+|\d*)$/.test(part),
  ).length;
  return parts.length < 3 || words * 2 < parts.length;
}

function parsesAsJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    // A value that was cut at MAX_CHARS cannot be parsed; its beginning has to do.
    return text.length >= MAX_CHARS - 2 && /^[{[]\s*["{[\d]/.test(text);
  }
}

/** Names of the members at any depth, at most 64; a quoted text before a colon. */
function memberNames(text: string): string[] {
  const names = new Set<string>();
  for (const [, name] of text.matchAll(/"((?:[^"\\]|\\.){0,120})"\s*:/g)) {
    names.add(name!.toLowerCase());
    if (names.size >= 64) break;
  }
  return [...names];
}

/** "12,50" and "12.50" are twelve and a half; "1,234" may be a thousand or one; exponents count. */
function numberReadings(lower: string): number[] {
  const text = lower.replace('%', '').replace(/[' ]/g, '');
  if (text.includes('e')) return [Number(text)];
  const readings = new Set<number>();
  const lastAt = Math.max(text.lastIndexOf('.'), text.lastIndexOf(','));
  const whole = text.slice(0, lastAt).replace(/[.,]/g, '');
  const rest = text.slice(lastAt + 1);
  if (lastAt === -1) return [Number(text)];
  readings.add(Number(`${whole === '' || whole === '-' || whole === '+' ? `${whole}0` : whole}.${rest}`));
  if (rest.length === 3 && whole !== '' && whole !== '0') readings.add(Number(`${whole}${rest}`));
  return [...readings].filter((number) => !Number.isNaN(number));
}

/** Decodes what can be decoded; anything else stays. */
function percentDecoded(text: string): string {
  return text.replace(/(%[0-9a-f]{2})+/gi, (run) => {
    try {
      return decodeURIComponent(run);
    } catch {
      return run.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
    }
  });
}

const MAX_FORM_CHARS = 24;

function formOf(kind: Kind, lower: string): string {
  switch (kind) {
    case 'url':
      return `host ${hashOf(/^([a-z][a-z0-9+.-]*:)?(\/\/)?([^/?#]*)/.exec(lower)?.[0] ?? '')}`;
    case 'path':
      return `ending ${/\.([a-z0-9]{1,8}~?|[^/]{0,8})$/.exec(lower)?.[1] ?? ''}${lower.endsWith('~') ? '~' : ''}`;
    case 'slug':
    case 'list':
    case 'symbols':
      return lower
        .slice(0, 200)
        .replace(/[\p{L}\p{M}]+/gu, 'a')
        .replace(/\d+/g, '9')
        .replace(/\s+/g, ' ')
        .slice(0, MAX_FORM_CHARS);
    default:
      return '';
  }
}

/** FNV-1a, 32 bits: one in 4 billion values is mistaken for another, and no value can be read from the state. */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) {
    hash ^= text.charCodeAt(at);
    hash = Math.imul(hash, 0x01000193);
  }
  return hash >>> 0;
}
