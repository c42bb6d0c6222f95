import { createServedPaths, type SavedServedPaths, type ServedPaths } from '@tripline/kong';
import type { Logger } from '@tripline/runtime';
import { readSavedFile, saveRegularly } from './saved-file.ts';

export interface ServedPathsFileOptions {
  /** JSON, at most 3 MB; this process's own. */
  path: string;
  logger: Logger;
  /** How often changes are saved, in ms. Default five minutes. */
  saveEveryMs?: number;
}

/** Served paths, kept over a restart: routes are often lost when everything restarts. */
export interface ServedPathsFile {
  served: ServedPaths;
  /** Saves the latest changes, and ends. Never rejects. */
  close: () => Promise<void>;
}

const version = 1;

/** Opens the file. A missing file is a fresh start, and so is one that cannot be used, which is logged. */
export async function openServedPathsFile(options: ServedPathsFileOptions): Promise<ServedPathsFile> {
  const { path, logger } = options;
  const file = { path, logger, what: 'paths that were served lately' };
  const shape = `{ "version": ${version}, "routes": [{ hosts, methods, prefixes, servedAt }], "paths": [[hash, hour, source]] }`;
  const saved = await readSavedFile(file, shape, isServedPathsFile);
  const served = createServedPaths(saved ? { saved } : {});
  const text = (): string => `${JSON.stringify({ version, ...served.saved() })}\n`;
  const saving = saveRegularly(file, options.saveEveryMs ?? 300_000, () => served.revision, text);
  return { served, close: saving.close };
}

function isServedPathsFile(file: unknown): file is SavedServedPaths {
  if (typeof file !== 'object' || file === null) return false;
  const { version: found, routes, paths } = file as Record<string, unknown>;
  return (
    found === version &&
    Array.isArray(routes) &&
    routes.every(isRoute) &&
    Array.isArray(paths) &&
    paths.every((path) => Array.isArray(path) && path.length === 3 && path.every(Number.isSafeInteger))
  );
}

function isRoute(route: unknown): boolean {
  if (typeof route !== 'object' || route === null) return false;
  const { hosts, methods, prefixes, servedAt } = route as Record<string, unknown>;
  return [hosts, methods, prefixes].every(isTexts) && Number.isSafeInteger(servedAt);
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((one) => typeof one === 'string');
}
