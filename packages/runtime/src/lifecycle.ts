import { resultWithin } from './deadline.ts';
import type { Logger } from './logger.ts';

/**
 * Clean-ups that run in reverse order of their registration, each after the one before has ended, all under one
 * deadline. One that fails is logged and does not keep the others from running.
 */
export class Shutdown {
  readonly #steps: { name: string; run: () => Promise<void> | void }[] = [];
  #running: Promise<void> | undefined;

  add(name: string, run: () => Promise<void> | void): void {
    this.#steps.push({ name, run });
  }

  /** Runs them once; further calls wait for the same run. */
  run(logger: Logger, deadlineMs: number): Promise<void> {
    return (this.#running ??= this.#runAll(logger, deadlineMs));
  }

  async #runAll(logger: Logger, deadlineMs: number): Promise<void> {
    const endsAt = performance.now() + deadlineMs;
    for (const step of this.#steps.reverse()) {
      try {
        const ended = Promise.resolve(step.run()).then(() => true);
        if (!(await resultWithin(Math.max(0, endsAt - performance.now()), ended))) {
          logger.error({ step: step.name, deadlineMs }, 'stopping took too long: left undone');
          break;
        }
      } catch (error) {
        logger.error({ step: step.name, err: error }, 'stopping failed');
      }
    }
  }
}

/** Calls `stop` on SIGINT or SIGTERM; a second signal ends the process at once with status 130. */
export function onSignals(stop: (signal: string) => void): () => void {
  let seen = 0;
  const handle = (signal: string): void => {
    if (++seen > 1) process.exit(130);
    stop(signal);
  };
  process.on('SIGINT', handle);
  process.on('SIGTERM', handle);
  return () => {
    process.off('SIGINT', handle);
    process.off('SIGTERM', handle);
  };
}
