/** The part of a zod schema that tells which keys an object may have. */
interface Inspectable {
  shape?: Record<string, unknown>;
  unwrap?: () => unknown;
  def?: { type?: string };
}

/** The keys that an object of this schema may have, each with its own schema; undefined if it describes no object. */
export function keysOf(schema: unknown): Record<string, unknown> | undefined {
  let at = schema as Inspectable | undefined;
  while (at && !at.shape && typeof at.unwrap === 'function') at = at.unwrap() as Inspectable;
  return at?.shape;
}

const wrappers = ['optional', 'default', 'prefault', 'nullable'];

/** The kind of value: `string`, `array`, `object`, ...; undefined if there is no schema. */
export function typeOf(schema: unknown): string | undefined {
  let at = schema as Inspectable | undefined;
  while (at?.unwrap && wrappers.includes(at.def?.type ?? '')) at = at.unwrap() as Inspectable;
  return at?.def?.type;
}

/** The paths of all keys of a schema. An element of an array has `*` for its index. */
export function knownPaths(schema: unknown, above: readonly string[] = []): string[][] {
  const within = typeOf(schema) === 'array' ? [...above, '*'] : above;
  return Object.entries(keysOf(schema) ?? {}).flatMap(([key, child]) => {
    const path = [...within, key];
    return [path, ...knownPaths(child, path)];
  });
}
