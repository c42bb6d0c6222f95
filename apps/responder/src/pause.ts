import { setTimeout as timer } from 'node:timers/promises';

/** Resolves after so many ms, or rejects when the signal ends it. Passed in, so that tests need not wait. */
export type Sleep = (ms: number, signal: AbortSignal) => Promise<void>;

export const sleepForReal: Sleep = (ms, signal) => timer(ms, undefined, { signal });

/** A wait that other work can end early. */
export interface Pause {
  /**
   * Resolves after so many ms (Infinity: no timer is set), at a kick (also one that came since the last wait ended), or
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

/** Runs one call at a time, in the order of calling. A failure is the caller's alone. */
export function createQueue(): <T>(work: () => Promise<T>) => Promise<T> {
  let tail: Promise<unknown> = Promise.resolve();
  return (work) => {
    const done = tail.then(work);
    tail = done.catch(() => undefined);
    return done;
  };
}
