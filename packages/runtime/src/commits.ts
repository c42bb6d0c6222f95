import { statfsSync } from 'node:fs';
import { Backoff } from './backoff.ts';
import { resultWithin } from './deadline.ts';

/** Thrown when LMDB could not commit. Nothing of the transaction was written. */
export class CommitFailedError extends Error {
  override name = 'CommitFailedError';
  /** True if there is no room, false if the disk fails in another way. */
  readonly diskFull: boolean;

  constructor(message: string, diskFull: boolean, cause: unknown) {
    super(message, { cause });
    this.diskFull = diskFull;
  }
}

/** The part of LMDB's root database that is used here. It must be opened with `eventTurnBatching: false`. */
interface Lmdb {
  batch(work: () => void): Promise<unknown>;
  readonly flushed: PromiseLike<unknown>;
  close(): Promise<void>;
}

export interface CommitsOptions {
  lmdb: Lmdb;
  /** Directory of the files. */
  path: string;
  /** Name of the data for messages: `the bus`. */
  what: string;
  onLog?: (level: 'info' | 'error', message: string, detail?: Record<string, unknown>) => void;
}

interface Failure {
  error: CommitFailedError;
  /** When it last happened, by the monotonic clock in ms. */
  failedAt: number;
  /** Free bytes of the disk then. */
  freeBytes: number;
  /** The next attempt is made at this time (monotonic clock, ms), or as soon as the disk has room. */
  nextAttemptAt: number;
}

const retryLimits = { firstMs: 1_000, maxMs: 10_000 };
/**
 * A commit is attempted only with so many bytes free, and twice what it writes. A write for which LMDB (3.5) finds no room
 * overruns the buffer of its error message, which can hang or end the process, so LMDB must not get that far on a full disk.
 */
const roomBytes = 2 ** 20;
/** A commit that succeeds so long after the last failure shows that the disk works, also without more room. */
const calmMs = 10_000;
/** LMDB gives the reason of a failed commit after the failure, usually at once. */
const reasonWithinMs = 1_000;
const flushWithinMs = 5_000;
/** ENOSPC, EDQUOT and EFBIG of Linux and macOS, and LMDB's own MDB_MAP_FULL. */
const fullCodes = [28, 122, 69, 27, -30792];

/**
 * Transactions of one LMDB environment. A failed one rejects its caller and nobody else, and leaves the environment usable:
 * the next one succeeds once the disk has room again. (LMDB reports a full disk as an I/O error where it could write a part.)
 *
 * Free space is checked before LMDB is called. While commits fail for another reason, one attempt is made every 1 to 10 s and
 * all others are refused without one, because LMDB prints a stack for each failure.
 */
export class Commits {
  readonly #options: CommitsOptions;
  readonly #backoff = new Backoff(retryLimits);
  #failure: Failure | undefined;

  constructor(options: CommitsOptions) {
    this.#options = options;
  }

  /**
   * Commits all writes that `work` makes, or none of them; rejects with a `CommitFailedError`. `bytes` is about what it
   * writes.
   */
  async run(work: () => void, bytes = 0): Promise<void> {
    const failing = this.#failure;
    if (failing && performance.now() < failing.nextAttemptAt && !this.#gotRoom(failing)) throw failing.error;
    const free = freeBytesOf(this.#options.path);
    if (free < roomBytes + 2 * bytes)
      throw this.#failed(
        new Error(`${free} bytes are free; needed for this: ${roomBytes + 2 * bytes}`),
        true,
      );
    try {
      await this.#options.lmdb.batch(work);
    } catch (error) {
      throw this.#failed(await reasonOf(error));
    }
    if (!this.#failure) return;
    // On a full disk small commits still succeed, in pages that others have freed, between larger ones that fail.
    const { failedAt } = this.#failure;
    this.#failure.nextAttemptAt = -Infinity;
    if (performance.now() - failedAt < calmMs && !this.#gotRoom(this.#failure)) return;
    this.#failure = undefined;
    this.#backoff.succeeded();
    this.#options.onLog?.('info', `${this.#options.what} can be written again`);
  }

  /** Why nothing can be written at the moment, in words; null if no problem is known. */
  problem(): string | null {
    const failing = this.#failure;
    return failing && !this.#gotRoom(failing) ? failing.error.message : null;
  }

  /** Flushes to the disk and closes. */
  async close(): Promise<void> {
    const { lmdb } = this.#options;
    // After a failed commit LMDB waits for a flush that comes only with the next commit; one without writes always succeeds.
    if (this.#failure) await lmdb.batch(() => undefined).catch(reasonOf);
    await resultWithin(flushWithinMs, lmdb.flushed);
    await resultWithin(flushWithinMs, lmdb.close());
  }

  #failed(reason: Error & { code?: number }, isFull = false): CommitFailedError {
    const { path, what, onLog } = this.#options;
    const freeBytes = freeBytesOf(path);
    const diskFull = isFull || fullCodes.includes(reason.code ?? 0) || freeBytes < roomBytes;
    const message = diskFull
      ? `the disk of ${path} is full, so ${what} cannot be written: free some space, and it goes on by itself`
      : `${what} in ${path} cannot be written: ${reason.message}`;
    const error = new CommitFailedError(message, diskFull, reason);
    if (this.#failure?.error.message !== message) onLog?.('error', message, { err: reason, freeBytes });
    const failedAt = performance.now();
    this.#failure = { error, failedAt, freeBytes, nextAttemptAt: failedAt + this.#backoff.failed() };
    return error;
  }

  #gotRoom({ error, freeBytes }: Failure): boolean {
    return error.diskFull && freeBytesOf(this.#options.path) >= freeBytes + roomBytes;
  }
}

/** The reason of a failed commit. It comes as a promise, which would reject unhandled if nobody waited for it. */
async function reasonOf(error: unknown): Promise<Error> {
  const { commitError } = error as { commitError?: Promise<never> };
  if (commitError === undefined) return error as Error;
  const reason = commitError.catch((cause: unknown) => cause as Error);
  return (await resultWithin(reasonWithinMs, reason)) ?? (error as Error);
}

/** Free bytes of the disk that holds a path, for a user without privileges; Infinity if the system does not say. */
export function freeBytesOf(path: string): number {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  } catch {
    return Infinity;
  }
}
