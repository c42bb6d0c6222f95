import { z } from 'zod';
import {
  durationMs,
  policiesSchema,
  type Policies,
  type PolicyAction,
  type PolicyMatch,
} from '@tripline/model';
import { countryCodes } from './countries.ts';
import { actionIds } from './decide.ts';
import { JsonSyntaxError, lineAndColumn, readJson, type JsonNode } from './json.ts';
import { isLiteral } from './match.ts';
import { parseNetwork } from './network.ts';

/** What is wrong with a policy file, and where. */
export interface PolicyProblem {
  /** From 1. */
  line: number;
  /** From 1, in UTF-16 units. */
  column: number;
  /** `policies[2].match.severityAtLeast`; empty for the whole file. */
  path: string;
  /** What is wrong, the value given, what is allowed. */
  message: string;
}

export type ParsedPolicies = { ok: true; policies: Policies } | { ok: false; problems: PolicyProblem[] };

const maxChars = 1_000_000;
const maxDurationMs = 3650 * 86_400_000;

type Path = readonly (string | number)[];
interface Finding {
  path: Path;
  message: string;
  /** Points at the name of a property, not at its value. */
  atKey?: boolean;
  at?: number;
}

/** The JSON Schema of a policy file (draft 2020-12), as it is published in `policies.schema.json`. */
export function policiesJsonSchema(): Record<string, unknown> {
  const { $schema, ...schema } = z.toJSONSchema(policiesSchema, { io: 'input' });
  return { $schema, title: 'Tripline response policies', ...schema };
}

/**
 * Reads a policy file and reports all of its problems at once, in order of line. `mask` is what the collector does to
 * names (an e-mail address becomes a token): patterns on consumers without wildcards then match a name in either form.
 */
export function parsePolicies(text: string, mask?: (text: string) => string): ParsedPolicies {
  const wholeFile = (message: string): ParsedPolicies => ({
    ok: false,
    problems: [{ line: 1, column: 1, path: '', message }],
  });
  if (text.length > maxChars) {
    return wholeFile(`the file has ${text.length} characters; allowed: at most ${maxChars}`);
  }
  if (text.trim() === '') return wholeFile('the file is empty; needed: at least {"policies": []}');

  let root: JsonNode;
  try {
    root = readJson(text);
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    return { ok: false, problems: [{ ...lineAndColumn(text, error.at), path: '', message: error.message }] };
  }

  const parsed = policiesSchema.safeParse(root.value);
  const findings = [
    ...repeatedNames(root, []),
    ...(parsed.success ? [] : parsed.error.issues.flatMap((issue) => explain(issue, root))),
    ...meaningProblems(root.value),
  ];
  if (parsed.success && findings.length === 0) {
    return { ok: true, policies: mask ? maskPolicies(parsed.data, mask) : parsed.data };
  }
  const problems = findings.map((finding) => ({
    ...lineAndColumn(text, finding.at ?? place(root, finding)),
    path: showPath(finding.path),
    message: finding.message,
  }));
  problems.sort((a, b) => a.line - b.line || a.column - b.column);
  return { ok: false, problems };
}

/** Line and column, from 1, of what stands at a path of a policy file that can be parsed. */
export function positionOf(text: string, path: Path): { line: number; column: number } {
  return lineAndColumn(text, nodeAt(readJson(text), path).node.at);
}

function showPath(path: Path): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    if (!/^[A-Za-z_$][\w$]*$/.test(step)) return `${text}[${JSON.stringify(step)}]`;
    return text === '' ? step : `${text}.${step}`;
  }, '');
}

function show(value: unknown): string {
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) return 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** The node at the path, or as far as the text goes along it. */
function nodeAt(root: JsonNode, path: Path): { node: JsonNode; complete: boolean } {
  let node = root;
  for (const step of path) {
    const child = node.children?.get(String(step));
    if (!child) return { node, complete: false };
    node = child;
  }
  return { node, complete: true };
}

function place(root: JsonNode, finding: Finding): number {
  const { node } = nodeAt(root, finding.path);
  return finding.atKey ? (node.keyAt ?? node.at) : node.at;
}

function repeatedNames(node: JsonNode, path: Path): Finding[] {
  const here = (node.repeated ?? []).map(({ key, at }) => ({
    path: [...path, key],
    at,
    message: `the name ${show(key)} is given twice in one object; only one of them would count`,
  }));
  const isList = Array.isArray(node.value);
  const below = [...(node.children ?? [])].flatMap(([step, child]) =>
    repeatedNames(child, [...path, isList ? Number(step) : step]),
  );
  return [...here, ...below];
}

const kinds: Record<string, string> = {
  string: 'a text',
  int: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object { }',
};

/** One issue of zod as findings of ours: value given, what is allowed, and a guess at what was meant. */
function explain(issue: z.core.$ZodIssue, root: JsonNode): Finding[] {
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
      const allowed = namesAllowedAt(path, root.value);
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
        explain({ ...inner, path: [...path, ...inner.path] }, root),
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

/** Which names the object at this path may have: looked up in the JSON Schema, so that it cannot go stale. */
function namesAllowedAt(path: Path, root: unknown): string[] {
  const schema = policiesJsonSchema() as SchemaNode & { $defs?: Record<string, SchemaNode> };
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
    .map((word) => ({ word, distance: editDistance(given.toLowerCase(), word.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best && best.distance <= Math.max(1, Math.floor(best.word.length / 3))
    ? `; did you mean ${show(best.word)}?`
    : '';
}

/** Levenshtein; of long texts only the beginning, which is enough to tell a typo. */
function editDistance(a: string, b: string): number {
  const [from, to] = [a.slice(0, 40), b.slice(0, 40)];
  let row = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const replaced = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row.at(-1)!;
}

/** What the schema cannot say. Looks at the raw value, so that these come together with the schema's own findings. */
function meaningProblems(root: unknown): Finding[] {
  const findings: Finding[] = [];
  const firstUse = new Map<string, number>();
  asList(asObject(root)['policies']).forEach((policy, index) => {
    const { id, match, actions } = asObject(policy);
    const path: Path = ['policies', index];
    if (typeof id === 'string') {
      const first = firstUse.get(id);
      if (first === undefined) firstUse.set(id, index);
      else {
        findings.push({
          path: [...path, 'id'],
          message: `${show(id)} is already the id of policies[${first}]; allowed: an id of its own`,
        });
      }
    }
    checkMatch(match, [...path, 'match'], findings);
    asList(actions).forEach((action, at) =>
      checkAction(asObject(action), [...path, 'actions', at], findings),
    );
    checkActionIds(asList(actions).map(asObject), [...path, 'actions'], findings);
  });
  return findings;
}

function checkMatch(match: unknown, path: Path, findings: Finding[]): void {
  const { network, country, not, any, all } = asObject(match);
  for (const [text, at] of textsAt(network, [...path, 'network'])) {
    const found = parseNetwork(text);
    if (typeof found === 'string') {
      findings.push({
        path: at,
        message: `${show(text)} is not allowed here: ${found}; allowed: an address or a network such as "203.0.113.0/24" or "2001:db8::/32"`,
      });
    }
  }
  for (const [text, at] of textsAt(country, [...path, 'country'])) {
    if (text.length !== 2 || countryCodes.has(text)) continue;
    const upper = text.toUpperCase();
    const meant = upper === 'UK' ? 'GB' : countryCodes.has(upper) ? upper : undefined;
    findings.push({
      path: at,
      message:
        `${show(text)} is no country; allowed: ISO 3166-1 alpha-2 codes in capitals, such as "NO"` +
        (meant ? `; did you mean "${meant}"?` : ''),
    });
  }
  if (not !== undefined) checkMatch(not, [...path, 'not'], findings);
  asList(any).forEach((inner, at) => checkMatch(inner, [...path, 'any', at], findings));
  asList(all).forEach((inner, at) => checkMatch(inner, [...path, 'all', at], findings));
}

function checkActionIds(actions: readonly Record<string, unknown>[], path: Path, findings: Finding[]): void {
  const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
  const ids = actionIds(
    actions.map(({ type, id }) => ({ type: text(type) as PolicyAction['type'], id: text(id) })),
  );
  ids.forEach((id, at) => {
    const first = ids.indexOf(id);
    if (first === at || (!actions[at]!['id'] && !actions[first]!['id'])) return;
    const [given, other] = actions[at]!['id'] === undefined ? [first, at] : [at, first];
    const byDefault = actions[other]!['id'] === undefined ? ', which has none of its own' : '';
    findings.push({
      path: [...path, given, 'id'],
      message: `${show(id)} is already the id of actions[${other}]${byDefault}; allowed: an id of its own`,
    });
  });
}

function checkAction(action: Record<string, unknown>, path: Path, findings: Finding[]): void {
  const { type, duration, message } = action;
  if (typeof duration === 'string' && (durationMs(duration) ?? 0) > maxDurationMs) {
    findings.push({
      path: [...path, 'duration'],
      message: `${show(duration)} is not allowed here; allowed: at most "3650d", or "permanent"`,
    });
  }
  if (type === 'block' && message === '') {
    findings.push({
      path: [...path, 'message'],
      message: '"" is not allowed here; allowed: 1 to 500 characters (leave it out for the default)',
    });
  }
  if (type === 'rate-limit') {
    // Kong refuses such a plugin; better now than in the middle of an attack.
    const limits = (['second', 'minute', 'hour'] as const).filter((unit) => typeof action[unit] === 'number');
    limits.slice(1).forEach((unit, at) => {
      const shorter = limits[at]!;
      if ((action[unit] as number) < (action[shorter] as number)) {
        findings.push({
          path: [...path, unit],
          message: `${show(action[unit])} per ${unit} is less than ${show(action[shorter])} per ${shorter}; allowed: at least ${show(action[shorter])}`,
        });
      }
    });
  }
}

function asObject(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function asList(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function textsAt(value: unknown, path: Path): [string, Path][] {
  if (typeof value === 'string') return [[value, path]];
  return asList(value).flatMap((text, at): [string, Path][] =>
    typeof text === 'string' ? [[text, [...path, at]]] : [],
  );
}

function maskPolicies(policies: Policies, mask: (text: string) => string): Policies {
  return {
    ...policies,
    policies: policies.policies.map((policy) => ({ ...policy, match: maskMatch(policy.match, mask) })),
  };
}

function maskMatch(match: PolicyMatch, mask: (text: string) => string): PolicyMatch {
  const both = (pattern: string): string[] => {
    const masked = isLiteral(pattern) ? mask(pattern) : pattern;
    return masked === pattern ? [pattern] : [pattern, masked];
  };
  const { consumer, service, route, not, any, all } = match;
  return {
    ...match,
    ...(service !== undefined && { service: [service].flat().flatMap(both) }),
    ...(route !== undefined && { route: [route].flat().flatMap(both) }),
    ...(consumer && {
      consumer: Object.fromEntries(
        Object.entries(consumer).map(([field, patterns]) => [field, [patterns ?? []].flat().flatMap(both)]),
      ),
    }),
    ...(not && { not: maskMatch(not, mask) }),
    ...(any && { any: any.map((inner) => maskMatch(inner, mask)) }),
    ...(all && { all: all.map((inner) => maskMatch(inner, mask)) }),
  };
}
