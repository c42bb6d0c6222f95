import { editDistance } from '@tripline/model';
import type { z } from 'zod';
import { nodeAt, show, showPath, type Finding, type Path } from './findings.ts';
import type { JsonNode } from './json.ts';

const kinds: Record<string, string> = {
  string: 'a text',
  int: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object { }',
};

/**
 * Explains an issue of zod: the value given, what is allowed, and a guess at the name or value that was intended.
 * `jsonSchema` gives the JSON Schema of a policy file.
 */
export function explainIssue(issue: z.core.$ZodIssue, root: JsonNode, jsonSchema: () => object): Finding[] {
  const path = issue.path as (string | number)[];
  const { node, complete } = nodeAt(root, path);
  const given = complete ? node.value : undefined;
  const wrong = (allowed: string, guess = ''): Finding[] => [
    complete
      ? { path, message: `${show(given)} is not allowed here; allowed: ${allowed}${guess}` }
      : { path, message: `${showPath(path.slice(-1))} is missing; needed: ${allowed}` },
  ];
  switch (issue.code) {
    case 'unrecognized_keys': {
      const allowed = namesAllowedAt(path, root.value, jsonSchema());
      return issue.keys.map((key) => ({
        path: [...path, key],
        atKey: true,
        message: `unknown name ${show(key)}; allowed: ${allowed.join(', ')}${suggestion(key, allowed)}`,
      }));
    }
    case 'invalid_value': {
      const allowed = issue.values.map(String);
      return wrong(allowed.map((value) => show(value)).join(', '), suggestion(given, allowed));
    }
    case 'invalid_type':
      return wrong(kinds[issue.expected] ?? issue.expected);
    case 'invalid_union': {
      const options = (issue as { options?: unknown[] }).options;
      if (options) {
        return wrong(options.map(show).join(', '), suggestion(given, options.map(String)));
      }
      // One value or a list of them: a list is held to the list's rules, anything else to the single value's.
      const [one = [], list = []] = issue.errors;
      if (typeof given !== 'string' && !Array.isArray(given)) return wrong('a text or a list of texts');
      return (Array.isArray(given) ? list : one).flatMap((inner) =>
        explainIssue({ ...inner, path: [...path, ...inner.path] }, root, jsonSchema),
      );
    }
    case 'too_small':
    case 'too_big': {
      const limit = issue.code === 'too_small' ? issue.minimum : issue.maximum;
      const side = issue.exact ? 'exactly' : issue.code === 'too_small' ? 'at least' : 'at most';
      const unit = issue.origin === 'string' ? ' characters' : issue.origin === 'array' ? ' entries' : '';
      return wrong(`${side} ${limit}${unit}`);
    }
    case 'invalid_format':
      return wrong(issue.message.replace(/^allowed: /, ''));
    default:
      return [{ path, message: `${show(given)} is not allowed here: ${issue.message}` }];
  }
}

interface SchemaNode {
  $ref?: string;
  properties?: Record<string, SchemaNode>;
  items?: SchemaNode;
  oneOf?: SchemaNode[];
  const?: unknown;
}

/** Looks up in the JSON Schema which names the object at this path may have. */
function namesAllowedAt(path: Path, root: unknown, jsonSchema: object): string[] {
  const schema = jsonSchema as SchemaNode & { $defs?: Record<string, SchemaNode> };
  let node: SchemaNode | undefined = schema;
  let value = root;
  for (const step of [...path, undefined]) {
    if (node?.$ref) node = schema.$defs?.[node.$ref.replace('#/$defs/', '')];
    const type = (value as { type?: unknown } | null)?.type;
    if (node?.oneOf) node = node.oneOf.find((option) => option.properties?.['type']?.const === type);
    if (step === undefined) break;
    node = typeof step === 'number' ? node?.items : node?.properties?.[step];
    value = (value as Record<string | number, unknown> | null)?.[step];
  }
  return Object.keys(node?.properties ?? {});
}

function suggestion(given: unknown, allowed: readonly string[]): string {
  if (typeof given !== 'string') return '';
  const ranked = allowed
    .map((word) => ({ word, distance: editDistance(beginningOf(given), beginningOf(word)) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best && best.distance <= Math.max(1, Math.floor(best.word.length / 3))
    ? `; did you mean ${show(best.word)}?`
    : '';
}

/** The beginning of a long text is enough to recognise a typing mistake. */
function beginningOf(text: string): string {
  return text.slice(0, 40).toLowerCase();
}
