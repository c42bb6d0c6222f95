import { tmpdir } from 'node:os';
import { expect, it } from 'vitest';
import { CommitFailedError, Commits } from './commits.ts';

it('LMDB is asked for no commit that finds no room', async () => {
  let asked = 0;
  const lmdb = {
    batch: () => Promise.resolve(asked++),
    flushed: Promise.resolve(),
    close: () => Promise.resolve(),
  };
  const log: string[] = [];
  const onLog = (_: string, message: string): void => void log.push(message);
  const commits = new Commits({ lmdb, path: tmpdir(), what: 'the bus', onLog });
  await commits.run(() => undefined, 1_000);
  expect(asked).toBe(1);
  // More than any disk has.
  const tooMuch = commits.run(() => undefined, 2 ** 60);
  await expect(tooMuch).rejects.toThrow(CommitFailedError);
  await expect(tooMuch).rejects.toMatchObject({ diskFull: true });
  expect(asked).toBe(1);
  expect(log).toEqual([expect.stringMatching(/is full, so the bus cannot be written/)]);
});
