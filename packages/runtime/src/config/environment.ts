import type { z } from 'zod';
import { keysOf, typeOf } from './keys.ts';

const variablePrefix = 'TRIPLINE_';
/** Names the configuration file; it is no setting itself. */
const fileVariable = 'TRIPLINE_CONFIG';

/** An environment variable, and the path of the setting that it gives. */
export interface Variable {
  name: string;
  path: string[];
}

/** Copies `raw` and puts the settings of the environment over it. `raw` is returned as it is if it is no object. */
export function withEnvironment(
  schema: z.ZodType,
  raw: unknown,
  env: Record<string, string | undefined>,
): { merged: unknown; variables: Variable[] } {
  const variables: Variable[] = [];
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) return { merged: raw, variables };
  const merged = structuredClone(raw) as Record<string, unknown>;
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(variablePrefix) || name === fileVariable || value === undefined) continue;
    variables.push({ name, path: setByVariable(merged, schema, name, value) });
  }
  return { merged, variables };
}

/** The name of the variable that gives the setting at `path`. */
export function variableOf(path: readonly string[]): string {
  return variablePrefix + path.map((key) => key.replace(/[A-Z]/g, '_$&').toUpperCase()).join('__');
}

/** Sets what the variable names in `root`, making the objects on the way; returns its path. */
function setByVariable(
  root: Record<string, unknown>,
  schema: z.ZodType,
  name: string,
  value: string,
): string[] {
  const steps = name.slice(variablePrefix.length).split('__');
  const path: string[] = [];
  let at = root;
  let shape: unknown = schema;
  steps.forEach((step, index) => {
    const key = keyOf(shape, step);
    path.push(key);
    shape = keysOf(shape)?.[key];
    if (index === steps.length - 1) {
      // A password of digits is a text, not a number.
      at[key] = typeOf(shape) === 'string' ? value : fromText(value);
    } else {
      const next = at[key];
      at = (typeof next === 'object' && next !== null ? next : (at[key] = {})) as Record<string, unknown>;
    }
  });
  return path;
}

/** `MAXLINEBYTES` and `MAX_LINE_BYTES` both name `maxLineBytes`. An unknown name stays, so that the schema refuses it. */
function keyOf(schema: unknown, step: string): string {
  const wanted = step.replaceAll('_', '').toLowerCase();
  return Object.keys(keysOf(schema) ?? {}).find((key) => key.toLowerCase() === wanted) ?? step.toLowerCase();
}

/** The value as JSON if it is JSON, else as text. */
function fromText(value: string): unknown {
  if (!/^(-?[0-9]|true$|false$|null$|[[{"])/.test(value)) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
