import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Bus } from '@tripline/bus';
import { bytesOf, EqualLines, type Frame, type LineBytes, type Normalised } from '@tripline/kong';
import type { ApiCall } from '@tripline/model';
import { Counter, Gauge, type RoleContext } from '@tripline/runtime';
import { outline, type Sanitizer } from '@tripline/sanitize';
import { Observer } from './observations.ts';
import { Publisher } from './publisher.ts';
import type { Spool } from './spool.ts';

export interface IntakeOptions extends RoleContext {
  bus: Bus;
  /** Turns one line into an API call; `nowMs` is the wall clock. See `createNormaliser`. */
  normalise: (line: LineBytes, nowMs: number, equalLines: EqualLines) => Normalised;
  sanitizer: Sanitizer;
  /** Where API calls wait while the bus does not answer; loaded. Left out: lines are then dropped, or their sender told. */
  spool?: Spool;
  /** Memory that accepted lines may take while they wait for bus or spool, in bytes. Default 128 MiB. */
  maxInFlightBytes?: number;
}

/** What became of lines whose sender waits for an answer. */
export interface Outcome {
  /** False: the good lines could not be kept, and must be sent again. */
  kept: boolean;
  accepted: number;
  /** How many were refused, by reason. */
  rejected: Map<string, number>;
  /** How many were TCP or TLS sessions, which are no API calls and no fault. */
  streamSessions: number;
}

const tellEveryMs = 10_000;
const linesPerTurn = 200;
/** How much of a refused line its outline is made of. */
const maxSampledBytes = 10_000;

/** The way of every line, however it came: normalised, sanitised, accounted for, published. */
export class Intake {
  readonly publisher: Publisher;
  readonly observer = new Observer();
  readonly #normalise: IntakeOptions['normalise'];
  readonly #sanitizer: Sanitizer;
  readonly #now: () => number;
  /** tcp-log sends no line twice, so equal lines are different calls, whatever connections they come on. */
  readonly #equalLines = new EqualLines();

  constructor(options: IntakeOptions) {
    const { logger, now, spool } = options;
    this.#normalise = options.normalise;
    this.#sanitizer = options.sanitizer;
    this.#now = now;
    let toldAt = 0;
    let untold = 0;
    this.publisher = new Publisher({
      bus: options.bus,
      ...(spool ? { spool } : {}),
      maxInFlightBytes: options.maxInFlightBytes ?? 128 * 2 ** 20,
      now,
      onDrop: (reason, lines, problem) => {
        untold += lines;
        if (now() - toldAt < tellEveryMs) return;
        logger.error({ reason, lines: untold, problem }, `${untold} lines were dropped: ${problem}`);
        toldAt = now();
        untold = 0;
      },
      onSpooling: (problem) =>
        logger.error(
          { problem },
          `API calls go to the spool ${spool?.dir} until the bus takes them: ${problem}`,
        ),
      onSpoolEmpty: (sinceMs) =>
        logger.info({ seconds: Math.round(sinceMs / 1_000) }, 'everything spooled is on the bus'),
    });
    publishMetrics(options, this.publisher);
  }

  /** Takes a line whose sender does not wait. */
  take(frame: Frame): void {
    const result = this.#read(frame, this.#equalLines);
    if (result.kind === 'accepted') this.publisher.accept(result.call);
    else if (result.kind === 'stream-session') this.publisher.countStreamSession();
    else this.#reject(result.reason, result.detail, frame);
  }

  /** Takes lines whose sender waits; rejects if reading `frames` does. */
  async takeAll(frames: Iterable<Frame>): Promise<Outcome> {
    const calls: ApiCall[] = [];
    const rejected = new Map<string, number>();
    // A batch that Kong sends again has the same numbers in it as the first time, and so the same ids.
    const equalLines = new EqualLines();
    let streamSessions = 0;
    let lines = 0;
    for (const frame of frames) {
      const result = this.#read(frame, equalLines);
      if (result.kind === 'accepted') calls.push(result.call);
      else if (result.kind === 'stream-session') {
        this.publisher.countStreamSession();
        streamSessions++;
      } else {
        this.#reject(result.reason, result.detail, frame);
        rejected.set(result.reason, (rejected.get(result.reason) ?? 0) + 1);
      }
      // A large body must not hold up the sockets.
      if (++lines % linesPerTurn === 0) await nextTurn();
    }
    return { kept: await this.publisher.submit(calls), accepted: calls.length, rejected, streamSessions };
  }

  #read(
    frame: Frame,
    equalLines: EqualLines,
  ): Normalised | { kind: 'rejected'; reason: 'too-long'; detail: string } {
    if (frame.kind === 'too-long') {
      return { kind: 'rejected', reason: 'too-long', detail: 'longer than collector.maxLineBytes' };
    }
    const at = this.#now();
    const result = this.#normalise(frame, at, equalLines);
    if (result.kind === 'accepted') this.observer.saw(result.call, at);
    return result;
  }

  #reject(reason: string, detail: string, frame: Frame): void {
    this.publisher.reject(reason, detail, () => {
      const line = frame.kind === 'too-long' ? frame.beginning : bytesOf(frame);
      return outline(line.subarray(0, maxSampledBytes).toString('utf8'), this.#sanitizer);
    });
  }
}

function publishMetrics(context: RoleContext, publisher: Publisher): void {
  const { accounting } = publisher;
  const registers = [context.metrics];
  const total = (name: string, help: string, read: () => number): void => {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  };
  const byReason = (name: string, help: string, counts: Map<string, number>): void => {
    new Counter({
      name,
      help,
      labelNames: ['reason'],
      registers,
      collect() {
        this.reset();
        for (const [reason, count] of counts) this.inc({ reason }, count);
      },
    });
  };
  const level = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  };
  total('tripline_collector_lines_received_total', 'Lines read, good or bad.', () => accounting.received);
  total(
    'tripline_collector_lines_published_total',
    'Lines on the bus as API calls.',
    () => accounting.published,
  );
  total(
    'tripline_collector_stream_sessions_total',
    'Lines of TCP and TLS sessions (stream routes of Kong), which are no API calls.',
    () => accounting.streamSessions,
  );
  byReason('tripline_collector_lines_rejected_total', 'Lines refused, by reason.', accounting.rejected);
  byReason(
    'tripline_collector_lines_dropped_total',
    'Good lines that were lost, by reason.',
    accounting.dropped,
  );
  total(
    'tripline_collector_lines_returned_total',
    'Good lines that could not be kept and whose sender was told to send them again.',
    () => accounting.returned,
  );
  total(
    'tripline_collector_lines_restored_total',
    'Records that an earlier process had left in the spool.',
    () => accounting.restored,
  );
  total(
    'tripline_collector_lines_spooled_total',
    'Lines that took the way over the spool.',
    () => publisher.spooledTotal,
  );
  level(
    'tripline_collector_spool_records',
    'Records on disk that the bus has not taken yet.',
    () => accounting.spooled,
  );
  level('tripline_collector_spool_bytes', "Size of the spool's files.", () => publisher.spoolBytes);
  level(
    'tripline_collector_lines_in_flight',
    'Accepted lines that wait in memory. received + restored = published + rejected + stream sessions + dropped + returned + spool_records + in flight.',
    () => accounting.inFlight,
  );
  level(
    'tripline_collector_in_flight_bytes',
    'Memory of accepted lines that wait.',
    () => accounting.inFlightBytes,
  );
}
