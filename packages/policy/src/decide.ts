import { createHash } from 'node:crypto';
import { targetKinds, type Alert, type ResponseAction, type Target } from '@tripline/model';
import { actions, type PolicyAction } from './actions/index.ts';
import type { ActionRegistry } from './actions/registry.ts';
import { matches } from './match.ts';
import type { Policies } from './policy.ts';

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
      action: ResponseAction;
      target: Target;
    }
  | { kind: 'notify'; channel: string }
  /** Nothing can be done: the alert is about nothing that the action can act on. */
  | { kind: 'no-target'; action: ResponseAction; allowed: readonly string[] }
);

/**
 * The ids of a policy's actions, in their order: the one given, else the type (`block`), with a number from the second
 * without an id of the same type on (`block-2`). So actions of other types, and actions with ids, change none of them.
 */
export function actionIds(actions: readonly { type: string; id?: string | undefined }[]): string[] {
  const counts = new Map<string, number>();
  return actions.map(({ type, id }) => {
    if (id !== undefined) return id;
    const ordinal = (counts.get(type) ?? 0) + 1;
    counts.set(type, ordinal);
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
 * that expired while the episode went on. 32 hex digits of SHA-256.
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
 * Decides what the enabled policies that match the alert want done, in the order of the file. An alert of a detector that
 * is only tried out makes each decision a dry run.
 */
export function decide({ policies }: Policies, alert: Alert, registry: ActionRegistry = actions): Decision[] {
  return policies
    .filter((policy) => policy.enabled && matches(policy.match, alert))
    .flatMap(({ id: policyId, dryRun, actions }) => {
      const ids = actionIds(actions);
      return actions.flatMap((action, index): Decision[] => {
        const actionId = ids[index]!;
        const common = { policyId, actionId, dryRun: dryRun || alert.dryRun === true };
        const channel = registry.channelOf(action);
        if (channel !== undefined) return [{ ...common, kind: 'notify', channel }];
        const kind = registry.findResponse(action.type);
        if (!kind) return [];
        const settings = action as PolicyAction & ResponseAction;
        const target = targetOf(alert);
        if (!target || !kind.targets.includes(target.kind))
          return [{ ...common, kind: 'no-target', action: settings, allowed: kind.targets }];
        const id = responseId(policyId, alert.id, actionId);
        return [{ ...common, kind: 'respond', responseId: id, action: settings, target }];
      });
    });
}

/** Whom a response to the alert acts on; undefined if the alert is about an endpoint or a campaign. */
function targetOf({ actor }: Alert): Target | undefined {
  const kind = targetKinds.find((one) => one === actor.kind);
  // Without an id a plugin would apply to everybody.
  return kind === undefined || actor.id === '' ? undefined : { kind, id: actor.id, name: actor.name };
}
