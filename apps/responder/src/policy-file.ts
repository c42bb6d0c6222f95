import { readFile } from 'node:fs/promises';
import { unwatchFile, watchFile } from 'node:fs';
import type { Policies } from '@tripline/model';
import { parsePolicies, type PolicyProblem } from '@tripline/policy';
import { UserError, type RoleContext } from '@tripline/runtime';
import { createQueue } from './pause.ts';

/** The policies in effect. */
export interface PolicySource {
  current(): Policies;
  /** Called after each change; returns how to end that. */
  onChange(listener: () => void): () => void;
}

export interface PolicyFile extends PolicySource {
  /** What is wrong with the file as it is now; empty if it is in effect. */
  problems(): readonly PolicyProblem[];
  close(): void;
}

export interface PolicyFileOptions {
  path: string;
  logger: RoleContext['logger'];
  /** What the collector does to names, see `parsePolicies`. */
  mask?: (text: string) => string;
  /** Further problems of policies that are well formed: they are not taken either, and at the start it rejects. */
  refuse?: (text: string, policies: Policies) => PolicyProblem[];
  /** How often the file is looked at, ms. Default 1,000. */
  pollMs?: number;
}

const noPolicies: Policies = { policies: [] };

/**
 * Reads the policy file, and again whenever it changes. It is looked at by its path and by polling, so that editors that
 * write a new file over the old name, mounted ConfigMaps and network disks all work. A file with mistakes changes
 * nothing: the policies before it stay. No file: no policies. Rejects with a `UserError` if it cannot be read at the start, or
 * if `refuse` has something against it then.
 */
export async function watchPolicyFile(options: PolicyFileOptions): Promise<PolicyFile> {
  const { path, logger, pollMs = 1_000 } = options;
  const listeners = new Set<() => void>();
  let policies = noPolicies;
  let problems: readonly PolicyProblem[] = [];
  /** Null: there is no file. */
  let text: string | null | undefined;
  let missing = false;
  let started = false;

  const read = async (): Promise<void> => {
    const found = await readText(path);
    if (found === null && typeof text === 'string' && !missing) {
      // Some editors remove the file and then write it: only a file that stays away is gone.
      missing = true;
      setTimeout(look, pollMs).unref();
      return;
    }
    missing = found === null;
    if (found === text) return;
    text = found;
    if (found === null) {
      logger.warn({ path }, 'no policy file: no alert leads to a response or a webhook');
      problems = [];
      take(noPolicies);
      return;
    }
    const parsed = parsePolicies(found, options.mask);
    const refused = parsed.ok ? (options.refuse?.(found, parsed.policies) ?? []) : [];
    if (refused.length > 0 && !started) {
      const lines = refused.map((one) => `  line ${one.line}: ${one.path} ${one.message}`);
      throw new UserError(`The policies of ${path} cannot be put into effect:\n${lines.join('\n')}`);
    }
    if (parsed.ok && refused.length === 0) {
      problems = [];
      logger.info({ path, policies: parsed.policies.policies.length }, 'policies read');
      take(parsed.policies);
      return;
    }
    problems = parsed.ok ? refused : parsed.problems;
    logger.error(
      { path, problems },
      `the policy file has mistakes, ${policies.policies.length} policies from before stay in effect:\n` +
        problems.map((one) => `  line ${one.line}: ${one.path} ${one.message}`).join('\n'),
    );
  };
  const take = (next: Policies): void => {
    policies = next;
    for (const listener of listeners) listener();
  };

  const queue = createQueue();
  const look = (): void => {
    queue(read).catch((error: unknown) =>
      logger.error({ path, err: error }, 'the policy file cannot be read'),
    );
  };
  await read();
  started = true;
  watchFile(path, { interval: pollMs, persistent: false }, look);
  // What changed between the first read and the first look of the watcher.
  look();

  return {
    current: () => policies,
    problems: () => problems,
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => unwatchFile(path, look),
  };
}

async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new UserError(`policiesFile: ${path} cannot be read: ${(error as Error).message}`);
  }
}
