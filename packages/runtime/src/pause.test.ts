import { expect, it } from 'vitest';
import { createPause, type Sleep } from './pause.ts';

/** Sleeps until the test ends it, or its signal does. */
function sleeper() {
  const slept: { ms: number; end: () => void }[] = [];
  const sleep: Sleep = (ms, signal) =>
    new Promise((resolve, reject) => {
      slept.push({ ms, end: resolve });
      signal.addEventListener('abort', () => reject(new Error('aborted')));
    });
  return { sleep, slept };
}

it('waits as long as it is told', async () => {
  const { sleep, slept } = sleeper();
  const pause = createPause(sleep, new AbortController().signal);
  const waited = pause.wait(300);
  expect(slept.map(({ ms }) => ms)).toEqual([300]);
  slept[0]!.end();
  await waited;
});

it('ends at a wake, also at one that came before the wait', async () => {
  const { sleep, slept } = sleeper();
  const pause = createPause(sleep, new AbortController().signal);
  const waited = pause.wait(300);
  pause.wake();
  await waited;
  pause.wake();
  await pause.wait(300);
  expect(slept).toHaveLength(1);
});

it('sets no timer for a wait without end, and ends when the role stops', async () => {
  const { sleep, slept } = sleeper();
  const stopping = new AbortController();
  const pause = createPause(sleep, stopping.signal);
  const waited = pause.wait(Infinity);
  stopping.abort();
  await waited;
  await pause.wait(300);
  expect(slept).toEqual([]);
});

it('passes on a failure that is not its end', async () => {
  const pause = createPause(() => Promise.reject(new Error('no timer')), new AbortController().signal);
  await expect(pause.wait(1)).rejects.toThrow('no timer');
});
