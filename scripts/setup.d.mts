import type { BuildOptions } from 'esbuild';

/** How esbuild makes a program for this Node.js out of our sources. */
export const bundleOptions: BuildOptions;

/** Resolves when `dist/tripline.js` can be run; ends the process with a message if it cannot be had. */
export function setUp(): Promise<void>;
