import { Backoff } from './backoff.ts';
import type { Logger } from './logger.ts';
import { sleep } from './pause.ts';

export interface PersistOptions {
  logger: Logger;
  /** Ends the wait between two attempts. */
  stopped: AbortSignal;
  now: () => number;
  /** Wait before the second attempt, in ms, default 200. It doubles up to `retryMaxMs`, default 10,000. */
  retryMs?: number;
  retryMaxMs?: number;
  /** Called after each failed attempt that another one follows. */
  onFailure?: () => void;
}

/** Thrown by `Persist.run` when the role stops before the work succeeded. */
export class StoppedError extends Error {
  override name = 'StoppedError';
  override message = 'The role is stopping.';
}

/**
 * Runs work that must succeed in the end: again and again, with back-off, until it does. Logs one line when a work begins to
 * fail, when its problem changes, and when it works again.
 */
export interface Persist {
  /**
   * `what` names the work in words, for the log and `failing`. Rejects at once with an error for which `isFinal` returns true,
   * and with a `StoppedError` when the role stops first.
   */
  run<T>(what: string, work: () => Promise<T>, isFinal?: (error: unknown) => boolean): Promise<T>;
  /** Works that fail at the moment, each with its last problem in words. */
  failing(): ReadonlyMap<string, string>;
  /** A work whose present attempt has taken longer than `ms`. */
  stalled(ms: number): string | undefined;
  /** From now on each work has one attempt: its failure rejects with a `StoppedError`. */
  lastTry(): void;
}

export function createPersist(options: PersistOptions): Persist {
  const { logger, stopped, now, retryMs = 200, retryMaxMs = 10_000 } = options;
  const failing = new Map<string, string>();
  const busySince = new Map<string, number>();
  let last = false;
  return {
    async run(what, work, isFinal = () => false) {
      const backoff = new Backoff({ firstMs: retryMs, maxMs: retryMaxMs });
      for (;;) {
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
          // A role that stops closes what the work needs; that is no failure to log.
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
        await sleep(backoff.failed(), stopped).catch(() => {
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
