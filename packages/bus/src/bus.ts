import type { Topic } from '@tripline/model';

/**
 * One record to publish. `value` is any bytes, also none; it must not change until `publish` has settled. `key` decides the
 * partition and the order.
 */
export interface BusRecord {
  key: string;
  value: Buffer;
  /** Goes to this partition instead of the key's: for what every partition must hear. */
  partition?: number;
}

/** Records of one partition, in order. */
export interface BusBatch {
  topic: Topic;
  partition: number;
  /** Position of the first record; the record behind it has the next number, and so on. */
  firstOffset: number;
  /**
   * Position at which the next batch begins: what a consumer notes after it has dealt with this one. At least
   * `firstOffset + count`; there may be no records between the two, as several records may travel in one message.
   */
  nextOffset: number;
  /** How many records there are. */
  count: number;
  /** The records' values, to be read with `recordsOf`. The handler may keep it. */
  body: Buffer;
}

export interface ConsumeOptions {
  topic: Topic;
  /** Consumers of one group share the partitions, in however many processes; each group sees every record. */
  group: string;
  /**
   * For consumers that keep their position beside their own state: asked for where to begin whenever a partition comes to
   * this consumer. Undefined: where the group was told to be by `passed`, else at the beginning. A position that is no
   * longer kept means the oldest record that is. Without `startAt` the bus keeps the group's position and moves it on
   * after each batch.
   */
  startAt?: (partition: number) => Promise<number | undefined>;
  /**
   * A partition has gone to another consumer of the group, or is about to be asked for anew by `startAt`: what is
   * remembered of it is no longer this consumer's. May come while a batch of it is under way.
   */
  onRevoked?: (partition: number) => void;
  /**
   * Records from `from` on, which this group has not read, are not there any more: the bus no longer kept them, or it is
   * another one, whose positions begin anew. The consumer goes on at `to`.
   */
  onLost?: (partition: number, from: number, to: number) => void;
  /**
   * This group must not stop publishers: where a topic of the embedded bus has reached its limit, the oldest records are let go
   * although the group has not read them (`onLost`). Without it publishers are refused with `BusFullError` until the group
   * has passed. Kafka keeps records by time, for whatever group.
   */
  mayLose?: boolean;
  /**
   * Called with one batch at a time per partition. A rejection with `BeginAgainError` makes the bus ask `startAt` again
   * and go on from there; any other one stops the subscription and is reported by `stopped`.
   */
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
  /**
   * What the consumer knows of the partition is worth nothing any more: the bus asks `startAt` again and goes on from
   * there, as after a `BeginAgainError`. For what is found out between batches; of no effect if the partition has gone.
   */
  beginAgain(partition: number): void;
  /** Lets the batch under way finish, then ends. */
  stop(): Promise<void>;
}

/** How far a group is behind on a topic. */
export interface Lag {
  topic: Topic;
  group: string;
  /** Records that it has not passed. */
  records: number;
  /** Records that were gone before it read them, since this process began; only the embedded bus counts them. */
  lost?: number;
}

/** Thrown by `publish` when the topic or the disk is full: nothing of the call was published, and a later try may succeed. */
export class BusFullError extends Error {
  override name = 'BusFullError';
}

/**
 * Thrown by `publish` when the bus does not answer: it is not known whether anything of the call was published, and the
 * same call may succeed later. Publishing it again can repeat records; their ids make that harmless.
 */
export class BusUnavailableError extends Error {
  override name = 'BusUnavailableError';
}

/** Thrown by `publish` when a record is larger than the bus takes: nothing of the call was published. */
export class RecordTooLargeError extends Error {
  override name = 'RecordTooLargeError';
}

/** Thrown where an embedded log is opened whose records do not follow each other: something else wrote into its file. */
export class BusDamagedError extends Error {
  override name = 'BusDamagedError';
}

/** Thrown out of `onBatch`: what the consumer knows of the partition is worth nothing any more, see `ConsumeOptions`. */
export class BeginAgainError extends Error {
  override name = 'BeginAgainError';
}

/**
 * Topics with ordered, durable partitions and consumer groups. At-least-once: after a crash a batch whose position was
 * not yet kept is delivered again.
 */
export interface Bus {
  /** Every topic has as many. */
  readonly partitions: number;
  /**
   * Resolves when the records survive a kill of this process (embedded) or the loss of a broker (Kafka); rejects with
   * `BusFullError`, `RecordTooLargeError` or `BusUnavailableError`.
   */
  publish(topic: Topic, records: BusRecord[]): Promise<void>;
  consume(options: ConsumeOptions): Subscription;
  /**
   * Records not yet passed by the group, per topic and group; groups that keep their own position report it here. Where
   * several records travel in one message it is an estimate, which is 0 exactly when nothing is left.
   */
  lag(): Promise<Lag[]>;
  /** What keeps it from working at the moment and what to do, in words; null if nothing does. */
  problem(): string | null;
  close(): Promise<void>;
}
