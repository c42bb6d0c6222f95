import { recordsOf } from '@tripline/bus';
import {
  idHash,
  PreAggregator,
  RecentIds,
  type ActorState,
  type Detection,
  type DetectionOutput,
  type Emission,
  type EndpointEpisodes as ParameterEpisodes,
  type EndpointProfileState as ParametersState,
  type PeersState,
} from '@tripline/detection';
import { readApiCall, type Alert, type ApiCall } from '@tripline/model';
import type { PartitionState, StateChanges } from '@tripline/state';
import type { Fold } from './lanes.ts';
import { isEntry, isSlotCount, OpenEpisodes, savedKeys } from './open-episodes.ts';

export interface FoldCounts {
  /** Calls folded into the detectors' states. */
  folded: number;
  /** Calls that had been seen before. */
  duplicates: number;
  /** Records that are no API calls. */
  unreadable: number;
  /** API calls that could not be folded; the state that was in the way was begun anew. */
  failed: number;
  /** States that could not be read and were begun anew. */
  relearnt: number;
  /** States of which episodes were closed before their time, as too many were open. */
  closedEarly: number;
}

export interface PartitionFoldOptions {
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
  onUnreadable: (record: string, problem: string) => void;
  /** `step`: what could not be done with the API call. */
  onFailed?: (record: string, step: string, error: unknown) => void;
  onRelearn: (key: string, problem: string) => void;
  onClosedEarly?: (episodes: number, most: number) => void;
}

/** State of the peers on a service or of an endpoint, while it is in memory. */
interface Held<State> {
  state: State;
  changed: boolean;
}

/**
 * An actor while it is in memory. Among a million, most do not call again soon: such a state is decoded, folded into and encoded
 * within the batch that loads it, so that one buffer outlives the batch instead of a hundred objects, which the garbage collector
 * would copy and follow. From its second batch on it stays decoded.
 */
interface HeldActor {
  /** Undefined while there are `bytes`. */
  state: ActorState | undefined;
  bytes: Buffer | undefined;
  changed: boolean;
}

/** A call and the keys of the states that it concerns. */
interface KeyedCall {
  call: ApiCall;
  actorKey: string;
  peersKey: string;
  parametersKey: string | undefined;
}

/** How late a call may come and still count: an episode is not ended before calls of its end can have come. */
export const latenessMs = 10 * 60_000;

/** Under this key: event time reached, how many keys of open episodes there may be, and which chunks of ids there are. */
const progressKey = 'progress';
/** Under this key: what is being counted per endpoint, and what of it was not sent on yet. */
const aggregatesKey = 'aggregates';
/** Under this key: open episodes of abnormal parameters, of all endpoints. Always in memory. */
const parameterEpisodesKey = 'parameter-episodes';
/**
 * Without calls for so long, by the clock, the partition is said to be idle, so that nobody waits for it. Longer than a window
 * and its grace, so that calls that come thinly do not make it go back and forth.
 */
const restAfterMs = 90_000;
/** So many ids at least are known again after a restart or a hand-over: a line that is sent twice comes soon again. */
const savedIds = 20_000;
/** A chunk takes ids until it has so many: with few calls between checkpoints there would be thousands of chunks. */
const idsPerChunk = 1_000;
/** Endpoints are few, and their states large; more than these are let go at a checkpoint. */
const maxEndpointsInMemory = 1_000;
/** Services, likewise. */
const maxPeersInMemory = 1_000;
/** An open episode takes about 200 bytes of memory besides its actor, and 60 in the store. */
const maxOpenEpisodes = 20_000;

interface Progress {
  watermark: number;
  /** Slots of `OpenEpisodes`. */
  slots?: number;
  /** The open episodes, as an earlier version wrote them; empty where there are `slots`, for going back to that version. */
  open: [string, number][];
  /** Number and size of each chunk, oldest first. */
  ids?: [number, number][];
}

/**
 * Folds the calls of one partition, in order, into the detectors' states, and says which alerts come of it. Keeps the
 * states that are in use in memory: two generations, of which the older is let go at a checkpoint when the newer has
 * grown large, so that what was used lately stays.
 *
 * Same calls in the same order, same alerts: whatever the batches, and wherever a checkpoint and a restart fall between.
 */
export class PartitionFold implements Fold {
  readonly counts: FoldCounts = {
    folded: 0,
    duplicates: 0,
    unreadable: 0,
    failed: 0,
    relearnt: 0,
    closedEarly: 0,
  };
  readonly #options: PartitionFoldOptions;
  readonly #recent: RecentIds;
  #actors = new Map<string, HeldActor>();
  #olderActors = new Map<string, HeldActor>();
  readonly #peers = new Map<string, Held<PeersState>>();
  readonly #endpoints = new Map<string, Held<ParametersState>>();
  readonly #parameterEpisodes: Held<ParameterEpisodes>;
  /** Actors with an open episode, and endpoints where calls wait for others. */
  readonly #open: OpenEpisodes;
  readonly #maxOpen: number;
  /** Earliest event time at which one of the parameter episodes may end; Infinity if none is open. */
  #parametersCloseAt = Infinity;
  #watermark = 0;
  /** Hashes of the ids that no checkpoint has yet. */
  #newIds: number[] = [];
  /** Chunks of ids in the store, oldest first. */
  #idChunks: [number, number][] = [];
  /** Hashes of the newest of them. */
  #lastChunk: readonly number[] = [];
  /** Actors whose first batch this is. */
  #firstBatch: [key: string, actor: HeldActor][] = [];
  /** By key: states are many, and those that the next checkpoint saves few. */
  readonly #changedActors = new Map<string, HeldActor>();
  readonly #changed = new Map<string, { held: Held<unknown>; encode: () => Buffer | null }>();
  #aggregator: PreAggregator | undefined;
  #unsaved = false;

  constructor(options: PartitionFoldOptions) {
    this.#options = options;
    this.#recent = new RecentIds(options.rememberedIds);
    this.#maxOpen = options.maxOpenEpisodes ?? maxOpenEpisodes;
    this.#open = new OpenEpisodes(this.#maxOpen);
    this.#parameterEpisodes = { state: options.detection.endpointEpisodes.decode(undefined), changed: false };
  }

  /** Event time of the newest call. */
  get watermark(): number {
    return this.#watermark;
  }

  get actorsInMemory(): number {
    return this.#actors.size + this.#olderActors.size;
  }

  get openEpisodes(): number {
    return this.#open.size;
  }

  /** States that the next checkpoint would save. */
  get changedStates(): number {
    return this.#changedActors.size + this.#changed.size;
  }

  get unsaved(): boolean {
    return this.#unsaved;
  }

  /** What was counted per endpoint and is to be published; only once a checkpoint has it. */
  get emissions(): readonly Emission[] {
    return this.#aggregator?.unsent ?? [];
  }

  /** `emissions` are published. */
  emitted(): void {
    this.#aggregator?.sent();
  }

  /** Calls that were too late to be counted per endpoint, and calls of endpoints that were too many to be told apart. */
  get aggregateCounts(): { late: number; pooled: number } {
    return { late: this.#aggregator?.late ?? 0, pooled: this.#aggregator?.pooled ?? 0 };
  }

  async open(): Promise<void> {
    const { aggregates, detection, state } = this.#options;
    const texts = await state.load([progressKey, aggregatesKey, parameterEpisodesKey]);
    this.#parameterEpisodes.state = this.#decode(
      parameterEpisodesKey,
      (saved) => detection.endpointEpisodes.decode(saved),
      texts.get(parameterEpisodesKey),
    );
    this.#parametersCloseAt = detection.endpointEpisodesCloseAt(this.#parameterEpisodes.state) ?? Infinity;
    if (aggregates)
      this.#aggregator = this.#decode(
        aggregatesKey,
        (saved) => new PreAggregator(state.partition, saved),
        texts.get(aggregatesKey),
      );
    const progress = this.#decode(progressKey, decodeProgress, texts.get(progressKey));
    const { watermark, slots, open, ids = [] } = progress;
    this.#watermark = watermark;
    if (slots === undefined) this.#takeOverOpen(open);
    else await this.#restoreOpen(slots);
    this.#idChunks = ids;
    const chunks = await state.load(ids.map(([number]) => idsKey(number)));
    for (const [number] of ids) {
      this.#lastChunk = decodeIds(chunks.get(idsKey(number)));
      for (const hash of this.#lastChunk) this.#recent.seen(hash);
    }
  }

  async #restoreOpen(slotCount: number): Promise<void> {
    const texts = await this.#options.state.load(savedKeys(slotCount));
    this.#open.restore(slotCount, texts, (key, problem) => {
      this.counts.relearnt++;
      this.#options.onRelearn(key, problem);
    });
  }

  /** An earlier version kept any number of open episodes. Those that would end first end when their actor calls again. */
  #takeOverOpen(entries: readonly [string, number][]): void {
    const own = entries.filter(([key]) => key !== parameterEpisodesKey);
    const kept = own.sort((a, b) => b[1] - a[1]).slice(0, this.#maxOpen);
    for (const [key, closesAt] of kept) this.#open.set(key, closesAt);
    const left = own.length - kept.length;
    if (left === 0) return;
    this.counts.relearnt++;
    const problem = `${own.length} episodes were open; ${this.#maxOpen} are kept, the other ${left} end when their actor calls again`;
    this.#options.onRelearn(progressKey, problem);
  }

  async fold(body: Buffer): Promise<Alert[]> {
    const { detection } = this.#options;
    const calls: KeyedCall[] = [];
    for (const call of this.#parse(body)) {
      const hash = idHash(call.id);
      if (this.#recent.seen(hash)) this.counts.duplicates++;
      else {
        const { actor: actorKey, peers: peersKey, endpoint: parametersKey } = detection.keysOf(call);
        calls.push({ call, actorKey, peersKey, parametersKey });
        this.#newIds.push(hash);
      }
    }
    await this.#load(calls);
    const alerts: Alert[] = [];
    for (const call of calls) {
      this.#foldOne(call, alerts);
      // After each call, not after each batch: where episodes end must not depend on where batches do.
      if (this.#watermark - latenessMs >= this.#nextClose) this.#close(this.#watermark - latenessMs, alerts);
      if (this.#open.isTooMany) await this.#closeEarliest(alerts);
    }
    this.#encodeFirstBatch();
    return alerts;
  }

  /** Ends episodes that are over at an event time beyond the newest call: for when no calls come any more. */
  async closeUntil(eventTimeMs: number): Promise<Alert[]> {
    const alerts: Alert[] = [];
    await this.#loadDue(eventTimeMs, []);
    this.#close(eventTimeMs, alerts);
    this.#encodeFirstBatch();
    return alerts;
  }

  /** Time goes on without calls: episodes end, and after a while nobody need wait for this partition. */
  idle(idleMs: number): Promise<Alert[]> {
    if (idleMs >= restAfterMs) this.rest();
    return this.closeUntil(this.#watermark - latenessMs + idleMs);
  }

  /** No calls are coming: what was counted of minutes under way becomes `emissions` as well. */
  rest(): void {
    if (this.#aggregator?.rest() === true) this.#unsaved = true;
  }

  async checkpoint(offset: number): Promise<void> {
    const { state } = this.#options;
    const changes: StateChanges = new Map();
    for (const [key, actor] of this.#changedActors)
      changes.set(key, actor.bytes ?? this.#encodeActor(key, actor));
    for (const [key, { encode }] of this.#changed) changes.set(key, this.#encodeOther(key, encode));
    const { chunks, last } = this.#nextIdChunks(changes);
    const slots = this.#open.save(changes);
    const progress: Progress = { watermark: this.#watermark, slots, open: [], ids: chunks };
    changes.set(progressKey, Buffer.from(JSON.stringify(progress)));
    const aggregator = this.#aggregator;
    if (aggregator)
      changes.set(
        aggregatesKey,
        this.#encodeOther(aggregatesKey, () => aggregator.encode()),
      );
    await state.checkpoint(changes, offset);
    this.#unsaved = false;
    for (const actor of this.#changedActors.values()) actor.changed = false;
    this.#changedActors.clear();
    for (const { held } of this.#changed.values()) held.changed = false;
    this.#changed.clear();
    this.#open.saved();
    this.#idChunks = chunks;
    this.#lastChunk = last;
    this.#newIds = [];
    // Nothing in memory is ahead of the store now: the older generation may go.
    if (this.#actors.size >= this.#options.maxActorsInMemory() / 2) {
      this.#olderActors = this.#actors;
      this.#actors = new Map();
      this.#peers.clear();
    }
    if (this.#peers.size > maxPeersInMemory) this.#peers.clear();
    if (this.#endpoints.size > maxEndpointsInMemory) this.#endpoints.clear();
  }

  /**
   * The chunks of ids that the store holds after this checkpoint, and the ids of the newest; adds to its changes what comes
   * and what goes.
   */
  #nextIdChunks(changes: StateChanges): { chunks: [number, number][]; last: readonly number[] } {
    const chunks = [...this.#idChunks];
    let last = this.#lastChunk;
    if (this.#newIds.length > 0) {
      const isFull = last.length === 0 || last.length >= idsPerChunk;
      const number = (chunks.at(-1)?.[0] ?? 0) + (isFull ? 1 : 0);
      last = isFull ? this.#newIds : [...last, ...this.#newIds];
      if (!isFull) chunks.pop();
      chunks.push([number, last.length]);
      changes.set(idsKey(number), encodeIds(last));
    }
    let kept = chunks.reduce((sum, [, count]) => sum + count, 0);
    while (chunks.length > 1 && kept - chunks[0]![1] >= savedIds) {
      const [number, count] = chunks.shift()!;
      kept -= count;
      changes.set(idsKey(number), null);
    }
    return { chunks, last };
  }

  /** The calls of a batch; a record that is none is reported and left out. */
  #parse(body: Buffer): ApiCall[] {
    const calls: ApiCall[] = [];
    for (const record of recordsOf(body)) {
      const call = readApiCall(record);
      if (typeof call !== 'string') calls.push(call);
      else {
        this.counts.unreadable++;
        this.#options.onUnreadable(record.toString(), call);
      }
    }
    return calls;
  }

  /**
   * Whatever goes wrong with one call must not stop the stream, now or after each restart: the call is set aside. The state that
   * it was being folded into may be half changed, and is begun anew. As folding depends on nothing but the calls and their
   * order, it goes wrong in the same way each time: what comes of the other calls stays the same.
   */
  #foldOne(keyed: KeyedCall, alerts: Alert[]): void {
    const { call, parametersKey } = keyed;
    if (call.startedAt > this.#watermark) this.#watermark = call.startedAt;
    let step: 'actor' | 'endpoint' = 'actor';
    try {
      this.#foldActor(keyed, alerts);
      step = 'endpoint';
      if (parametersKey !== undefined) this.#foldParameters(call, parametersKey, alerts);
      this.counts.folded++;
    } catch (error) {
      this.counts.failed++;
      this.#options.onFailed?.(JSON.stringify(call), `folding it into its ${step}`, error);
      if (step === 'actor') this.#relearnActor(keyed.actorKey, error);
      else this.#relearnEndpoint(parametersKey!, error);
    }
  }

  #foldActor({ call, actorKey: key, peersKey }: KeyedCall, alerts: Alert[]): void {
    const { detection } = this.#options;
    const actor = this.#actors.get(key)!;
    const actorState = actor.state!;
    const peers = this.#peers.get(peersKey)!;
    // Before: a call that cannot be folded may have changed them all the same.
    this.#changeActor(key, actor);
    if (!peers.changed) this.#change(peersKey, peers, () => detection.peers.encode(peers.state));
    const raised: Alert[] = [];
    detection.fold(actorState, peers.state, call, this.#outputTo(raised));
    this.#aggregator?.add(call);
    for (const alert of raised) alerts.push(alert);
    this.#open.set(key, detection.closesAt(actorState));
  }

  #relearnActor(key: string, error: unknown): void {
    const actor = this.#actors.get(key) ?? this.#olderActors.get(key)!;
    actor.state = this.#begunAnew(key, error, this.#options.detection.actors.decode(undefined));
    this.#changeActor(key, actor);
    this.#open.set(key, undefined);
  }

  #relearnEndpoint(key: string, error: unknown): void {
    const endpoint = this.#endpoints.get(key)!;
    endpoint.state = this.#begunAnew(key, error, this.#options.detection.endpoints.decode(undefined));
    this.#changeEndpoint(key, endpoint);
    this.#parameterEpisodesChanged();
    this.#open.set(key, undefined);
  }

  #begunAnew<State>(key: string, error: unknown, state: State): State {
    this.counts.relearnt++;
    this.#options.onRelearn(key, (error as Error).message);
    return state;
  }

  /** Alerts to be published go to `alerts`, others to their endpoint, where they are put together with what other addresses do there. */
  #outputTo(alerts: Alert[]): DetectionOutput {
    const aggregator = this.#aggregator;
    const alert = (one: Alert): void => void alerts.push(one);
    // The endpoint ends its alert by itself.
    const toEndpoint = (one: Alert): void => {
      if (one.status === 'open') aggregator!.addFinding(one);
    };
    return { alert, toEndpoint: aggregator ? toEndpoint : alert };
  }

  #foldParameters(call: ApiCall, key: string, alerts: Alert[]): void {
    const { detection } = this.#options;
    const endpoint = this.#endpoints.get(key)!;
    const episodes = this.#parameterEpisodes;
    detection.foldEndpoint(endpoint.state, episodes.state, call, this.#outputTo(alerts));
    this.#changeEndpoint(key, endpoint);
    this.#open.set(key, detection.endpointReleasesAt(endpoint.state));
    this.#parameterEpisodesChanged();
  }

  #parameterEpisodesChanged(): void {
    const { detection } = this.#options;
    const episodes = this.#parameterEpisodes;
    if (!episodes.changed)
      this.#change(parameterEpisodesKey, episodes, () => detection.endpointEpisodes.encode(episodes.state));
    this.#parametersCloseAt = detection.endpointEpisodesCloseAt(episodes.state) ?? Infinity;
  }

  #changeActor(key: string, held: HeldActor): void {
    if (held.changed) return;
    held.changed = true;
    this.#changedActors.set(key, held);
  }

  #changeEndpoint(key: string, held: Held<ParametersState>): void {
    if (!held.changed) this.#change(key, held, () => this.#options.detection.endpoints.encode(held.state));
  }

  #change(key: string, held: Held<unknown>, encode: () => Buffer | null): void {
    held.changed = true;
    this.#changed.set(key, { held, encode });
  }

  /** Earliest event time at which an episode may end. */
  get #nextClose(): number {
    return Math.min(this.#open.nextMs, this.#parametersCloseAt);
  }

  /** The states that are due must be in memory, and decoded. */
  #close(eventTimeMs: number, alerts: Alert[]): void {
    const { detection } = this.#options;
    for (const key of this.#open.dueBy(eventTimeMs)) {
      if (isEndpointKey(key)) this.#release(key, eventTimeMs, alerts);
      else this.#end(key, (actor, out) => detection.close(actor, eventTimeMs, out), alerts);
    }
    // Last: what was released is part of them.
    if (this.#parametersCloseAt < Infinity) this.#closeParameters(eventTimeMs, alerts);
  }

  /**
   * Too many episodes are open: those that would end first are the quietest, and end now. After a call, and by the number of
   * open episodes alone, so that it depends on the calls and their order only.
   */
  async #closeEarliest(alerts: Alert[]): Promise<void> {
    const { detection, onClosedEarly } = this.#options;
    const keys = this.#open.takeEarliest();
    await this.#loadStates(keys);
    for (const key of keys) {
      if (isEndpointKey(key)) this.#release(key, Infinity, alerts);
      else this.#end(key, (actor, out) => detection.closeEarly(actor, out), alerts);
    }
    this.counts.closedEarly += keys.length;
    onClosedEarly?.(keys.length, this.#maxOpen);
  }

  #end(key: string, close: (actor: ActorState, out: DetectionOutput) => void, alerts: Alert[]): void {
    const actor = this.#actors.get(key)!;
    try {
      close(actor.state!, this.#outputTo(alerts));
      this.#changeActor(key, actor);
      this.#open.set(key, this.#options.detection.closesAt(actor.state!));
    } catch (error) {
      this.#relearnActor(key, error);
    }
  }

  /** Raises what has waited for others on an endpoint until an event time. */
  #release(key: string, eventTimeMs: number, alerts: Alert[]): void {
    const { detection } = this.#options;
    const endpoint = this.#endpoints.get(key)!;
    const episodes = this.#parameterEpisodes.state;
    try {
      detection.releaseEndpoint(endpoint.state, episodes, eventTimeMs, this.#outputTo(alerts));
      this.#changeEndpoint(key, endpoint);
      this.#open.set(key, detection.endpointReleasesAt(endpoint.state));
      this.#parameterEpisodesChanged();
    } catch (error) {
      this.#relearnEndpoint(key, error);
    }
  }

  /** Ends the episodes of abnormal parameters that are over at an event time. */
  #closeParameters(eventTimeMs: number, alerts: Alert[]): void {
    const { detection } = this.#options;
    const episodes = this.#parameterEpisodes;
    try {
      detection.closeEndpointEpisodes(episodes.state, eventTimeMs, this.#outputTo(alerts));
    } catch (error) {
      const none = detection.endpointEpisodes.decode(undefined);
      episodes.state = this.#begunAnew(parameterEpisodesKey, error, none);
    }
    this.#parameterEpisodesChanged();
  }

  /** One round trip for all states that the calls need and memory lacks; those of actors are decoded then. */
  async #load(calls: readonly KeyedCall[]): Promise<void> {
    const { detection, state } = this.#options;
    const actors = new Set<string>();
    const peers = new Set<string>();
    const endpoints = new Set<string>();
    for (const { actorKey, peersKey, parametersKey } of calls) {
      if (this.#actors.get(actorKey)?.state === undefined) actors.add(actorKey);
      if (!this.#peers.has(peersKey)) peers.add(peersKey);
      if (parametersKey !== undefined) endpoints.add(parametersKey);
    }
    if (peers.size > 0) {
      const texts = await state.load([...peers]);
      for (const key of peers) {
        const read = this.#decode(key, (text) => detection.peers.decode(text), texts.get(key));
        this.#peers.set(key, { state: read, changed: false });
      }
    }
    const newest = calls.reduce((latest, { call }) => Math.max(latest, call.startedAt), this.#watermark);
    // Episodes that are due within the batch are of states in it, or open already.
    await this.#loadDue(newest - latenessMs, [...actors, ...endpoints]);
  }

  /** States by their keys, and those whose episode may end by an event time. */
  #loadDue(eventTimeMs: number, keys: readonly string[]): Promise<void> {
    return this.#loadStates([...keys, ...this.#open.dueBy(eventTimeMs)]);
  }

  async #loadStates(keys: readonly string[]): Promise<void> {
    await this.#loadActors(keys.filter((key) => !isEndpointKey(key)));
    await this.#loadEndpoints(keys.filter((key) => isEndpointKey(key)));
  }

  async #loadEndpoints(keys: readonly string[]): Promise<void> {
    const { detection, state } = this.#options;
    const missing = [...new Set(keys)].filter((key) => !this.#endpoints.has(key));
    if (missing.length === 0) return;
    const texts = await state.load(missing);
    for (const key of missing) {
      const read = this.#decode(key, (text) => detection.endpoints.decode(text), texts.get(key));
      this.#endpoints.set(key, { state: read, changed: false });
    }
  }

  async #loadActors(keys: readonly string[]): Promise<void> {
    const { detection, state } = this.#options;
    const decode = (key: string, bytes: Buffer | undefined): ActorState =>
      this.#decode(key, (saved) => detection.actors.decode(saved), bytes);
    const missing = new Set<string>();
    for (const key of keys) {
      const held = this.#actors.get(key) ?? this.#olderActors.get(key);
      if (!held) {
        missing.add(key);
        continue;
      }
      if (this.#olderActors.delete(key)) this.#actors.set(key, held);
      if (held.state !== undefined) continue;
      held.state = decode(key, held.bytes);
      held.bytes = undefined;
    }
    if (missing.size === 0) return;
    const texts = await state.load([...missing]);
    for (const key of missing) {
      const held: HeldActor = { state: decode(key, texts.get(key)), bytes: undefined, changed: false };
      this.#actors.set(key, held);
      this.#firstBatch.push([key, held]);
    }
  }

  /** At the end of a batch. */
  #encodeFirstBatch(): void {
    for (const [key, held] of this.#firstBatch) {
      held.bytes = this.#encodeActor(key, held);
      held.state = undefined;
    }
    this.#firstBatch = [];
  }

  #encodeActor(key: string, held: HeldActor): Buffer {
    const { detection } = this.#options;
    try {
      return detection.actors.encode(held.state!);
    } catch (error) {
      this.#relearnActor(key, error);
      return detection.actors.encode(held.state!);
    }
  }

  /** A state that cannot be saved is forgotten: it must not stop the stream either. */
  #encodeOther(key: string, encode: () => Buffer | null): Buffer | null {
    try {
      return encode();
    } catch (error) {
      const { detection, state } = this.#options;
      this.#peers.delete(key);
      this.#endpoints.delete(key);
      this.#open.set(key, undefined);
      if (key === parameterEpisodesKey) {
        this.#parameterEpisodes.state = detection.endpointEpisodes.decode(undefined);
        this.#parametersCloseAt = Infinity;
      }
      if (key === aggregatesKey) this.#aggregator = new PreAggregator(state.partition);
      return this.#begunAnew(key, error, null);
    }
  }

  /** A state that cannot be read (another version, a damaged store) is begun anew and told: it must not stop the stream. */
  #decode<State>(
    key: string,
    decode: (bytes: Buffer | undefined) => State,
    bytes: Buffer | undefined,
  ): State {
    try {
      return decode(bytes);
    } catch (error) {
      this.counts.relearnt++;
      this.#options.onRelearn(key, (error as Error).message);
      return decode(undefined);
    }
  }
}

function decodeProgress(bytes: Buffer | undefined): Progress {
  if (bytes === undefined) return { watermark: 0, open: [] };
  const progress = JSON.parse(bytes.toString()) as Partial<Progress> | null;
  const { watermark, slots, open, ids = [] } = progress ?? {};
  if (!Number.isFinite(watermark)) throw new Error('it has no number as watermark');
  if (slots !== undefined && !isSlotCount(slots)) throw new Error('its slots are no number of slots');
  if (!Array.isArray(open) || !open.every(isEntry)) throw new Error('it has no entries of open episodes');
  if (!Array.isArray(ids) || !ids.every((chunk) => Array.isArray(chunk) && chunk.every(Number.isInteger)))
    throw new Error('its chunks of ids are no pairs of numbers');
  return { watermark: watermark!, ...(slots === undefined ? {} : { slots }), open, ids };
}

function isEndpointKey(key: string): boolean {
  return key.startsWith('q:');
}

function idsKey(chunk: number): string {
  return `ids:${chunk}`;
}

/** 8 bytes a hash. */
function encodeIds(hashes: readonly number[]): Buffer {
  return Buffer.from(Float64Array.from(hashes).buffer);
}

function decodeIds(bytes: Buffer | undefined): readonly number[] {
  const copy = Uint8Array.from(bytes ?? []);
  return [...new Float64Array(copy.buffer, 0, Math.floor(copy.length / 8))];
}
