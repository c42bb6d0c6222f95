import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '@clickhouse/client';
import { afterEach, describe, expect, it } from 'vitest';
import { loadEngine, openEmbeddedLake } from './embedded-lake.ts';
import { lakeContract, type LakeUnderTest } from './lake.contract.ts';
import type { Lake } from './lake.ts';
import { upgradeContract } from './upgrade.contract.ts';

// The engine opens one directory at a time per process, so the suites of this file run one after the other.
lakeContract('embedded lake', underTest);
upgradeContract('embedded lake', underTest);

async function underTest(): Promise<LakeUnderTest> {
  const path = mkdtempSync(join(tmpdir(), 'tripline-lake-'));
  const { createChdbConnection } = await loadEngine();
  let lake = await openEmbeddedLake({ path });
  return {
    lake,
    reopen: async () => {
      await lake.close();
      lake = await openEmbeddedLake({ path });
      return lake;
    },
    write: async (sql) => {
      const client = createClient({ connection: createChdbConnection({ path }) });
      await client.command({ query: sql });
      await client.close();
    },
    dispose: async () => {
      await lake.close();
      rmSync(path, { recursive: true });
    },
  };
}

describe('embedded lake', () => {
  const path = mkdtempSync(join(tmpdir(), "tripline lake's-"));
  let lake: Lake | undefined;
  afterEach(async () => {
    await lake?.close();
    rmSync(path, { recursive: true, force: true });
  });

  it('clears away what a killed process left in staging, and leaves nothing there itself', async () => {
    mkdirSync(join(path, 'incoming'), { recursive: true });
    writeFileSync(join(path, 'incoming', '7.ndjson'), 'left behind');
    lake = await openEmbeddedLake({ path });
    expect(readdirSync(join(path, 'incoming'))).toEqual([]);
    await lake.migrate({ retentionDays: 30 });
    await lake.insert('alerts', [Buffer.from('{"id":"a"}')]);
    await expect(lake.insert('alerts', [Buffer.from('[]')])).rejects.toThrow();
    expect(readdirSync(join(path, 'incoming'))).toEqual([]);
  });

  it('refuses a path that the engine would take for a pattern', async () => {
    await expect(openEmbeddedLake({ path: '/tmp/lake-{a,b}' })).rejects.toThrow(/\* \? \{ and \}/);
  });

  it('says that another process may be using the directory', async () => {
    lake = await openEmbeddedLake({ path });
    // One directory at a time in one process is the same refusal by the engine.
    await expect(openEmbeddedLake({ path: join(path, 'other') })).rejects.toThrow(
      /cannot be opened.*Is another Tripline running/,
    );
  });
});
