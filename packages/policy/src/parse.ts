import { z } from 'zod';
import { actions } from './actions/index.ts';
import type { ActionRegistry } from './actions/registry.ts';
import { nodeAt, offsetOf, show, showPath, type Finding, type Path } from './findings.ts';
import { JsonSyntaxError, lineAndColumn, readJson, type JsonNode } from './json.ts';
import { maskPolicies } from './mask.ts';
import { findMeaningProblems } from './meaning-findings.ts';
import type { Policies } from './policy.ts';
import { explainIssue } from './schema-findings.ts';

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

const charsMax = 1_000_000;

export interface PolicyFileOptions {
  /** The types of alerts that there are. Left out: any is allowed. */
  alertTypes?: readonly string[] | undefined;
  /**
   * What the collector does to names (an e-mail address becomes a token): patterns on consumers without wildcards then
   * match a name in either form.
   */
  mask?: ((text: string) => string) | undefined;
  /** The actions that are allowed; default: all. */
  registry?: ActionRegistry;
}

/** The JSON Schema of a policy file (draft 2020-12), as it is published in `policies.schema.json`. */
export function policiesJsonSchema({
  alertTypes,
  registry = actions,
}: Omit<PolicyFileOptions, 'mask'> = {}): Record<string, unknown> {
  const { $schema, ...schema } = z.toJSONSchema(registry.policiesSchema(alertTypes), { io: 'input' });
  return { $schema, title: 'Tripline response policies', ...schema };
}

/** Parses a policy file and reports all of its problems at once, in order of line. */
export function parsePolicies(text: string, options: PolicyFileOptions = {}): ParsedPolicies {
  const { alertTypes, mask, registry = actions } = options;
  const wholeFile = (message: string): ParsedPolicies => ({
    ok: false,
    problems: [{ line: 1, column: 1, path: '', message }],
  });
  if (text.length > charsMax)
    return wholeFile(`the file has ${text.length} characters; allowed: at most ${charsMax}`);
  if (text.trim() === '') return wholeFile('the file is empty; needed: at least {"policies": []}');

  let root: JsonNode;
  try {
    root = readJson(text);
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    return { ok: false, problems: [{ ...lineAndColumn(text, error.at), path: '', message: error.message }] };
  }

  const parsed = registry.policiesSchema(alertTypes).safeParse(root.value);
  const jsonSchema = (): object => policiesJsonSchema(options);
  const findings = [
    ...repeatedNames(root, []),
    ...(parsed.success ? [] : parsed.error.issues.flatMap((issue) => explainIssue(issue, root, jsonSchema))),
    ...findMeaningProblems(root.value, registry),
  ];
  if (parsed.success && findings.length === 0) {
    const policies = parsed.data as Policies;
    return { ok: true, policies: mask ? maskPolicies(policies, mask) : policies };
  }
  const problems = findings.map((finding) => ({
    ...lineAndColumn(text, offsetOf(root, finding)),
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
