import { nearestOf } from '@tripline/model';
import type { z } from 'zod';
import { variableOf, type Variable } from './environment.ts';
import { knownPaths } from './keys.ts';

/** What was given for a configuration that its schema refuses. */
export interface RefusedConfig {
  schema: z.ZodType;
  /** What gave the settings that no variable gave: a file, or `the environment`. */
  where: string;
  variables: readonly Variable[];
  error: z.ZodError;
  input: unknown;
}

/** All problems in words, one a line: each with its key or variable, what is allowed, and the value unless it may be secret. */
export function problemsOf(refused: RefusedConfig): string {
  const problems = refused.error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys' ? unknownKeyProblems(issue, refused) : valueProblem(issue, refused),
  );
  const sources = new Set(problems.map(({ variable }) => (variable ? 'the environment' : refused.where)));
  const lines = problems.map(({ path, variable, message }) => {
    const within = path.slice(variable?.path.length ?? 0).join('.');
    const names = [variable?.name, within].filter((name) => name !== undefined && name !== '');
    return `  ${names.join(': ') || '(whole file)'}: ${message}`;
  });
  const has = sources.size === 1 ? 'has' : 'have';
  const many = lines.length === 1 ? 'a problem' : `${lines.length} problems`;
  return `${[...sources].sort().join(' and ')} ${has} ${many}:\n${lines.join('\n')}`;
}

interface Problem {
  path: readonly string[];
  /** The variable that gave the setting, or the object that it is in. */
  variable: Variable | undefined;
  message: string;
}

type UnknownKeys = Extract<z.core.$ZodIssue, { code: 'unrecognized_keys' }>;

function unknownKeyProblems(issue: UnknownKeys, { schema, variables }: RefusedConfig): Problem[] {
  return issue.keys.flatMap((key) => {
    const path = [...issue.path.map(String), key];
    const within = variables.filter((one) => startsWith(one.path, path));
    if (within.length === 0)
      return [{ path, variable: givenBy(path, variables), message: unknownKey(schema, path) }];
    return within.map((variable) => ({ path, variable, message: unknownVariable(schema, variable.name) }));
  });
}

function valueProblem(issue: z.core.$ZodIssue, { variables, input }: RefusedConfig): Problem {
  const path = issue.path.map(String);
  const value = issue.path.reduce<unknown>(
    (at, step) =>
      typeof at === 'object' && at !== null ? (at as Record<PropertyKey, unknown>)[step] : undefined,
    input,
  );
  // Secrets are not repeated, and an object may hold some.
  const isSecret = /token|secret|password|key$/i.test(path.join('.')) || typeof value === 'object';
  const text = value === undefined || isSecret ? '' : JSON.stringify(value);
  const shown = text === '' ? '' : ` (is ${text.replace(/\/\/[^/@]*@/, '//…@').slice(0, 80)})`;
  return { path, variable: givenBy(path, variables), message: `${issue.message}${shown}` };
}

function unknownVariable(schema: z.ZodType, name: string): string {
  const known = knownPaths(schema).filter((path) => !path.includes('*'));
  const nearest = nearestOf(name, ['TRIPLINE_CONFIG', ...known.map(variableOf)]);
  return `there is no such variable; the nearest known one is ${nearest}`;
}

function unknownKey(schema: z.ZodType, path: readonly string[]): string {
  const known = knownPaths(schema).map((one) => one.join('.'));
  const wanted = path.map((step) => (/^[0-9]+$/.test(step) ? '*' : step)).join('.');
  return `there is no such key; the nearest known one is ${nearestOf(wanted, known)}`;
}

/** The variable that gave the value at `path`, or the object that it is in. */
function givenBy(path: readonly string[], variables: readonly Variable[]): Variable | undefined {
  return variables.find((one) => startsWith(path, one.path));
}

function startsWith(path: readonly string[], start: readonly string[]): boolean {
  return start.every((step, at) => step === path[at]);
}
