import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configSchema, UserError } from '@tripline/runtime';
import { afterEach, describe, expect, test } from 'vitest';
import { forgeryProblems } from './forgery.ts';
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

test('a file with mistakes changes nothing, and each mistake is reported with line, path and what is allowed', async () => {
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

describe('where strangers can forge lines', () => {
  const { collector } = configSchema.parse({});
  const block = { type: 'block', duration: '5m' };
  const notify = { type: 'notify', webhook: 'on-call' };
  const limit = { type: 'rate-limit', duration: '5m', minute: 10 };
  const fileOf = (...policies: object[]): string =>
    JSON.stringify(
      { policies: policies.map((policy, index) => ({ id: `p-${index}`, match: {}, ...policy })) },
      null,
      1,
    );
  const watch = async (settings: Partial<typeof collector> = {}) => {
    const context = testContext(() => 0);
    file = await watchPolicyFile({
      path,
      logger: context.logger,
      pollMs: 5,
      refuse: (found, policies) => forgeryProblems(found, policies, { ...collector, ...settings }),
    });
    return context;
  };

  test.each([
    ['block', block],
    ['rate-limit', limit],
  ])('a policy that would %s in earnest is an error at the start', async (type, action) => {
    writeFileSync(path, fileOf({ actions: [notify] }, { actions: [notify, action] }));
    const attempt = watch();
    await expect(attempt).rejects.toThrow(UserError);
    await expect(attempt).rejects.toThrow(
      new RegExp(
        `line \\d+: policies\\[1\\] "p-1" would ${type} .*0\\.0\\.0\\.0:9600.*` +
          'collector\\.token .*collector\\.allow .*collector\\.trustUnauthenticated: true',
      ),
    );
  });

  test.each([
    ['a dry run', { dryRun: true, actions: [block] }, {}],
    ['switched off', { enabled: false, actions: [block] }, {}],
    ['only a notification', { actions: [notify] }, {}],
    ['guarded by a token', { actions: [block] }, { token: 's3cret-token' }],
    ['guarded by an allow-list', { actions: [block] }, { allow: ['10.0.0.0/8'] }],
    ['of this machine alone', { actions: [block] }, { host: '127.0.0.1' }],
    ['allowed by the operator', { actions: [block] }, { trustUnauthenticated: true }],
  ])('a policy that is %s is taken', async (_what, policy, settings) => {
    writeFileSync(path, fileOf(policy));
    await watch(settings);
    expect(ids()).toEqual(['p-0']);
    expect(file!.problems()).toEqual([]);
  });

  test('a policy that is added while Tripline runs is refused, and those from before stay', async () => {
    writeFileSync(path, fileOf({ dryRun: true, actions: [block] }));
    const context = await watch();
    writeFileSync(path, fileOf({ dryRun: true, actions: [block] }, { actions: [limit] }));
    await expect.poll(() => file!.problems().length, { interval: 5 }).toBe(1);
    expect(file!.problems()[0]).toMatchObject({ path: 'policies[1]' });
    expect(file!.problems()[0]!.line).toBeGreaterThan(5);
    expect(ids()).toEqual(['p-0']);
    expect(context.lines.join('')).toContain('collector.trustUnauthenticated: true');
    writeFileSync(path, fileOf({ actions: [notify] }));
    await expect.poll(() => file!.problems().length, { interval: 5 }).toBe(0);
    expect(ids()).toEqual(['p-0']);
  });
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
