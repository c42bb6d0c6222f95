// `npm run traffic`: sets up, bundles the traffic generator as the command itself is bundled, and runs it.
import './pipe.mjs';
import { bundleOptions, setUp } from './setup.mjs';

await setUp();
// Only now: before the set-up it may not be there.
const { build } = await import('esbuild');
await build({ ...bundleOptions, outdir: 'dist/tools', entryPoints: { traffic: 'test/traffic/main.ts' } });
await import('../dist/tools/traffic.js');
