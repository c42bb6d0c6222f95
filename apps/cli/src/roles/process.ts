import type { Bus } from '@tripline/bus';
import type { Config, LoadedConfig, Logger, RoleContext, RunningRole, Shutdown } from '@tripline/runtime';
import type { Backends } from '../backends.ts';

/** What the roles of one process share. */
export interface Process {
  loaded: LoadedConfig;
  config: Config;
  dataDir: string;
  logger: Logger;
  now: () => number;
  bus: Bus;
  backends: Backends;
  shutdown: Shutdown;
  /** Logger, metrics and clock of a role. */
  context: (role: string) => RoleContext;
  /** Reports the role's health, and stops it at the end. */
  add: <Role extends RunningRole>(role: Role) => Role;
}
