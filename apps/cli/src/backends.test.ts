import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configSchema, createLogger } from '@tripline/runtime';
import { expect, it } from 'vitest';
import { createBackends, type StatefulRole } from './backends.ts';

const dayMs = 86_400_000;

it('forgets actors and endpoints after processor.retention.actorDays, and never what the responder keeps', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'tripline-backends-'));
  let now = Date.UTC(2026, 10, 21);
  const config = configSchema.parse({ processor: { retention: { actorDays: 3 } } });
  const backends = createBackends({
    loaded: { config, baseDir: dataDir, file: undefined },
    dataDir,
    logger: createLogger({ level: 'silent', pretty: false }),
    now: () => now,
  });
  const keptAfter = async (role: StatefulRole): Promise<string[]> => {
    const began = now;
    const claimed = await (await backends.state(role)).claim(0);
    const save = (key: string): Promise<void> => claimed.checkpoint(new Map([[key, Buffer.from('1')]]), 1);
    await save('old');
    now = began + 2.5 * dayMs;
    await save('new');
    await save('new');
    now = began + 3.5 * dayMs;
    await claimed.checkpoint(new Map(), 1);
    await claimed.checkpoint(new Map(), 1);
    return [...(await claimed.loadAll()).keys()].sort();
  };
  expect(await keptAfter('processor')).toEqual(['new']);
  expect(await keptAfter('aggregates')).toEqual(['new']);
  expect(await keptAfter('responder')).toEqual(['new', 'old']);
  await backends.close();
  rmSync(dataDir, { recursive: true });
});
