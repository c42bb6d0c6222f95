// `npm run bench`: sets up, bundles the benchmark as the command itself is bundled, and runs it.
import { bundleOptions, setUp } from './setup.mjs';

await setUp();
// Only now: before the set-up it may not be there.
const { build } = await import('esbuild');
// `--kafka-packing` runs the measurement behind packages/bus/README.md instead.
const bench = process.argv.includes('--kafka-packing') ? 'kafka-packing.ts' : 'main.ts';
await build({ ...bundleOptions, entryPoints: { bench: `test/bench/${bench}` } });
await import('../dist/bench.js');
