import { existsSync, readFileSync } from 'node:fs';
import { dirname, isAbsolute, resolve } from 'node:path';
import type { z } from 'zod';
import { UserError } from '../errors.ts';
import { withEnvironment } from './environment.ts';
import { problemsOf } from './problems.ts';
import { configSchema, type Config } from './schema.ts';

export interface LoadedConfig {
  config: Config;
  /** The file it came from; undefined if there is none. */
  file: string | undefined;
  /** Relative paths of the configuration are relative to this: the file's directory, else the working directory. */
  baseDir: string;
}

/**
 * Reads the configuration: `tripline.json` (or `path`) with the environment variables over it. A variable is `TRIPLINE_` and
 * the path of the setting in capitals, joined by `__`, as in `TRIPLINE_COLLECTOR__PORT=9700`. Its value is taken as JSON
 * where it is JSON, else as text. `detectors` is the schema of that section, which belongs to another package; without it the
 * section is not checked. Throws a `UserError` that lists every problem at once.
 */
export function loadConfig(options: {
  path?: string | undefined;
  env: Record<string, string | undefined>;
  cwd: string;
  detectors?: z.ZodType<Config['detectors']>;
}): LoadedConfig {
  const { detectors } = options;
  const schema = detectors ? configSchema.extend({ detectors: detectors.prefault({}) }) : configSchema;
  const named = options.path ?? options.env.TRIPLINE_CONFIG;
  const path = resolve(options.cwd, named ?? 'tripline.json');
  const exists = existsSync(path);
  if (!exists && named !== undefined) throw new UserError(`There is no configuration file ${path}.`);
  const { merged, variables } = withEnvironment(schema, exists ? readJson(path) : {}, options.env);
  const parsed = schema.safeParse(merged);
  if (!parsed.success) {
    const where = exists ? path : 'the environment';
    throw new UserError(problemsOf({ schema, where, variables, error: parsed.error, input: merged }));
  }
  const baseDir = exists ? dirname(path) : options.cwd;
  return { config: parsed.data, file: exists ? path : undefined, baseDir };
}

/** A path of the configuration as an absolute one. */
export function resolvePath(loaded: Pick<LoadedConfig, 'baseDir'>, path: string): string {
  return isAbsolute(path) ? path : resolve(loaded.baseDir, path);
}

function readJson(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`The configuration ${path} cannot be read: ${(error as Error).message}`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${path} is not valid JSON: ${(error as Error).message}`);
  }
}
