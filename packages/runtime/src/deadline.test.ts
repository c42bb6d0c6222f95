import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { DeadlineError, resultWithin, withDeadline } from './deadline.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const never = new Promise<never>(() => undefined);

it('gives the result of work that ends in time, and leaves no timer', async () => {
  expect(await withDeadline(50, () => Promise.resolve('done'))).toBe('done');
  expect(await resultWithin(50, Promise.resolve('done'))).toBe('done');
  expect(vi.getTimerCount()).toBe(0);
});

it('rejects with a DeadlineError, or gives undefined, when the work takes longer', async () => {
  const rejected = expect(withDeadline(50, () => never)).rejects.toThrow(new DeadlineError(50));
  const late = expect(resultWithin(50, never)).resolves.toBeUndefined();
  await vi.advanceTimersByTimeAsync(50);
  await Promise.all([rejected, late]);
});

it("passes the work's own failure on", async () => {
  const failure = new Error('no room');
  await expect(withDeadline(50, () => Promise.reject(failure))).rejects.toBe(failure);
  await expect(resultWithin(50, Promise.reject(failure))).rejects.toBe(failure);
  expect(vi.getTimerCount()).toBe(0);
});
