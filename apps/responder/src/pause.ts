import { setTimeout as timer } from 'node:timers/promises';

/** Resolves after this many ms, or rejects when the signal ends it. Passed in, so that tests need not wait. */
export type Sleep = (ms: number, signal: AbortSignal) => Promise<void>;

export const sleepForReal: Sleep = (ms, signal) => timer(ms, undefined, { signal });

/** A wait that other work can end early. */
export interface Pause {
  /**
   * Resolves after this many ms (Infinity: no timer is set), when `kick` is called or was called since the last wait, or
   * when the role stops.
   */
  wait(ms: number): Promise<void>;
  kick(): void;
}

export function createPause(sleep: Sleep, stopped: AbortSignal): Pause {
  let kicked = false;
  let waiting: AbortController | undefined;
  return {
    async wait(ms) {
      if (!kicked && !stopped.aborted) {
        const ended = (waiting = new AbortController());
        const end = (): void => ended.abort();
        stopped.addEventListener('abort', end);
        await (ms === Infinity ? aborted(ended.signal) : sleep(ms, ended.signal)).catch((error: unknown) => {
          if (!ended.signal.aborted) throw error;
        });
        stopped.removeEventListener('abort', end);
        waiting = undefined;
      }
      kicked = false;
    },
    kick() {
      kicked = true;
      waiting?.abort();
    },
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Makes a queue that runs one call at a time, in the order of calling. A failure reaches its own caller only. */
export function createQueue(): <T>(work: () => Promise<T>) => Promise<T> {
  let tail: Promise<unknown> = Promise.resolve();
  return (work) => {
    const done = tail.then(work);
    tail = done.catch(() => undefined);
    return done;
  };
}
