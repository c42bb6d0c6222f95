import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { createCache } from './cache.ts';
import type { Cache } from './cache.ts';
import { decodeForm } from './decode.ts';
import { isHarmlessValue, schemeOf, secretByName } from './by-name.ts';
import { findSecrets, tokenPattern } from './find.ts';
import type { Context } from './find.ts';
import type { Rules } from './rules.ts';
import { createNameJudge } from './names.ts';
import type { NameKind } from './names.ts';
import { createNameEndings, isPlain } from './scan.ts';

/** What the operator adds to the built-in rules. */
export interface SanitizerOptions {
  /** Secret of at least 32 bytes: equal secrets give equal tokens under one key. */
  key: Buffer;
  /**
   * Further names of headers, query parameters, cookies and form-like `name=value` pairs whose values are secret. Case,
   * `-`, `_` and `[]` do not count.
   */
  secretNames?: readonly string[];
  /**
   * Further patterns whose matches are secret, wherever they stand; each is compiled as a RegExp with flags `gu`. They run
   * on every string, on at most 8,192 characters of it and on its decoded forms: keep them few and free of nested
   * quantifiers.
   */
  secretPatterns?: readonly string[];
}

/**
 * Takes secrets and personal data out of text and puts keyed tokens in: `~kind~` and 22 base64url characters of
 * HMAC-SHA-256 (132 bits). Equal secrets give equal tokens, so that they still join. Pure apart from bounded caches;
 * never throws; idempotent (a token stays as it is); linear in the length of its input.
 *
 * Texts are analysed up to 8,192 characters; what follows is replaced by one `~long~` token. No result is longer than
 * that either.
 */
export interface Sanitizer {
  /** Token of a secret of a kind (`secret`, `email`, `user`, …: a-z only), e.g. for a credential fingerprint. */
  readonly token: (kind: string, secret: string) => string;
  /** True if the name (header, parameter, cookie) says that its value is a credential. Any case. */
  readonly isSecretName: (name: string) => boolean;
  /** Free text (user agent, header values, parameter values): everything that looks like a secret is replaced. */
  readonly text: (value: string) => string;
  /**
   * An id or a name that comes with a request (request, consumer, credential, service, method): ids of 32 hexadecimal digits,
   * uuids and plain names stay. What holds a secret or personal data becomes a token as a whole, such as a hash with a prefix,
   * and so does what is longer than 200 characters. Different ids stay different.
   */
  readonly identifier: (value: string) => string;
  /** A raw request path without query: percent-encoding is looked through, secret segments are replaced. */
  readonly path: (value: string) => string;
  /** A URL or request target: user info, path, query and fragment. */
  readonly url: (value: string) => string;
  /**
   * The value of a named parameter or header: a token if the name is secret (an authentication scheme stays in front of
   * it: `Bearer ~secret~…`) or if name and look are (`reset=kT9x2Qb7Lm`, `cpf=12345678909`), else as `text`; checksums,
   * trace ids and revisions stay after names such as `etag`. Values that tell nothing stay: empty, `true`, Kong's `REDACTED`.
   */
  readonly parameter: (name: string, value: string) => string;
  /**
   * A Cookie header: names with tokens of the values; empty values stay empty, what has no name is under ''. The result
   * is frozen, as equal headers get the same one.
   */
  readonly cookies: (header: string) => Record<string, string>;
  /**
   * Any text of unknown form, however long and however rarely seen, such as an error message: everything that looks like a
   * secret, and the values of secret names in JSON, headers, URLs and forms, valid JSON or not. Nothing of it is remembered.
   */
  readonly unknown: (value: string) => string;
}

/** Longest text that is analysed and longest result, in UTF-16 units. */
export const maxTextChars = 8_192;
/** `~long~` and 22 characters. */
const longTokenChars = 28;
/** A text that is cut is cut after one of these, if one is near, so that no half of a secret remains. */
const cutMarks = /[&"\n,;{}()<>]/;
const cutBackChars = 512;
/** Passes after which a result that still changes is replaced as a whole. Two are usual: one to change, one to see. */
const maxPasses = 4;
/** Longer texts are rarely plain, and often seen before: user agents and referers. */
const maxPlainChars = 80;
const minKeyBytes = 32;
/** Longer ids and names become one token: cut off, two of them could be the same. */
const maxIdentifierChars = 200;
/** A hash, perhaps of a password. */
const longHex = /(?<![0-9a-f])[0-9a-f]{32,}/i;
/** Kong's id of a request, and other ids of 128 bits. */
const requestId = /^[0-9a-f]{32}$/i;

/**
 * Makes a sanitiser. Its rules are fixed from then on; it remembers names, tokens of each kind, texts, paths, URLs
 * and Cookie headers in caches of their own, each of at most 50,000 entries and 8 MiB of characters.
 *
 * @throws Error if the key is shorter than 32 bytes, a name is empty or a pattern is not a regular expression.
 */
export function createSanitizer(options: SanitizerOptions): Sanitizer {
  if (options.key.length < minKeyBytes) {
    throw new Error(
      `key: it has ${options.key.length} bytes; allowed: ${minKeyBytes} or more; ` +
        'make one with `openssl rand -base64 32`',
    );
  }
  const sanitizer = new KeyedSanitizer(options);
  // Functions of their own, so that one can be handed on alone.
  return {
    token: (kind, secret) => sanitizer.token(kind, secret),
    isSecretName: (name) => sanitizer.isSecretName(name),
    text: (value) => sanitizer.text(value),
    identifier: (value) => sanitizer.identifier(value),
    path: (value) => sanitizer.path(value),
    url: (value) => sanitizer.url(value),
    parameter: (name, value) => sanitizer.parameter(name, value),
    cookies: (header) => sanitizer.cookies(header),
    unknown: (value) => sanitizer.unknown(value),
  };
}

class KeyedSanitizer implements Sanitizer {
  readonly #key: KeyObject;
  readonly #rules: Rules;
  /** By kind. */
  readonly #tokens = new Map<string, Cache<string>>();
  readonly #texts = createCache<string>();
  readonly #digests = createCache<string>();
  readonly #identifiers = createCache<string>();
  readonly #paths = createCache<string>();
  readonly #urls = createCache<string>();
  readonly #jars = createCache<Record<string, string>>();

  constructor({ key, secretNames = [], secretPatterns = [] }: SanitizerOptions) {
    this.#key = createSecretKey(key);
    this.#rules = {
      nameKind: createNameJudge(secretNames),
      nameEndings: createNameEndings(secretNames),
      patterns: secretPatterns.map(compile),
    };
  }

  isSecretName(name: string): boolean {
    return this.#rules.nameKind(name) === 'secret';
  }

  path(value: string): string {
    return this.#remembered(value, true, this.#paths, this.#pathPass);
  }

  url(value: string): string {
    return this.#remembered(value, true, this.#urls, this.#urlPass);
  }

  unknown(value: string): string {
    return this.#settle(value, this.#textPass);
  }

  token(kind: string, secret: string): string {
    let known = this.#tokens.get(kind);
    if (known === undefined) {
      known = createCache();
      this.#tokens.set(kind, known);
    }
    const seen = known.get(secret);
    if (seen !== undefined) return seen;
    const mac = createHmac('sha256', this.#key).update(`${kind}\0${secret}`).digest('base64url');
    const made = `~${kind}~${mac.slice(0, 22)}`;
    known.set(secret, made, made.length);
    return made;
  }

  /** Replaces the whole of a secret value, but for a scheme in front and for tokens. */
  #secretValue(value: string): string {
    if (isHarmlessValue(value)) return value;
    const kept = schemeOf(value);
    const rest = value.slice(kept.length);
    return rest === '' || isToken(rest) ? value : kept + this.token('secret', rest);
  }

  #replaceSecrets(text: string, context: Context): string {
    const hits = findSecrets(text, context, this.#rules);
    if (hits.length === 0) return text;
    // Joined, not added: V8 reads characters of an added string many times slower.
    const parts: string[] = [];
    let done = 0;
    for (const hit of hits) {
      parts.push(text.slice(done, hit.start), this.token(hit.kind, hit.secret));
      done = hit.end;
    }
    parts.push(text.slice(done));
    return parts.join('');
  }

  readonly #textPass = (value: string): string =>
    this.#replaceSecrets(value, { path: false, digests: 'named' });
  readonly #pathPass = (value: string): string =>
    this.#replaceSecrets(value, { path: true, digests: 'named' });
  readonly #digestPass = (value: string): string =>
    this.#replaceSecrets(value, { path: false, digests: 'all' });
  /** What stands around a secret tells nothing more: a hash with a prefix is one token. */
  readonly #identifierPass = (value: string): string => {
    const clean = this.#replaceSecrets(value, { path: false, digests: 'none' });
    if (isToken(clean)) return clean;
    return clean !== value || longHex.test(value) ? this.token('secret', value) : value;
  };

  /** The token of a value that is secret by its name and look. */
  #tokenByName(kind: NameKind, value: string): string | undefined {
    const found = value.includes('~') && tokenAnywhere.test(value) ? undefined : secretByName(kind, value);
    return found && this.token(found.kind, found.secret);
  }

  #queryValue(kind: NameKind, value: string): string {
    if (kind === 'other' || isToken(value) || isHarmlessValue(value)) return this.#textPass(value);
    if (kind === 'secret') return this.#secretValue(decodeForm(value));
    return (
      this.#tokenByName(kind, decodeForm(value)) ??
      (kind === 'digest' ? this.#digestPass(value) : this.#textPass(value))
    );
  }

  #queryPass(query: string): string {
    return query
      .split('&')
      .map((pair) => {
        const equals = pair.indexOf('=');
        if (equals < 0) return this.#textPass(pair);
        const name = pair.slice(0, equals);
        const value = pair.slice(equals + 1);
        return `${this.#textPass(name)}=${this.#queryValue(this.#rules.nameKind(name), value)}`;
      })
      .join('&');
  }

  readonly #urlPass = (value: string): string => {
    const hash = value.indexOf('#');
    const beforeHash = hash < 0 ? value : value.slice(0, hash);
    const fragment = hash < 0 ? undefined : value.slice(hash + 1);
    const mark = beforeHash.indexOf('?');
    let result = this.#pathPass(mark < 0 ? beforeHash : beforeHash.slice(0, mark));
    if (mark >= 0) result += `?${this.#queryPass(beforeHash.slice(mark + 1))}`;
    if (fragment !== undefined)
      result += `#${fragment.includes('=') ? this.#queryPass(fragment) : this.#pathPass(fragment)}`;
    return result;
  };

  /** Keeps `kept` within the bound together with one token for `rest` and for what does not fit. */
  #withLongToken(kept: string, rest: string): string {
    const limit = maxTextChars - longTokenChars;
    let end = Math.min(kept.length, limit);
    for (const match of kept.matchAll(tokenPattern)) {
      if (match.index >= end) break;
      if (match.index + match[0].length > end) end = match.index;
    }
    return kept.slice(0, end) + this.token('long', kept.slice(end) + rest);
  }

  /** Applies a pass within the bound on length, again and again until the result stays as it is. */
  #settle(value: string, pass: (value: string) => string): string {
    let current = value;
    let rest = '';
    if (value.length > maxTextChars) {
      const end = cutAt(value);
      current = value.slice(0, end);
      rest = value.slice(end);
    }
    for (let round = 0; round < maxPasses; round++) {
      let next = pass(current);
      if (rest !== '' || next.length > maxTextChars) next = this.#withLongToken(next, rest);
      if (next === current) return next;
      rest = '';
      current = next;
    }
    return this.token('secret', value);
  }

  #matchesPattern(value: string): boolean {
    return (
      this.#rules.patterns.length > 0 && this.#rules.patterns.some((pattern) => value.search(pattern) >= 0)
    );
  }

  /** The way of nearly every string: proven harmless by a short look, or known from before. */
  #remembered(value: string, path: boolean, cache: Cache<string>, pass: (value: string) => string): string {
    if (
      value.length <= maxPlainChars &&
      isPlain(value, path, this.#rules.nameEndings) &&
      !this.#matchesPattern(value)
    )
      return value;
    const seen = cache.get(value);
    if (seen !== undefined) return seen;
    const settled = this.#settle(value, pass);
    cache.set(value, settled, settled.length);
    return settled;
  }

  cookies(header: string): Record<string, string> {
    const seen = this.#jars.get(header);
    if (seen !== undefined) return seen;
    // Without a prototype, so that a cookie named __proto__ is a cookie.
    const jar = Object.create(null) as Record<string, string>;
    const end = header.length > maxTextChars ? header.lastIndexOf(';', maxTextChars) : header.length;
    let chars = 0;
    for (const part of header.slice(0, Math.max(end, 0)).split(';')) {
      const cookie = part.trim();
      if (cookie === '') continue;
      const equals = cookie.indexOf('=');
      const name = equals < 0 ? '' : this.text(cookie.slice(0, equals).trim());
      const value = cookie.slice(equals + 1).trim();
      jar[name] = value === '' || isToken(value) ? value : this.token('secret', value);
      chars += name.length + 30;
    }
    if (end < header.length) jar[this.token('long', header.slice(Math.max(end, 0)))] = '';
    Object.freeze(jar);
    this.#jars.set(header, jar, chars);
    return jar;
  }

  text(value: string): string {
    return this.#remembered(value, false, this.#texts, this.#textPass);
  }

  parameter(name: string, value: string): string {
    const kind = this.#rules.nameKind(name);
    if (kind === 'other') return this.text(value);
    if (kind === 'secret') return this.#secretValue(value);
    if (kind === 'digest') return this.#remembered(value, false, this.#digests, this.#digestPass);
    return this.#tokenByName(kind, value) ?? this.text(value);
  }

  identifier(value: string): string {
    if (value.length === 32 && requestId.test(value)) return value;
    if (value.length > maxIdentifierChars) return this.token('long', value);
    return this.#remembered(value, false, this.#identifiers, this.#identifierPass);
  }
}

const tokenAnywhere = new RegExp(tokenPattern.source);
const wholeToken = new RegExp(`^${tokenPattern.source}$`);

function isToken(value: string): boolean {
  return value.length > 24 && value.startsWith('~') && wholeToken.test(value);
}

/** Where to cut a text that is too long: after a mark near the bound, else at the bound, never within a character. */
function cutAt(value: string): number {
  const limit = maxTextChars - longTokenChars;
  for (let end = limit; end > limit - cutBackChars; end--) {
    if (cutMarks.test(value.charAt(end - 1))) return end;
  }
  const last = value.charCodeAt(limit - 1);
  return last >= 0xd800 && last <= 0xdbff ? limit - 1 : limit;
}

function compile(pattern: string, index: number): RegExp {
  try {
    return new RegExp(pattern, 'gu');
  } catch (error) {
    throw new Error(
      `secretPatterns[${index}]: ${JSON.stringify(pattern)} is not a regular expression ` +
        `(${error instanceof Error ? error.message : String(error)}); allowed: JavaScript regular expressions without ` +
        'slashes and flags, such as "acme_[a-z0-9]{20}"; correct or remove it',
      { cause: error },
    );
  }
}
