import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ServedPaths } from '@tripline/kong';
import type { ApiCall } from '@tripline/model';
import { createLogger } from '@tripline/runtime';
import { afterEach, describe, expect, it } from 'vitest';
import { openServedPathsFile } from './served-paths-file.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function scratch(): string {
  const path = mkdtempSync(join(tmpdir(), 'tripline-served-paths-'));
  undo.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function open(
  path: string,
  log: string[] = [],
): Promise<{ served: ServedPaths; close: () => Promise<void> }> {
  const logger = createLogger({
    level: 'info',
    pretty: false,
    destination: { write: (line) => void log.push(line) },
  });
  const file = await openServedPathsFile({ path, logger, saveEveryMs: 5 });
  undo.push(() => file.close());
  return file;
}

const startedAt = Date.parse('2026-03-02T08:00:00Z');
const servedCall: ApiCall = {
  ...{ id: 'call-0001', startedAt, actorKind: 'address', actorId: '192.0.2.1', actorName: '192.0.2.1' },
  ...{ ip: '192.0.2.1', method: 'GET', path: '/reports', endpoint: 'GET /reports', status: 200 },
  ...{
    source: 'upstream',
    service: 'site',
    route: 'site',
    requestBytes: 300,
    responseBytes: 900,
    latencyMs: 12,
  },
};
const serve = (served: ServedPaths): boolean => served.observe(servedCall, undefined);
/** Another client's call for the same path, which Kong has no route for. */
const isGone = (served: ServedPaths): boolean => {
  const call: ApiCall = {
    ...servedCall,
    ...{ startedAt: startedAt + 1_000, ip: '192.0.2.2', status: 404, source: 'kong' },
  };
  delete call.service;
  delete call.route;
  return served.observe(call, undefined);
};

describe('the memory of served paths', () => {
  it('is saved by itself, and known after a restart, so that an outage of the routes then is not every client’s', async () => {
    const path = join(scratch(), 'data', 'served-paths.json');
    const first = await open(path);
    serve(first.served);
    await expect.poll(() => readdirSync(join(path, '..'))).toEqual(['served-paths.json']);
    expect(isGone((await open(path)).served)).toBe(true);
  });

  it('is saved when the collector stops', async () => {
    const path = join(scratch(), 'served-paths.json');
    const first = await open(path);
    serve(first.served);
    await first.close();
    expect(isGone((await open(path)).served)).toBe(true);
  });

  it.each([
    ['half a file', '{"version":1,"routes":[{"hos'],
    ['another version', '{"version":2,"routes":[],"paths":[]}'],
    ['another shape', '{"version":1,"routes":[],"paths":[["/reports",1,0]]}'],
  ])('starts anew from %s, which is logged', async (_what, text) => {
    const path = join(scratch(), 'served-paths.json');
    writeFileSync(path, text);
    const log: string[] = [];
    const { served, close } = await open(path, log);
    expect(log.join('')).toContain('learnt anew');
    expect(isGone(served)).toBe(false);
    serve(served);
    await close();
    expect(isGone((await open(path)).served)).toBe(true);
  });
});
