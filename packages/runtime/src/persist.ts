import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from './logger.ts';

export interface PersistOptions {
  logger: Logger;
  /** Ends the waiting between tries. */
  stopped: AbortSignal;
  now: () => number;
  /** Wait before the first retry, in ms, default 200; doubles up to `retryMaxMs`, default 10,000. */
  retryMs?: number;
  retryMaxMs?: number;
  /** Called after each try that failed and is not final. */
  onFailure?: () => void;
}

/** Thrown by `Persist.run` when the role stops before the work succeeded. */
export class StoppedError extends Error {
  override name = 'StoppedError';
  override message = 'The role is stopping.';
}

/** Work that must succeed in the end: tried with back-off until it does. Told once when it fails and when it works again. */
export interface Persist {
  /** `what` names the work in words. What `isFinal` says yes to is thrown at once; `StoppedError` when the role stops. */
  run<T>(what: string, work: () => Promise<T>, isFinal?: (error: unknown) => boolean): Promise<T>;
  /** What fails at the moment, with the last problem, in words. */
  failing(): ReadonlyMap<string, string>;
  /** What has been under way for longer than `ms` without an answer. */
  stalled(ms: number): string | undefined;
  /** From now on a failure is final. */
  lastTry(): void;
}

export function createPersist(options: PersistOptions): Persist {
  const { logger, stopped, now, retryMs = 200, retryMaxMs = 10_000 } = options;
  const failing = new Map<string, string>();
  const busySince = new Map<string, number>();
  let last = false;
  return {
    async run(what, work, isFinal = () => false) {
      for (let waitMs = retryMs; ; waitMs = Math.min(waitMs * 2, retryMaxMs)) {
        busySince.set(what, now());
        try {
          const done = await work();
          if (failing.delete(what)) logger.info({ what }, 'works again');
          return done;
        } catch (error) {
          if (isFinal(error)) {
            failing.delete(what);
            throw error;
          }
          // Whoever stops takes away what this needs: no failure to tell of.
          if (stopped.aborted) throw new StoppedError();
          options.onFailure?.();
          const problem = error instanceof Error ? error.message.split('\n', 1)[0]! : String(error);
          if (failing.get(what) !== problem)
            logger.error({ what, err: error }, `${what} fails; trying again until it works`);
          failing.set(what, problem);
          if (last) throw new StoppedError();
        } finally {
          busySince.delete(what);
        }
        await sleep(waitMs, undefined, { signal: stopped }).catch(() => {
          throw new StoppedError();
        });
      }
    },
    failing: () => failing,
    stalled: (ms) => [...busySince].find(([, since]) => now() - since > ms)?.[0],
    lastTry: () => {
      last = true;
    },
  };
}
