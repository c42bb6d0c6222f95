import { statfsSync } from 'node:fs';

/** Thrown when LMDB could not commit: nothing of the transaction is there. */
export class CommitFailedError extends Error {
  override name = 'CommitFailedError';
  /** True: there is no room. False: the disk fails in another way. */
  readonly diskFull: boolean;

  constructor(message: string, diskFull: boolean, cause: unknown) {
    super(message, { cause });
    this.diskFull = diskFull;
  }
}

/** What is used of LMDB's root database, which must be opened with `eventTurnBatching: false`. */
interface Lmdb {
  batch(work: () => void): Promise<unknown>;
  readonly flushed: PromiseLike<unknown>;
  close(): Promise<void>;
}

export interface CommitsOptions {
  lmdb: Lmdb;
  /** Directory of the files. */
  path: string;
  /** What is kept there, in words: `the bus`. */
  what: string;
  onLog?: (level: 'info' | 'error', message: string, detail?: Record<string, unknown>) => void;
}

interface Failure {
  error: CommitFailedError;
  /** When it was last seen, by the monotonic clock, ms; with the free bytes of the disk then. */
  failedAt: number;
  freeBytes: number;
  /** No further try before (monotonic clock, ms), unless the disk gets room. */
  nextTryAt: number;
  waitMs: number;
}

const retryMs = 1_000;
const retryMaxMs = 10_000;
/**
 * No commit is tried with less free than this and twice what it writes. A write for which LMDB (3.5) finds no room overruns the
 * buffer of its error message, which can hang or end the process; so LMDB does not get that far on a full disk.
 */
const roomBytes = 2 ** 20;
/** A commit that succeeds so long (ms) after the last failure means that the disk is well, also without more room. */
const calmMs = 10_000;
/** LMDB itself gives the reason of a failed commit after the failure; usually at once. */
const reasonWithinMs = 1_000;
const flushWithinMs = 5_000;
/** ENOSPC, EDQUOT and EFBIG of Linux and macOS, and LMDB's own MDB_MAP_FULL. */
const fullCodes = [28, 122, 69, 27, -30792];

/**
 * Transactions of one LMDB environment. A failed one rejects its caller and nobody else, and leaves the environment usable:
 * when the disk has room again, the next one succeeds. (LMDB reports a full disk as an I/O error where it could write a part.)
 *
 * A full disk is found out before LMDB is asked, and so is that it has room again. While commits fail for another reason, further
 * ones are refused without a try, but for one every 1 to 10 s: LMDB prints a stack for each.
 */
export class Commits {
  readonly #options: CommitsOptions;
  #failure: Failure | undefined;

  constructor(options: CommitsOptions) {
    this.#options = options;
  }

  /** Commits all writes that `work` makes, or none of them; rejects with `CommitFailedError`. `bytes`: about what it writes. */
  async run(work: () => void, bytes = 0): Promise<void> {
    const failing = this.#failure;
    if (failing && performance.now() < failing.nextTryAt && !this.#gotRoom(failing)) throw failing.error;
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
    this.#failure.nextTryAt = -Infinity;
    if (performance.now() - failedAt < calmMs && !this.#gotRoom(this.#failure)) return;
    this.#failure = undefined;
    this.#options.onLog?.('info', `${this.#options.what} can be written again`);
  }

  /** Why nothing can be written at the moment, in words; null if something can, as far as is known. */
  problem(): string | null {
    const failing = this.#failure;
    return failing && !this.#gotRoom(failing) ? failing.error.message : null;
  }

  /** Flushes to the disk and closes. */
  async close(): Promise<void> {
    const { lmdb } = this.#options;
    // After a failed commit LMDB waits for a flush that never comes, until a commit succeeds: one without writes always does.
    if (this.#failure) await lmdb.batch(() => undefined).catch(reasonOf);
    await within(flushWithinMs, lmdb.flushed);
    await within(flushWithinMs, lmdb.close());
  }

  #failed(reason: Error & { code?: number }, isFull = false): CommitFailedError {
    const { path, what, onLog } = this.#options;
    const freeBytes = freeBytesOf(path);
    const diskFull = isFull || fullCodes.includes(reason.code ?? 0) || freeBytes < roomBytes;
    const message = diskFull
      ? `the disk of ${path} is full, so ${what} cannot be written: free some space, and it goes on by itself`
      : `${what} in ${path} cannot be written: ${reason.message}`;
    const error = new CommitFailedError(message, diskFull, reason);
    const waitMs = Math.min((this.#failure?.waitMs ?? retryMs / 2) * 2, retryMaxMs);
    if (this.#failure?.error.message !== message) onLog?.('error', message, { err: reason, freeBytes });
    const failedAt = performance.now();
    this.#failure = { error, failedAt, freeBytes, waitMs, nextTryAt: failedAt + waitMs };
    return error;
  }

  #gotRoom({ error, freeBytes }: Failure): boolean {
    return error.diskFull && freeBytesOf(this.#options.path) >= freeBytes + roomBytes;
  }
}

/** A failed commit carries its reason as a promise, which would reject unhandled if nobody asked for it. */
async function reasonOf(error: unknown): Promise<Error> {
  const { commitError } = error as { commitError?: Promise<never> };
  if (commitError === undefined) return error as Error;
  const reason = commitError.catch((cause: unknown) => cause as Error);
  return (await within(reasonWithinMs, reason)) ?? (error as Error);
}

/** Undefined if it takes longer. */
async function within<T>(ms: number, work: PromiseLike<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), ms)));
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Free bytes of the disk that holds a path, for a user without privileges; Infinity if it cannot be told. */
export function freeBytesOf(path: string): number {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  } catch {
    return Infinity;
  }
}
