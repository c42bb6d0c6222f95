import { durationMs, type Alert, type Response } from '@tripline/model';
import { actionIds, decide, responseId, type ActionRegistry, type Decision } from '@tripline/policy';
import type { RoleContext } from '@tripline/runtime';
import { parseAlerts } from '../alerts.ts';
import type { PolicySource } from '../policy-file.ts';
import type { Admission } from './admission.ts';
import type { ResponseBook } from './book.ts';
import { hasEnded, isLifted, type Entry } from './entry.ts';

export interface AlertBatch {
  partition: number;
  nextOffset: number;
  body: Buffer;
}

export interface DeciderOptions extends RoleContext {
  book: ResponseBook;
  admission: Admission;
  policies: PolicySource;
  actions: ActionRegistry;
  alertAgeMaxMs: number;
}

type Respond = Extract<Decision, { kind: 'respond' }>;

/** What a batch of alerts comes to, before it is saved. */
interface Batch {
  partition: number;
  nowMs: number;
  /** New entries, by `firstId`. */
  decided: Map<string, Entry>;
  /** Known entries whose alert was received again. */
  touched: Set<Entry>;
}

/** An entry is saved again for its alert's sake at most this often. */
const touchEveryMs = 30_000;

/** Turns alerts into responses, as the policies say. */
export class Decider {
  readonly #options: DeciderOptions;

  constructor(options: DeciderOptions) {
    this.#options = options;
  }

  /**
   * Decides a batch and saves the decisions with the position behind it. Resolves to the new entries; rejects if they
   * could not be saved, in which case nothing is decided.
   */
  async decide({ partition, nextOffset, body }: AlertBatch): Promise<Entry[]> {
    const { book, admission, logger, alertAgeMaxMs, now } = this.#options;
    const batch: Batch = { partition, nowMs: now(), decided: new Map(), touched: new Set() };
    const alerts = parseAlerts(body, (problem) => {
      book.metrics.alerts.inc({ outcome: 'malformed' });
      logger.warn({ problem }, 'a record on alerts is no alert; left out');
    });
    const outcomes = alerts.map((alert) => this.#decideAlert(alert, batch));
    for (const outcome of outcomes) book.metrics.alerts.inc({ outcome });
    const stale = outcomes.filter((outcome) => outcome === 'stale').length;
    if (stale > 0) {
      logger.warn(
        { alerts: stale, olderThanMs: alertAgeMaxMs },
        'alerts about calls of long ago: no response is started for them',
      );
    }
    for (const entry of batch.touched) entry.touchedAt = batch.nowMs;
    const decided = [...batch.decided.values()];
    await book.saveDecisions(partition, { decided, touched: [...batch.touched] }, nextOffset);
    for (const { response } of decided) {
      if (response.status === 'dry-run') continue;
      admission.added(response.decidedAt);
      const { id, policyId, alertId, target, action } = response;
      logger.info(
        { response: id, policy: policyId, alert: alertId, target },
        `${action.type} decided for ${action.duration}`,
      );
    }
    return decided;
  }

  #decideAlert(alert: Alert, batch: Batch): 'closed' | 'stale' | 'matched' | 'unmatched' {
    const { book, policies, actions, alertAgeMaxMs } = this.#options;
    // An episode that is over needs no response.
    if (alert.status === 'closed') {
      for (const entry of book.ofAlert(alert.id)) {
        entry.alertClosedAt ??= batch.nowMs;
        batch.touched.add(entry);
      }
      return 'closed';
    }
    // Nor is anybody blocked today for calls of yesterday, as after a long outage or when old log lines are sent again.
    if (batch.nowMs - alert.lastSeenAt > alertAgeMaxMs) return 'stale';
    const decisions = decide(policies.current(), alert, actions);
    for (const decision of decisions) {
      if (decision.kind === 'no-target') book.metrics.refused.inc({ reason: 'no-target' });
      if (decision.kind === 'respond') this.#respond(decision, alert, batch);
    }
    return decisions.length > 0 ? 'matched' : 'unmatched';
  }

  #respond(decision: Respond, alert: Alert, batch: Batch): void {
    const { book, admission } = this.#options;
    const before =
      batch.decided.get(decision.responseId) ??
      book.latest(decision.responseId) ??
      this.#findRenamed(decision, alert.id);
    if (before && !expiredBefore(before, alert.lastSeenAt, batch.nowMs)) {
      if (batch.nowMs - before.touchedAt > touchEveryMs) batch.touched.add(before);
      return;
    }
    const added = [...batch.decided.values()];
    const mayAdd = decision.dryRun
      ? admission.mayAddDryRun(added.length)
      : admission.mayAdd(added.filter(({ response }) => !hasEnded(response)).length, batch.nowMs);
    if (!mayAdd) return;
    const round = before ? before.round + 1 : 0;
    batch.decided.set(decision.responseId, newEntry(decision, alert.id, round, batch));
  }

  /**
   * Finds the response of this policy and kind of action to the alert whose action is no longer in the policy: its id was
   * changed, so the decision is about the same action. A lifted one comes first.
   */
  #findRenamed({ policyId, action }: Respond, alertId: string): Entry | undefined {
    const related = this.#options.book.ofAlert(alertId);
    if (related.length === 0) return undefined;
    const policy = this.#options.policies.current().policies.find(({ id }) => id === policyId);
    const present = new Set(actionIds(policy?.actions ?? []));
    return related
      .filter(
        ({ response, actionId }) =>
          response.policyId === policyId && response.action.type === action.type && !present.has(actionId),
      )
      .sort((a, b) => Number(isLifted(b)) - Number(isLifted(a)) || b.round - a.round)[0];
  }
}

/** True if the response expired and its alert went on afterwards. Lifted and impossible ones stay so for this alert. */
function expiredBefore({ response }: Entry, lastSeenAt: number, nowMs: number): boolean {
  const { status, expiresAt } = response;
  if (expiresAt === null || lastSeenAt <= expiresAt) return false;
  return status === 'expired' || (status === 'dry-run' && expiresAt <= nowMs);
}

function newEntry(decision: Respond, alertId: string, round: number, batch: Batch): Entry {
  const { policyId, actionId, action, target, dryRun, responseId: firstId } = decision;
  const { partition, nowMs } = batch;
  const lastsMs = durationMs(action.duration);
  const response: Response = {
    id: round === 0 ? firstId : responseId(policyId, alertId, actionId, round),
    revision: 1,
    policyId,
    alertId,
    action,
    target,
    status: dryRun ? 'dry-run' : 'pending',
    decidedAt: nowMs,
    expiresAt: lastsMs === null ? null : nowMs + lastsMs,
    activeAt: null,
    removedAt: null,
    failures: 0,
    problem: null,
  };
  const unpublished = [response];
  return { response, partition, actionId, firstId, round, lifting: false, touchedAt: nowMs, unpublished };
}
