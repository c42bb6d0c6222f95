import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { UserError } from './errors.ts';

/**
 * The key of the sanitiser's tokens: read from `path`, or made there on first start if `make` is set. At least 32 bytes,
 * stored as base64, readable by the owner only. Losing it makes old and new tokens of the same secret differ.
 */
export function loadTokenKey(path: string, make: boolean): Buffer {
  if (!existsSync(path)) {
    if (!make)
      throw new UserError(
        `sanitize.keyFile: there is no file ${path}. Make one: openssl rand -base64 32 > ${path}`,
      );
    makeKey(path);
  }
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`The key ${path} (sanitize.keyFile) cannot be read: ${(error as Error).message}`);
  }
  const key = Buffer.from(text.trim(), 'base64');
  if (key.length < 32) {
    throw new UserError(`The key in ${path} has ${key.length} bytes, allowed: at least 32, as base64.`);
  }
  return key;
}

/** As a whole or not at all: half a key that a full disk left behind would be refused at every later start. */
function makeKey(path: string): void {
  const next = `${path}.${process.pid}.new`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(next, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600, flush: true });
    linkSync(next, path);
  } catch (error) {
    // Another process may have been quicker: its key is the one.
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return;
    throw new UserError(
      `The key of the tokens cannot be made at ${path}: ${(error as Error).message}. Free some space or mend the rights there, ` +
        'or set sanitize.keyFile to a key of your own: openssl rand -base64 32 > token.key',
    );
  } finally {
    rmSync(next, { force: true });
  }
}
