import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { kafkaMissing } from './kafka.ts';
import { redisMissing } from './redis.ts';

/** What some suites need that npm does not install, with what to do on a machine without it; undefined if it is there. */
const needs = {
  Redis: redisMissing,
  Kafka: kafkaMissing,
  LuaJIT: () =>
    Promise.resolve(
      spawnSync('luajit', ['-v']).status === 0
        ? undefined
        : 'What Kong runs inside needs luajit (apt-get install luajit).',
    ),
};
export type Need = keyof typeof needs;

/** Path of the file in which the test files of one run note what they could not run. */
const notesVariable = 'TEST_NOT_RUN_NOTES';

/**
 * Whether a suite is to be skipped because this machine lacks something. It is noted, and said at the end of the run. On CI
 * nothing is skipped: the suite runs, and fails with what is missing.
 */
export async function skipWithout(suite: string, ...wanted: Need[]): Promise<boolean> {
  if (process.env.CI !== undefined) return false;
  const missing = (await Promise.all(wanted.map((need) => needs[need]()))).filter((one) => one !== undefined);
  if (missing.length === 0) return false;
  const notes = process.env[notesVariable];
  if (notes !== undefined) appendFileSync(notes, `${suite}: ${missing.join(' ')}\n`);
  return true;
}

/** Begins the notes of a run; what it returns ends them and gives the text to print, empty if all suites ran. */
export function noteSkippedSuites(): () => string {
  const folder = mkdtempSync(join(tmpdir(), 'tripline-not-run-'));
  const notes = join(folder, 'suites');
  process.env[notesVariable] = notes;
  return () => {
    const lines = existsSync(notes) ? readFileSync(notes, 'utf8').trim().split('\n') : [];
    rmSync(folder, { recursive: true, force: true });
    if (lines.length === 0) return '';
    return `\nNot run on this machine:\n${lines.map((line) => `  ${line}\n`).join('')}`;
  };
}
