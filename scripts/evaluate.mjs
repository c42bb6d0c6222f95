// `npm run evaluate`: sets up, bundles the evaluation as the command itself is bundled, and runs it.
import './pipe.mjs';
import { bundleOptions, setUp } from './setup.mjs';

await setUp();
// Only now: before the set-up it may not be there.
const { build } = await import('esbuild');
await build({
  ...bundleOptions,
  outdir: 'dist/tools',
  entryPoints: { evaluate: 'test/evaluate/main.ts', 'evaluate-seed': 'test/evaluate/seed.ts' },
});
await import('../dist/tools/evaluate.js');
