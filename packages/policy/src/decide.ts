import { createHash } from 'node:crypto';
import type { Alert, BlockAction, Policies, RateLimitAction } from '@tripline/model';
import { matches } from './match.ts';

/** What a policy wants done about an alert, for one of its actions. */
export type Decision = {
  policyId: string;
  /** Which of the policy's actions, from 0. */
  actionIndex: number;
  dryRun: boolean;
} & (
  | {
      kind: 'respond';
      /** See `responseId`; of the first response of this policy to this alert. */
      responseId: string;
      action: BlockAction | RateLimitAction;
      consumer: { id: string; name: string };
    }
  | { kind: 'notify'; webhook: string }
  /** The action would change a consumer's plugins, but the alert is about something else: nothing can be done. */
  | { kind: 'no-consumer'; action: BlockAction | RateLimitAction }
);

/**
 * The id of a response: the same for the same policy, alert and action wherever and whenever it is decided, so that a
 * decision taken twice is one response. `round` counts (from 0) the responses of this policy and action to this alert
 * that ran out while the episode went on. 32 hex digits of SHA-256.
 */
export function responseId(policyId: string, alertId: string, actionIndex: number, round = 0): string {
  const text = JSON.stringify([policyId, alertId, actionIndex, round]);
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

/**
 * What the enabled policies that match the alert want done, in the order of the file. An alert of a detector that is only
 * tried out makes each of them a dry run.
 */
export function decide(policies: Policies, alert: Alert): Decision[] {
  return policies.policies
    .filter((policy) => policy.enabled && matches(policy.match, alert))
    .flatMap(({ id: policyId, dryRun, actions }) =>
      actions.map((action, actionIndex): Decision => {
        const common = { policyId, actionIndex, dryRun: dryRun || alert.dryRun === true };
        if (action.type === 'notify') return { ...common, kind: 'notify', webhook: action.webhook };
        const { actor } = alert;
        // Never on anybody but a consumer that Kong itself authenticated: without an id the plugin would hit everyone.
        if (actor.kind !== 'consumer' || actor.id === '') return { ...common, kind: 'no-consumer', action };
        return {
          ...common,
          kind: 'respond',
          responseId: responseId(policyId, alert.id, actionIndex),
          action,
          consumer: { id: actor.id, name: actor.name },
        };
      }),
    );
}
