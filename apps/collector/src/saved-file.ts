import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Logger } from '@tripline/runtime';

export interface SavedFileOptions {
  /** JSON; this process's own. */
  path: string;
  logger: Logger;
  /** Names the content in messages, in the plural. */
  what: string;
}

/**
 * Reads a file that `saveRegularly` wrote; undefined if it is missing or cannot be used. The latter is logged; `shape`
 * describes a usable file in words.
 */
export async function readSavedFile<Content>(
  { path, logger, what }: SavedFileOptions,
  shape: string,
  isUsable: (file: unknown) => file is Content,
): Promise<Content | undefined> {
  try {
    const file: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (isUsable(file)) return file;
    throw new Error(`it is not ${shape}`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      logger.error(
        { err: error, path },
        `The ${what} in ${path} cannot be used: ${(error as Error).message}. They are learnt anew.`,
      );
    return undefined;
  }
}

/**
 * Saves `text` every `everyMs` if `revision` has changed since the last save. A disk that fails is tried again each time,
 * and logged once per kind of error. `close` saves for the last time and ends; it never rejects.
 */
export function saveRegularly(
  { path, logger, what }: SavedFileOptions,
  everyMs: number,
  revision: () => number,
  text: () => string,
): { close: () => Promise<void> } {
  let saved = revision();
  let logged = '';
  let saving = Promise.resolve();

  const save = async (): Promise<void> => {
    const now = revision();
    if (now === saved) return;
    try {
      await replaceFile(path, text());
      saved = now;
      logged = '';
    } catch (error) {
      const { message } = error as Error;
      if (message !== logged)
        logger.error(
          { err: error, path },
          `The ${what} cannot be saved to ${path}: ${message}. Trying again; a restart until then learns them anew.`,
        );
      logged = message;
    }
  };
  // One after the other: two would write the same file.
  const saveNext = (): Promise<void> => (saving = saving.then(save));
  const timer = setInterval(() => void saveNext(), everyMs);
  timer.unref();
  return {
    close: () => {
      clearInterval(timer);
      return saveNext();
    },
  };
}

/** Replaces the file as a whole or not at all, also when the machine stops. */
async function replaceFile(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const next = `${path}.new`;
  const file = await open(next, 'w');
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(next, path);
}
