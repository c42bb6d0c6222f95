import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Bus } from '@tripline/bus';
import { bytesOf, EqualLines, type Frame, type LineBytes, type Normalised } from '@tripline/kong';
import type { ApiCall } from '@tripline/model';
import type { RoleContext } from '@tripline/runtime';
import { outline, type Sanitizer } from '@tripline/sanitize';
import { add } from './accounting.ts';
import { publishMetrics } from './intake-metrics.ts';
import { Observer } from './observations.ts';
import { Publisher } from './publisher.ts';
import type { Spool } from './spool.ts';

export interface IntakeOptions extends RoleContext {
  bus: Bus;
  /** Turns one line into an API call; `nowMs` is the wall clock. See `createNormaliser`. */
  normalise: (line: LineBytes, nowMs: number, equalLines: EqualLines) => Normalised;
  sanitizer: Sanitizer;
  /** Where API calls wait while the bus takes none; loaded. Left out: they are dropped, or returned to their sender. */
  spool?: Spool;
  /** Memory that accepted lines may take while they wait for bus or spool, in bytes. Default 128 MiB. */
  maxInFlightBytes?: number;
}

/** The fate of lines whose sender waits for an answer. */
export interface Outcome {
  /** False: the good lines could not be kept, and must be sent again. */
  kept: boolean;
  accepted: number;
  /** How many were refused, by reason. */
  rejected: Map<string, number>;
  /** How many were TCP or TLS sessions, which are no API calls and no fault. */
  streamSessions: number;
}

/** Drops are logged at most so often. */
const logDropsEveryMs = 10_000;
/** Lines of a body that are read before the sockets get a turn. */
const linesPerTurn = 200;
/** An outline of a refused line is made of its beginning. */
const maxSampledBytes = 10_000;

/** Takes every line, from whatever port: normalises and sanitises it, counts it and publishes it. */
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
    let loggedAt = 0;
    let unloggedDrops = 0;
    this.publisher = new Publisher({
      bus: options.bus,
      ...(spool ? { spool } : {}),
      maxInFlightBytes: options.maxInFlightBytes ?? 128 * 2 ** 20,
      now,
      onDrop: (reason, lines, problem) => {
        unloggedDrops += lines;
        if (now() - loggedAt < logDropsEveryMs) return;
        logger.error(
          { reason, lines: unloggedDrops, problem },
          `${unloggedDrops} lines were dropped: ${problem}`,
        );
        loggedAt = now();
        unloggedDrops = 0;
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
        add(rejected, result.reason, 1);
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
