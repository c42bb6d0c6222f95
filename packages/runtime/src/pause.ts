import { setTimeout as timer } from 'node:timers/promises';

/** Resolves after so many ms, or rejects when the signal ends it. Passed in, so that tests need not wait. */
export type Sleep = (ms: number, signal: AbortSignal) => Promise<void>;

/** Sleeps by the clock of the machine. */
export const sleep: Sleep = (ms, signal) => timer(ms, undefined, { signal });

/** A wait that other work can end early. */
export interface Pause {
  /**
   * Resolves after so many ms (Infinity: no timer is set), at a call of `wake` (also one that came since the last wait
   * ended), or when `stopped` is aborted.
   */
  wait(ms: number): Promise<void>;
  wake(): void;
}

export function createPause(sleep: Sleep, stopped: AbortSignal): Pause {
  let woken = false;
  let waiting: AbortController | undefined;
  return {
    async wait(ms) {
      if (!woken && !stopped.aborted) {
        const ended = (waiting = new AbortController());
        const end = (): void => ended.abort();
        stopped.addEventListener('abort', end);
        await (ms === Infinity ? aborted(ended.signal) : sleep(ms, ended.signal)).catch((error: unknown) => {
          if (!ended.signal.aborted) throw error;
        });
        stopped.removeEventListener('abort', end);
        waiting = undefined;
      }
      woken = false;
    },
    wake() {
      woken = true;
      waiting?.abort();
    },
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
