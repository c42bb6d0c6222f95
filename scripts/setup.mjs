// Does all that a fresh clone needs before it runs: checks Node, installs what package-lock.json names, builds the
// command. Uses nothing but Node itself. What is up to date already is not done again.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const stampFile = join(root, 'node_modules', '.tripline-setup');
const bundle = join(root, 'dist', 'tripline.js');

export const bundleOptions = {
  absWorkingDir: root,
  outdir: 'dist',
  bundle: true,
  splitting: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: true,
  logLevel: 'warning',
  // Our own packages go in; everything from the registry stays outside.
  plugins: [
    {
      name: 'registry-packages-stay-outside',
      setup: ({ onResolve }) => {
        onResolve({ filter: /^[^./]/ }, ({ path, kind }) =>
          kind === 'entry-point' || path.startsWith('@tripline/') ? undefined : { path, external: true },
        );
      },
    },
  ],
};

const say = (text) => process.stderr.write(`${text}\n`);

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  say(`Tripline needs Node.js 20.19 or later; this is ${process.versions.node}.`);
  process.exit(1);
}

async function install() {
  const lock = readFileSync(join(root, 'package-lock.json'));
  const stamp = `${createHash('sha256').update(lock).digest('hex')} ${process.platform}-${process.arch}`;
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) return;
  say('Setting up, step 1 of 2: installing dependencies. The first time this downloads about 200 MB.');
  const began = Date.now();
  const seconds = () => Math.round((Date.now() - began) / 1000);
  const timer = setInterval(() => say(`  ${seconds()} s`), 10_000);
  const status = await new Promise((resolve) => {
    const child = spawn('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
      cwd: root,
      stdio: ['ignore', process.stderr, process.stderr],
      shell: process.platform === 'win32',
    });
    child.on('error', () => resolve(1));
    child.on('exit', resolve);
  });
  clearInterval(timer);
  if (status !== 0) {
    say('npm ci failed; the lines above say why. Mend that and start again.');
    process.exit(1);
  }
  writeFileSync(stampFile, stamp);
  say(`  done in ${seconds()} s`);
}

/** Time of the newest source, so that an unchanged tree is not built again. */
function newestSource(folder) {
  let newest = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.name === 'node_modules' || entry.name.startsWith('.')) continue;
    const path = join(folder, entry.name);
    newest = Math.max(newest, entry.isDirectory() ? newestSource(path) : statSync(path).mtimeMs);
  }
  return newest;
}

async function build() {
  const newest = Math.max(...['apps', 'packages'].map((name) => newestSource(join(root, name))));
  if (existsSync(bundle) && statSync(bundle).mtimeMs > Math.max(newest, statSync(stampFile).mtimeMs)) return;
  say('Setting up, step 2 of 2: building.');
  const { build: esbuild } = await import('esbuild');
  // What an older build left would stay for ever: the pieces' names change with their content.
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  await esbuild({ ...bundleOptions, entryPoints: { tripline: join(root, 'apps/cli/src/main.ts') } });
}

/** Resolves when `dist/tripline.js` can be run; ends the process with a message if it cannot be had. */
export async function setUp() {
  checkNode();
  await install();
  await build();
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) await setUp();
