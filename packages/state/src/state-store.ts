/** What one checkpoint changes: null removes the key. */
export type StateChanges = Map<string, string | null>;

/**
 * Keyed state of one role, split by bus partition, saved together with the bus position that it includes. So a role that
 * comes back after a crash goes on from a state that has seen exactly the records before that position.
 */
export interface StateStore {
  /** The values of those keys that exist. One round trip. */
  load(partition: number, keys: readonly string[]): Promise<Map<string, string>>;
  /** Every key and value of a partition; for roles with little state. */
  loadAll(partition: number): Promise<Map<string, string>>;
  /** Position up to which the partition's records are included; undefined before the first checkpoint. */
  offset(partition: number): Promise<number | undefined>;
  /** Saves changes and position in one atomic step: after a crash either all of it is there or nothing. */
  checkpoint(partition: number, changes: StateChanges, offset: number): Promise<void>;
  /** Number of keys and bytes of their values. */
  size(): Promise<{ keys: number; bytes: number }>;
  close(): Promise<void>;
}
