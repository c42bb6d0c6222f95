import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A disk that really fills up. */
export interface SmallDisk {
  path: string;
  /**
   * From now on the process (default: this one) can write nothing more. `limitBytes` counts only where a limit on file sizes takes
   * the place of the full disk. Its default leaves LMDB its first two pages: without them it gives up for good, which no full
   * disk makes it do.
   */
  fill: (pid?: number, limitBytes?: number) => void;
  /** There is room again. */
  empty: (pid?: number) => void;
  dispose: () => void;
}

/**
 * A tmpfs of so many bytes. Where mounting is refused, a directory, and a limit on the size of the files that the process may
 * write: another error of the operating system at the same places. A machine with neither fails the test.
 */
export function createSmallDisk(bytes: number): SmallDisk {
  const path = mkdtempSync(join(tmpdir(), 'tripline-disk-'));
  for (const as of [[], ['sudo', '-n']]) {
    if (!run([...as, 'mount', '-t', 'tmpfs', '-o', `size=${bytes},mode=1777`, 'tmpfs', path])) continue;
    return {
      path,
      fill: () => fillUp(join(path, 'filler')),
      empty: () => rmSync(join(path, 'filler'), { force: true }),
      dispose: () => {
        // Lazily: an engine in this process may still hold a file.
        run([...as, 'umount', '-l', path]);
        rmSync(path, { recursive: true, force: true });
      },
    };
  }
  process.stderr.write(
    'No tmpfs can be mounted here: a limit on file sizes takes the place of the full disk.\n',
  );
  const limit = (pid: number, size: string): void => {
    execFileSync('prlimit', ['--pid', String(pid), `--fsize=${size}:`]);
  };
  return {
    path,
    fill: (pid = process.pid, limitBytes = 64 * 1024) => limit(pid, String(limitBytes)),
    empty: (pid = process.pid) => limit(pid, 'unlimited'),
    dispose: () => rmSync(path, { recursive: true, force: true }),
  };
}

function run([command = '', ...args]: string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function fillUp(path: string): void {
  const file = openSync(path, 'a');
  try {
    for (let size = 2 ** 20; size >= 1; size = size > 1 ? size >> 1 : 0) {
      const piece = Buffer.alloc(size);
      try {
        for (;;) if (writeSync(file, piece) < size) break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    }
  } finally {
    closeSync(file);
  }
}
