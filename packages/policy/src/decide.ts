import { createHash } from 'node:crypto';
import type { Alert, BlockAction, Policies, PolicyAction, RateLimitAction } from '@tripline/model';
import { matches } from './match.ts';

/** What a policy wants done about an alert, for one of its actions. */
export type Decision = {
  policyId: string;
  /** Which of the policy's actions, see `actionIds`. */
  actionId: string;
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
 * The ids of a policy's actions, in their order: the one given, else the type (`block`), with a number from the second
 * without an id of the same type on (`block-2`). So actions of other types, and actions with ids, change none of them.
 */
export function actionIds(actions: readonly Pick<PolicyAction, 'type' | 'id'>[]): string[] {
  const seen = new Map<string, number>();
  return actions.map(({ type, id }) => {
    if (id !== undefined) return id;
    const ordinal = (seen.get(type) ?? 0) + 1;
    seen.set(type, ordinal);
    return defaultActionId(type, ordinal);
  });
}

/** The id of the first (`ordinal` 1), second, … action of this type that is given none. */
export function defaultActionId(type: string, ordinal: number): string {
  return ordinal === 1 ? type : `${type}-${ordinal}`;
}

/**
 * The id of a response: the same for the same policy, alert and action wherever and whenever it is decided, so that a
 * decision taken twice is one response. `round` counts (from 0) the responses of this policy and action to this alert
 * that ran out while the episode went on. 32 hex digits of SHA-256.
 */
export function responseId(policyId: string, alertId: string, actionId: string, round = 0): string {
  return hashOf([policyId, alertId, actionId, round]);
}

/** The id of a response as versions made it that numbered the actions of a policy from 0. */
export function responseIdByIndex(policyId: string, alertId: string, actionIndex: number, round = 0): string {
  return hashOf([policyId, alertId, actionIndex, round]);
}

function hashOf(parts: readonly (string | number)[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}

/**
 * What the enabled policies that match the alert want done, in the order of the file. An alert of a detector that is only
 * tried out makes each of them a dry run.
 */
export function decide(policies: Policies, alert: Alert): Decision[] {
  return policies.policies
    .filter((policy) => policy.enabled && matches(policy.match, alert))
    .flatMap(({ id: policyId, dryRun, actions }) => {
      const ids = actionIds(actions);
      return actions.map((action, index): Decision => {
        const actionId = ids[index]!;
        const common = { policyId, actionId, dryRun: dryRun || alert.dryRun === true };
        if (action.type === 'notify') return { ...common, kind: 'notify', webhook: action.webhook };
        const { actor } = alert;
        // Never on anybody but a consumer that Kong itself authenticated: without an id the plugin would hit everyone.
        if (actor.kind !== 'consumer' || actor.id === '') return { ...common, kind: 'no-consumer', action };
        return {
          ...common,
          kind: 'respond',
          responseId: responseId(policyId, alert.id, actionId),
          action,
          consumer: { id: actor.id, name: actor.name },
        };
      });
    });
}
