import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '@tripline/runtime';

/**
 * Takes a data directory for this process; the engines in it allow one at a time. Returns how to let go. A lock that a
 * killed process left behind is taken over. The file stays and is written in place, so that a start on a full disk needs no room for
 * it. Throws a `UserError` if a living process has it.
 */
export function lockDirectory(directory: string): () => void {
  const path = join(directory, 'lock');
  const mine = `${process.pid} ${startOf(process.pid)}`;
  let owner = '';
  try {
    owner = readFileSync(path, 'utf8').trim();
  } catch {
    // Nobody has it.
  }
  const pid = Number(owner.split(' ')[0]);
  if (owner !== mine && pid > 0 && isAlive(pid) && owner === `${pid} ${startOf(pid)}`) {
    throw new UserError(
      `Another Tripline (process ${pid}) uses the data directory ${directory}. Stop it, or set dataDir to another one.`,
    );
  }
  writeInPlace(path, mine);
  return () => writeInPlace(path, '');
}

const lockBytes = 64;

function writeInPlace(path: string, text: string): void {
  writeFileSync(path, text.padEnd(lockBytes - 1) + '\n', { flag: existsSync(path) ? 'r+' : 'w' });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** When a process was started, in the system's ticks, so that a reused number is told apart; '' where unknown. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}
