import { isDeepStrictEqual } from 'node:util';
import { Counter, Gauge, Histogram } from 'prom-client';
import { jsonRecord, type Bus } from '@tripline/bus';
import type { KongAdmin, KongPlugin, WriteOutcome } from '@tripline/kong';
import { durationMs, type Response, type ResponseStatus } from '@tripline/model';
import {
  actionIds,
  decide,
  findHolders,
  foretell,
  defaultActionId,
  isAsDesired,
  isOurs,
  isWanted,
  occupiedBy,
  operatorPlugins,
  planPlugins,
  pluginId,
  reconcile,
  responseId,
  responsePluginNames,
  responseIdByIndex,
  responseTag,
  triplineTag,
  type Decision,
  type DesiredPlugin,
  type Operation,
  type OperatorPlugins,
  type PluginGroup,
} from '@tripline/policy';
import type { RoleContext } from '@tripline/runtime';
import { FencedError } from '@tripline/state';
import { parseAlerts } from './alerts.ts';
import { groupOf, inOrderOfTrial } from './operations.ts';
import { createQueue } from './pause.ts';
import type { PolicySource } from './policy-file.ts';
import type { RoleState } from './role-state.ts';

export interface ControllerLimits {
  /** Responses in force or on their way, at most. */
  liveMax: number;
  /** New responses per minute, at most. */
  newPerMinuteMax: number;
  /** An alert whose last call is older than this (ms) starts nothing. */
  alertAgeMaxMs: number;
}

export const defaultLimits: ControllerLimits = {
  liveMax: 1_000,
  newPerMinuteMax: 60,
  alertAgeMaxMs: 3_600_000,
};

/** Kong is compared in full so often. */
const fullCompareMs = 30_000;
/** After so many calls in a row that failed, the rest of a pass is left for later. */
const failuresInRowMax = 3;
/** Ended responses are remembered so long after their alert was last heard of, so that it does not start them again. */
const rememberMs = 7 * 86_400_000;
/** And so many of them at most, the oldest are forgotten first; decisions of dry runs count for themselves. */
const rememberMax = 10_000;
/** So many dry runs per pass are compared with the operator's plugins; beyond that nothing is said about them. */
const toForetellMax = 1_000;
const dryRunMax = 10_000;
/**
 * Lifted ones are exempt from both: they are remembered until `rememberMs` after their alert was closed, since it starts
 * them again otherwise. If nothing is ever heard of the alert again, so long.
 */
const liftedRememberMs = 365 * 86_400_000;
/** Actions of a policy that earlier versions numbered, at most, for recognising their responses. */
const indexMax = 100;

const noKong = 'no Kong Admin API is configured, so nobody can be blocked or limited';
const readOnlyKong =
  'this Kong takes its configuration from a file (DB-less) or from a control plane, so its Admin API cannot write: ' +
  'Tripline can alert here, but not block or limit. Point it at the control plane, if there is one';

export interface ControllerOptions extends RoleContext {
  bus: Bus;
  state: RoleState;
  /** Undefined: no Kong is configured. */
  admin: KongAdmin | undefined;
  policies: PolicySource;
  random: () => number;
  limits?: Partial<ControllerLimits>;
  /** Called when there is something to do now. */
  wake: () => void;
}

export interface Controller {
  /** Takes a batch of alerts to its end: decided and saved with its position. Rejects if it could not be saved. */
  decide(batch: { partition: number; nextOffset: number; body: Buffer }): Promise<void>;
  /** Makes Kong what it should be, as far as it goes now. Never rejects. */
  pass(): Promise<void>;
  /** Ms until the next pass is due. */
  dueInMs(): number;
  /**
   * Ends a response before its time, for good: the same alert does not start it again. Resolves when that was tried once;
   * `status` is `lifted` as soon as Kong confirmed. It is saved first; where the state cannot be saved, the response is
   * lifted all the same, and saved as soon as that works. Rejects with `UnknownResponseError`.
   */
  lift(id: string): Promise<Response>;
  /** All that are in force, on their way, or ended not long ago. */
  responses(): Response[];
  /** What is in the way of the work, in words; null if nothing is. */
  problem(): string | null;
  /** What people should know although the work goes on; null if there is nothing. */
  notice(): string | null;
  /** True after Kong was compared in full for the first time. */
  compared(): boolean;
  /** When something was last done or found to be nothing to do; wall clock, ms. */
  progressAt(): number;
}

export class UnknownResponseError extends Error {
  override name = 'UnknownResponseError';
}

/** A response and what belongs to it; the value in the state. */
interface Held {
  response: Response;
  partition: number;
  /** Which action of the policy, see `actionIds`. */
  actionId: string;
  /** Id of the first response of this policy and action to this alert: what a decision is looked up by. */
  firstId: string;
  /** How many before it ran out while the alert went on. */
  round: number;
  /** Somebody lifted it; Kong may not have followed yet. */
  lifting: boolean;
  /** Wall clock, ms: when the alert was last heard of. */
  touchedAt: number;
  /** Wall clock, ms: when it was heard that the alert is closed. */
  alertClosedAt?: number;
  /** States of it that are not yet on the bus. */
  outbox: Response[];
}

/**
 * Keeps Kong's plugins in line with the policies' decisions, as a controller of Kubernetes does: each pass looks at what
 * should be (the live responses) and what is (Kong's plugins with our tags), and makes the difference. Nothing depends
 * on having seen an event, so whatever goes wrong between two steps is found by a later pass.
 *
 * The order of effects, and what a crash behind each leaves:
 * 1. decide, in memory: the batch comes again and is decided again, with the same ids.
 * 2. save the new responses (`pending`) with the position on `alerts`, in one step: they are in the state, and the first
 *    pass after the start puts them in force. From here on a response is decided; policies are not asked again.
 * 3. put the plugin into Kong: its uuid follows from consumer and plugin name, and a pass begins by looking at what is
 *    there, so a plugin written before the crash is found, not written twice. A response that was never saved leaves a
 *    plugin that nobody wants: it carries our tag and is removed.
 * 4. save the new status: found again by the pass after the start.
 * 5. publish to `responses`: states not yet published are part of what is saved, and are published after the start.
 *    A crash between publishing and noting it repeats the record, whose id and revision make it harmless.
 *
 * One controller per Kong: what it does not know and carries our tags, it removes. So a response that cannot be read any
 * more (another version wrote it) leaves nothing behind: its plugin goes with the first pass. If its alert goes on, it is
 * decided anew under the same id; the plugin has the same uuid as before, so it is never there twice.
 */
export function createController(options: ControllerOptions): Controller {
  const { admin, bus, logger, now, policies, state } = options;
  const limits = { ...defaultLimits, ...options.limits };
  const metrics = createMetrics(options.metrics, () => [...live.values(), ...ended.values()]);

  const live = new Map<string, Held>();
  /** Oldest first. */
  const ended = new Map<string, Held>();
  /** By `firstId`: the newest round. */
  const latest = new Map<string, Held>();
  /** Dry runs of which it is not yet said what they would have come to in Kong. */
  const toForetell = new Set<Held>();
  /** By the alert's id. */
  const byAlert = new Map<string, Set<Held>>();
  const dirty = new Set<Held>();
  const forgotten = new Set<Held>();
  /** Published, which is saved with the next change; if that never comes, they are published again after a start. */
  const published = new Set<Held>();
  /** When responses were decided, within the last minute. */
  let recent: number[] = [];

  /** Our plugins in Kong as last seen. Undefined: not known, look first. */
  let seen: Map<string, KongPlugin> | undefined;
  /**
   * Ids of ours as last seen, and of what was written or may have been since: what is missing among them at the next
   * look was taken away by somebody. Undefined before the first look.
   */
  let believed: Set<string> | undefined;
  /** The operator's own plugins as last seen. Undefined before the first look. */
  let operators: OperatorPlugins | undefined;
  let operatorsAt = -Infinity;
  /** Their ids. Among them may be plugins that once were ours and whose tags somebody took off: theirs now. */
  let theirIds: ReadonlySet<string> = new Set();
  /** Groups (see `groupOf`) of which an operator's plugin holds a place: tried again at full compares only. */
  const conflicting = new Set<string>();
  /** Our plugins that were in Kong exactly as desired at the end of the last pass, by id. Undefined before the first. */
  let confirmed: ReadonlyMap<string, DesiredPlugin> | undefined;
  /** By group. */
  const callFailures = new Map<string, number>();

  let nextFullAt = -Infinity;
  let retryAt = Infinity;
  let failedPasses = 0;
  let lastPassAt = -Infinity;
  let progressAt = now();
  let comparedOnce = false;
  let kongProblem: string | null = null;
  let saveProblem: string | null = null;
  let publishProblem: string | null = null;
  let readOnly = false;
  let limitProblem: { text: string; at: number } | null = null;
  const refusedSince = { count: 0, loggedAt: -Infinity };

  const saved = state.read(statePrefix, decode).map(({ partition, value }) => ({ ...value, partition }));
  // Kept at once, so that never half of what answers an alert has ids.
  for (const held of nameActions(saved)) dirty.add(held);
  for (const held of saved.sort((a, b) => a.touchedAt - b.touchedAt)) {
    (isOver(held.response) ? ended : live).set(held.response.id, held);
    if ((latest.get(held.firstId)?.round ?? -1) < held.round) latest.set(held.firstId, held);
    noteByAlert(held);
    if (held.outbox.length > 0) dirty.add(held);
    if (held.response.status !== 'dry-run') recent.push(held.response.decidedAt);
  }

  // ---- deciding ----------------------------------------------------------------------------------------------------

  const oneBatch = createQueue();

  async function decideBatch(batch: { partition: number; nextOffset: number; body: Buffer }): Promise<void> {
    const nowMs = now();
    const fresh = new Map<string, Held>();
    const touched = new Set<Held>();
    const alerts = parseAlerts(batch.body, (problem) => {
      metrics.alerts.inc({ outcome: 'malformed' });
      logger.warn({ problem }, 'a record on alerts is no alert; left out');
    });
    let stale = 0;
    for (const alert of alerts) {
      // An episode that is over needs no stopping; and nobody is blocked today for what he did yesterday, as after a long
      // outage or when old log lines are sent again.
      if (alert.status === 'closed') {
        metrics.alerts.inc({ outcome: 'closed' });
        for (const held of byAlert.get(alert.id) ?? []) {
          held.alertClosedAt ??= nowMs;
          touched.add(held);
        }
        continue;
      }
      if (nowMs - alert.lastSeenAt > limits.alertAgeMaxMs) {
        stale++;
        metrics.alerts.inc({ outcome: 'stale' });
        continue;
      }
      const decisions = decide(policies.current(), alert);
      metrics.alerts.inc({ outcome: decisions.length > 0 ? 'matched' : 'unmatched' });
      for (const decision of decisions) {
        if (decision.kind === 'no-consumer') metrics.refused.inc({ reason: 'no-consumer' });
        if (decision.kind !== 'respond') continue;
        const before =
          fresh.get(decision.responseId) ??
          latest.get(decision.responseId) ??
          ofRenamedAction(decision, alert.id);
        if (before && !ranOutBefore(before, alert.lastSeenAt, nowMs)) {
          if (nowMs - before.touchedAt > fullCompareMs) touched.add(before);
          continue;
        }
        const round = before ? before.round + 1 : 0;
        const id =
          round === 0
            ? decision.responseId
            : responseId(decision.policyId, alert.id, decision.actionId, round);
        if (!(decision.dryRun ? mayAddDryRun(fresh) : mayAdd(fresh, nowMs))) continue;
        fresh.set(decision.responseId, newHeld(decision, id, alert.id, round, batch.partition, nowMs));
      }
    }
    if (stale > 0) {
      logger.warn(
        { alerts: stale, olderThanMs: limits.alertAgeMaxMs },
        'alerts about calls of long ago: no response is started for them',
      );
    }

    const changes = new Map<string, string>();
    for (const held of touched) held.touchedAt = nowMs;
    for (const held of [...touched, ...fresh.values()]) changes.set(stateKey(held), encode(held));
    try {
      await state.save(batch.partition, changes, batch.nextOffset);
      saveProblem = null;
    } catch (error) {
      saveProblem = `the state cannot be saved, nothing is decided: ${messageOf(error)}`;
      throw error;
    }

    // Only now: what is not saved is not decided.
    for (const held of fresh.values()) {
      const { response } = held;
      latest.set(held.firstId, held);
      noteByAlert(held);
      (isOver(response) ? ended : live).set(response.id, held);
      dirty.add(held);
      metrics.transitions.inc({ status: response.status });
      if (response.status === 'dry-run') {
        if (admin && toForetell.size < toForetellMax) toForetell.add(held);
        continue;
      }
      recent.push(response.decidedAt);
      logger.info(
        {
          response: response.id,
          policy: response.policyId,
          alert: response.alertId,
          consumer: response.consumer,
        },
        `${response.action.type} decided for ${response.action.duration}`,
      );
    }
    if (fresh.size > 0) options.wake();
  }

  /**
   * The response of this policy and kind of action to the alert whose action is not in the policy any more, as its id was
   * changed: the decision is about the same thing then. A lifted one goes first.
   */
  function ofRenamedAction(
    decision: Extract<Decision, { kind: 'respond' }>,
    alertId: string,
  ): Held | undefined {
    const related = byAlert.get(alertId);
    if (!related) return undefined;
    const policy = policies.current().policies.find(({ id }) => id === decision.policyId);
    const present = new Set(actionIds(policy?.actions ?? []));
    return [...related]
      .filter(
        ({ response, actionId }) =>
          response.policyId === decision.policyId &&
          response.action.type === decision.action.type &&
          !present.has(actionId),
      )
      .sort((a, b) => Number(isLifted(b)) - Number(isLifted(a)) || b.round - a.round)[0];
  }

  function noteByAlert(held: Held): void {
    const { alertId } = held.response;
    byAlert.set(alertId, (byAlert.get(alertId) ?? new Set()).add(held));
  }

  /** Dry runs may be decided without limit; while they cannot be published they cannot be forgotten either. */
  function mayAddDryRun(fresh: ReadonlyMap<string, Held>): boolean {
    if (dirty.size + fresh.size < dryRunMax) return true;
    metrics.refused.inc({ reason: 'unpublished' });
    return false;
  }

  /** Whether the newest response to an alert makes room for another one. */
  function ranOutBefore(held: Held, lastSeenAt: number, nowMs: number): boolean {
    const { status, expiresAt } = held.response;
    const ranOut = status === 'expired' || (status === 'dry-run' && expiresAt !== null && expiresAt <= nowMs);
    // The episode went on after the response had ended. Lifted and impossible ones stay so for this alert.
    return ranOut && expiresAt !== null && lastSeenAt > expiresAt;
  }

  /** The circuit breakers: a flood of alerts, or a policy that matches everybody, must not block everybody. */
  function mayAdd(fresh: ReadonlyMap<string, Held>, nowMs: number): boolean {
    recent = recent.filter((at) => at > nowMs - 60_000);
    const added = [...fresh.values()].filter((held) => !isOver(held.response)).length;
    const reason =
      live.size + added >= limits.liveMax
        ? 'live'
        : recent.length + added >= limits.newPerMinuteMax
          ? 'per-minute'
          : undefined;
    if (!reason) return true;
    metrics.refused.inc({ reason });
    refusedSince.count++;
    const text =
      reason === 'live'
        ? `${live.size + added} responses are in force, the most allowed: no further consumer is blocked or limited until some end. Lift what is not needed, and check the policies`
        : `${limits.newPerMinuteMax} responses were started within a minute, the most allowed: the next ones wait for the next revision of their alerts. Check the policies`;
    limitProblem = { text, at: nowMs };
    if (nowMs - refusedSince.loggedAt >= 60_000) {
      logger.error({ reason, refused: refusedSince.count }, text);
      refusedSince.count = 0;
      refusedSince.loggedAt = nowMs;
    }
    return false;
  }

  function newHeld(
    decision: Extract<Decision, { kind: 'respond' }>,
    id: string,
    alertId: string,
    round: number,
    partition: number,
    nowMs: number,
  ): Held {
    const lastsMs = durationMs(decision.action.duration);
    const response: Response = {
      id,
      revision: 1,
      policyId: decision.policyId,
      alertId,
      action: decision.action,
      consumer: decision.consumer,
      status: decision.dryRun ? 'dry-run' : 'pending',
      decidedAt: nowMs,
      expiresAt: lastsMs === null ? null : nowMs + lastsMs,
      activeAt: null,
      removedAt: null,
      failures: 0,
      problem: null,
    };
    const firstId = decision.responseId;
    const { actionId } = decision;
    const outbox = [response];
    return { response, partition, actionId, firstId, round, lifting: false, touchedAt: nowMs, outbox };
  }

  // ---- acting ------------------------------------------------------------------------------------------------------

  const onePass = createQueue();

  async function pass(): Promise<void> {
    const nowMs = now();
    lastPassAt = nowMs;
    const full = nowMs >= nextFullAt;
    // What was decided is told now, however long Kong takes to answer.
    const told = oneFlush(flush);
    let failed: string | null;
    if (admin) {
      failed = await converge(admin, full, nowMs);
    } else {
      failed = null;
      for (const held of live.values()) {
        if (held.response.status === 'pending') impossible([held], noKong);
        else if (isEnding(held, nowMs)) noteFailure(held, noKong);
      }
      comparedOnce = true;
    }
    kongProblem = failed;
    if (failed === null) {
      failedPasses = 0;
      retryAt = Infinity;
      if (full) nextFullAt = nowMs + fullCompareMs;
    } else {
      const delayMs = Math.min(1_000 * 2 ** Math.min(failedPasses++, 10), fullCompareMs);
      retryAt = now() + delayMs * (0.5 + options.random() / 2);
    }
    forgetOld(nowMs);
    await told;
    if (!(await oneFlush(flush))) retryAt = Math.min(retryAt, now() + 5_000);
    progressAt = now();
  }

  /** Returns what stopped it, in words, or null. */
  async function converge(kong: KongAdmin, full: boolean, nowMs: number): Promise<string | null> {
    const wanted = [...live.values()]
      .filter((held) => !held.lifting && isWanted(held.response, nowMs))
      .map((held) => held.response);
    const ending = [...live.values()].filter((held) => isEnding(held, nowMs));
    const ahead =
      seen && operators
        ? reconcile(desiredOf(planPlugins(wanted, nowMs, operators)), [...seen.values()])
        : [];
    // Which limits a new one would take the place of must be known as it is now.
    const limits = ahead.some((one) => one.kind === 'put' && one.plugin.name === 'rate-limiting');
    // A new block is written at once, without asking first. Everything that changes or removes a plugin looks first.
    const changes = ahead.some((operation) => operation.kind === 'delete' || seen?.has(operation.id));
    const unknown = toForetell.size > 0 && nowMs - operatorsAt > fullCompareMs;
    const needsLook = full || !seen || !operators || ending.length > 0 || limits || changes || unknown;
    if (needsLook) {
      const problem = await attempt(() => look(kong, limits || unknown || (full && live.size > 0)));
      if (problem !== null) {
        for (const held of live.values()) {
          if (held.response.status === 'pending' || isEnding(held, nowMs)) noteFailure(held, problem);
        }
        return problem;
      }
      if (full) conflicting.clear();
    }
    const there = seen!;
    const groups = planPlugins(wanted, nowMs, operators!);
    for (const held of toForetell) {
      const { id, action, consumer } = held.response;
      if (ended.get(id) !== held) continue;
      const problem = foretell(action, consumer.id, operators!);
      if (problem !== null) change(held, { problem });
    }
    toForetell.clear();

    const problem = await carryOut(kong, groups, there, nowMs);
    settle(groups, there);

    // After a look only: that the plugin is gone must have been seen, not remembered.
    if (needsLook) {
      for (const held of ending) {
        const tag = responseTag(held.response.id);
        if ([...there.values()].some((plugin) => plugin.tags?.includes(tag))) continue;
        const removedAt = held.response.activeAt === null ? null : now();
        change(held, { status: held.lifting ? 'lifted' : 'expired', removedAt, failures: 0, problem: null });
      }
      if (problem === null) {
        comparedOnce = true;
        metrics.lastCompare.set(now() / 1000);
      }
    }
    return problem;
  }

  /** Reads our plugins; also the operator's, if asked to or where it must be known what became of one of ours. */
  async function look(kong: KongAdmin, alsoTheirs: boolean): Promise<void> {
    const before = believed;
    let all = alsoTheirs || !before || !operators;
    let plugins = await call('list', () => (all ? kong.plugins() : kong.plugins(triplineTag)));
    if (!all && [...before!].some((id) => !plugins.some((plugin) => plugin.id === id))) {
      all = true;
      plugins = await call('list', () => kong.plugins());
    }
    if (all) {
      const theirs = plugins.filter(
        (plugin) => !isOurs(plugin) && responsePluginNames.some((name) => name === plugin.name),
      );
      operators = operatorPlugins(theirs);
      operatorsAt = now();
      theirIds = new Set(theirs.map((plugin) => plugin.id));
    }
    seen = new Map(plugins.filter(isOurs).map((plugin) => [plugin.id, plugin]));
    believed = new Set(seen.keys());
  }

  function desiredOf(groups: readonly PluginGroup[]): DesiredPlugin[] {
    return groups
      .filter((group) => !conflicting.has(pluginId(group.consumerId, group.name)))
      .flatMap((group) => group.plugins);
  }

  /** Carries out what differs. Returns the last failure, or null. */
  async function carryOut(
    kong: KongAdmin,
    groups: readonly PluginGroup[],
    there: Map<string, KongPlugin>,
    nowMs: number,
  ): Promise<string | null> {
    const groupsByKey = new Map(groups.map((group) => [pluginId(group.consumerId, group.name), group]));
    const operations = inOrderOfTrial(reconcile(desiredOf(groups), [...there.values()]), callFailures);
    const halted = new Set<string>();
    let failedInRow = 0;
    let problem: string | null = null;
    for (const operation of operations) {
      const key = groupOf(operation);
      if (halted.has(key)) continue;
      const subjects =
        operation.kind === 'put'
          ? heldOf(operation.plugin)
          : [...live.values()].filter((held) =>
              operation.plugin.tags?.includes(responseTag(held.response.id)),
            );
      if (operation.kind === 'put') {
        if (theirIds.has(operation.id)) {
          conflicting.add(key);
          halted.add(key);
          blockedByOperator(
            subjects,
            `Tripline's tags were taken off the plugin ${operation.id}, so it is yours now`,
          );
          continue;
        }
        if (changedByHand(operation, subjects, there.get(operation.id))) {
          logger.warn(
            { plugin: operation.id, consumer: operation.plugin.consumer.id },
            'a plugin of ours was removed or changed by hand and is put right; lift the response to end it',
          );
        }
      }
      halted.add(key);
      const failure = await attempt(async () => {
        if (await execute(kong, operation, subjects, there)) halted.delete(key);
      });
      progressAt = now();
      if (failure === null) {
        failedInRow = 0;
        callFailures.delete(key);
        const group = groupsByKey.get(key);
        const isWhole = operation.kind === 'put' && group?.plugins.length === 1;
        if (isWhole && !halted.has(key)) activate(subjects, group.remark);
        continue;
      }
      // Kong may have done it all the same: look before the next step, also whether it is still ours.
      seen = undefined;
      believed?.add(operation.id);
      problem = failure;
      callFailures.set(key, (callFailures.get(key) ?? 0) + 1);
      for (const held of subjects) {
        if (held.response.status === 'pending' || isEnding(held, nowMs)) noteFailure(held, failure);
      }
      if (++failedInRow >= failuresInRowMax) break;
    }
    if (callFailures.size > 10_000) callFailures.clear();
    return problem;
  }

  /** Notes which responses are in force as a whole, which are refused, and what people should know about either. */
  function settle(groups: readonly PluginGroup[], there: ReadonlyMap<string, KongPlugin>): void {
    const desired = desiredOf(groups);
    const holderOf = findHolders(desired, there.values());
    const asDesired = new Map<string, DesiredPlugin>();
    for (const plugin of desired) {
      const holder = holderOf(plugin);
      if (holder && isAsDesired(plugin, holder)) asDesired.set(plugin.id, plugin);
    }
    confirmed = asDesired;
    for (const group of groups) {
      const subjects = group.responseIds.flatMap((id) => live.get(id) ?? []);
      if (group.refusal !== null) blockedByOperator(subjects, group.refusal);
      else if (group.plugins.every((plugin) => asDesired.has(plugin.id))) activate(subjects, group.remark);
    }
  }

  function activate(subjects: readonly Held[], remark: string | null): void {
    for (const held of subjects) {
      const { response } = held;
      if (response.status === 'active' && response.problem === remark) continue;
      if (remark !== null) logger.warn({ response: response.id, consumer: response.consumer }, remark);
      change(held, { status: 'active', activeAt: response.activeAt ?? now(), failures: 0, problem: remark });
    }
  }

  /** False if Kong does not do it and asking again at once is of no use. */
  async function execute(
    kong: KongAdmin,
    operation: Operation,
    subjects: readonly Held[],
    there: Map<string, KongPlugin>,
  ): Promise<boolean> {
    if (operation.kind === 'delete') {
      const outcome = await call('delete', () => kong.deletePlugin(operation.id));
      if (outcome.kind === 'done') {
        there.delete(operation.id);
        believed?.delete(operation.id);
        return true;
      }
      for (const held of subjects) noteFailure(held, `the plugin cannot be removed: ${outcome.problem}`);
      return false;
    }
    const outcome: WriteOutcome = await call('put', () => kong.putPlugin(operation.id, operation.plugin));
    switch (outcome.kind) {
      case 'done':
        there.set(outcome.plugin.id, outcome.plugin);
        believed?.add(operation.id);
        readOnly = false;
        return true;
      case 'conflict':
        conflicting.add(groupOf(operation));
        blockedByOperator(subjects, occupiedBy(operation.plugin.name));
        return false;
      case 'no-consumer':
        impossible(subjects, 'the consumer does not exist in Kong any more');
        return false;
      case 'read-only':
        readOnly = true;
        impossible(subjects, readOnlyKong);
        return false;
      case 'refused':
        impossible(subjects, `Kong refuses the plugin: ${outcome.problem}`);
        return false;
    }
  }

  function heldOf(plugin: Pick<DesiredPlugin, 'tags'>): Held[] {
    return plugin.tags.flatMap((tag) => {
      const held = live.get(tag.slice(responseTag('').length));
      return held && tag === responseTag(held.response.id) ? [held] : [];
    });
  }

  /** True if somebody else's hand is why the plugin must be written. */
  function changedByHand(
    { id, plugin }: Extract<Operation, { kind: 'put' }>,
    subjects: readonly Held[],
    shown?: KongPlugin,
  ): boolean {
    // A response that comes to or leaves a plugin changes its tags: that is our own doing.
    const ourDoing = shown && !isDeepStrictEqual(new Set(shown.tags), new Set(plugin.tags));
    if (ourDoing || subjects.length === 0 || subjects.some((held) => held.response.status !== 'active'))
      return false;
    // What a limit must be depends on the operator's plugins too: it was changed only if it was as desired before.
    return plugin.name === 'request-termination' || isDeepStrictEqual(confirmed?.get(id), { id, ...plugin });
  }

  function blockedByOperator(subjects: readonly Held[], problem: string): void {
    for (const held of subjects) {
      if (held.response.status === 'blocked-by-operator' && held.response.problem === problem) continue;
      logger.warn({ response: held.response.id, consumer: held.response.consumer }, problem);
      change(held, { status: 'blocked-by-operator', problem });
    }
  }

  function impossible(subjects: readonly Held[], problem: string): void {
    for (const held of subjects) {
      const removedAt = held.response.activeAt === null ? null : now();
      change(held, { status: 'impossible', problem, removedAt });
    }
  }

  async function call<T>(operation: string, work: () => Promise<T>): Promise<T> {
    try {
      const answer = await work();
      const outcome = (answer as { kind?: string }).kind ?? 'done';
      metrics.calls.inc({ operation, outcome });
      return answer;
    } catch (error) {
      metrics.calls.inc({ operation, outcome: error instanceof Error ? error.name : 'error' });
      throw error;
    }
  }

  /** Null, or what went wrong, in words. Told in the log when it is news. */
  async function attempt(work: () => Promise<void>): Promise<string | null> {
    try {
      await work();
      return null;
    } catch (error) {
      const problem = messageOf(error);
      if (problem !== kongProblem)
        logger.warn({ problem }, 'a call to the Kong Admin API failed; trying again');
      return problem;
    }
  }

  // ---- keeping ------------------------------------------------------------------------------------------------------

  function change(held: Held, fields: Partial<Response>): void {
    const before = held.response;
    const response = { ...before, ...fields, revision: before.revision + 1 };
    held.response = response;
    held.outbox.push(response);
    dirty.add(held);
    if (response.status !== before.status) {
      metrics.transitions.inc({ status: response.status });
      logger.info(
        {
          response: response.id,
          consumer: response.consumer,
          status: response.status,
          problem: response.problem,
        },
        `${response.action.type} of ${response.consumer.name} is ${response.status}`,
      );
      if (response.status === 'active' && before.activeAt === null) {
        metrics.activation.observe(Math.max(0, response.activeAt! - response.decidedAt) / 1000);
      }
    }
    if (isOver(response)) {
      live.delete(response.id);
      ended.set(response.id, held);
      held.touchedAt = now();
    }
  }

  /** Counts each failure, publishes the first and then ever fewer of them. */
  function noteFailure(held: Held, problem: string): void {
    const failures = held.response.failures + 1;
    if ((failures & (failures - 1)) === 0) change(held, { failures, problem });
    else held.response = { ...held.response, failures, problem };
  }

  function forgetOld(nowMs: number): void {
    const isDryRun = (held: Held): boolean => held.response.status === 'dry-run';
    const all = [...ended.values()];
    let dryRuns = all.filter(isDryRun).length;
    let others = all.filter((held) => !isDryRun(held) && !isLifted(held)).length;
    for (const held of all) {
      const tooMany = isDryRun(held) ? dryRuns > dryRunMax : !isLifted(held) && others > rememberMax;
      if (!tooMany && !isPast(held, nowMs)) continue;
      if (held.outbox.length > 0) continue;
      if (isDryRun(held)) dryRuns--;
      else if (!isLifted(held)) others--;
      forget(held);
    }
  }

  function forget(held: Held): void {
    const { id, alertId } = held.response;
    ended.delete(id);
    if (latest.get(held.firstId) === held) latest.delete(held.firstId);
    const ofAlert = byAlert.get(alertId);
    ofAlert?.delete(held);
    if (ofAlert?.size === 0) byAlert.delete(alertId);
    dirty.delete(held);
    published.delete(held);
    forgotten.add(held);
  }

  const oneFlush = createQueue();

  /** Saves and publishes what changed; false if something of it must be tried again. */
  async function flush(): Promise<boolean> {
    if (dirty.size === 0 && forgotten.size === 0) return true;
    const changed = [...new Set([...dirty, ...published])].filter((held) => !forgotten.has(held));
    const gone = [...forgotten];
    const perPartition = new Map<number, Map<string, string | null>>();
    const note = (held: Held, value: string | null): void => {
      const changes = perPartition.get(held.partition) ?? new Map<string, string | null>();
      perPartition.set(held.partition, changes.set(stateKey(held), value));
    };
    for (const held of changed) note(held, encode(held));
    for (const held of gone) note(held, null);
    // What changes from here on is dirty again.
    for (const set of [dirty, published, forgotten]) set.clear();
    try {
      for (const [partition, changes] of perPartition) await state.save(partition, changes);
      saveProblem = null;
    } catch (error) {
      for (const held of changed) dirty.add(held);
      for (const held of gone) forgotten.add(held);
      if (saveProblem === null)
        logger.error({ err: error as Error }, 'responses cannot be saved; trying again');
      saveProblem = `the state cannot be saved: ${messageOf(error)}`;
      return false;
    }
    const sent = changed.map((held) => ({ held, responses: [...held.outbox] }));
    const records = sent.flatMap(({ responses }) =>
      // The topic is compacted where the bus can do that: what remains of each response is its last state.
      responses.map((response) => jsonRecord(response.id, response)),
    );
    try {
      await bus.publish('responses', records);
    } catch (error) {
      for (const held of changed) dirty.add(held);
      if (publishProblem === null)
        logger.error({ err: error as Error }, 'responses cannot be published; trying again');
      publishProblem = messageOf(error);
      return false;
    }
    publishProblem = null;
    for (const { held, responses } of sent) {
      if (responses.length === 0) continue;
      held.outbox.splice(0, responses.length);
      published.add(held);
    }
    return true;
  }

  return {
    decide: (batch) => oneBatch(() => decideBatch(batch)),
    pass: () => onePass(pass),
    dueInMs() {
      const ends = [...live.values()].map((held) => held.response.expiresAt ?? Infinity);
      const nextEnd = Math.min(Infinity, ...ends.filter((at) => at > lastPassAt));
      const due = Math.min(retryAt, failedPasses > 0 ? Infinity : nextFullAt, nextEnd);
      return Math.max(0, Math.min(due - now(), fullCompareMs));
    },
    async lift(id) {
      const held = live.get(id);
      if (!held) {
        const over = ended.get(id);
        if (over) return over.response;
        throw new UnknownResponseError(
          `There is no response ${id} (it may have ended more than 7 days ago). See \`tripline responses list\`.`,
        );
      }
      held.lifting = true;
      dirty.add(held);
      try {
        await state.save(held.partition, new Map([[stateKey(held), encode(held)]]));
      } catch (error) {
        if (error instanceof FencedError) throw error;
        // A full disk must not keep a block in force. The next pass saves it; a crash before that makes the block come back.
        logger.error(
          { response: id, err: error as Error },
          'that the response is lifted cannot be saved yet',
        );
      }
      logger.info({ response: id, consumer: held.response.consumer }, 'the response is lifted on request');
      await onePass(pass);
      return held.response;
    },
    responses: () => [...live.values(), ...ended.values()].map((held) => held.response),
    problem: () => saveProblem ?? kongProblem,
    notice() {
      if (limitProblem && now() - limitProblem.at < 60_000) return limitProblem.text;
      return admin ? (readOnly ? readOnlyKong : null) : noKong;
    },
    compared: () => comparedOnce,
    progressAt: () => progressAt,
  };
}

const statePrefix = 'response:';

function stateKey(held: Held): string {
  return statePrefix + held.response.id;
}

/**
 * Gives the responses of earlier versions, which numbered the actions of a policy, the ids that their actions have without
 * being given one. Returns which these are.
 */
function nameActions(all: readonly Held[]): Held[] {
  const unnamed = all.filter((held) => (held.actionId as string | undefined) === undefined);
  const indexOf = ({ response: { policyId, alertId }, firstId }: Held): number => {
    for (let index = 0; index < indexMax; index++)
      if (responseIdByIndex(policyId, alertId, index) === firstId) return index;
    return 0;
  };
  const groups = new Map<string, { held: Held; index: number }[]>();
  for (const held of unnamed) {
    const { policyId, alertId, action } = held.response;
    const key = JSON.stringify([policyId, alertId, action.type]);
    groups.set(key, [...(groups.get(key) ?? []), { held, index: indexOf(held) }]);
  }
  for (const group of groups.values()) {
    const indexes = [...new Set(group.map(({ index }) => index))].sort((a, b) => a - b);
    for (const { held, index } of group) {
      const { policyId, alertId, action } = held.response;
      held.actionId = defaultActionId(action.type, indexes.indexOf(index) + 1);
      held.firstId = responseId(policyId, alertId, held.actionId);
    }
  }
  return unnamed;
}

function encode(held: Held): string {
  return JSON.stringify({ ...held, partition: undefined });
}

/** Throws if the value is not what `encode` writes, as another version or a damaged store may have left it. */
function decode(value: string, id: string): Omit<Held, 'partition'> {
  const held = JSON.parse(value) as Omit<Held, 'partition'>;
  const { response, firstId, round, lifting, touchedAt, alertClosedAt, outbox } = held;
  const actionId = held.actionId as string | undefined;
  const { action, consumer, status, decidedAt, expiresAt } = response;
  const isWhole =
    response.id === id &&
    Number.isInteger(response.revision) &&
    ['block', 'rate-limit'].includes(action.type) &&
    typeof consumer.id === 'string' &&
    statuses.includes(status) &&
    Number.isFinite(decidedAt) &&
    (expiresAt === null || Number.isFinite(expiresAt)) &&
    typeof response.policyId === 'string' &&
    typeof response.alertId === 'string' &&
    // Missing in what earlier versions wrote.
    (actionId === undefined || typeof actionId === 'string') &&
    (alertClosedAt === undefined || Number.isFinite(alertClosedAt)) &&
    typeof firstId === 'string' &&
    Number.isInteger(round) &&
    typeof lifting === 'boolean' &&
    Number.isFinite(touchedAt) &&
    Array.isArray(outbox);
  if (!isWhole) throw new Error('it is no response as this version writes them');
  return held;
}

const overStatuses: readonly ResponseStatus[] = ['expired', 'lifted', 'impossible', 'dry-run'];
const statuses: readonly ResponseStatus[] = ['pending', 'active', 'blocked-by-operator', ...overStatuses];

function isOver(response: Response): boolean {
  return overStatuses.includes(response.status);
}

/** Somebody took it off, and it must not come back for the same alert. */
function isLifted(held: Held): boolean {
  return held.lifting || held.response.status === 'lifted';
}

/** Nothing can depend any more on its being remembered. */
function isPast(held: Held, nowMs: number): boolean {
  if (!isLifted(held)) return nowMs - held.touchedAt > rememberMs;
  const { alertClosedAt } = held;
  return alertClosedAt === undefined
    ? nowMs - held.touchedAt > liftedRememberMs
    : nowMs - Math.max(alertClosedAt, held.touchedAt) > rememberMs;
}

/** Its time has come, and Kong has not confirmed yet that it is gone. */
function isEnding(held: Held, nowMs: number): boolean {
  return !isOver(held.response) && (held.lifting || !isWanted(held.response, nowMs));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function createMetrics(registry: RoleContext['metrics'], all: () => Held[]) {
  const registers = [registry];
  new Gauge({
    name: 'tripline_responses',
    help: 'Responses that are in force, on their way, or ended not long ago, by status',
    labelNames: ['status'],
    registers,
    collect() {
      this.reset();
      for (const held of all()) this.inc({ status: held.response.status });
    },
  });
  return {
    transitions: new Counter({
      name: 'tripline_response_changes_total',
      help: 'Responses that came to a status',
      labelNames: ['status'],
      registers,
    }),
    alerts: new Counter({
      name: 'tripline_responder_alerts_total',
      help: 'Alert records read by the responder: matched by a policy, unmatched, closed, stale, malformed',
      labelNames: ['outcome'],
      registers,
    }),
    refused: new Counter({
      name: 'tripline_responses_refused_total',
      help: 'Decisions that led to no response: limit of live responses, limit per minute, alert without consumer, unpublished dry runs',
      labelNames: ['reason'],
      registers,
    }),
    calls: new Counter({
      name: 'tripline_kong_admin_calls_total',
      help: 'Calls to the Kong Admin API by the responder',
      labelNames: ['operation', 'outcome'],
      registers,
    }),
    lastCompare: new Gauge({
      name: 'tripline_responder_last_reconcile_timestamp_seconds',
      help: 'When Kong was last seen to have exactly the plugins it should have',
      registers,
    }),
    activation: new Histogram({
      name: 'tripline_response_activation_seconds',
      help: 'From the decision to the confirmation of the Admin API',
      buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300],
      registers,
    }),
  };
}
