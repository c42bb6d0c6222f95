import { expect, it } from 'vitest';
import { createSerialQueue } from './serial-queue.ts';

it('runs one work at a time, in the order of the calls', async () => {
  const queue = createSerialQueue();
  const seen: string[] = [];
  const endOf: (() => void)[] = [];
  const work = (name: string) =>
    queue(async () => {
      seen.push(`${name} begins`);
      await new Promise<void>((resolve) => endOf.push(resolve));
      seen.push(`${name} ends`);
      return name;
    });
  const both = Promise.all([work('a'), work('b')]);
  await Promise.resolve();
  expect(seen).toEqual(['a begins']);
  endOf[0]!();
  while (endOf.length < 2) await Promise.resolve();
  endOf[1]!();
  expect(await both).toEqual(['a', 'b']);
  expect(seen).toEqual(['a begins', 'a ends', 'b begins', 'b ends']);
});

it('rejects the caller whose work failed and nobody else', async () => {
  const queue = createSerialQueue();
  const failed = queue(() => Promise.reject(new Error('no room')));
  const next = queue(() => Promise.resolve('done'));
  await expect(failed).rejects.toThrow('no room');
  expect(await next).toBe('done');
});
