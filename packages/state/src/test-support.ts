/** Texts as the values of a state store. */
export function bytesOf(
  entries: Iterable<readonly [key: string, text: string | null]>,
): Map<string, Buffer | null> {
  return new Map(Array.from(entries, ([key, text]) => [key, text === null ? null : Buffer.from(text)]));
}

/** Values of a state store as the texts that they were made of. */
export function textsOf(values: ReadonlyMap<string, Buffer | null>): Map<string, string | null> {
  return new Map(Array.from(values, ([key, value]) => [key, value && value.toString()]));
}
