import { partitionOf, recordsOf, type Bus, type BusRecord } from '@tripline/bus';
import {
  decodeEmission,
  encodeEmission,
  ENDPOINT_WINDOW_MS,
  endpointId,
  MinuteHold,
  type Emission,
  type EndpointDetection,
  type EndpointState,
  type ReadyStep,
} from '@tripline/detection';
import type { Alert } from '@tripline/model';
import type { RoleContext, RunningRole } from '@tripline/runtime';
import type { PartitionState, StateChanges, StateStore } from '@tripline/state';
import { startLanes, type Fold } from './lanes.ts';
import { closedEarlyLog, isEntry, isSlotCount, OpenEpisodes, savedKeys } from './open-episodes.ts';

/**
 * An emission as records: one for every partition, as each must hear how far its source has come, with the parts of the
 * endpoints that belong there.
 */
export function aggregateRecords(emission: Emission, partitions: number): BusRecord[] {
  const records: BusRecord[] = [];
  for (let partition = 0; partition < partitions; partition++) {
    const parts = emission.parts.filter((part) => partitionOf(endpointId(part), partitions) === partition);
    records.push({
      key: `source-${emission.from}`,
      partition,
      value: encodeEmission({ ...emission, parts }),
    });
  }
  return records;
}

export interface AggregateFoldOptions {
  detection: EndpointDetection;
  state: PartitionState;
  /** Partitions of `api-calls`. */
  sources: number;
  /** Wall clock, ms. Without it every source is waited for, however long it takes. */
  now?: () => number;
  /** Endpoints with open episodes, by default 2,000: beyond that the sixteenth of them that would end first is closed early. */
  maxOpenEpisodes?: number;
  onUnreadable: (record: string, problem: string) => void;
  onRelearn: (key: string, problem: string) => void;
  onClosedEarly?: (episodes: number, most: number) => void;
  /** A source that held the others back is not waited for any longer. */
  onPassedOver?: (source: number) => void;
}

interface Held {
  state: EndpointState;
  changed: boolean;
}

/** How late a minute may come and still count: an episode is not ended before minutes of its end can have come. */
const latenessMs = 10 * 60_000;
/** When so many are in memory, they leave it at the next checkpoint. */
const maxEndpointsInMemory = 10_000;

/**
 * A source that says nothing for so long, by the clock, while others wait for it is passed over: its processor cannot go on. A
 * source without calls says so, and one that is behind goes on speaking, so neither is.
 */
const waitMostMs = 10 * 60_000;
/** Endpoints with an open episode: 30 KB each in the store. */
const maxOpenEpisodes = 2_000;

/** Under this key: where the sources stand and which steps are held, and how many keys of open episodes there may be. */
const progressKey = 'progress';

interface Progress {
  /** Of `MinuteHold`, as base64. */
  hold: string;
  /** Slots of `OpenEpisodes`. */
  slots?: number;
  /** The open episodes, as an earlier version wrote them; empty where there are `slots`, for going back to that version. */
  open: [string, number][];
}

/**
 * Folds what the partitions of `api-calls` counted about the endpoints of one partition of `aggregates`, and says which
 * alerts come of it: the same ones in the same order however the sources interleave, and whatever comes again.
 */
export class AggregateFold implements Fold {
  readonly counts = { emissions: 0, unreadable: 0, relearnt: 0, closedEarly: 0, passedOver: 0 };
  readonly #options: AggregateFoldOptions;
  readonly #hold: MinuteHold;
  /** Null: the store has none. */
  readonly #endpoints = new Map<string, Held | null>();
  readonly #open: OpenEpisodes;
  readonly #maxOpen: number;
  #dirty = 0;
  /** By source that others wait for: since when, by the clock. */
  readonly #waitedForSince = new Map<number, number>();

  constructor(options: AggregateFoldOptions) {
    this.#options = options;
    this.#hold = new MinuteHold(options.sources);
    this.#maxOpen = options.maxOpenEpisodes ?? maxOpenEpisodes;
    this.#open = new OpenEpisodes(this.#maxOpen);
  }

  get changedStates(): number {
    return this.#dirty;
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
    const { state, onRelearn } = this.#options;
    const saved = (await state.load([progressKey])).get(progressKey);
    if (saved === undefined) return;
    const progress = this.#restored(progressKey, () => asProgress(JSON.parse(saved.toString())));
    if (!progress) return;
    const { hold, slots, open } = progress;
    const steps = this.#restored(progressKey, () => this.#hold.restore(Buffer.from(hold, 'base64'))) ?? [];
    const held = await state.load(steps.map(stepKey));
    for (const step of steps) {
      const key = stepKey(step);
      const heldBytes = held.get(key);
      if (heldBytes === undefined) {
        onRelearn(key, 'what was held of this minute is gone from the store');
        continue;
      }
      this.#restored(key, () => this.#hold.restoreStep(step, heldBytes));
    }
    if (slots !== undefined) {
      const texts = await state.load(savedKeys(slots));
      this.#open.restore(slots, texts, (key, problem) => {
        this.counts.relearnt++;
        onRelearn(key, problem);
      });
    } else for (const [key, closesAt] of open) this.#open.set(key, closesAt);
  }

  /** What an earlier version or a damaged store left is begun anew, with a word about it: it must not stop the stream. */
  #restored<Value>(key: string, read: () => Value): Value | undefined {
    try {
      return read();
    } catch (error) {
      this.#relearnt(key, (error as Error).message);
      return undefined;
    }
  }

  #relearnt(key: string, problem: string): void {
    this.counts.relearnt++;
    this.#options.onRelearn(key, problem);
  }

  async fold(body: Buffer): Promise<Alert[]> {
    const alerts: Alert[] = [];
    for (const record of recordsOf(body)) {
      let ready: ReadyStep[];
      try {
        const emission = decodeEmission(record, this.#options.sources);
        ready = this.#hold.take(emission);
        this.#waitedForSince.delete(emission.from);
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

  /** One partition that cannot go on must not keep what the others saw from being judged for ever. */
  #passOverSilent(): ReadyStep[] {
    const { now, onPassedOver } = this.#options;
    if (!now) return [];
    const ready: ReadyStep[] = [];
    const waitedFor = this.#hold.waitingFor;
    for (const source of this.#waitedForSince.keys())
      if (!waitedFor.includes(source)) this.#waitedForSince.delete(source);
    for (const source of waitedFor) {
      const since = this.#waitedForSince.get(source) ?? now();
      this.#waitedForSince.set(source, since);
      if (now() - since < waitMostMs) continue;
      ready.push(...this.#hold.passOver(source));
      this.#waitedForSince.delete(source);
      this.counts.passedOver++;
      onPassedOver?.(source);
    }
    return ready;
  }

  /** No source says anything: event time is taken to run on with the clock, so that episodes end. */
  idle(idleMs: number): Promise<Alert[]> {
    return this.closeUntil((this.#hold.judged + 1) * ENDPOINT_WINDOW_MS - latenessMs + idleMs);
  }

  /** Ends the episodes that are over at an event time, in the order in which they do. */
  async closeUntil(eventTimeMs: number): Promise<Alert[]> {
    const alerts: Alert[] = [];
    const due = this.#open.dueBy(eventTimeMs);
    if (due.length > 0)
      await this.#end(due, (state) => this.#options.detection.close(state, eventTimeMs), alerts);
    return alerts;
  }

  /** Too many episodes are open: those that would end first are the quietest, and end now. */
  async #closeEarliest(alerts: Alert[]): Promise<void> {
    const { detection, onClosedEarly } = this.#options;
    const keys = this.#open.takeEarliest();
    await this.#end(keys, (state) => detection.closeEarly(state), alerts);
    this.counts.closedEarly += keys.length;
    onClosedEarly?.(keys.length, this.#maxOpen);
  }

  async #end(
    keys: readonly string[],
    close: (state: EndpointState) => Alert[],
    alerts: Alert[],
  ): Promise<void> {
    await this.#load(keys);
    for (const key of keys) {
      const held = this.#endpoints.get(key);
      if (!held) {
        this.#open.set(key, undefined);
        continue;
      }
      this.#attempt(key, held, () => close(held.state), alerts);
    }
  }

  /**
   * Whatever goes wrong with one endpoint must not stop the others, now or after each restart: its state may be half changed, and
   * is begun anew. It goes wrong in the same way each time, as it depends on the minutes and their order alone.
   */
  #attempt(key: string, held: Held, work: () => Alert[], alerts: Alert[]): void {
    try {
      for (const alert of work()) alerts.push(alert);
    } catch (error) {
      this.#beginAnew(key, held, error);
    }
    this.#changed(key, held);
  }

  #encode(key: string, held: Held): Buffer {
    const { detection } = this.#options;
    try {
      return detection.encode(held.state);
    } catch (error) {
      this.#beginAnew(key, held, error);
      this.#open.set(key, undefined);
      return detection.encode(held.state);
    }
  }

  #beginAnew(key: string, held: Held, error: unknown): void {
    this.counts.relearnt++;
    this.#options.onRelearn(key, (error as Error).message);
    held.state = this.#options.detection.create(held.state);
  }

  async checkpoint(offset: number): Promise<void> {
    const { state } = this.#options;
    const changes: StateChanges = new Map();
    for (const [key, held] of this.#endpoints)
      if (held?.changed === true) changes.set(key, this.#encode(key, held));
    for (const [step, held] of this.#hold.changedSteps()) changes.set(stepKey(step), held);
    const progress: Progress = {
      hold: this.#hold.encode().toString('base64'),
      slots: this.#open.save(changes),
      open: [],
    };
    changes.set(progressKey, Buffer.from(JSON.stringify(progress)));
    await state.checkpoint(changes, offset);
    this.#hold.saved();
    this.#open.saved();
    this.#dirty = 0;
    if (this.#endpoints.size > maxEndpointsInMemory) this.#endpoints.clear();
    else for (const held of this.#endpoints.values()) if (held) held.changed = false;
  }

  async #judge({ step, minutes }: ReadyStep, alerts: Alert[]): Promise<void> {
    const { detection } = this.#options;
    alerts.push(...(await this.closeUntil(step * ENDPOINT_WINDOW_MS)));
    await this.#load(minutes.map((whole) => detection.stateKey(whole)));
    for (const whole of minutes) {
      const key = detection.stateKey(whole);
      let held = this.#endpoints.get(key);
      if (!held) {
        if (!detection.isOfNote(whole)) continue;
        this.#endpoints.set(key, (held = { state: detection.create(whole), changed: false }));
      }
      const { state } = held;
      this.#attempt(key, held, () => detection.judge(state, whole, step), alerts);
      if (this.#open.isTooMany) await this.#closeEarliest(alerts);
    }
  }

  #changed(key: string, held: Held): void {
    if (!held.changed) this.#dirty++;
    held.changed = true;
    this.#open.set(key, this.#options.detection.closesAt(held.state));
  }

  /** One round trip for all states that are needed and that memory lacks. */
  async #load(keys: readonly string[]): Promise<void> {
    const missing = keys.filter((key) => !this.#endpoints.has(key));
    if (missing.length === 0) return;
    const { detection, state } = this.#options;
    const texts = await state.load(missing);
    for (const key of missing) {
      const saved = texts.get(key);
      let held: Held | null = null;
      try {
        const onDropped = (problem: string): void => this.#relearnt(key, problem);
        if (saved) held = { state: detection.decode(saved, onDropped), changed: false };
      } catch (error) {
        this.#relearnt(key, (error as Error).message);
      }
      this.#endpoints.set(key, held);
    }
  }
}

function stepKey(step: number): string {
  return `step:${step}`;
}

function asProgress(value: unknown): Progress {
  const { hold, slots, open } = (value ?? {}) as Partial<Progress>;
  if (typeof hold !== 'string') throw new Error('it does not say where the partitions of api-calls stand');
  if (slots !== undefined && !isSlotCount(slots)) throw new Error('its slots are no number of slots');
  if (!Array.isArray(open) || !open.every(isEntry)) throw new Error('it has no entries of open episodes');
  return { hold, ...(slots === undefined ? {} : { slots }), open };
}

export interface AggregatesOptions extends RoleContext {
  bus: Bus;
  /** A store of its own: its partitions are those of `aggregates`. */
  state: StateStore;
  detection: EndpointDetection;
  /** Longest time between checkpoints while records come, in ms. Default 2,000. */
  checkpointEveryMs?: number;
}

/** The second half of the re-key step: what processors counted per endpoint, to alerts about endpoints. */
export function startAggregates(options: AggregatesOptions): RunningRole {
  const { bus } = options;
  const onClosedEarly = closedEarlyLog(options);
  const lanes = startLanes({
    ...options,
    name: 'aggregates',
    topic: 'aggregates',
    group: 'aggregates',
    checkpointEveryMs: options.checkpointEveryMs ?? 2_000,
    createFold: ({ state, onUnreadable, onRelearn }) =>
      new AggregateFold({
        detection: options.detection,
        state,
        sources: bus.partitions,
        onUnreadable,
        onRelearn,
        onClosedEarly,
        now: options.now,
        onPassedOver: (source) =>
          options.logger.warn(
            { partition: source, waitedMs: waitMostMs },
            'a partition of api-calls is silent while others go on: endpoints are judged without it until it speaks again',
          ),
      }),
    describe: (folds) => {
      const waiting = [...new Set(folds.flatMap((fold) => fold.hold.waitingFor))].sort((a, b) => a - b);
      const minutes = folds.reduce((sum, fold) => sum + fold.hold.held, 0);
      return `${minutes} minutes of endpoints held${waiting.length > 0 ? ` for partitions ${waiting.join(', ')} of api-calls` : ''}`;
    },
  });
  const { counter, gauge } = lanes;
  counter('emissions_total', 'Emissions of processors taken.', (fold) => fold.counts.emissions);
  counter('repeats_total', 'Emissions that came again.', (fold) => fold.hold.repeats);
  counter('unreadable_total', 'Records that are no emissions.', (fold) => fold.counts.unreadable);
  counter('relearnt_total', 'States begun anew.', (fold) => fold.counts.relearnt);
  counter(
    'closed_early_total',
    'Endpoints of which episodes were closed before their time, as too many were open.',
    (fold) => fold.counts.closedEarly,
  );
  counter(
    'dropped_parts_total',
    'Parts of minutes that were dropped, as this version does not know their detector or their version.',
    (fold) => fold.hold.droppedParts,
  );
  counter(
    'forced_total',
    'Minutes of endpoints judged before all partitions of api-calls had come so far.',
    (fold) => fold.hold.forced,
  );
  counter(
    'passed_over_total',
    'Times that a partition of api-calls was silent for so long that it was no longer waited for.',
    (fold) => fold.counts.passedOver,
  );
  gauge('held_minutes', 'Minutes of endpoints that wait for other partitions.', (folds) =>
    folds.reduce((sum, fold) => sum + fold.hold.held, 0),
  );
  gauge('open_episodes', 'Alerts still growing.', (folds) =>
    folds.reduce((sum, fold) => sum + fold.openEpisodes, 0),
  );
  return lanes;
}
