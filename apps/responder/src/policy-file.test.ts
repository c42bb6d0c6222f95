import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { watchPolicyFile, type PolicyFile } from './policy-file.ts';
import { aPolicy, testContext } from './test-support.ts';

const directory = mkdtempSync(join(tmpdir(), 'tripline-policies-'));
const path = join(directory, 'policies.json');
let file: PolicyFile | undefined;

afterEach(() => {
  file?.close();
  rmSync(path, { force: true });
});

const text = (...ids: string[]): string => JSON.stringify({ policies: ids.map((id) => aPolicy({ id })) });
const ids = (): string[] => file!.current().policies.map((policy) => policy.id);

async function watched() {
  const context = testContext(() => 0);
  file = await watchPolicyFile({ path, logger: context.logger, pollMs: 5 });
  const changed = (): Promise<void> =>
    new Promise((resolve) => {
      const forget = file!.onChange(() => {
        forget();
        resolve();
      });
    });
  return { context, changed };
}

test('the policies follow the file: written in place, renamed over, removed', async () => {
  writeFileSync(path, text('a'));
  const { changed } = await watched();
  expect(ids()).toEqual(['a']);
  const steps: [() => void, string[]][] = [
    [() => writeFileSync(path, text('a', 'b')), ['a', 'b']],
    [() => (writeFileSync(`${path}.new`, text('c')), renameSync(`${path}.new`, path)), ['c']],
    [() => rmSync(path), []],
    [() => writeFileSync(path, text('d')), ['d']],
  ];
  for (const [step, expected] of steps) {
    const next = changed();
    step();
    await next;
    expect(ids()).toEqual(expected);
  }
});

test('a file with mistakes changes nothing, and each mistake is told with line, path and what is allowed', async () => {
  writeFileSync(path, text('a'));
  const { context, changed } = await watched();
  const next = changed();
  writeFileSync(
    path,
    '{\n  "policies": [{ "id": "b", "match": { "severityAtLeast": "hi" }, "actions": [] }]\n}',
  );
  await expect.poll(() => file!.problems().length, { interval: 5 }).toBe(2);
  expect(ids()).toEqual(['a']);
  const log = context.lines.join('');
  expect(log).toContain('line 2: policies[0].match.severityAtLeast');
  expect(log).toContain('\\"low\\", \\"medium\\", \\"high\\", \\"critical\\"');
  writeFileSync(path, text('c'));
  await next;
  expect(ids()).toEqual(['c']);
  expect(file!.problems()).toEqual([]);
});

test('no file means no policies, until there is one', async () => {
  const { changed } = await watched();
  expect(ids()).toEqual([]);
  const next = changed();
  writeFileSync(path, text('a'));
  await next;
  expect(ids()).toEqual(['a']);
});

test('a file that cannot be read is an error at the start', async () => {
  await expect(watchPolicyFile({ path: directory, logger: testContext(() => 0).logger })).rejects.toThrow(
    'EISDIR',
  );
});
