import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger } from '@tripline/runtime';
import { afterEach, expect, it } from 'vitest';
import { openVerifyingEndpointsFile, type VerifyingEndpointsFile } from './verifying-endpoints-file.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function scratch(): string {
  const path = mkdtempSync(join(tmpdir(), 'tripline-verifying-'));
  undo.push(() => rmSync(path, { recursive: true, force: true }));
  return join(path, 'verifying-endpoints.json');
}

async function open(path: string, log: string[] = []): Promise<VerifyingEndpointsFile> {
  const destination = { write: (line: string) => void log.push(line) };
  const logger = createLogger({ level: 'info', pretty: false, destination });
  const file = await openVerifyingEndpointsFile({ path, logger });
  undo.push(() => file.close());
  return file;
}

it('an endpoint that was seen to verify credentials is known after a restart', async () => {
  const path = scratch();
  const first = await open(path);
  for (let n = 0; n < 6; n++) first.verifying.note('shop GET /me', `198.51.100.${n}`, 'refused', n);
  await first.close();
  expect((await open(path)).verifying.verifies('shop GET /me')).toBe(true);
});

it.each([
  ['half a file', '{"version":1,"endp'],
  ['another version', '{"version":2,"endpoints":[]}'],
  [
    'another shape',
    '{"version":1,"endpoints":[["shop GET /me",{"refused":-1,"sources":[],"servedAtMs":0}]]}',
  ],
])('%s is a fresh start, which is logged', async (_what, text) => {
  const path = scratch();
  writeFileSync(path, text);
  const log: string[] = [];
  const { verifying } = await open(path, log);
  expect(log.join('')).toContain('learnt anew');
  expect(verifying.learnt()).toEqual([]);
});
