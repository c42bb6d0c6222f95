import type { BlockAction, RateLimitAction } from './policy.ts';

/**
 * `pending`: decided, not yet in Kong. `active`: its plugins are there. `blocked-by-operator`: an operator's own plugin
 * holds the place, or would allow less than with ours beside it; nothing was touched. `impossible`: Kong cannot take it (consumer gone, DB-less). `expired`, `lifted`:
 * taken off again. `dry-run`: would have been made.
 */
export type ResponseStatus =
  'pending' | 'active' | 'blocked-by-operator' | 'impossible' | 'expired' | 'lifted' | 'dry-run';

/** One action in force on one target until it expires or is lifted. Times are ms since the epoch (wall clock). */
export interface Response {
  /** Deterministic: policy, alert and action. */
  id: string;
  /** Counts the published states of this response from 1. */
  revision: number;
  policyId: string;
  alertId: string;
  action: BlockAction | RateLimitAction;
  consumer: { id: string; name: string };
  status: ResponseStatus;
  decidedAt: number;
  /** Null: until lifted. */
  expiresAt: number | null;
  /** When the Admin API confirmed the plugin. */
  activeAt: number | null;
  /** When it was gone again. */
  removedAt: number | null;
  /** Calls to the Admin API that failed since the last one that succeeded. */
  failures: number;
  /**
   * What people should know, in words: the last failure; of one in force where Kong applies a plugin of the operator
   * instead, or merged with it; of a dry run what it would have come to. Null if nothing.
   */
  problem: string | null;
}
