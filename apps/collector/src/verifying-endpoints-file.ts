import { createVerifyingEndpoints, type EndpointEvidence, type VerifyingEndpoints } from '@tripline/kong';
import type { Logger } from '@tripline/runtime';
import { readSavedFile, saveRegularly } from './saved-file.ts';

export interface VerifyingEndpointsFileOptions {
  /** JSON, at most 2 MB; this process's own. */
  path: string;
  logger: Logger;
  /** How often changes are saved, in ms. Default five minutes. */
  saveEveryMs?: number;
}

/** Endpoints that were seen to verify credentials, kept over a restart: calls without a credential may be rare. */
export interface VerifyingEndpointsFile {
  verifying: VerifyingEndpoints;
  /** Saves the latest changes, and ends. Never rejects. */
  close: () => Promise<void>;
}

const version = 1;

interface Saved {
  endpoints: [endpoint: string, evidence: EndpointEvidence][];
}

/** Opens the file. A missing file is a fresh start, and so is one that cannot be used, which is logged. */
export async function openVerifyingEndpointsFile(
  options: VerifyingEndpointsFileOptions,
): Promise<VerifyingEndpointsFile> {
  const { path, logger } = options;
  const file = { path, logger, what: 'endpoints that verify credentials' };
  const shape = `{ "version": ${version}, "endpoints": [[endpoint, { refused, sources, servedAtMs }]] }`;
  const saved = await readSavedFile(file, shape, isSaved);
  const verifying = createVerifyingEndpoints(saved?.endpoints);
  const text = (): string => `${JSON.stringify({ version, endpoints: verifying.learnt() })}\n`;
  const saving = saveRegularly(file, options.saveEveryMs ?? 300_000, () => verifying.revision, text);
  return { verifying, close: saving.close };
}

function isSaved(file: unknown): file is Saved {
  if (typeof file !== 'object' || file === null) return false;
  const { version: found, endpoints } = file as Record<string, unknown>;
  return found === version && Array.isArray(endpoints) && endpoints.every(isEndpoint);
}

function isEndpoint(entry: unknown): boolean {
  if (!Array.isArray(entry)) return false;
  const [endpoint, evidence] = entry as unknown[];
  if (typeof endpoint !== 'string' || typeof evidence !== 'object' || evidence === null) return false;
  const { refused, sources, servedAtMs } = evidence as Record<string, unknown>;
  const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
  return (
    isCount(refused) &&
    isCount(servedAtMs) &&
    Array.isArray(sources) &&
    sources.every((source) => typeof source === 'string')
  );
}
