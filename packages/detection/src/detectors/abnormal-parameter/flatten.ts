/** A single value of a parameter as it came: query values are strings, values of a JSON body may be of any of these types. */
export type Scalar = string | number | boolean | null;

const MAX_DEPTH = 8;
const MAX_NAMES = 128;
const MAX_VALUES = 64;
const MAX_NAME_CHARS = 120;

/** All parameters of one call: by name, the first values and how many there were. */
export interface FlatParameters {
  values: Map<string, { values: Scalar[]; count: number }>;
  /** Names, or levels of nesting, beyond the bounds: not looked at. */
  beyond: number;
}

/**
 * Parameters as flat names: nested objects with dots (`filter.status`), the members of arrays together under the array's
 * name, without their position (`a[0]` and `a[1]` are `a[]`). Names in lower case, as the same parameter is written in
 * several ways. At most 8 levels, 128 names, and 64 values per name; what is beyond is only counted.
 */
export function flattenParameters(parameters: Readonly<Record<string, unknown>>): FlatParameters {
  const flat: FlatParameters = { values: new Map(), beyond: 0 };
  for (const [name, value] of Object.entries(parameters)) add(flat, nameOf(name), value, 1);
  return flat;
}

function nameOf(name: string): string {
  return name
    .slice(0, MAX_NAME_CHARS)
    .toLowerCase()
    .replace(/\[\d{0,9}\]/g, '[]');
}

function add(flat: FlatParameters, name: string, value: unknown, depth: number): void {
  let entry = flat.values.get(name);
  if (Array.isArray(value)) {
    for (const member of value as readonly unknown[]) {
      if (typeof member === 'object' && member !== null) inside(flat, name, member, depth);
      else {
        add(flat, name, member, depth);
      }
    }
    if (value.length > 0) return;
  } else if (typeof value === 'object' && value !== null) {
    inside(flat, name, value, depth);
    if (Object.keys(value).length > 0) return;
  }
  if (!entry) {
    if (flat.values.size >= MAX_NAMES) {
      flat.beyond++;
      return;
    }
    entry = { values: [], count: 0 };
    flat.values.set(name, entry);
  }
  // An empty array or object: the name is there, without a value.
  if (typeof value === 'object' && value !== null) return;
  entry.count++;
  if (entry.values.length < MAX_VALUES) entry.values.push(scalarOf(value));
}

function inside(flat: FlatParameters, name: string, value: object, depth: number): void {
  if (depth >= MAX_DEPTH) {
    flat.beyond++;
    return;
  }
  if (Array.isArray(value)) add(flat, name, value, depth + 1);
  else {
    for (const [key, member] of Object.entries(value)) {
      add(flat, `${name}.${nameOf(key)}`.slice(0, MAX_NAME_CHARS), member, depth + 1);
    }
  }
}

function scalarOf(value: unknown): Scalar {
  switch (typeof value) {
    case 'string':
    case 'number':
    case 'boolean':
      return value;
    default:
      return null;
  }
}
