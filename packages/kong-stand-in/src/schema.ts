/** Kong's complaint about a field: a sentence, a list of sentences, or the same one level deeper. */
export type Violations = string | string[] | { [field: string]: Violations };

export interface Field {
  type: 'string' | 'integer' | 'number' | 'boolean' | 'set' | 'array' | 'map' | 'record' | 'foreign' | 'any';
  required?: boolean;
  default?: unknown;
  between?: readonly [number, number];
  oneOf?: readonly string[];
  elements?: Field;
  fields?: Fields;
  /** The collection that a foreign key points to. */
  reference?: string;
  /** Says what is wrong with the value, in Kong's words. */
  check?: (value: string) => string | undefined;
}
export type Fields = Record<string, Field>;

export type Values = Record<string, unknown>;

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
export const isUuid = (text: string): boolean => uuidPattern.test(text);

export const isRecord = (value: unknown): value is Values =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Checks `input` as Kong's schema library does, and fills in defaults, and null for unset fields. With `fromForm`, strings
 * are converted to the type of the field, as for a form-encoded body. Collects all violations instead of stopping at the first.
 */
export function validate(
  fields: Fields,
  input: Values,
  fromForm = false,
): { value: Values; violations: Record<string, Violations> | undefined } {
  const value: Values = {};
  const violations: Record<string, Violations> = {};
  for (const name of Object.keys(input)) if (!fields[name]) violations[name] = 'unknown field';
  for (const [name, field] of Object.entries(fields)) {
    const checked = validateField(field, input[name], fromForm);
    if (checked.violation === undefined) value[name] = checked.value;
    else violations[name] = checked.violation;
  }
  return { value, violations: Object.keys(violations).length > 0 ? violations : undefined };
}

interface Checked {
  value?: unknown;
  violation?: Violations;
}

function validateField(field: Field, given: unknown, fromForm: boolean): Checked {
  let value = given;
  if (value === undefined || (value === null && field.required)) {
    if (field.default !== undefined) return { value: structuredClone(field.default) };
    if (field.type === 'record' && field.required) value = {};
    else return field.required ? { violation: 'required field missing' } : { value: null };
  }
  if (value === null) return { value: null };
  if (fromForm && typeof value === 'string') value = fromText(field, value);

  switch (field.type) {
    case 'any':
      return { value };
    case 'string':
      if (typeof value !== 'string') return { violation: 'expected a string' };
      break;
    case 'integer':
      if (!Number.isInteger(value)) return { violation: 'expected an integer' };
      break;
    case 'number':
      if (typeof value !== 'number') return { violation: 'expected a number' };
      break;
    case 'boolean':
      if (typeof value !== 'boolean') return { violation: 'expected a boolean' };
      break;
    case 'foreign':
      return validateForeign(value);
    case 'record': {
      if (!isRecord(value)) return { violation: 'expected a record' };
      const inner = validate(field.fields ?? {}, value, fromForm);
      return inner.violations ? { violation: inner.violations } : { value: inner.value };
    }
    case 'map': {
      if (!isRecord(value)) return { violation: 'expected a map' };
      const wrong = Object.entries(value).filter(([, entry]) => typeof entry !== 'string');
      if (wrong.length > 0) {
        return { violation: Object.fromEntries(wrong.map(([key]) => [key, 'expected a string'])) };
      }
      return { value };
    }
    case 'set':
    case 'array': {
      if (!Array.isArray(value))
        return { violation: `expected ${field.type === 'set' ? 'a set' : 'an array'}` };
      const inner = value.map((element) =>
        validateField(field.elements ?? { type: 'string' }, element, fromForm),
      );
      const wrong = inner.flatMap((one) => (typeof one.violation === 'string' ? [one.violation] : []));
      return wrong.length > 0 ? { violation: wrong } : { value: inner.map((one) => one.value) };
    }
  }
  if (field.between && (Number(value) < field.between[0] || Number(value) > field.between[1])) {
    return { violation: `value should be between ${field.between[0]} and ${field.between[1]}` };
  }
  if (field.oneOf && !field.oneOf.includes(value as string)) {
    return { violation: `expected one of: ${field.oneOf.join(', ')}` };
  }
  const wrong = field.check?.(value as string);
  return wrong === undefined ? { value } : { violation: wrong };
}

function validateForeign(value: unknown): Checked {
  if (!isRecord(value)) return { violation: { id: 'missing primary key' } };
  if (typeof value['id'] === 'string') {
    return isUuid(value['id']) ? { value } : { violation: { id: 'expected a valid UUID' } };
  }
  // Another unique name stands for the id; the store looks it up.
  if (typeof value['name'] === 'string' || typeof value['username'] === 'string') return { value };
  return { violation: { id: 'missing primary key' } };
}

function fromText(field: Field, text: string): unknown {
  if (field.type === 'integer' || field.type === 'number')
    return Number.isFinite(Number(text)) ? Number(text) : text;
  if (field.type === 'boolean') return text === 'true' ? true : text === 'false' ? false : text;
  if (field.type === 'set' || field.type === 'array') return [text];
  return text;
}

/** Kong's one-line summary of the violations, in its order: entity checks first, then by field name. */
export function violationsText(violations: Record<string, Violations>): string {
  const all: string[] = [];
  const ofEntity = violations['@entity'];
  if (Array.isArray(ofEntity)) all.push(...ofEntity);
  for (const name of Object.keys(violations).sort()) {
    const violation = violations[name];
    if (name === '@entity' || violation === undefined) continue;
    if (typeof violation === 'string') all.push(`${name}: ${violation}`);
    else {
      const inner = Array.isArray(violation)
        ? violation.map((text, index): [string, Violations] => [String(index + 1), text])
        : Object.entries(violation).sort(([a], [b]) => (a < b ? -1 : 1));
      for (const [key, text] of inner) {
        all.push(`${name}.${key}: ${typeof text === 'string' ? text : luaTable(text)}`);
      }
    }
  }
  return all.length === 1
    ? `schema violation (${all[0] ?? ''})`
    : `${all.length} schema violations (${all.join('; ')})`;
}

/** A table in the form of Penlight's pretty printer, which Kong's messages use. */
function luaTable(value: Exclude<Violations, string>): string {
  const text = (entry: Violations): string => (typeof entry === 'string' ? `"${entry}"` : luaTable(entry));
  const entries = Array.isArray(value)
    ? value.map(text)
    : Object.entries(value).map(([key, entry]) => `${key} = ${text(entry)}`);
  return `{\n${entries.map((entry) => `  ${entry}`).join(',\n')}\n}`;
}
