import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { bundleOptions } from '../../scripts/setup.mjs';

/** Builds `test/support/<name>.ts` into a program; its path. */
export async function buildChild(name: string): Promise<string> {
  const here = fileURLToPath(new URL('.', import.meta.url));
  await build({ ...bundleOptions, outdir: 'dist/test', entryPoints: { [name]: `${here}${name}.ts` } });
  return fileURLToPath(new URL(`../../dist/test/${name}.js`, import.meta.url));
}

export interface Child<Line> {
  process: ChildProcess;
  /** Lines of JSON on its standard output so far. */
  said: Line[];
  stderr: () => string;
  ended: Promise<void>;
}

/** Starts a Node.js program that prints lines of JSON. */
export function startChild<Line>(program: string, args: string[]): Child<Line> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const said: Line[] = [];
  let stderr = '';
  createInterface({ input: child.stdout }).on('line', (line) => said.push(JSON.parse(line) as Line));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  return { process: child, said, stderr: () => stderr, ended };
}
