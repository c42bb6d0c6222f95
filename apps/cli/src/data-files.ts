import { spawn } from 'node:child_process';
import { existsSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { UserError } from '@tripline/runtime';

/** The directories of LMDB in a data directory, and what is lost with each. */
const directories: Record<string, string> = {
  bus: 'calls, alerts and responses that a role had not dealt with yet; the lake and what was learnt stay',
  'state-processor':
    'what was learnt about actors; it is learnt again from what the bus keeps and what comes',
  'state-aggregates':
    'what was learnt about endpoints; it is learnt again from what the bus keeps and what comes',
  'state-responder':
    'which blocks and limits are in force; they are taken off Kong, and come back if their alerts go on',
};

const roomBytes = 2 ** 20;

/**
 * Throws a `UserError` if files of LMDB must be made and the disk has no room for them: the engine would end the process with a
 * signal. Where they are there, Tripline starts on a full disk too.
 */
export function checkRoom(dataDir: string, names: readonly string[]): void {
  const files = names.flatMap((name) => ['data.mdb', 'lock.mdb'].map((file) => join(dataDir, name, file)));
  if (files.every((file) => statSync(file, { throwIfNoEntry: false })?.size)) return;
  const probe = join(dataDir, 'room');
  try {
    writeFileSync(probe, Buffer.alloc(roomBytes), { flush: true });
  } catch (error) {
    throw new UserError(
      `dataDir: ${dataDir} cannot take the files of the bus and the states: ${(error as Error).message}. ` +
        `At least ${roomBytes / 2 ** 20} MB must be free to start, some GB to work. Free some space, or set dataDir to another disk.`,
    );
  } finally {
    rmSync(probe, { force: true });
  }
}

/** Longer than any disk takes for the largest bus; a damaged tree may lead in circles. */
const readWithinMs = 300_000;
/** So long nobody wonders. */
const quietMs = 2_000;

/**
 * Says which directory it reads, then reads every page of it that is in use. Some damage makes the rest of a table look empty, so
 * what is read is counted. Arguments: the module `lmdb`, directories.
 */
const readThrough = `
const { open } = require(process.argv[1]);
for (const path of process.argv.slice(2)) {
  require('node:fs').writeSync(1, path + '\\n');
  const root = open({ path, readOnly: true, encoding: 'binary', maxDbs: 16 });
  for (const name of [...root.getKeys()]) {
    const table = root.openDB({ name, encoding: 'binary', keyEncoding: 'binary' });
    const { entryCount } = table.getStats();
    let found = 0;
    for (const { value } of table.getRange()) found += value.length >= 0 ? 1 : 0;
    if (found !== entryCount) throw new Error(name + ' has ' + found + ' of ' + entryCount + ' entries');
  }
}`;

/**
 * Reads the embedded bus and states of a data directory through, in a process of its own: LMDB trusts its files, so a
 * damaged one kills whoever opens it, without a word. Costs 0.1 s of CPU, and per GB 0.5 s for a bus or 1 s for states. Safe while
 * Tripline runs. `tell` hears what it waits for if that takes over 2 s. Rejects with a `UserError` that says which file is damaged
 * and what to do. What is not there is well.
 */
export async function checkDataFiles(dataDir: string, tell: (text: string) => void): Promise<void> {
  const there = Object.keys(directories).filter((name) => existsSync(join(dataDir, name, 'data.mdb')));
  if (there.length === 0) return;
  const lmdb = createRequire(import.meta.url).resolve('lmdb');
  const child = spawn(
    process.execPath,
    ['-e', readThrough, lmdb, ...there.map((name) => join(dataDir, name))],
    { stdio: ['ignore', 'pipe', 'pipe'], timeout: readWithinMs, killSignal: 'SIGKILL' },
  );
  const slow = setTimeout(() => {
    const bytes = there.reduce((sum, name) => sum + statSync(join(dataDir, name, 'data.mdb')).size, 0);
    tell(`Checking the data files in ${dataDir} (${(bytes / 2 ** 30).toFixed(1)} GB) ...`);
  }, quietMs);
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()));
  const ending = await new Promise<{ status: number | null; signal: string | null }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => resolve({ status, signal }));
  }).finally(() => clearTimeout(slow));
  if (ending.status === 0) return;
  const reached = output.stdout.trimEnd().split('\n').at(-1) ?? '';
  const name = there.find((one) => join(dataDir, one) === reached);
  const said = /^\w*Error: (.*)$/m.exec(output.stderr)?.[1] ?? output.stderr.trim().slice(0, 200);
  const why = ending.signal === null ? said : `reading it through ended with ${ending.signal}`;
  if (name === undefined) throw new Error(`The data files in ${dataDir} cannot be read through: ${why}`);
  throw damaged(dataDir, name, why);
}

/** What is to be told of a damaged directory of LMDB. */
export function damaged(dataDir: string, name: string, why: string): UserError {
  const directory = join(dataDir, name);
  return new UserError(
    `The data file ${join(directory, 'data.mdb')} is damaged: ${why}.\n` +
      'Stop Tripline, then put the directory back from a backup, or move it away and start again without it:\n' +
      `  mv ${directory} ${directory}.damaged\n` +
      `Lost by that: ${directories[name]}.`,
  );
}
