import type { Logger } from 'pino';
import type { Registry } from 'prom-client';

/** What every role gets from the process that runs it. */
export interface RoleContext {
  /** Child logger of the role. One line per event worth a person's attention, never one per item. */
  logger: Logger;
  /** Where the role registers its metrics (prefix `tripline_`, base units: seconds, bytes). */
  metrics: Registry;
  /** Wall clock in ms; passed in so that tests need not wait. */
  now: () => number;
}

/** State of a role: `ok`, or what is wrong and what to do. */
export interface RoleHealth {
  /** False: the role cannot do its work and a restart may help (a stalled loop). Drives /healthz. */
  alive: boolean;
  /** False: not started up yet or waiting for something outside. Drives /readyz. */
  ready: boolean;
  /** In words, for people. */
  detail: string;
}

/** A role that was started. */
export interface RunningRole {
  readonly name: string;
  health(): RoleHealth;
  /** Settles when the role has ended: rejects if it failed. */
  readonly ended: Promise<void>;
  /** Finishes the work under way and ends; a second call changes nothing. */
  stop(): Promise<void>;
}
