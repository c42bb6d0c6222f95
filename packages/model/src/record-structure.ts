const depthMost = 4;
const membersMost = 64;
const charsMost = 2_000;
/** Letters alone, as field names are made of: keys, tokens, addresses and names of people in free text are not. */
const fieldName = /^[a-z]+(?:_?[A-Za-z]+){0,5}$/;

/**
 * What a record that cannot be used looks like, for a dead letter: its names and the types and lengths of its values, never a value, as
 * nobody has sanitised it. At most 2,000 characters of JSON.
 */
export function recordStructure(text: string): string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return JSON.stringify(`no JSON, ${text.length} characters`);
  }
  return JSON.stringify(structureOf(value, depthMost)).slice(0, charsMost);
}

function structureOf(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return `string of ${value.length}`;
  if (value === null) return 'null';
  if (typeof value !== 'object') return typeof value;
  const size = Object.keys(value).length;
  if (Array.isArray(value))
    return depth === 0 || size === 0 ? `array of ${size}` : [structureOf(value[0], depth - 1), `of ${size}`];
  if (depth === 0) return `object of ${size}`;
  const members = Object.entries(value).slice(0, membersMost);
  const named = members.map(([name, member], at) => [nameOf(name, at), structureOf(member, depth - 1)]);
  if (size > membersMost) named.push(['…', `${size - membersMost} more`]);
  return Object.fromEntries(named);
}

function nameOf(name: string, at: number): string {
  return name.length <= 40 && fieldName.test(name) ? name : `(name ${at + 1}, ${name.length} characters)`;
}
