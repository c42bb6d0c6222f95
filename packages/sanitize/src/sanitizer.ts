/** What the operator adds to the built-in rules. */
export interface SanitizerOptions {
  /** Secret of at least 32 bytes: equal secrets give equal tokens under one key. */
  key: Buffer;
  /** Further names of headers, query parameters, cookies and form-like `name=value` pairs whose values are secret. */
  secretNames?: readonly string[];
  /** Further patterns whose matches are secret, wherever they stand; each is compiled as a RegExp with flags `gu`. */
  secretPatterns?: readonly string[];
}

/**
 * Takes secrets and personal data out of text and puts keyed tokens in: `~kind~` and 22 base64url characters of
 * HMAC-SHA-256 (132 bits). Equal secrets give equal tokens, so that they still join. Pure apart from a bounded cache of
 * tokens; never throws; idempotent (a token stays as it is); linear in the length of its input.
 */
export interface Sanitizer {
  /** Token of a secret of a kind (`secret`, `email`, `user`, …: a-z only), e.g. for a credential fingerprint. */
  token(kind: string, secret: string): string;
  /** True if the name (header, parameter, cookie) says that its value is a credential. Any case. */
  isSecretName(name: string): boolean;
  /** Free text (user agent, header values, parameter values): everything that looks like a secret is replaced. */
  text(value: string): string;
  /** A raw request path without query: percent-encoding is looked through, secret segments are replaced. */
  path(value: string): string;
  /** A URL or request target: user info, path, query and fragment. */
  url(value: string): string;
  /** The value of a named parameter: a token if the name is secret, else as `text`. */
  parameter(name: string, value: string): string;
  /** A Cookie header: names with tokens of the values. */
  cookies(header: string): Record<string, string>;
  /**
   * A whole log line or any other text of unknown form, for dead letters and error messages: everything that looks like
   * a secret, and the values of secret names in JSON, headers, URLs and forms, valid JSON or not.
   */
  unknown(value: string): string;
}
