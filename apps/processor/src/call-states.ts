import {
  PreAggregator,
  type ActorState,
  type Detection,
  type EndpointEpisodes,
  type EndpointProfileState,
  type PeersState,
} from '@tripline/detection';
import type { ApiCall } from '@tripline/model';
import type { PartitionState, StateChanges } from '@tripline/state';
import { loadMissing, StateCache, type CachedState } from './state-cache.ts';

/** Under this key: what is being counted per endpoint, and what of it was not sent on yet. */
const aggregatorKey = 'aggregates';
/** Under this key: the open episodes of all endpoints of the partition. */
const endpointEpisodesKey = 'parameter-episodes';
/** Services are few. */
const maxPeersInMemory = 1_000;
/** Endpoints are few, and their states large. */
const maxEndpointsInMemory = 1_000;

/** The states that a call is folded into. */
export interface StatesOfCall {
  actor: CachedState<ActorState>;
  /** Of the actors of the call's service. */
  peers: CachedState<PeersState>;
  /** undefined if no detector looks at the call's endpoint. */
  endpoint: CachedState<EndpointProfileState> | undefined;
}

export interface CallStatesOptions {
  detection: Detection;
  state: PartitionState;
  /** Whether calls are counted per endpoint besides. */
  aggregates: boolean;
  /** How many actors are kept in memory. Asked at each checkpoint. */
  maxActorsInMemory: () => number;
  onRelearn: (key: string, problem: string) => void;
}

/** All kinds of state that the calls of one partition are folded into. */
export class CallStates {
  readonly actors: StateCache<ActorState>;
  readonly peers: StateCache<PeersState>;
  readonly endpoints: StateCache<EndpointProfileState>;
  /** The one state of its kind, always in memory. */
  readonly endpointEpisodes: CachedState<EndpointEpisodes>;
  readonly #episodes: StateCache<EndpointEpisodes>;
  /** Likewise; its state is null if calls are not counted per endpoint. */
  readonly #aggregator: CachedState<PreAggregator | null>;
  readonly #aggregators: StateCache<PreAggregator | null>;
  readonly #detection: Detection;
  readonly #state: PartitionState;

  constructor({ detection, state, aggregates, maxActorsInMemory, onRelearn }: CallStatesOptions) {
    this.#detection = detection;
    this.#state = state;
    this.actors = new StateCache({
      kind: detection.actors,
      maxStates: maxActorsInMemory,
      encodesAfterFirstBatch: true,
      onRelearn,
    });
    this.peers = new StateCache({ kind: detection.peers, maxStates: () => maxPeersInMemory, onRelearn });
    this.endpoints = new StateCache({
      kind: detection.endpoints,
      maxStates: () => maxEndpointsInMemory,
      onRelearn,
    });
    this.#episodes = new StateCache({
      kind: detection.endpointEpisodes,
      maxStates: () => Infinity,
      onRelearn,
    });
    this.#aggregators = new StateCache({
      kind: {
        decode: (bytes) => (aggregates ? new PreAggregator(state.partition, bytes) : null),
        encode: (aggregator) => aggregator && aggregator.encode(),
      },
      maxStates: () => Infinity,
      onRelearn,
    });
    this.endpointEpisodes = this.#episodes.want(endpointEpisodesKey);
    this.#aggregator = this.#aggregators.want(aggregatorKey);
  }

  get aggregator(): PreAggregator | undefined {
    return this.#aggregator.state ?? undefined;
  }

  /** States that the next checkpoint saves. */
  get changedStates(): number {
    return this.actors.changedStates + this.peers.changedStates + this.endpoints.changedStates;
  }

  /** Loads what is always in memory. */
  open(): Promise<void> {
    return this.#load();
  }

  /** The states of each call, and those under further keys, in one round trip. */
  async load(calls: readonly ApiCall[], furtherKeys: readonly string[]): Promise<StatesOfCall[]> {
    const states = calls.map((call) => {
      const { actor, peers, endpoint } = this.#detection.keysOf(call);
      return {
        actor: this.actors.want(actor),
        peers: this.peers.want(peers),
        endpoint: endpoint === undefined ? undefined : this.endpoints.want(endpoint),
      };
    });
    for (const key of furtherKeys) (isActorKey(key) ? this.actors : this.endpoints).want(key);
    await this.#load();
    return states;
  }

  willChangeEndpointEpisodes(): void {
    this.#episodes.willChange(this.endpointEpisodes);
  }

  relearnEndpointEpisodes(error: unknown): void {
    this.#episodes.relearn(this.endpointEpisodes, error);
  }

  willChangeAggregator(): void {
    if (this.#aggregator.state) this.#aggregators.willChange(this.#aggregator);
  }

  /** No state of the batch that was loaded last is used any more. */
  endBatch(): void {
    this.actors.endBatch();
  }

  /** Adds what changed to a checkpoint. */
  save(changes: StateChanges): void {
    this.actors.save(changes);
    this.peers.save(changes);
    this.endpoints.save(changes);
    this.#episodes.save(changes);
    this.#aggregators.save(changes);
  }

  /** The checkpoint was made. */
  saved(): void {
    this.actors.saved();
    this.peers.saved();
    this.endpoints.saved();
    this.#episodes.saved();
    this.#aggregators.saved();
  }

  #load(): Promise<void> {
    const caches = [this.actors, this.peers, this.endpoints, this.#episodes, this.#aggregators];
    return loadMissing(caches, (keys) => this.#state.load(keys));
  }
}

/** Keys of actors begin with `a:`, those of endpoints with `q:`. */
export function isActorKey(key: string): boolean {
  return key.startsWith('a:');
}
