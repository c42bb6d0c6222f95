import { isDeepStrictEqual } from 'node:util';
import type { KongAdmin, WriteOutcome } from '@tripline/kong';
import {
  occupiedBy,
  planPlugins,
  pluginToWrite,
  predictEffect,
  reconcile,
  responseTag,
  responseTagPrefix,
  type ActionRegistry,
  type Operation,
  type PluginGroup,
} from '@tripline/policy';
import type { RoleContext } from '@tripline/runtime';
import { messageOf } from '../errors.ts';
import type { ResponseBook } from './book.ts';
import { isEnding, type Entry } from './entry.ts';
import { KongView } from './kong-view.ts';
import { inOrderOfTrial } from './operations.ts';

type Put = Extract<Operation, { kind: 'put' }>;

/** After this many failed calls in a row, the rest of a pass is left for later. */
const failuresInRowMax = 3;
/** Groups whose failures are counted, at most. */
const failingGroupsMax = 10_000;
/** Dry runs per pass that are compared with the operator's plugins; nothing is reported about the others. */
const predictionsMax = 1_000;

const readOnlyKong =
  'this Kong takes its configuration from a file (DB-less) or from a control plane, so its Admin API cannot write: ' +
  'Tripline can alert here, but not block or limit. Point it at the control plane, if there is one';

export interface ReconcilerOptions extends RoleContext {
  admin: KongAdmin;
  book: ResponseBook;
  actions: ActionRegistry;
  /** Kong is compared in full this often, ms. */
  fullCompareMs: number;
  /** Called after each call to Kong. */
  onProgress: () => void;
}

/**
 * Makes Kong's plugins what the live responses want, one operation at a time. Each pass starts from what is desired and
 * what is actually there, so that nothing depends on having seen an event.
 */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #view: KongView;
  /** Failed calls by group of operations. */
  readonly #failures = new Map<string, number>();
  /** Dry runs for which it is not yet known what would have happened in Kong. */
  readonly #toPredict = new Set<Entry>();
  #problem: string | null = null;
  #isReadOnly = false;
  #hasCompared = false;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#view = new KongView(options.actions, options.now);
  }

  /** True after Kong was compared and had what it should have. */
  get hasCompared(): boolean {
    return this.#hasCompared;
  }

  /** What people should know although the work goes on, in words. */
  get notice(): string | null {
    return this.#isReadOnly ? readOnlyKong : null;
  }

  /** Lets the next pass predict what a dry run would have done in Kong. */
  predict(dryRun: Entry): void {
    if (this.#toPredict.size < predictionsMax) this.#toPredict.add(dryRun);
  }

  /** One pass; `full` compares everything with Kong. Returns what stopped it, in words, or null. */
  async pass(full: boolean, nowMs: number): Promise<string | null> {
    this.#problem = await this.#pass(full, nowMs);
    return this.#problem;
  }

  async #pass(full: boolean, nowMs: number): Promise<string | null> {
    const { book, now } = this.#options;
    const wanted = book.wanted(nowMs);
    const ending = book.live().filter((entry) => isEnding(entry, nowMs));

    // 1. Read Kong, unless all that is to be done is to write new blocks. If that fails nothing has changed.
    const hasRead = this.#mustRead(full, nowMs, ending.length > 0, wanted);
    if (hasRead !== null) {
      const { problem } = await this.#attempt(() => this.#view.read(this.#list, hasRead.operators));
      if (problem !== null) {
        book.noteFailureOfWaiting(book.live(), problem, nowMs);
        return problem;
      }
      if (full) this.#view.forgetConflicts();
    }

    // 2. Write and remove plugins. A crash behind any step: the next pass reads what is there and makes the rest.
    const groups = planPlugins(wanted, nowMs, this.#view.operators, this.#options.actions);
    this.#predictDryRuns();
    const problem = await this.#carryOut(groups, nowMs);

    // 3. Note which responses are in force. A crash behind it: found again by the pass after the start.
    this.#noteInForce(groups);

    // 4. Note which have ended: only if their plugins were seen to be gone, not if that is only remembered.
    if (hasRead !== null) {
      for (const entry of ending) {
        const tag = responseTag(entry.response.id);
        if (![...this.#view.ours.values()].some((plugin) => plugin.tags?.includes(tag)))
          book.markRemoved(entry);
      }
      if (problem === null) {
        this.#hasCompared = true;
        book.metrics.lastCompare.set(now() / 1000);
      }
    }
    return problem;
  }

  /**
   * Whether Kong must be read, and the operator's plugins too; null if not. A new block is written at once. Whatever
   * changes or removes a plugin, or depends on the operator's plugins, reads first.
   */
  #mustRead(
    full: boolean,
    nowMs: number,
    isAnyEnding: boolean,
    wanted: ReturnType<ResponseBook['wanted']>,
  ): { operators: boolean } | null {
    const { book, actions, fullCompareMs } = this.#options;
    const view = this.#view;
    const ahead = view.isUncertain
      ? []
      : this.#operations(planPlugins(wanted, nowMs, view.operators, actions));
    const dependsOnOperator = ahead.some(
      ({ kind, plugin }) => kind === 'put' && actions.dependsOnOperator(plugin.name),
    );
    const isChange = ahead.some(({ kind, id }) => kind === 'delete' || view.ours.has(id));
    const isPredictionDue = this.#toPredict.size > 0 && view.operatorsAgeMs(nowMs) > fullCompareMs;
    if (!(full || view.isUncertain || isAnyEnding || dependsOnOperator || isChange || isPredictionDue))
      return null;
    return { operators: dependsOnOperator || isPredictionDue || (full && book.liveCount > 0) };
  }

  readonly #list = (tag?: string): ReturnType<KongAdmin['plugins']> =>
    this.#call('list', () => this.#options.admin.plugins(tag));

  #operations(groups: readonly PluginGroup[]): Operation[] {
    return reconcile(this.#view.desiredOf(groups), [...this.#view.ours.values()]);
  }

  #predictDryRuns(): void {
    const { book, actions } = this.#options;
    for (const entry of this.#toPredict) {
      const { id, action, target } = entry.response;
      if (book.findEnded(id) !== entry) continue;
      const problem = predictEffect(action, target, this.#view.operators, actions);
      if (problem !== null) book.change(entry, { problem });
    }
    this.#toPredict.clear();
  }

  /** Carries out what differs. Returns the last failure, or null. */
  async #carryOut(groups: readonly PluginGroup[], nowMs: number): Promise<string | null> {
    const { book, onProgress } = this.#options;
    const groupsById = new Map(groups.map((group) => [group.id, group]));
    /** Groups in which something could not be done: the rest of them waits. */
    const halted = new Set<string>();
    let failuresInRow = 0;
    let problem: string | null = null;
    for (const operation of inOrderOfTrial(this.#operations(groups), this.#failures)) {
      const { group } = operation;
      if (halted.has(group)) continue;
      const subjects = this.#subjectsOf(operation);
      if (operation.kind === 'put' && !this.#mayPut(operation, subjects)) {
        halted.add(group);
        continue;
      }
      const { value: isDone = false, problem: failure } = await this.#attempt(() =>
        this.#execute(operation, subjects),
      );
      if (!isDone) halted.add(group);
      onProgress();
      if (failure === null) {
        failuresInRow = 0;
        this.#failures.delete(group);
        const planned = groupsById.get(group);
        // Known at once where it is the only plugin of its responses; otherwise at the end of the pass.
        if (isDone && operation.kind === 'put' && planned?.plugins.length === 1)
          book.markActive(subjects, planned.remark);
        continue;
      }
      this.#view.noteUncertain(operation.id);
      problem = failure;
      this.#failures.set(group, (this.#failures.get(group) ?? 0) + 1);
      book.noteFailureOfWaiting(subjects, failure, nowMs);
      if (++failuresInRow >= failuresInRowMax) break;
    }
    if (this.#failures.size > failingGroupsMax) this.#failures.clear();
    return problem;
  }

  /** The live responses that an operation is about: those whose tags the plugin gets, or has. */
  #subjectsOf({ kind, plugin }: Operation): Entry[] {
    const { book } = this.#options;
    if (kind === 'delete')
      return book.live().filter((entry) => plugin.tags?.includes(responseTag(entry.response.id)));
    return plugin.tags.flatMap((tag) =>
      tag.startsWith(responseTagPrefix) ? (book.findLive(tag.slice(responseTagPrefix.length)) ?? []) : [],
    );
  }

  /** False if the plugin is the operator's now. Reports a plugin of ours that somebody removed or changed. */
  #mayPut(operation: Put, subjects: readonly Entry[]): boolean {
    const { book, logger } = this.#options;
    const { id, group, plugin } = operation;
    if (this.#view.isOperators(id)) {
      this.#view.noteConflict(group);
      book.markBlockedByOperator(
        subjects,
        `Tripline's tags were taken off the plugin ${id}, so it is yours now`,
      );
      return false;
    }
    if (this.#wasChangedByHand(operation, subjects)) {
      logger.warn(
        { plugin: id, consumer: plugin.consumer?.id },
        'a plugin of ours was removed or changed by hand and is put right; lift the response to end it',
      );
    }
    return true;
  }

  #wasChangedByHand({ id, plugin }: Put, subjects: readonly Entry[]): boolean {
    const there = this.#view.ours.get(id);
    // A response that is added to a plugin or leaves it changes its tags: that is our own doing.
    const isOurDoing = there && !isDeepStrictEqual(new Set(there.tags), new Set(plugin.tags));
    if (isOurDoing || subjects.length === 0 || subjects.some(({ response }) => response.status !== 'active'))
      return false;
    if (!this.#options.actions.dependsOnOperator(plugin.name)) return true;
    // What is desired changes with the operator's plugins: somebody changed ours only if it was as desired before.
    const before = this.#view.confirmed(id);
    return before !== undefined && isDeepStrictEqual(pluginToWrite(before), plugin);
  }

  /** Returns false if Kong does not do it, and asking again at once is of no use. Rejects if it may pass by itself. */
  async #execute(operation: Operation, subjects: readonly Entry[]): Promise<boolean> {
    const { admin, book } = this.#options;
    const { id } = operation;
    if (operation.kind === 'delete') {
      const outcome = await this.#call('delete', () => admin.deletePlugin(id));
      if (outcome.kind === 'done') {
        this.#view.noteRemoved(id);
        return true;
      }
      for (const entry of subjects)
        book.noteFailure(entry, `the plugin cannot be removed: ${outcome.problem}`);
      return false;
    }
    const outcome: WriteOutcome = await this.#call('put', () => admin.putPlugin(id, operation.plugin));
    switch (outcome.kind) {
      case 'done':
        this.#view.noteWritten(id, outcome.plugin);
        this.#isReadOnly = false;
        return true;
      case 'conflict':
        this.#view.noteConflict(operation.group);
        book.markBlockedByOperator(subjects, occupiedBy(operation.plugin.name));
        return false;
      case 'no-consumer':
        book.markImpossible(subjects, 'the consumer does not exist in Kong any more');
        return false;
      case 'read-only':
        this.#isReadOnly = true;
        book.markImpossible(subjects, readOnlyKong);
        return false;
      case 'refused':
        book.markImpossible(subjects, `Kong refuses the plugin: ${outcome.problem}`);
        return false;
    }
  }

  /** Notes which responses are in force as a whole, which are refused, and the remarks about either. */
  #noteInForce(groups: readonly PluginGroup[]): void {
    const { book } = this.#options;
    const confirmed = this.#view.confirm(this.#view.desiredOf(groups));
    for (const { responseIds, plugins, refusal, remark } of groups) {
      const subjects = responseIds.flatMap((id) => book.findLive(id) ?? []);
      if (refusal !== null) book.markBlockedByOperator(subjects, refusal);
      else if (plugins.every((plugin) => confirmed.has(plugin.id))) book.markActive(subjects, remark);
    }
  }

  async #call<T>(operation: string, work: () => Promise<T>): Promise<T> {
    const { calls } = this.#options.book.metrics;
    try {
      const answer = await work();
      calls.inc({ operation, outcome: (answer as { kind?: string }).kind ?? 'done' });
      return answer;
    } catch (error) {
      calls.inc({ operation, outcome: error instanceof Error ? error.name : 'error' });
      throw error;
    }
  }

  /** Returns what the work gives, or what went wrong, in words, which is logged unless the last pass ended with it. */
  async #attempt<T>(work: () => Promise<T>): Promise<{ value?: T; problem: string | null }> {
    try {
      return { value: await work(), problem: null };
    } catch (error) {
      const problem = messageOf(error);
      if (problem !== this.#problem)
        this.#options.logger.warn({ problem }, 'a call to the Kong Admin API failed; trying again');
      return { problem };
    }
  }
}
