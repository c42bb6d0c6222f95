import { recordsOf } from '@tripline/bus';
import {
  decodeEmission,
  ENDPOINT_WINDOW_MS,
  MinuteHold,
  type EndpointDetection,
  type EndpointState,
  type ReadyStep,
} from '@tripline/detection';
import type { Alert } from '@tripline/model';
import type { PartitionState, StateChanges } from '@tripline/state';
import type { OnUnreadable } from './call-reader.ts';
import { isSlotCount, OpenEpisodes, savedKeys } from './open-episodes.ts';
import type { Fold } from './partition-worker.ts';
import { SilentSources } from './silent-sources.ts';
import { loadMissing, StateCache, type CachedState } from './state-cache.ts';

export interface AggregateFoldOptions {
  detection: EndpointDetection;
  state: PartitionState;
  /** Partitions of `api-calls`. */
  sources: number;
  /** Wall clock, ms. Without it every source is waited for, however long it takes. */
  now?: () => number;
  /** Endpoints with open episodes, by default 2,000: beyond that the sixteenth of them that would end first is closed early. */
  maxOpenEpisodes?: number;
  onUnreadable: OnUnreadable;
  onRelearn: (key: string, problem: string) => void;
  onClosedEarly?: (episodes: number, maxOpenEpisodes: number) => void;
  /** A source that held the others back is not waited for any longer. */
  onPassedOver?: (source: number) => void;
}

/** How late a minute may come and still count: an episode is not ended before minutes of its end can have come. */
const latenessMs = 10 * 60_000;
const maxEndpointsInMemory = 10_000;
/** Endpoints with an open episode: 30 KB each in the store. */
const defaultMaxOpenEpisodes = 2_000;

/** The value under `progressKey`, as JSON. */
interface Progress {
  /** Where the sources stand, and which steps are held: the bytes of `MinuteHold` as base64. */
  hold: string;
  /** Slots of `OpenEpisodes`. */
  slots: number;
}
const progressKey = 'progress';

/**
 * Folds what the partitions of `api-calls` counted about the endpoints of one partition of `aggregates`, and says which alerts come of
 * it: the same ones in the same order however the sources interleave, and whatever comes again.
 */
export class AggregateFold implements Fold {
  readonly counts = { emissions: 0, unreadable: 0, relearnt: 0, closedEarly: 0, passedOver: 0 };
  readonly #options: AggregateFoldOptions;
  readonly #hold: MinuteHold;
  readonly #silent: SilentSources | undefined;
  /** null: the endpoint has no state. */
  readonly #endpoints: StateCache<EndpointState | null>;
  readonly #open: OpenEpisodes;
  readonly #maxOpenEpisodes: number;

  constructor(options: AggregateFoldOptions) {
    const { detection, now, sources, maxOpenEpisodes = defaultMaxOpenEpisodes } = options;
    this.#options = options;
    this.#hold = new MinuteHold(sources);
    if (now) this.#silent = new SilentSources(now);
    this.#endpoints = new StateCache({
      kind: {
        decode: (bytes) =>
          bytes === undefined
            ? null
            : detection.decode(bytes, (problem) => this.#relearnt('part of an endpoint', problem)),
        encode: (state) => state && detection.encode(state),
      },
      maxStates: () => maxEndpointsInMemory,
      beginAnew: (broken) => broken && detection.create(broken),
      onRelearn: (key, problem) => this.#relearnt(key, problem),
    });
    this.#maxOpenEpisodes = maxOpenEpisodes;
    this.#open = new OpenEpisodes(maxOpenEpisodes);
  }

  get changedStates(): number {
    return this.#endpoints.changedStates;
  }

  /** Nothing of this fold changes without records but episodes that end, and those end again after a restart. */
  get unsaved(): boolean {
    return false;
  }

  get hold(): Pick<MinuteHold, 'held' | 'repeats' | 'forced' | 'droppedParts' | 'waitingFor' | 'judged'> {
    return this.#hold;
  }

  get openEpisodes(): number {
    return this.#open.size;
  }

  async open(): Promise<void> {
    const { state } = this.#options;
    const saved = (await state.load([progressKey])).get(progressKey);
    const progress = saved && this.#read(progressKey, () => asProgress(JSON.parse(saved.toString())));
    if (!progress) return;
    const { hold, slots } = progress;
    const steps = this.#read(progressKey, () => this.#hold.restore(Buffer.from(hold, 'base64'))) ?? [];
    const values = await state.load([...steps.map(stepKey), ...savedKeys(slots)]);
    this.#restoreSteps(steps, values);
    this.#open.restore(slots, values, (key, problem) => this.#relearnt(key, problem));
  }

  async fold(body: Buffer): Promise<Alert[]> {
    const alerts: Alert[] = [];
    for (const record of recordsOf(body)) {
      let ready: ReadyStep[];
      try {
        const emission = decodeEmission(record, this.#options.sources);
        ready = this.#hold.take(emission);
        this.#silent?.heard(emission.from);
      } catch (error) {
        this.counts.unreadable++;
        this.#options.onUnreadable(record.toString('latin1'), (error as Error).message);
        continue;
      }
      this.counts.emissions++;
      for (const step of [...ready, ...this.#passOverSilent()]) await this.#judge(step, alerts);
    }
    return alerts;
  }

  /** No source says anything: event time is taken to run on with the clock, so that episodes end. */
  idle(idleMs: number): Promise<Alert[]> {
    return this.closeUntil((this.#hold.judged + 1) * ENDPOINT_WINDOW_MS - latenessMs + idleMs);
  }

  /** Ends the episodes that are over at an event time, in the order in which they do. */
  async closeUntil(eventTimeMs: number): Promise<Alert[]> {
    const alerts: Alert[] = [];
    const { detection } = this.#options;
    const close = (state: EndpointState): Alert[] => detection.close(state, eventTimeMs);
    await this.#closeAll(this.#open.dueBy(eventTimeMs), close, alerts);
    return alerts;
  }

  async checkpoint(offset: number): Promise<void> {
    const changes: StateChanges = new Map();
    this.#endpoints.save(changes);
    for (const [step, held] of this.#hold.changedSteps()) changes.set(stepKey(step), held);
    const progress: Progress = {
      hold: this.#hold.encode().toString('base64'),
      slots: this.#open.save(changes),
    };
    changes.set(progressKey, Buffer.from(JSON.stringify(progress)));
    await this.#options.state.checkpoint(changes, offset);
    this.#endpoints.saved();
    this.#hold.saved();
    this.#open.saved();
  }

  /** Steps that need not be held any longer for sources that say nothing. */
  #passOverSilent(): ReadyStep[] {
    const ready: ReadyStep[] = [];
    for (const source of this.#silent?.tooLong(this.#hold.waitingFor) ?? []) {
      ready.push(...this.#hold.passOver(source));
      this.counts.passedOver++;
      this.#options.onPassedOver?.(source);
    }
    return ready;
  }

  /** Judges the minutes of a step, after what ended before it. */
  async #judge({ step, minutes }: ReadyStep, alerts: Alert[]): Promise<void> {
    const { detection } = this.#options;
    alerts.push(...(await this.closeUntil(step * ENDPOINT_WINDOW_MS)));
    await this.#load(minutes.map((whole) => detection.stateKey(whole)));
    for (const whole of minutes) {
      const endpoint = this.#endpoints.want(detection.stateKey(whole));
      if (endpoint.state === null) {
        if (!detection.isOfNote(whole)) continue;
        endpoint.state = detection.create(whole);
      }
      this.#attempt(endpoint, (state) => detection.judge(state, whole, step), alerts);
      if (this.#open.isTooMany) await this.#closeEarliest(alerts);
    }
  }

  /** Too many episodes are open: those that would end first are the quietest, and end now. */
  async #closeEarliest(alerts: Alert[]): Promise<void> {
    const { detection, onClosedEarly } = this.#options;
    const keys = this.#open.takeEarliest();
    await this.#closeAll(keys, (state) => detection.closeEarly(state), alerts);
    this.counts.closedEarly += keys.length;
    onClosedEarly?.(keys.length, this.#maxOpenEpisodes);
  }

  async #closeAll(
    keys: readonly string[],
    close: (state: EndpointState) => Alert[],
    alerts: Alert[],
  ): Promise<void> {
    await this.#load(keys);
    for (const key of keys) {
      const endpoint = this.#endpoints.want(key);
      if (endpoint.state === null) this.#open.set(key, undefined);
      else this.#attempt(endpoint, close, alerts);
    }
  }

  /**
   * Whatever goes wrong with one endpoint must not stop the others, now or after each restart: its state may be half changed, and is
   * begun anew. It goes wrong in the same way each time, as it depends on the minutes and their order alone.
   */
  #attempt(
    endpoint: CachedState<EndpointState | null>,
    change: (state: EndpointState) => Alert[],
    alerts: Alert[],
  ): void {
    this.#endpoints.willChange(endpoint);
    try {
      for (const alert of change(endpoint.state!)) alerts.push(alert);
    } catch (error) {
      this.#endpoints.relearn(endpoint, error);
    }
    this.#open.set(endpoint.key, this.#options.detection.closesAt(endpoint.state!));
  }

  #load(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#endpoints.want(key);
    return loadMissing([this.#endpoints], (missing) => this.#options.state.load(missing));
  }

  #restoreSteps(steps: readonly number[], values: ReadonlyMap<string, Buffer>): void {
    for (const step of steps) {
      const key = stepKey(step);
      const saved = values.get(key);
      if (saved === undefined) {
        this.#options.onRelearn(key, 'what was held of this minute is gone from the store');
        continue;
      }
      this.#read(key, () => this.#hold.restoreStep(step, saved));
    }
  }

  /** What another version or a damaged store left is begun anew, and reported: it must not stop the stream. */
  #read<Value>(key: string, read: () => Value): Value | undefined {
    try {
      return read();
    } catch (error) {
      this.#relearnt(key, (error as Error).message);
      return undefined;
    }
  }

  #relearnt(key: string, problem: string): void {
    this.counts.relearnt++;
    this.#open.set(key, undefined);
    this.#options.onRelearn(key, problem);
  }
}

function stepKey(step: number): string {
  return `step:${step}`;
}

function asProgress(value: unknown): Progress {
  const { hold, slots } = (value ?? {}) as Partial<Progress>;
  if (typeof hold !== 'string') throw new Error('it does not say where the partitions of api-calls stand');
  if (!isSlotCount(slots)) throw new Error('its slots are no number of slots');
  return { hold, slots };
}
