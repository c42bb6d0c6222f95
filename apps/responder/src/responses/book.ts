import { jsonRecord, type Bus } from '@tripline/bus';
import { describeTarget, type Response } from '@tripline/model';
import { isWanted, type ActionRegistry } from '@tripline/policy';
import { createSerialQueue, type RoleContext } from '@tripline/runtime';
import { messageOf } from '../errors.ts';
import type { RoleState } from '../role-state.ts';
import {
  encode,
  hasEnded,
  isDryRun,
  isEnding,
  isLifted,
  readEntries,
  stateKey,
  type Entry,
} from './entry.ts';
import type { ResponseMetrics } from './metrics.ts';

/** How long and how many responses are remembered after they ended, so that their alert does not start them again. */
export interface ResponseRetention {
  /** Ended responses, after their alert was last received. */
  endedMs: number;
  /** Ended responses at most, lifted ones and dry runs not counted; the oldest are forgotten first. */
  endedMax: number;
  /** Dry runs at most, and as many that are not yet published. */
  dryRunsMax: number;
  /**
   * Lifted responses are forgotten `endedMs` after their alert was closed, whatever their number, since the alert would
   * start them again. If the alert is never received again, after this time.
   */
  liftedMs: number;
}

const dayMs = 86_400_000;
export const defaultRetention: ResponseRetention = {
  endedMs: 7 * dayMs,
  endedMax: 10_000,
  dryRunsMax: 10_000,
  liftedMs: 365 * dayMs,
};

export interface BookOptions extends RoleContext {
  bus: Pick<Bus, 'publish'>;
  state: RoleState;
  actions: ActionRegistry;
  retention: ResponseRetention;
  responseMetrics: (responses: () => Response[]) => ResponseMetrics;
}

/**
 * The book of responses: those in force or on their way (live) and those that ended, for as long as their alert could start
 * them again. All changes of a response go through it. It saves what changed, and publishes each state to `responses`.
 */
export class ResponseBook {
  readonly metrics: ResponseMetrics;
  readonly #options: BookOptions;
  readonly #live = new Map<string, Entry>();
  /** Oldest first. */
  readonly #ended = new Map<string, Entry>();
  /** The newest round by `firstId`. */
  readonly #latest = new Map<string, Entry>();
  readonly #byAlert = new Map<string, Set<Entry>>();

  /** Changed since the last save. */
  readonly #dirty = new Set<Entry>();
  /** To be deleted from the state. */
  readonly #forgotten = new Set<Entry>();
  /** Published since the last save. If they are never saved again, they are published once more after a start. */
  readonly #publishedUnsaved = new Set<Entry>();
  readonly #oneFlush = createSerialQueue();
  #saveProblem: string | null = null;
  #publishProblem: string | null = null;

  constructor(options: BookOptions) {
    this.#options = options;
    this.metrics = options.responseMetrics(() => this.responses());
    const { entries, upgraded } = readEntries(options.state, options.actions);
    for (const entry of entries.sort((a, b) => a.touchedAt - b.touchedAt)) {
      (hasEnded(entry.response) ? this.#ended : this.#live).set(entry.response.id, entry);
      if ((this.#latest.get(entry.firstId)?.round ?? -1) < entry.round)
        this.#latest.set(entry.firstId, entry);
      this.#indexByAlert(entry);
      if (entry.unpublished.length > 0 || upgraded.has(entry)) this.#dirty.add(entry);
    }
  }

  // ---- reading -------------------------------------------------------------------------------------------------------

  responses(): Response[] {
    return [...this.#live.values(), ...this.#ended.values()].map((entry) => entry.response);
  }

  live(): Entry[] {
    return [...this.#live.values()];
  }

  get liveCount(): number {
    return this.#live.size;
  }

  /** Entries that are not saved or not published yet. */
  get dirtyCount(): number {
    return this.#dirty.size;
  }

  findLive(id: string): Entry | undefined {
    return this.#live.get(id);
  }

  findEnded(id: string): Entry | undefined {
    return this.#ended.get(id);
  }

  /** The newest of the responses that follow one another under this first id. */
  latest(firstId: string): Entry | undefined {
    return this.#latest.get(firstId);
  }

  ofAlert(alertId: string): Entry[] {
    return [...(this.#byAlert.get(alertId) ?? [])];
  }

  /** The responses that are to be in Kong at this time. */
  wanted(nowMs: number): Response[] {
    return this.live()
      .filter((entry) => !entry.lifting && isWanted(entry.response, nowMs))
      .map((entry) => entry.response);
  }

  /** Why nothing can be saved at the moment, in words; null if it can. */
  get problem(): string | null {
    return this.#saveProblem;
  }

  // ---- changing ------------------------------------------------------------------------------------------------------

  /**
   * Saves decided entries, and entries whose alert was received again, in one step with the position behind the alerts.
   * Nothing of it counts as decided if this rejects.
   */
  async saveDecisions(
    partition: number,
    { decided, touched }: { decided: readonly Entry[]; touched: readonly Entry[] },
    nextOffset: number,
  ): Promise<void> {
    const changes = new Map([...touched, ...decided].map((entry) => [stateKey(entry), encode(entry)]));
    try {
      await this.#options.state.save(partition, changes, nextOffset);
      this.#saveProblem = null;
    } catch (error) {
      this.#saveProblem = `the state cannot be saved, nothing is decided: ${messageOf(error)}`;
      throw error;
    }
    for (const entry of decided) {
      this.#latest.set(entry.firstId, entry);
      this.#indexByAlert(entry);
      (hasEnded(entry.response) ? this.#ended : this.#live).set(entry.response.id, entry);
      this.#dirty.add(entry);
      this.metrics.transitions.inc({ status: entry.response.status });
    }
  }

  /** Notes that an entry is to be lifted, and saves that. If it rejects, the next flush saves it. */
  async saveLifting(entry: Entry): Promise<void> {
    entry.lifting = true;
    this.#dirty.add(entry);
    await this.#options.state.save(entry.partition, new Map([[stateKey(entry), encode(entry)]]));
  }

  /** Kong has all plugins of these responses; `remark` says where it applies something else. */
  markActive(entries: readonly Entry[], remark: string | null): void {
    for (const entry of entries) {
      const { response } = entry;
      if (response.status === 'active' && response.problem === remark) continue;
      if (remark !== null)
        this.#options.logger.warn({ response: response.id, target: response.target }, remark);
      const activeAt = response.activeAt ?? this.#options.now();
      this.change(entry, { status: 'active', activeAt, failures: 0, problem: remark });
    }
  }

  /** An operator's plugin keeps these responses from being put in force, for as long as it is there. */
  markBlockedByOperator(entries: readonly Entry[], problem: string): void {
    for (const entry of entries) {
      const { response } = entry;
      if (response.status === 'blocked-by-operator' && response.problem === problem) continue;
      this.#options.logger.warn({ response: response.id, target: response.target }, problem);
      this.change(entry, { status: 'blocked-by-operator', problem });
    }
  }

  /** These responses can never be put in force. They end. */
  markImpossible(entries: readonly Entry[], problem: string): void {
    for (const entry of entries)
      this.change(entry, { status: 'impossible', problem, removedAt: this.#removedNow(entry) });
  }

  /** Kong no longer has any plugin of this response. It ends. */
  markRemoved(entry: Entry): void {
    this.change(entry, {
      status: entry.lifting ? 'lifted' : 'expired',
      removedAt: this.#removedNow(entry),
      failures: 0,
      problem: null,
    });
  }

  #removedNow({ response }: Entry): number | null {
    return response.activeAt === null ? null : this.#options.now();
  }

  /** Counts a failed call. Publishes the first failure, the second, the fourth and so on. */
  noteFailure(entry: Entry, problem: string): void {
    const failures = entry.response.failures + 1;
    if ((failures & (failures - 1)) === 0) this.change(entry, { failures, problem });
    else entry.response = { ...entry.response, failures, problem };
  }

  /** Counts a failed call for those that wait for Kong: on their way into it or out of it. */
  noteFailureOfWaiting(entries: readonly Entry[], problem: string, nowMs: number): void {
    for (const entry of entries)
      if (entry.response.status === 'pending' || isEnding(entry, nowMs)) this.noteFailure(entry, problem);
  }

  /** Gives a response a new state, which is saved and published with the next flush. */
  change(entry: Entry, fields: Partial<Response>): void {
    const before = entry.response;
    const response = { ...before, ...fields, revision: before.revision + 1 };
    entry.response = response;
    entry.unpublished.push(response);
    this.#dirty.add(entry);
    if (response.status !== before.status) this.#report(response, before);
    if (hasEnded(response)) {
      this.#live.delete(response.id);
      this.#ended.set(response.id, entry);
      entry.touchedAt = this.#options.now();
    }
  }

  #report(response: Response, before: Response): void {
    const { id, target, status, problem, action } = response;
    this.metrics.transitions.inc({ status });
    this.#options.logger.info(
      { response: id, target, status, problem },
      `${action.type} of ${describeTarget(target)} is ${status}`,
    );
    if (status === 'active' && before.activeAt === null)
      this.metrics.activation.observe(Math.max(0, response.activeAt! - response.decidedAt) / 1000);
  }

  #indexByAlert(entry: Entry): void {
    const { alertId } = entry.response;
    this.#byAlert.set(alertId, (this.#byAlert.get(alertId) ?? new Set()).add(entry));
  }

  // ---- forgetting ----------------------------------------------------------------------------------------------------

  /** Forgets ended responses beyond the retention. What is not yet published stays. */
  forgetOld(nowMs: number): void {
    const { endedMax, dryRunsMax } = this.#options.retention;
    const ended = [...this.#ended.values()];
    let dryRuns = ended.filter(isDryRun).length;
    let others = ended.filter((entry) => !isDryRun(entry) && !isLifted(entry)).length;
    for (const entry of ended) {
      const isExcess = isDryRun(entry) ? dryRuns > dryRunsMax : !isLifted(entry) && others > endedMax;
      if (!isExcess && !this.#isOutdated(entry, nowMs)) continue;
      if (entry.unpublished.length > 0) continue;
      if (isDryRun(entry)) dryRuns--;
      else if (!isLifted(entry)) others--;
      this.#forget(entry);
    }
  }

  /** True if nothing can depend any more on the response's being remembered. */
  #isOutdated(entry: Entry, nowMs: number): boolean {
    const { endedMs, liftedMs } = this.#options.retention;
    const { touchedAt, alertClosedAt } = entry;
    if (!isLifted(entry)) return nowMs - touchedAt > endedMs;
    return alertClosedAt === undefined
      ? nowMs - touchedAt > liftedMs
      : nowMs - Math.max(alertClosedAt, touchedAt) > endedMs;
  }

  #forget(entry: Entry): void {
    const { id, alertId } = entry.response;
    this.#ended.delete(id);
    if (this.#latest.get(entry.firstId) === entry) this.#latest.delete(entry.firstId);
    const ofAlert = this.#byAlert.get(alertId);
    ofAlert?.delete(entry);
    if (ofAlert?.size === 0) this.#byAlert.delete(alertId);
    this.#dirty.delete(entry);
    this.#publishedUnsaved.delete(entry);
    this.#forgotten.add(entry);
  }

  // ---- saving and publishing -----------------------------------------------------------------------------------------

  /** Saves and then publishes what changed. Resolves to false if something of it must be tried again. */
  flush(): Promise<boolean> {
    return this.#oneFlush(() => this.#flush());
  }

  async #flush(): Promise<boolean> {
    if (this.#dirty.size === 0 && this.#forgotten.size === 0) return true;
    const changed = [...new Set([...this.#dirty, ...this.#publishedUnsaved])].filter(
      (entry) => !this.#forgotten.has(entry),
    );
    const forgotten = [...this.#forgotten];
    // Whatever changes from here on is dirty again.
    for (const set of [this.#dirty, this.#publishedUnsaved, this.#forgotten]) set.clear();
    // 1. Save. A crash behind it: the unpublished states are part of what is saved, and are published after the start.
    if (!(await this.#save(changed, forgotten))) {
      for (const entry of changed) this.#dirty.add(entry);
      for (const entry of forgotten) this.#forgotten.add(entry);
      return false;
    }
    // 2. Publish. A crash behind it publishes the same states again; id and revision make that harmless.
    const published = changed.map((entry) => ({ entry, count: entry.unpublished.length }));
    if (!(await this.#publish(changed))) {
      for (const entry of changed) this.#dirty.add(entry);
      return false;
    }
    // 3. Note, with the next save, what is published. States may have been added meanwhile.
    for (const { entry, count } of published) {
      if (count === 0) continue;
      entry.unpublished.splice(0, count);
      this.#publishedUnsaved.add(entry);
    }
    return true;
  }

  async #save(changed: readonly Entry[], forgotten: readonly Entry[]): Promise<boolean> {
    const perPartition = new Map<number, Map<string, string | null>>();
    const note = (entry: Entry, value: string | null): void => {
      const changes = perPartition.get(entry.partition) ?? new Map<string, string | null>();
      perPartition.set(entry.partition, changes.set(stateKey(entry), value));
    };
    for (const entry of changed) note(entry, encode(entry));
    for (const entry of forgotten) note(entry, null);
    const { state, logger } = this.#options;
    try {
      for (const [partition, changes] of perPartition) await state.save(partition, changes);
      this.#saveProblem = null;
      return true;
    } catch (error) {
      if (this.#saveProblem === null)
        logger.error({ err: error as Error }, 'responses cannot be saved; trying again');
      this.#saveProblem = `the state cannot be saved: ${messageOf(error)}`;
      return false;
    }
  }

  async #publish(entries: readonly Entry[]): Promise<boolean> {
    const { bus, logger } = this.#options;
    const records = entries.flatMap(({ unpublished }) =>
      // The topic is compacted where the bus can do that: the last state of each response remains.
      unpublished.map((response) => jsonRecord(response.id, response)),
    );
    try {
      await bus.publish('responses', records);
      this.#publishProblem = null;
      return true;
    } catch (error) {
      if (this.#publishProblem === null)
        logger.error({ err: error as Error }, 'responses cannot be published; trying again');
      this.#publishProblem = messageOf(error);
      return false;
    }
  }
}
