/** Of a header or parameter, which is a string, `true` or a list of them, the first; undefined if it says nothing, as REDACTED. */
export function firstText(value: unknown): string | undefined {
  const one: unknown = Array.isArray(value) ? value[0] : value;
  return typeof one === 'string' && one !== '' && one !== 'REDACTED' ? one : undefined;
}

/** Whether a header was sent with a value, be it one that Kong does not show. */
export function isGiven(value: unknown): boolean {
  const one: unknown = Array.isArray(value) ? value[0] : value;
  return typeof one === 'string' && one !== '';
}

/** All values of a header that may be repeated, joined; undefined if there is none. */
export function joinedText(value: unknown): string | undefined {
  return Array.isArray(value) ? value.map(String).join(', ') : typeof value === 'string' ? value : undefined;
}
