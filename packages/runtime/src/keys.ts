import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
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
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600, flag: 'wx' });
  }
  const key = Buffer.from(readFileSync(path, 'utf8').trim(), 'base64');
  if (key.length < 32) {
    throw new UserError(`The key in ${path} has ${key.length} bytes, allowed: at least 32, as base64.`);
  }
  return key;
}
