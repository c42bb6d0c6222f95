import js from '@eslint/js';
import tseslint from 'typescript-eslint';
import { importCircles } from './scripts/import-circles.mjs';

// The house, bottom floor first. A package may import the packages it lists, never one that lists it.
// Pure packages (sanitize, policy, detection) see the model and other pure code only.
const mayImport = {
  model: [],
  runtime: ['model'],
  notify: ['model'],
  state: ['model', 'runtime'],
  bus: ['model', 'runtime'],
  lake: ['model'],
  sanitize: ['model'],
  kong: ['model', 'sanitize'],
  policy: ['model', 'kong/precedence'],
  detection: ['model'],
  series: [],
  'kong-stand-in': [],
};
const pure = ['sanitize', 'policy', 'detection', 'series'];
const ioModules = ['fs', 'net', 'tls', 'http', 'https', 'child_process', 'dns', 'worker_threads', 'timers'];

const boundaries = Object.entries(mayImport).map(([name, allowed]) => ({
  files: [`packages/${name}/src/**/*.ts`],
  ignores: ['**/*.test.ts'],
  rules: {
    'no-restricted-imports': [
      'error',
      {
        patterns: [
          {
            regex: `^@tripline/(?!(${[name, ...allowed].join('|')})$)`,
            message: `packages/${name} may import only: ${allowed.join(', ') || 'no other package'}.`,
          },
          ...(pure.includes(name)
            ? [{ regex: `^node:(${ioModules.join('|')})`, message: `packages/${name} is pure: no I/O.` }]
            : []),
        ],
      },
    ],
    ...(pure.includes(name)
      ? {
          'no-restricted-globals': ['error', 'setTimeout', 'setInterval', 'fetch', 'process', 'performance'],
          'no-restricted-properties': [
            'error',
            { object: 'Date', property: 'now', message: 'Pure code takes the time as an argument.' },
            { object: 'Math', property: 'random', message: 'Pure code takes randomness as an argument.' },
          ],
        }
      : {}),
  },
}));

// Tables of examples, and what is still to be split; nothing may be added.
const tooLong = [
  'apps/cli/src/demo.ts',
  'packages/bus/src/kafka-bus.test.ts',
  'packages/detection/test-support/parameter-corpus.ts',
  'packages/kong/src/log-line/who-acts.test.ts',
  'packages/sanitize/src/{sanitizer.test,scan}.ts',
  'packages/series/src/series.ts',
  'test/distributed/fleet.ts',
  'test/integration/command.test.ts',
];

export default tseslint.config(
  { ignores: ['**/dist/**', '**/node_modules/**', '**/tripline-data/**'] },
  js.configs.recommended,
  { files: ['**/*.ts'], extends: [...tseslint.configs.strictTypeChecked] },
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/consistent-type-imports': 'error',
      'no-restricted-syntax': [
        'error',
        {
          selector:
            'CallExpression[callee.property.name=/^(trace|debug|info|warn|error|fatal)$/] ' +
            '> ObjectExpression.arguments Property[key.name=/^(error|exception|cause|e)$/]',
          message: 'The logger prints an error only under `err`: write { err: error }.',
        },
      ],
    },
  },
  {
    files: ['**/*.ts'],
    plugins: { tripline: { rules: { 'import-circles': importCircles } } },
    rules: {
      'tripline/import-circles': 'error',
      'max-lines': ['error', { max: 500, skipBlankLines: true, skipComments: true }],
      'max-lines-per-function': ['error', { max: 80, skipBlankLines: true, skipComments: true, IIFEs: true }],
    },
  },
  {
    // A test file is a few callbacks of describe(), each as long as the file.
    files: ['**/*.test.ts', '**/*.contract.ts'],
    rules: { 'max-lines-per-function': 'off' },
  },
  {
    files: ['**/*.test.ts', 'test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
    },
  },
  {
    files: ['**/*.{js,mjs}'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        URL: 'readonly',
        Buffer: 'readonly',
        setTimeout: 'readonly',
        setInterval: 'readonly',
        clearInterval: 'readonly',
        fetch: 'readonly',
        AbortSignal: 'readonly',
      },
    },
  },
  ...boundaries,
  { files: tooLong, rules: { 'max-lines': 'off', 'max-lines-per-function': 'off' } },
);
