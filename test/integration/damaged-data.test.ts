import { closeSync, cpSync, ftruncateSync, openSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createEmbeddedBus, jsonRecord } from '@tripline/bus';
import { createEmbeddedState } from '@tripline/state';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { scratchDir } from '../support/parts.ts';
import { freePort, runProgram } from '../support/running.ts';

const pageBytes = 4_096;
const scratch = scratchDir();
/** A data directory with a bus of some 20 MB and a state, left in good order. */
const whole = join(scratch.path, 'whole');

beforeAll(async () => {
  const bus = createEmbeddedBus({ path: join(whole, 'bus') });
  const record = jsonRecord('k', { id: 'x', text: 'y'.repeat(1_000) });
  for (let n = 0; n < 20_000; n += 100)
    await bus.publish(
      'api-calls',
      Array.from({ length: 100 }, () => record),
    );
  await bus.close();
  const state = createEmbeddedState({ path: join(whole, 'state-responder') });
  const claimed = await state.claim(0);
  const values = Array.from(
    { length: 2_000 },
    (_, n) => [`told:${n}`, Buffer.from('z'.repeat(500))] as const,
  );
  await claimed.checkpoint(new Map(values), 1);
  await state.close();
});
afterAll(() => scratch.dispose());

/** Not random, so that a failure can be had again; no number of it makes sense as a page, a count or a length. */
const junk = (bytes: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: bytes }, (_, n) => 0x80 | ((n * 167) >> 3)));

const damages: Record<string, (file: number, bytes: number) => void> = {
  'its header zeroed': (file) => void writeSync(file, Buffer.alloc(2 * pageBytes), 0, undefined, 0),
  'its end cut off': (file, bytes) => ftruncateSync(file, Math.floor(bytes / 2)),
  'its first pages overwritten': (file) =>
    void writeSync(file, junk(60 * pageBytes), 0, undefined, 2 * pageBytes),
  'its middle overwritten': (file, bytes) =>
    void writeSync(file, junk(60 * pageBytes), 0, undefined, Math.floor(bytes / 2)),
  'its last pages overwritten': (file, bytes) =>
    void writeSync(file, junk(60 * pageBytes), 0, undefined, bytes - 60 * pageBytes),
  'all of it overwritten': (file, bytes) => void writeSync(file, junk(bytes), 0, undefined, 0),
};

/** The directory with its data file damaged, and a configuration for it. */
async function damage(name: string, how: keyof typeof damages, n: number): Promise<string> {
  const directory = join(scratch.path, `${name}-${n}`);
  cpSync(whole, join(directory, 'data'), { recursive: true });
  const path = join(directory, 'data', name, 'data.mdb');
  const file = openSync(path, 'r+');
  damages[how]!(file, statSync(path).size);
  closeSync(file);
  const config = {
    dataDir: 'data',
    http: { port: await freePort() },
    collector: { host: '127.0.0.1', port: 0 },
    lake: { enabled: false },
  };
  writeFileSync(join(directory, 'tripline.json'), JSON.stringify(config));
  return directory;
}

describe('a damaged file of the embedded engines', () => {
  it.each(
    ['bus', 'state-responder'].flatMap((name) => Object.keys(damages).map((how) => [name, how] as const)),
  )(
    'is named by `up`, with what to do and what is lost: %s with %s',
    { timeout: 60_000 },
    async (name, how) => {
      const directory = await damage(name, how, Object.keys(damages).indexOf(how));
      const moved = join(directory, 'data', name);
      const { status, stderr } = await runProgram(['up'], { cwd: directory });
      expect(stderr).toContain(`The data file ${join(moved, 'data.mdb')} is damaged: `);
      expect(stderr).toContain(`mv ${moved} ${moved}.damaged\nLost by that: `);
      expect(status).toBe(2);
    },
  );

  it('is told by `doctor` too', async () => {
    const directory = await damage('bus', 'its header zeroed', 90);
    const { stdout } = await runProgram(['doctor'], { cwd: directory });
    expect(stdout).toMatch(/^FAIL {2}data files: The data file .*data\.mdb is damaged/m);
    expect(stdout).toContain('mv ');
  });
});
