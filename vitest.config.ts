import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // Tests that run the command need it built, once, before any of them begins.
    globalSetup: 'test/support/build.ts',
    include: ['packages/**/*.test.ts', 'apps/**/*.test.ts', 'test/**/*.test.ts'],
    // Two cores are the floor: native engines and child processes need the second one.
    maxWorkers: 2,
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
