/** What one checkpoint changes: null removes the key. */
export type StateChanges = Map<string, Buffer | null>;

/**
 * Keyed state of one role, split by bus partition, saved together with the bus position that it includes. So a role that
 * comes back after a crash, or takes a partition over from another process, goes on from a state that has seen exactly the
 * records before that position.
 */
export interface StateStore {
  /**
   * Takes the partition over: from now on checkpoints of whoever claimed it before are refused. So a process that stalled
   * and lost its partition cannot write over its successor.
   */
  claim(partition: number): Promise<PartitionState>;
  /**
   * Elects a leader: `held` is true if `holder` has the lease for the next `ttlMs`, because it was free or already its own. A holder
   * that does not ask again in time loses it.
   */
  lease(name: string, holder: string, ttlMs: number): Promise<{ held: boolean; holder: string }>;
  /** Ends a lease of `holder` before its time; that of another holder stays. */
  release(name: string, holder: string): Promise<void>;
  /** Number of keys and bytes of their values. */
  size(): Promise<{ keys: number; bytes: number }>;
  /** Why the store does not work at the moment and what to do, in words; null if it works. */
  problem(): string | null;
  close(): Promise<void>;
}

/** The state of one partition, for the process that claimed it last. */
export interface PartitionState {
  readonly partition: number;
  /** Position up to which the partition's records were included when it was claimed; undefined before the first checkpoint. */
  readonly offset: number | undefined;
  /**
   * The values of those keys that exist, in one round trip. A value that an earlier version of the store wrote comes as the
   * bytes that stand there: each role recognises its own values and learns anew from those that are not.
   */
  load(keys: readonly string[]): Promise<Map<string, Buffer>>;
  /** Every key and value of the partition; for roles with little state. */
  loadAll(): Promise<Map<string, Buffer>>;
  /**
   * Saves changes and position in one atomic step: after a crash either all of it is there or nothing. Rejects with
   * `FencedError` or `StateLostError` (then nothing was saved and this claim is void), with any other error if a later
   * try may succeed. It is then not known whether this one did, so the next try must hold all that this one held.
   */
  checkpoint(changes: StateChanges, offset: number): Promise<void>;
}

/** A position as it was saved; undefined if there is none, or what is there is no position. */
export function offsetOf(saved: unknown): number | undefined {
  const offset = typeof saved === 'string' && saved !== '' ? Number(saved) : saved;
  return Number.isSafeInteger(offset) && (offset as number) >= 0 ? (offset as number) : undefined;
}

/** Another owner has claimed the partition since: the state that this owner has in memory is out of date. */
export class FencedError extends Error {
  override name = 'FencedError';
}

/**
 * The store is not where this owner's last checkpoint left it: it was emptied, or restored from an older copy. Claim the
 * partition again, and take up what it holds now.
 */
export class StateLostError extends Error {
  override name = 'StateLostError';
}
