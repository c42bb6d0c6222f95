import { readFile } from 'node:fs/promises';
import { unwatchFile, watchFile } from 'node:fs';
import { parsePolicies, type Policies, type PolicyProblem } from '@tripline/policy';
import { createSerialQueue, UserError, type RoleContext } from '@tripline/runtime';

/** The policies in effect. */
export interface PolicySource {
  current(): Policies;
  /** Calls the listener after each change. Returns a function that ends that. */
  onChange(listener: () => void): () => void;
}

export interface PolicyFile extends PolicySource {
  /** The mistakes in the file as it is now; empty if it is in effect. */
  problems(): readonly PolicyProblem[];
  close(): void;
}

export interface PolicyFileOptions {
  path: string;
  logger: RoleContext['logger'];
  /** See `parsePolicies`. */
  alertTypes?: readonly string[];
  /** See `parsePolicies`. */
  mask?: (text: string) => string;
  /** Finds further problems of policies that are well formed. They keep the file from taking effect, and Tripline from starting. */
  refuse?: (text: string, policies: Policies) => PolicyProblem[];
  /** The file is checked for changes this often, ms. Default 1,000. */
  pollMs?: number;
}

const noPolicies: Policies = { policies: [] };

/**
 * Reads the policy file, and again whenever it changes. Changes are found by polling the path, so that editors that write a
 * new file over the old name, mounted ConfigMaps and network disks all work. A file with mistakes changes nothing: the
 * policies before it stay. Without a file there are no policies. Rejects with a `UserError` if the file cannot be read at
 * the start, or if `refuse` finds problems then.
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
      setTimeout(check, pollMs).unref();
      return;
    }
    missing = found === null;
    if (found === text) return;
    text = found;
    if (found === null) {
      logger.warn({ path }, 'no policy file: no alert leads to a response or a webhook');
      problems = [];
      putIntoEffect(noPolicies);
      return;
    }
    const parsed = parsePolicies(found, options);
    const refused = parsed.ok ? (options.refuse?.(found, parsed.policies) ?? []) : [];
    if (refused.length > 0 && !started) {
      const lines = refused.map((one) => `  line ${one.line}: ${one.path} ${one.message}`);
      throw new UserError(`The policies of ${path} cannot be put into effect:\n${lines.join('\n')}`);
    }
    if (parsed.ok && refused.length === 0) {
      problems = [];
      logger.info({ path, policies: parsed.policies.policies.length }, 'policies read');
      putIntoEffect(parsed.policies);
      return;
    }
    problems = parsed.ok ? refused : parsed.problems;
    logger.error(
      { path, problems },
      `the policy file has mistakes, ${policies.policies.length} policies from before stay in effect:\n` +
        problems.map((one) => `  line ${one.line}: ${one.path} ${one.message}`).join('\n'),
    );
  };
  const putIntoEffect = (next: Policies): void => {
    policies = next;
    for (const listener of listeners) listener();
  };

  const queue = createSerialQueue();
  const check = (): void => {
    queue(read).catch((error: unknown) =>
      logger.error({ path, err: error }, 'the policy file cannot be read'),
    );
  };
  await read();
  started = true;
  watchFile(path, { interval: pollMs, persistent: false }, check);
  // For a change between the first read and the first poll.
  check();

  return {
    current: () => policies,
    problems: () => problems,
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => unwatchFile(path, check),
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
