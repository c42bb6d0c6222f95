import { AggregateFold, aggregateRecords, CallFold } from '@tripline/app-processor';
import { openGeo } from '@tripline/app-collector';
import { bodyOf } from '@tripline/bus';
import { createServedPaths, createTemplateLearner, EqualLines, FrameSplitter } from '@tripline/kong';
import { encodeApiCall, type Alert, type ApiCall } from '@tripline/model';
import { resolvePath, type LoadedConfig } from '@tripline/runtime';
import type { Sanitizer } from '@tripline/sanitize';
import type { StateStore } from '@tripline/state';
import { createConfiguredDetection, createConfiguredNormaliser } from './configured.ts';

/** Lines that are folded at a time. */
const batchLines = 2_000;
const checkpointLines = 200_000;

/** What became of a line. */
export type ReplayedLine =
  { kind: 'accepted'; call: ApiCall } | { kind: 'stream-session' } | { kind: 'rejected'; reason: string };

export interface ReplayPipelineOptions {
  loaded: LoadedConfig;
  sanitizer: Sanitizer;
  state: StateStore;
  /** Gets revisions of alerts, oldest first. */
  write: (alerts: readonly Alert[]) => Promise<void>;
}

type Normalise = ReturnType<typeof createConfiguredNormaliser>;

/** From bytes of log lines to alerts, in one partition, by event time: the collector's normaliser and the processor's detection. */
export class ReplayPipeline {
  readonly #write: ReplayPipelineOptions['write'];
  readonly #normalise: Normalise;
  readonly #splitter: FrameSplitter;
  readonly #equalLines = new EqualLines();
  readonly #calls: CallFold;
  readonly #endpoints: AggregateFold;
  /** Written last: where among the others they would come depends on how many lines are folded at a time. */
  readonly #endpointAlerts: Alert[] = [];
  #gathered: Buffer[] = [];
  #lines = 0;
  #linesSaved = 0;

  private constructor(
    { loaded, write }: ReplayPipelineOptions,
    normalise: Normalise,
    calls: CallFold,
    endpoints: AggregateFold,
  ) {
    this.#write = write;
    this.#normalise = normalise;
    this.#splitter = new FrameSplitter(loaded.config.collector.maxLineBytes);
    this.#calls = calls;
    this.#endpoints = endpoints;
  }

  static async open(options: ReplayPipelineOptions): Promise<ReplayPipeline> {
    const { loaded, sanitizer, state } = options;
    const { cityFile, asnFile } = loaded.config.geo;
    const locate = await openGeo({
      cityFile: cityFile && resolvePath(loaded, cityFile),
      asnFile: asnFile && resolvePath(loaded, asnFile),
    });
    const normalise = createConfiguredNormaliser(loaded.config, {
      sanitizer,
      templates: createTemplateLearner(),
      served: createServedPaths(),
      ...(locate ? { locate } : {}),
    });
    const { detection, endpointDetection } = createConfiguredDetection(loaded.config);
    // The state is this replay's own, so nothing in it can be unreadable.
    const ignored = { onUnreadable: () => undefined, onRelearn: () => undefined };
    const calls = new CallFold({
      ...ignored,
      detection,
      aggregates: endpointDetection.enabled,
      state: await state.claim(0),
      maxActorsInMemory: () => 100_000,
      rememberedIds: 1_000_000,
    });
    const endpoints = new AggregateFold({
      ...ignored,
      detection: endpointDetection,
      state: await state.claim(1),
      sources: 1,
    });
    await calls.open();
    return new ReplayPipeline(options, normalise, calls, endpoints);
  }

  /** Calls that had been seen before. */
  get duplicates(): number {
    return this.#calls.counts.duplicates;
  }

  /** Takes the next bytes; `onLine` hears of each line that they complete. */
  async take(chunk: Buffer, onLine: (line: ReplayedLine) => void): Promise<void> {
    this.#splitter.push(chunk, (frame) => this.#takeLine(frame, onLine));
    if (this.#gathered.length >= batchLines) await this.#foldGathered();
    if (this.#lines - this.#linesSaved < checkpointLines) return;
    this.#linesSaved = this.#lines;
    await this.#calls.checkpoint(this.#lines);
    await this.#endpoints.checkpoint(this.#lines);
  }

  /** The input has ended, and with it every episode that has not. */
  async end(onLine: (line: ReplayedLine) => void): Promise<void> {
    this.#splitter.end((frame) => this.#takeLine(frame, onLine));
    await this.#foldGathered();
    await this.#write(await this.#calls.closeUntil(Number.MAX_SAFE_INTEGER));
    this.#calls.rest();
    await this.#foldEmissions();
    this.#endpointAlerts.push(...(await this.#endpoints.closeUntil(Number.MAX_SAFE_INTEGER)));
    await this.#write(this.#endpointAlerts);
  }

  #takeLine(
    frame: Parameters<Parameters<FrameSplitter['push']>[1]>[0],
    onLine: (line: ReplayedLine) => void,
  ): void {
    this.#lines++;
    if (frame.kind === 'too-long') {
      onLine({ kind: 'rejected', reason: 'too-long' });
      return;
    }
    const result = this.#normalise(frame, Infinity, this.#equalLines);
    if (result.kind === 'accepted') this.#gathered.push(encodeApiCall(result.call));
    onLine(result);
  }

  async #foldGathered(): Promise<void> {
    if (this.#gathered.length === 0) return;
    const body = bodyOf(this.#gathered);
    this.#gathered = [];
    await this.#write(await this.#calls.fold(body));
    await this.#foldEmissions();
  }

  async #foldEmissions(): Promise<void> {
    const records = this.#calls.emissions.flatMap((emission) => aggregateRecords(emission, 1));
    if (records.length === 0) return;
    const alerts = await this.#endpoints.fold(bodyOf(records.map(({ value }) => value)));
    this.#endpointAlerts.push(...alerts);
    this.#calls.emitted();
  }
}
