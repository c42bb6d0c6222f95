import type { Target } from './target.ts';

/**
 * `pending`: decided, not yet in Kong. `active`: its plugins are in Kong. `blocked-by-operator`: nothing was changed, since
 * an operator's plugin holds the place, or the target would be allowed more with ours beside it. `impossible`: Kong cannot
 * take it (the consumer is gone, Kong is DB-less). `expired` and `lifted`: its plugins are removed again. `dry-run`: the
 * response was decided, but is never put into Kong.
 */
export type ResponseStatus =
  'pending' | 'active' | 'blocked-by-operator' | 'impossible' | 'expired' | 'lifted' | 'dry-run';

/** An action as its policy gave it when the response was decided. Further fields: see packages/policy/src/actions. */
export interface ResponseAction {
  type: string;
  /** Given in the policy; see `actionIds` in packages/policy for the default. */
  id?: string | undefined;
  /** `"15m"` or `"permanent"`. */
  duration: string;
  readonly [setting: string]: unknown;
}

/** One action in force on one target until it expires or is lifted. Times are ms since the epoch (wall clock). */
export interface Response {
  /** Deterministic: a hash of policy, alert and action. */
  id: string;
  /** Counts the published states of this response from 1. */
  revision: number;
  policyId: string;
  alertId: string;
  action: ResponseAction;
  target: Target;
  status: ResponseStatus;
  decidedAt: number;
  /** Null: in force until lifted. */
  expiresAt: number | null;
  /** When the Admin API confirmed the plugin. */
  activeAt: number | null;
  /** When the plugin was removed. */
  removedAt: number | null;
  /** Calls to the Admin API that failed since the last one that succeeded. */
  failures: number;
  /**
   * Words for people; null if there is nothing to report. The last failure; for a response in force, where Kong applies a
   * plugin of the operator instead or merged with it; for a dry run, what would have happened in Kong.
   */
  problem: string | null;
}

/**
 * Converts a response as an earlier version wrote it, with `consumer: { id, name }` instead of `target`. Anything else is
 * returned unchanged and unchecked.
 */
export function upgradeResponse(record: unknown): unknown {
  if (typeof record !== 'object' || record === null || 'target' in record || !('consumer' in record))
    return record;
  const { consumer, ...rest } = record;
  return { ...rest, target: { kind: 'consumer', ...(consumer as object) } };
}
