import type { Response, ResponseStatus } from '@tripline/model';
import { targetKinds, upgradeResponse } from '@tripline/model';
import {
  defaultActionId,
  isWanted,
  responseId,
  responseIdByIndex,
  type ActionRegistry,
} from '@tripline/policy';
import type { RoleState } from '../role-state.ts';

/** A response in the book, with what the responder keeps about it. */
export interface Entry {
  response: Response;
  /** The partition of `alerts` that its alert came from; it is saved together with that partition's position. */
  partition: number;
  /** Which action of the policy, see `actionIds`. */
  actionId: string;
  /** Id of the first response of this policy and action to this alert, by which a decision is looked up. */
  firstId: string;
  /** How many responses before this one expired while the alert went on. */
  round: number;
  /** Somebody lifted it; Kong may not have followed yet. */
  lifting: boolean;
  /** When the alert was last received; wall clock, ms. */
  touchedAt: number;
  /** When the alert was received as closed; wall clock, ms. */
  alertClosedAt?: number;
  /** States of the response that are not yet on the bus. */
  unpublished: Response[];
}

/** An entry as JSON in the state. */
interface SavedEntry extends Omit<Entry, 'partition' | 'unpublished'> {
  outbox: Response[];
}

const keyPrefix = 'response:';

export function stateKey({ response }: Entry): string {
  return keyPrefix + response.id;
}

export function encode(entry: Entry): string {
  // JSON leaves out what is undefined.
  const saved = { ...entry, partition: undefined, unpublished: undefined, outbox: entry.unpublished };
  return JSON.stringify(saved);
}

/**
 * Reads all entries of the state. `upgraded` are those that an earlier version wrote in another form: they must be saved
 * again at once, so that never only half of the responses to an alert have the new form.
 */
export function readEntries(
  state: RoleState,
  registry: ActionRegistry,
): { entries: Entry[]; upgraded: ReadonlySet<Entry> } {
  const upgraded = new Set<Entry>();
  const entries = state
    .read(keyPrefix, (value, id) => decode(value, id, registry))
    .map(({ partition, value: { entry, isUpgraded } }) => {
      const read = { ...entry, partition };
      if (isUpgraded) upgraded.add(read);
      return read;
    });
  for (const entry of nameActions(entries)) upgraded.add(entry);
  return { entries, upgraded };
}

/** Throws if the value is not what `encode` writes, as another version or a damaged store may have left it. */
function decode(
  value: string,
  id: string,
  registry: ActionRegistry,
): { entry: Omit<Entry, 'partition'>; isUpgraded: boolean } {
  const { response: saved, outbox, ...rest } = JSON.parse(value) as SavedEntry;
  const response = upgradeResponse(saved) as Response;
  // Missing in what the first versions wrote; `nameActions` gives one.
  const actionId = rest.actionId as string | undefined;
  const isWhole =
    isResponse(response, id, registry) &&
    (actionId === undefined || typeof actionId === 'string') &&
    (rest.alertClosedAt === undefined || Number.isFinite(rest.alertClosedAt)) &&
    typeof rest.firstId === 'string' &&
    Number.isInteger(rest.round) &&
    typeof rest.lifting === 'boolean' &&
    Number.isFinite(rest.touchedAt) &&
    Array.isArray(outbox);
  if (!isWhole) throw new Error('it is no response as this version writes them');
  const unpublished = outbox.map((one) => upgradeResponse(one) as Response);
  return { entry: { ...rest, response, unpublished }, isUpgraded: response !== saved };
}

function isResponse(response: Response, id: string, registry: ActionRegistry): boolean {
  const { action, target, status, decidedAt, expiresAt } = response;
  return (
    response.id === id &&
    Number.isInteger(response.revision) &&
    registry.findResponse(action.type) !== undefined &&
    targetKinds.includes(target.kind) &&
    typeof target.id === 'string' &&
    statuses.includes(status) &&
    Number.isFinite(decidedAt) &&
    (expiresAt === null || Number.isFinite(expiresAt)) &&
    typeof response.policyId === 'string' &&
    typeof response.alertId === 'string'
  );
}

/** The first versions numbered the actions of a policy: at most up to here, for recognising their responses. */
const actionIndexMax = 100;

/** Gives entries without an action id the id that their action has by default. Returns these entries. */
function nameActions(entries: readonly Entry[]): Entry[] {
  const unnamed = entries.filter((entry) => (entry.actionId as string | undefined) === undefined);
  const groups = new Map<string, { entry: Entry; index: number }[]>();
  for (const entry of unnamed) {
    const { policyId, alertId, action } = entry.response;
    const key = JSON.stringify([policyId, alertId, action.type]);
    groups.set(key, [...(groups.get(key) ?? []), { entry, index: actionIndexOf(entry) }]);
  }
  for (const group of groups.values()) {
    const indexes = [...new Set(group.map(({ index }) => index))].sort((a, b) => a - b);
    for (const { entry, index } of group) {
      const { policyId, alertId, action } = entry.response;
      entry.actionId = defaultActionId(action.type, indexes.indexOf(index) + 1);
      entry.firstId = responseId(policyId, alertId, entry.actionId);
    }
  }
  return unnamed;
}

/** The number that the action of an entry of the first versions had: it is part of the hash in `firstId`. */
function actionIndexOf({ response: { policyId, alertId }, firstId }: Entry): number {
  for (let index = 0; index < actionIndexMax; index++)
    if (responseIdByIndex(policyId, alertId, index) === firstId) return index;
  return 0;
}

const endedStatuses: readonly ResponseStatus[] = ['expired', 'lifted', 'impossible', 'dry-run'];
const statuses: readonly ResponseStatus[] = ['pending', 'active', 'blocked-by-operator', ...endedStatuses];

export function hasEnded(response: Response): boolean {
  return endedStatuses.includes(response.status);
}

export function isDryRun({ response }: Entry): boolean {
  return response.status === 'dry-run';
}

/** True if somebody lifted it: it must not come back for the same alert. */
export function isLifted(entry: Entry): boolean {
  return entry.lifting || entry.response.status === 'lifted';
}

/** True if it is to leave Kong, and Kong has not confirmed yet that it did. */
export function isEnding(entry: Entry, nowMs: number): boolean {
  return !hasEnded(entry.response) && (entry.lifting || !isWanted(entry.response, nowMs));
}
