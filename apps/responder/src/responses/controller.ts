import type { Bus } from '@tripline/bus';
import type { KongAdmin } from '@tripline/kong';
import type { Response } from '@tripline/model';
import { actions as allActions, type ActionRegistry } from '@tripline/policy';
import { backoffMs, createSerialQueue, type RoleContext } from '@tripline/runtime';
import { FencedError } from '@tripline/state';
import type { PolicySource } from '../policy-file.ts';
import type { RoleState } from '../role-state.ts';
import { Admission, defaultLimits, type ControllerLimits } from './admission.ts';
import { defaultRetention, ResponseBook, type ResponseRetention } from './book.ts';
import { Decider, type AlertBatch } from './decider.ts';
import { isEnding } from './entry.ts';
import { createResponseMetrics } from './metrics.ts';
import { Reconciler } from './reconciler.ts';

/** Kong is compared in full this often. */
const fullCompareMs = 30_000;

const noKong = 'no Kong Admin API is configured, so nobody can be blocked or limited';

export interface ControllerOptions extends RoleContext {
  bus: Pick<Bus, 'publish'>;
  state: RoleState;
  /** Undefined: no Kong is configured. */
  admin: KongAdmin | undefined;
  policies: PolicySource;
  random: () => number;
  limits?: Partial<ControllerLimits>;
  retention?: Partial<ResponseRetention>;
  /** Default: all of packages/policy. */
  actions?: ActionRegistry;
  /** Called when there is something to do now. */
  wake: () => void;
}

export class UnknownResponseError extends Error {
  override name = 'UnknownResponseError';
}

/**
 * Keeps Kong's plugins in line with the policies' decisions, as a controller of Kubernetes does: each pass compares what
 * should be there (the live responses) with what is there (Kong's plugins with our tags), and makes the difference. Nothing
 * depends on having seen an event, so whatever goes wrong between two steps is found by a later pass.
 *
 * The order of effects, and what a crash behind each leaves:
 * 1. decide, in memory: the batch comes again and is decided again, with the same ids.
 * 2. save the new responses (`pending`) with the position on `alerts`, in one step: they are in the state, and the first
 *    pass after the start puts them in force. From here on a response is decided; policies are not asked again.
 * 3. put the plugin into Kong: its uuid follows from target and plugin name, and a pass begins by reading what is there, so
 *    a plugin written before the crash is found, not written twice. A response that was never saved leaves a plugin that
 *    belongs to no response: it carries our tag and is removed.
 * 4. save the new status: found again by the pass after the start.
 * 5. publish to `responses`: unpublished states are part of what is saved, and are published after the start. A crash
 *    between publishing and noting it repeats the record, whose id and revision make it harmless.
 *
 * One controller per Kong: it removes what carries our tags and belongs to no response that it knows. So a response that
 * cannot be read any more (another version wrote it) leaves nothing behind: its plugin is removed by the first pass. If its
 * alert goes on, it is decided anew under the same id; the plugin has the same uuid as before, so it is never there twice.
 */
export class Controller {
  readonly #options: ControllerOptions;
  readonly #book: ResponseBook;
  readonly #admission: Admission;
  readonly #decider: Decider;
  /** Undefined: no Kong is configured. */
  readonly #reconciler: Reconciler | undefined;
  readonly #retention: ResponseRetention;

  readonly #oneBatch = createSerialQueue();
  readonly #onePass = createSerialQueue();
  #nextFullAt = -Infinity;
  #retryAt = Infinity;
  #failedPasses = 0;
  #lastPassAt = -Infinity;
  #progressAt: number;
  #kongProblem: string | null = null;
  #hasPassedWithoutKong = false;

  constructor(options: ControllerOptions) {
    this.#options = options;
    const { admin, logger, now, actions = allActions } = options;
    const limits = { ...defaultLimits, ...options.limits };
    this.#retention = { ...defaultRetention, ...options.retention };
    this.#book = new ResponseBook({
      ...options,
      actions,
      retention: this.#retention,
      responseMetrics: (responses) => createResponseMetrics(options.metrics, responses),
    });
    const book = this.#book;
    this.#admission = new Admission(book, limits, this.#retention.dryRunsMax, logger);
    this.#decider = new Decider({
      ...options,
      ...{ book, actions, admission: this.#admission, alertAgeMaxMs: limits.alertAgeMaxMs },
    });
    this.#progressAt = now();
    const onProgress = (): void => {
      this.#progressAt = now();
    };
    this.#reconciler =
      admin && new Reconciler({ ...options, ...{ admin, book, actions, fullCompareMs, onProgress } });
  }

  /** Decides a batch of alerts and saves that with the position behind it. Rejects if it could not be saved. */
  decide(batch: AlertBatch): Promise<void> {
    return this.#oneBatch(async () => {
      const decided = await this.#decider.decide(batch);
      for (const entry of decided) if (entry.response.status === 'dry-run') this.#reconciler?.predict(entry);
      if (decided.length > 0) this.#options.wake();
    });
  }

  /** Brings the plugins in Kong to the desired state, as far as Kong answers. Never rejects. */
  pass(): Promise<void> {
    return this.#onePass(() => this.#pass());
  }

  async #pass(): Promise<void> {
    const { now, random } = this.#options;
    const nowMs = now();
    this.#lastPassAt = nowMs;
    const full = nowMs >= this.#nextFullAt;
    // What was decided is published now, however long Kong takes to answer.
    const published = this.#book.flush();
    const failed = this.#reconciler ? await this.#reconciler.pass(full, nowMs) : this.#passWithoutKong(nowMs);
    this.#kongProblem = failed;
    if (failed === null) {
      this.#failedPasses = 0;
      this.#retryAt = Infinity;
      if (full) this.#nextFullAt = nowMs + fullCompareMs;
    } else {
      const limits = { firstMs: 1_000, maxMs: fullCompareMs, random };
      this.#retryAt = now() + backoffMs(++this.#failedPasses, limits);
    }
    this.#book.forgetOld(nowMs);
    await published;
    if (!(await this.#book.flush())) this.#retryAt = Math.min(this.#retryAt, now() + 5_000);
    this.#progressAt = now();
  }

  #passWithoutKong(nowMs: number): null {
    for (const entry of this.#book.live()) {
      if (entry.response.status === 'pending') this.#book.markImpossible([entry], noKong);
      else if (isEnding(entry, nowMs)) this.#book.noteFailure(entry, noKong);
    }
    this.#hasPassedWithoutKong = true;
    return null;
  }

  /** Ms until the next pass is due. */
  dueInMs(): number {
    const ends = this.#book.live().map(({ response }) => response.expiresAt ?? Infinity);
    const nextEnd = Math.min(Infinity, ...ends.filter((at) => at > this.#lastPassAt));
    const dueAt = Math.min(this.#retryAt, this.#failedPasses > 0 ? Infinity : this.#nextFullAt, nextEnd);
    return Math.max(0, Math.min(dueAt - this.#options.now(), fullCompareMs));
  }

  /**
   * Ends a response before its time, for good: the same alert does not start it again. Resolves when that was tried once;
   * `status` is `lifted` as soon as Kong confirmed. It is saved first; where the state cannot be saved, the response is
   * lifted all the same, and saved as soon as that works. Rejects with `UnknownResponseError`.
   */
  async lift(id: string): Promise<Response> {
    const { logger } = this.#options;
    const entry = this.#book.findLive(id);
    if (!entry) {
      const ended = this.#book.findEnded(id);
      if (ended) return ended.response;
      const days = Math.round(this.#retention.endedMs / 86_400_000);
      throw new UnknownResponseError(
        `There is no response ${id} (it may have ended more than ${days} days ago). See \`tripline responses list\`.`,
      );
    }
    try {
      await this.#book.saveLifting(entry);
    } catch (error) {
      if (error instanceof FencedError) throw error;
      // A full disk must not keep a block in force. The next pass saves it; a crash before that makes the block come back.
      logger.error({ response: id, err: error as Error }, 'that the response is lifted cannot be saved yet');
    }
    logger.info({ response: id, target: entry.response.target }, 'the response is lifted on request');
    await this.pass();
    return entry.response;
  }

  /** All responses that are in force, on their way, or ended not long ago. */
  responses(): Response[] {
    return this.#book.responses();
  }

  /** What keeps the controller from its work, in words; null if nothing does. */
  problem(): string | null {
    return this.#book.problem ?? this.#kongProblem;
  }

  /** What people should know although the work goes on; null if there is nothing. */
  notice(): string | null {
    const refused = this.#admission.notice(this.#options.now());
    if (refused !== null) return refused;
    return this.#reconciler ? this.#reconciler.notice : noKong;
  }

  /** True after Kong was compared in full for the first time. */
  compared(): boolean {
    return this.#reconciler?.hasCompared ?? this.#hasPassedWithoutKong;
  }

  /** When something was last done, or found to be nothing to do; wall clock, ms. */
  progressAt(): number {
    return this.#progressAt;
  }
}
