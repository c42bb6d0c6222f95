import type { Topic } from '@tripline/model';

/** One record to publish: `value` is one JSON object without line breaks, `key` decides its partition and its order. */
export interface BusRecord {
  key: string;
  value: string;
}

/** Records of one partition, in order. */
export interface BusBatch {
  topic: Topic;
  partition: number;
  /** Position of the first record of the batch. */
  firstOffset: number;
  /** Where the next batch begins: what a consumer commits after it has dealt with this one. */
  nextOffset: number;
  /** How many records there are. */
  count: number;
  /** The records' values as NDJSON: each followed by one line feed. Only valid until the handler returns. */
  body: Buffer;
}

export interface ConsumeOptions {
  topic: Topic;
  /** Consumers of one group share the partitions; each group sees every record. */
  group: string;
  /**
   * For consumers that keep their position beside their own state: where to begin on a partition, undefined for the
   * beginning. Without it the bus keeps the group's position and moves it on after each batch.
   */
  startAt?: (partition: number) => Promise<number | undefined>;
  /** Called with one batch at a time per partition. A rejection stops the subscription and is reported by `stopped`. */
  onBatch: (batch: BusBatch) => Promise<void>;
  /** Upper bound of `body` in bytes, unless a single published block is larger. */
  maxBatchBytes?: number;
  /**
   * Where a group without a position begins: at the oldest record kept (default), or behind the newest.
   */
  from?: 'oldest' | 'newest';
}

export interface Subscription {
  /** Settles when the subscription ends: rejects with what `onBatch` threw. */
  stopped: Promise<void>;
  /**
   * For consumers that keep their own position (`startAt`): tells the bus what is safely behind them, so that it may let
   * go of it and can tell the lag. A hint: losing it is harmless.
   */
  passed(partition: number, offset: number): void;
  /** Lets the batch under way finish, then ends. */
  stop(): Promise<void>;
}

/** Thrown by `publish` when the bus cannot take more: nothing of the call was published. */
export class BusFullError extends Error {
  override name = 'BusFullError';
}

/**
 * Topics with ordered, durable partitions and consumer groups. At-least-once: after a crash a batch whose position was
 * not yet kept is delivered again.
 */
export interface Bus {
  readonly partitions: number;
  /**
   * Resolves when the records survive a kill of this process; rejects if none of them was kept (`BusFullError` when
   * the disk or the configured size is exhausted).
   */
  publish(topic: Topic, records: BusRecord[]): Promise<void>;
  consume(options: ConsumeOptions): Subscription;
  /** Records not yet passed by the group, per topic and group; groups that keep their own position report it here. */
  lag(): Promise<{ topic: Topic; group: string; records: number }[]>;
  close(): Promise<void>;
}
