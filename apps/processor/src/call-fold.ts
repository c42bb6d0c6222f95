import type {
  ActorState,
  Detection,
  DetectionOutput,
  Emission,
  EndpointProfileState,
} from '@tripline/detection';
import type { Alert, ApiCall } from '@tripline/model';
import type { PartitionState, StateChanges } from '@tripline/state';
import { callsOf, type OnUnreadable } from './call-reader.ts';
import { CallStates, isActorKey, type StatesOfCall } from './call-states.ts';
import { chunkKeys, Deduplication, type IdChunk } from './deduplication.ts';
import { isSlotCount, OpenEpisodes, savedKeys } from './open-episodes.ts';
import type { Fold } from './partition-worker.ts';
import type { CachedState } from './state-cache.ts';

export interface CallFoldOptions {
  detection: Detection;
  /** Whether calls are counted per endpoint besides, see `emissions`. */
  aggregates: boolean;
  state: PartitionState;
  /** How many actors are kept in memory; the others are loaded when they call. Asked at each checkpoint. */
  maxActorsInMemory: () => number;
  /** How many call ids are remembered at least, to drop duplicates. */
  rememberedIds: number;
  /** States with open episodes, by default 20,000: beyond that the sixteenth of them that would end first is closed early. */
  maxOpenEpisodes?: number;
  onUnreadable: OnUnreadable;
  /** `step`: what could not be done with the API call. */
  onFailed?: (record: string, step: string, error: unknown) => void;
  onRelearn: (key: string, problem: string) => void;
  onClosedEarly?: (episodes: number, maxOpenEpisodes: number) => void;
}

/** How late a call may come and still count: an episode is not ended before calls of its end can have come. */
export const latenessMs = 10 * 60_000;

/**
 * Without calls for so long, by the clock, the partition is said to be idle, so that nobody waits for it. Longer than a window and
 * its grace, so that calls that come thinly do not make it go back and forth.
 */
const restAfterMs = 90_000;
/** An open episode takes about 200 bytes of memory besides its actor, and 60 in the store. */
const defaultMaxOpenEpisodes = 20_000;

/** The value under `progressKey`, as JSON: event time reached, slots of `OpenEpisodes`, and the chunks of `Deduplication`. */
interface Progress {
  watermark: number;
  slots: number;
  ids: readonly IdChunk[];
}
const progressKey = 'progress';

/**
 * Folds the calls of one partition of `api-calls`, in order, into the detectors' states, and says which alerts come of it.
 *
 * Same calls in the same order, same alerts: whatever the batches, and wherever a checkpoint and a restart fall between.
 */
export class CallFold implements Fold {
  readonly counts = {
    /** Calls folded into the detectors' states. */
    folded: 0,
    /** Calls that had been seen before. */
    duplicates: 0,
    /** Records that are no API calls. */
    unreadable: 0,
    /** API calls that could not be folded; the state that was in the way was begun anew. */
    failed: 0,
    /** States that could not be read, changed or saved, and were begun anew. */
    relearnt: 0,
    /** States of which episodes were closed before their time, as too many were open. */
    closedEarly: 0,
  };
  readonly #options: CallFoldOptions;
  readonly #detection: Detection;
  readonly #deduplication: Deduplication;
  readonly #states: CallStates;
  /** Actors with an open episode, and endpoints where calls wait for others. */
  readonly #open: OpenEpisodes;
  readonly #maxOpenEpisodes: number;
  readonly #output: FoundAlerts;
  /** Earliest event time at which one of the endpoint episodes may end; Infinity if none is open. */
  #endpointsCloseAtMs = Infinity;
  /** Event time of the newest call, ms. */
  #watermark = 0;
  /** The aggregator has something to save although no call came. */
  #hasRested = false;

  constructor(options: CallFoldOptions) {
    this.#options = options;
    this.#detection = options.detection;
    this.#deduplication = new Deduplication(options.rememberedIds);
    this.#maxOpenEpisodes = options.maxOpenEpisodes ?? defaultMaxOpenEpisodes;
    this.#open = new OpenEpisodes(this.#maxOpenEpisodes);
    this.#states = new CallStates({
      detection: this.#detection,
      state: options.state,
      aggregates: options.aggregates,
      maxActorsInMemory: options.maxActorsInMemory,
      onRelearn: (key, problem) => this.#relearnt(key, problem),
    });
    this.#output = new FoundAlerts(options.aggregates);
  }

  get watermark(): number {
    return this.#watermark;
  }

  get actorsInMemory(): number {
    return this.#states.actors.size;
  }

  get openEpisodes(): number {
    return this.#open.size;
  }

  get changedStates(): number {
    return this.#states.changedStates;
  }

  get unsaved(): boolean {
    return this.#hasRested;
  }

  /** What was counted per endpoint and is to be published; only once a checkpoint has it. */
  get emissions(): readonly Emission[] {
    return this.#states.aggregator?.unsent ?? [];
  }

  /** `emissions` are published. */
  emitted(): void {
    this.#states.aggregator?.sent();
  }

  /** `late`: calls that came too late to be counted per endpoint. `pooled`: calls counted together, as there were too many endpoints. */
  get aggregateCounts(): { late: number; pooled: number } {
    const { late = 0, pooled = 0 } = this.#states.aggregator ?? {};
    return { late, pooled };
  }

  async open(): Promise<void> {
    const { state } = this.#options;
    await this.#states.open();
    const closeAtMs = this.#detection.endpointEpisodesCloseAt(this.#states.endpointEpisodes.state!);
    this.#endpointsCloseAtMs = closeAtMs ?? Infinity;
    const { watermark, slots, ids } = this.#readProgress((await state.load([progressKey])).get(progressKey));
    this.#watermark = watermark;
    const saved = await state.load([...savedKeys(slots), ...chunkKeys(ids)]);
    this.#open.restore(slots, saved, (key, problem) => this.#relearnt(key, problem));
    this.#deduplication.restore(ids, saved);
  }

  /** A batch of records, from bytes to the alert revisions that are to be published. */
  async fold(body: Buffer): Promise<Alert[]> {
    const calls = this.#newCalls(body);
    const states = await this.#states.load(calls, this.#dueIn(calls));
    this.#states.willChangeAggregator();
    for (const [at, call] of calls.entries()) {
      this.#foldCall(call, states[at]!);
      // After each call, not after each batch: where episodes end must not depend on where batches do.
      const reachedMs = this.#watermark - latenessMs;
      if (reachedMs >= this.#nextCloseMs) this.#closeDue(reachedMs);
      if (this.#open.isTooMany) await this.#closeEarliest();
    }
    this.#states.endBatch();
    return this.#output.takeAlerts();
  }

  /** Ends episodes that are over at an event time beyond the newest call: for when no calls come any more. */
  async closeUntil(eventTimeMs: number): Promise<Alert[]> {
    await this.#states.load([], this.#open.dueBy(eventTimeMs));
    this.#closeDue(eventTimeMs);
    this.#states.endBatch();
    return this.#output.takeAlerts();
  }

  /** Time goes on without calls: episodes end, and after a while nobody need wait for this partition. */
  idle(idleMs: number): Promise<Alert[]> {
    if (idleMs >= restAfterMs) this.rest();
    return this.closeUntil(this.#watermark - latenessMs + idleMs);
  }

  /** No calls are coming: what was counted of minutes under way becomes `emissions` as well. */
  rest(): void {
    if (this.#states.aggregator?.rest() !== true) return;
    this.#states.willChangeAggregator();
    this.#hasRested = true;
  }

  async checkpoint(offset: number): Promise<void> {
    const changes: StateChanges = new Map();
    this.#states.save(changes);
    const progress: Progress = {
      watermark: this.#watermark,
      slots: this.#open.save(changes),
      ids: this.#deduplication.save(changes),
    };
    changes.set(progressKey, Buffer.from(JSON.stringify(progress)));
    await this.#options.state.checkpoint(changes, offset);
    this.#hasRested = false;
    this.#states.saved();
    this.#open.saved();
    this.#deduplication.saved();
  }

  /** The calls of a batch that were not seen before. What is no API call is counted, and reported. */
  #newCalls(body: Buffer): ApiCall[] {
    const calls = callsOf(body, (record, problem) => {
      this.counts.unreadable++;
      this.#options.onUnreadable(record, problem);
    });
    const fresh = calls.filter(({ id }) => !this.#deduplication.isRepeated(id));
    this.counts.duplicates += calls.length - fresh.length;
    return fresh;
  }

  /** Keys of states whose episodes may end within a batch: they are those of its calls, or open already. */
  #dueIn(calls: readonly ApiCall[]): string[] {
    const newest = calls.reduce((latest, { startedAt }) => Math.max(latest, startedAt), this.#watermark);
    return this.#open.dueBy(newest - latenessMs);
  }

  /**
   * Whatever goes wrong with one call must not stop the stream, now or after each restart: the call is set aside. The state that it was
   * being folded into may be half changed, and is begun anew. As folding depends on nothing but the calls and their order, it goes
   * wrong in the same way each time: what comes of the other calls stays the same.
   */
  #foldCall(call: ApiCall, states: StatesOfCall): void {
    if (call.startedAt > this.#watermark) this.#watermark = call.startedAt;
    try {
      this.#foldIntoActor(call, states);
    } catch (error) {
      this.#setAside(call, 'folding it into its actor', error);
      this.#states.actors.relearn(states.actor, error);
      return;
    }
    const { endpoint } = states;
    try {
      if (endpoint) this.#foldIntoEndpoint(call, endpoint);
    } catch (error) {
      this.#setAside(call, 'folding it into its endpoint', error);
      this.#relearnEndpoint(endpoint!, error);
      return;
    }
    this.counts.folded++;
  }

  #foldIntoActor(call: ApiCall, { actor, peers }: StatesOfCall): void {
    this.#states.actors.willChange(actor);
    this.#states.peers.willChange(peers);
    this.#detection.fold(actor.state!, peers.state!, call, this.#output);
    this.#states.aggregator?.add(call);
    this.#sendReports();
    this.#open.set(actor.key, this.#detection.closesAt(actor.state!));
  }

  #foldIntoEndpoint(call: ApiCall, endpoint: CachedState<EndpointProfileState>): void {
    const episodes = this.#states.endpointEpisodes.state!;
    this.#states.endpoints.willChange(endpoint);
    this.#detection.foldEndpoint(endpoint.state!, episodes, call, this.#output);
    this.#sendReports();
    this.#open.set(endpoint.key, this.#detection.endpointReleasesAt(endpoint.state!));
    this.#endpointEpisodesChanged();
  }

  #setAside(call: ApiCall, step: string, error: unknown): void {
    this.counts.failed++;
    this.#output.takeReports();
    this.#options.onFailed?.(JSON.stringify(call), step, error);
  }

  /** What was found about one address among many is put together with others by their endpoint, which also ends the alert. */
  #sendReports(): void {
    for (const alert of this.#output.takeReports()) this.#states.aggregator!.addFinding(alert);
  }

  /** Earliest event time at which an episode may end. */
  get #nextCloseMs(): number {
    return Math.min(this.#open.nextMs, this.#endpointsCloseAtMs);
  }

  /** The states that are due must be loaded. */
  #closeDue(eventTimeMs: number): void {
    for (const key of this.#open.dueBy(eventTimeMs)) {
      if (isActorKey(key))
        this.#closeActor(key, (actor) => this.#detection.close(actor, eventTimeMs, this.#output));
      else this.#releaseEndpoint(key, eventTimeMs);
    }
    // Last: what was released is part of them.
    if (this.#endpointsCloseAtMs < Infinity) this.#closeEndpointEpisodes(eventTimeMs);
  }

  /**
   * Too many episodes are open: those that would end first are the quietest, and end now. After a call, and by the number of open
   * episodes alone, so that it depends on the calls and their order only.
   */
  async #closeEarliest(): Promise<void> {
    const keys = this.#open.takeEarliest();
    await this.#states.load([], keys);
    for (const key of keys) {
      if (isActorKey(key)) this.#closeActor(key, (actor) => this.#detection.closeEarly(actor, this.#output));
      else this.#releaseEndpoint(key, Infinity);
    }
    this.counts.closedEarly += keys.length;
    this.#options.onClosedEarly?.(keys.length, this.#maxOpenEpisodes);
  }

  #closeActor(key: string, close: (actor: ActorState) => void): void {
    const actor = this.#states.actors.want(key);
    this.#states.actors.willChange(actor);
    try {
      close(actor.state!);
      this.#sendReports();
      this.#open.set(key, this.#detection.closesAt(actor.state!));
    } catch (error) {
      this.#states.actors.relearn(actor, error);
    }
  }

  /** Raises what has waited for others on an endpoint until an event time. */
  #releaseEndpoint(key: string, eventTimeMs: number): void {
    const endpoint = this.#states.endpoints.want(key);
    const episodes = this.#states.endpointEpisodes.state!;
    this.#states.endpoints.willChange(endpoint);
    try {
      this.#detection.releaseEndpoint(endpoint.state!, episodes, eventTimeMs, this.#output);
      this.#sendReports();
      this.#open.set(key, this.#detection.endpointReleasesAt(endpoint.state!));
      this.#endpointEpisodesChanged();
    } catch (error) {
      this.#relearnEndpoint(endpoint, error);
    }
  }

  #closeEndpointEpisodes(eventTimeMs: number): void {
    try {
      this.#detection.closeEndpointEpisodes(this.#states.endpointEpisodes.state!, eventTimeMs, this.#output);
      this.#sendReports();
    } catch (error) {
      this.#states.relearnEndpointEpisodes(error);
    }
    this.#endpointEpisodesChanged();
  }

  #relearnEndpoint(endpoint: CachedState<EndpointProfileState>, error: unknown): void {
    this.#states.endpoints.relearn(endpoint, error);
    this.#endpointEpisodesChanged();
  }

  #endpointEpisodesChanged(): void {
    this.#states.willChangeEndpointEpisodes();
    const closeAtMs = this.#detection.endpointEpisodesCloseAt(this.#states.endpointEpisodes.state!);
    this.#endpointsCloseAtMs = closeAtMs ?? Infinity;
  }

  /** Nothing is open any more in a state that was begun anew. */
  #relearnt(key: string, problem: string): void {
    this.counts.relearnt++;
    this.#open.set(key, undefined);
    this.#options.onRelearn(key, problem);
  }

  #readProgress(bytes: Buffer | undefined): Progress {
    try {
      if (bytes) return decodeProgress(bytes);
    } catch (error) {
      this.#relearnt(progressKey, (error as Error).message);
    }
    return { watermark: 0, slots: 0, ids: [] };
  }
}

/** Collects what the detectors find: alerts to publish, and reports for the endpoints that put them together. */
class FoundAlerts implements DetectionOutput {
  readonly #aggregates: boolean;
  #alerts: Alert[] = [];
  #reports: Alert[] = [];

  constructor(aggregates: boolean) {
    this.#aggregates = aggregates;
  }

  alert(alert: Alert): void {
    this.#alerts.push(alert);
  }

  toEndpoint(alert: Alert): void {
    if (!this.#aggregates) this.#alerts.push(alert);
    // The endpoint ends its alert by itself.
    else if (alert.status === 'open') this.#reports.push(alert);
  }

  takeAlerts(): Alert[] {
    const alerts = this.#alerts;
    this.#alerts = [];
    return alerts;
  }

  takeReports(): readonly Alert[] {
    if (this.#reports.length === 0) return none;
    const reports = this.#reports;
    this.#reports = [];
    return reports;
  }
}

const none: readonly Alert[] = [];

function decodeProgress(bytes: Buffer): Progress {
  const { watermark, slots, ids } = (JSON.parse(bytes.toString()) ?? {}) as Partial<Progress>;
  if (!Number.isFinite(watermark)) throw new Error('it has no number as watermark');
  if (!isSlotCount(slots)) throw new Error('its slots are no number of slots');
  if (!Array.isArray(ids) || !ids.every((chunk) => Array.isArray(chunk) && chunk.every(Number.isInteger)))
    throw new Error('its chunks of ids are no pairs of numbers');
  return { watermark: watermark!, slots, ids: ids as IdChunk[] };
}
