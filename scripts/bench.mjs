// `npm run bench [-- --distributed]`: sets up, bundles the benchmark as the command itself is bundled, and runs it.
import { bundleOptions, setUp } from './setup.mjs';

await setUp();
// Only now: before the set-up it may not be there.
const { build } = await import('esbuild');
const main = process.argv.includes('--distributed') ? 'distributed' : 'main';
await build({ ...bundleOptions, entryPoints: { bench: `test/bench/${main}.ts` } });
await import('../dist/bench.js');
