// `npm run bench [-- --distributed | --kafka-packing]`: sets up, bundles the benchmark as the command itself is bundled,
// and runs it.
import './pipe.mjs';
import { bundleOptions, setUp } from './setup.mjs';

await setUp();
// Only now: before the set-up it may not be there.
const { build } = await import('esbuild');
const others = ['distributed', 'kafka-packing'];
const bench = others.find((name) => process.argv.includes(`--${name}`)) ?? 'main';
await build({
  ...bundleOptions,
  outdir: 'dist/tools',
  entryPoints: {
    bench: `test/bench/${bench}.ts`,
    ...(bench === 'distributed' ? { 'minimal-role': 'test/bench/minimal-role.ts' } : {}),
  },
});
await import('../dist/tools/bench.js');
