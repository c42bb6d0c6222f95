import { defineConfig } from 'vitest/config';

export default defineConfig({
  plugins: [
    {
      // What esbuild does for `import … with { type: 'text' }`.
      name: 'sql-files-are-text',
      transform: (text: string, path: string) =>
        path.endsWith('.sql') ? { code: `export default ${JSON.stringify(text)};`, map: null } : undefined,
    },
  ],
  test: {
    // Tests that run the command need it built, once, before any of them begins.
    globalSetup: 'test/support/build.ts',
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'parts',
          include: ['packages/**/*.test.ts', 'apps/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: ['test/distributed/**', '**/node_modules/**'],
          // Two cores are the floor: native engines and child processes need the second one.
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'fleet',
          include: ['test/distributed/**/*.test.ts'],
          // Each test here is a dozen processes: nothing else beside it.
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
