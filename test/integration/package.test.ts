import { execFile, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { recording, scratchDir, connect, until } from '../support/parts.ts';
import { freePort } from '../support/running.ts';

const run = promisify(execFile);
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

interface Package {
  version: string;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

const packageAt = (folder: string): Package =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Package;

const workspaces = ['packages', 'apps'].flatMap((kind) =>
  readdirSync(kind).map((name) => packageAt(join(kind, name))),
);

/** Packages of the registry that the workspaces need, by name, with the range that each of them asks for. */
function fromRegistry(kind: 'dependencies' | 'optionalDependencies'): Record<string, string> {
  const entries = workspaces.flatMap((workspace) => Object.entries(workspace[kind] ?? {}));
  return Object.fromEntries(entries.filter(([name]) => !name.startsWith('@tripline/')));
}

/** Environment of an npm that keeps what it unpacks in `folder`, and what it downloaded in the user's cache. */
async function npmEnvironment(folder: string): Promise<NodeJS.ProcessEnv> {
  const { stdout } = await run('npm', ['config', 'get', 'cache']);
  const downloads = join(stdout.trim(), '_cacache');
  mkdirSync(downloads, { recursive: true });
  const cache = join(folder, 'npm-cache');
  mkdirSync(cache);
  symlinkSync(downloads, join(cache, '_cacache'));
  const env = Object.entries(process.env).filter(([name]) => !/^(TRIPLINE_|npm_)/i.test(name));
  return { ...Object.fromEntries(env), npm_config_cache: cache, npm_config_prefer_offline: 'true' };
}

describe('the package that npm pack makes', () => {
  it('asks for exactly the packages of the registry that the workspaces ask for', () => {
    const root = packageAt('.');
    expect(root.dependencies).toEqual(fromRegistry('dependencies'));
    expect(root.optionalDependencies).toEqual(fromRegistry('optionalDependencies'));
  });

  it('runs in an empty folder, without the repository', async () => {
    const { path: folder, dispose } = scratchDir();
    undo.push(dispose);
    const env = await npmEnvironment(folder);
    await run('npm', ['pack', '--pack-destination', folder]);
    const tarball = `./tripline-${packageAt('.').version}.tgz`;
    const [linesPort, httpPort] = [await freePort(), await freePort()];
    writeFileSync(
      join(folder, 'tripline.json'),
      JSON.stringify({ collector: { host: '127.0.0.1', port: linesPort }, http: { port: httpPort } }),
    );

    const child = spawn('npx', ['--yes', tarball, 'up'], { cwd: folder, env, detached: true });
    undo.push(() => child.exitCode ?? process.kill(-child.pid!, 'SIGKILL'));
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const metrics = (): Promise<string> =>
      fetch(`http://127.0.0.1:${httpPort}/metrics`).then(
        (answer) => answer.text(),
        () => '',
      );
    await until(async () => child.exitCode !== null || (await metrics()) !== '', 'it answers', 240_000);
    expect(child.exitCode, output).toBeNull();
    const socket = await connect(linesPort);
    undo.push(() => socket.destroy());
    socket.write(recording('normal')[0]!);
    await until(
      async () => /^tripline_archiver_records_total\S* 1$/m.test(await metrics()),
      'the line is a row',
      60_000,
    );

    process.kill(-child.pid!, 'SIGTERM');
    await ended;
    expect(readdirSync(folder)).toContain('tripline-data');
  }, 300_000);
});
