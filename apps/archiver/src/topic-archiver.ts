import { BeginAgainError, type Bus, type BusBatch, type Subscription } from '@tripline/bus';
import type { Topic } from '@tripline/model';
import { StoppedError, type RoleContext } from '@tripline/runtime';
import { Lane } from './lane.ts';
import type { ArchiverMetrics } from './metrics.ts';

export interface TopicArchiverOptions extends Pick<RoleContext, 'logger' | 'now'> {
  topic: Topic;
  bus: Bus;
  /** Tries until it succeeds: rejects only with `LakeRefusedError`, or with `StoppedError` when the role stops. */
  insert: (partition: number, records: readonly Buffer[]) => Promise<void>;
  /** A partition's records are written when there are so many, or so many bytes, or when the first has waited so long. */
  limits: { maxRecords: number; maxBytes: number; flushAfterMs: number };
  /** True while all topics together hold what they may: then every batch is written at once. */
  isMemoryFull: () => boolean;
  stopped: AbortSignal;
  /** The role cannot go on. */
  onFailure: (error: unknown) => void;
  onArchived: (records: number) => void;
  metrics: ArchiverMetrics;
}

/** A partition of the topic that this process reads. */
interface Partition {
  number: number;
  lane: Lane;
  timer: NodeJS.Timeout | undefined;
  /** Settles when the write under way has ended. */
  turn: Promise<void>;
}

const batchMaxBytes = 8 * 2 ** 20;

/** Takes the records of one topic from the bus to the lake, partition by partition. */
export class TopicArchiver {
  readonly #options: TopicArchiverOptions;
  readonly #partitions = new Map<number, Partition>();
  readonly #subscription: Subscription;

  constructor(options: TopicArchiverOptions) {
    this.#options = options;
    const { topic, bus, metrics, logger } = options;
    this.#subscription = bus.consume({
      topic,
      group: 'archiver',
      // Undefined: where the group's position is, which `passed` moves.
      startAt: (partition) => {
        this.#begin(partition);
        return Promise.resolve(undefined);
      },
      onRevoked: (partition) => this.#partitions.delete(partition),
      // A lake that is away must not stop detection.
      mayLose: true,
      onLost: (partition, from, to) => {
        metrics.jumps.inc({ topic });
        metrics.lost.inc({ topic }, Math.max(0, to - from));
        logger.error(
          { topic, partition, from, to },
          'records were gone from the bus before they were archived: the lake has a gap',
        );
      },
      onBatch: (batch) => this.#take(batch),
      maxBatchBytes: batchMaxBytes,
    });
    this.#subscription.stopped.catch(options.onFailure);
  }

  /** Bytes that wait to be written. */
  get pendingBytes(): number {
    let bytes = 0;
    for (const { lane } of this.#partitions.values()) bytes += lane.pending.bytes;
    return bytes;
  }

  /** Takes no further records. */
  stop(): Promise<void> {
    return this.#subscription.stop();
  }

  /** Writes what waits. */
  async drain(): Promise<void> {
    for (const partition of this.#partitions.values()) await this.#flush(partition);
  }

  #begin(number: number): void {
    const { topic, bus, insert, now, metrics, logger, onArchived } = this.#options;
    const lane = new Lane({
      topic,
      partition: number,
      bus,
      insert: (records) => insert(number, records),
      now,
      on: {
        archived: (count, bytes) => {
          onArchived(count);
          metrics.records.inc({ topic }, count);
          metrics.bytes.inc({ topic }, bytes);
          metrics.lastSuccess.set(now() / 1_000);
        },
        refused: (offset, detail, problem) => {
          metrics.refused.inc({ topic });
          const where = { topic, partition: number, offset, detail };
          if (problem) logger.error({ ...where, err: problem }, 'a refused record could not be kept either');
          else logger.warn(where, 'the lake refused a record: it is among the dead letters');
        },
      },
    });
    this.#partitions.set(number, { number, lane, timer: undefined, turn: Promise.resolve() });
  }

  async #take(batch: BusBatch): Promise<void> {
    const { topic, limits, isMemoryFull } = this.#options;
    const partition = this.#partitions.get(batch.partition);
    if (!partition) throw new BeginAgainError(`${topic}/${batch.partition} is not this archiver's.`);
    try {
      partition.lane.add(batch);
      const { records, bytes } = partition.lane.pending;
      if (records >= limits.maxRecords || bytes >= limits.maxBytes || isMemoryFull())
        await this.#flush(partition);
      else this.#flushSoon(partition);
    } catch (error) {
      // Its records are on the bus still, behind the group's position.
      if (!(error instanceof StoppedError)) throw error;
    }
  }

  #flushSoon(partition: Partition): void {
    const { stopped, limits, onFailure } = this.#options;
    if (stopped.aborted) return;
    partition.timer ??= setTimeout(() => {
      this.#flush(partition).catch(onFailure);
    }, limits.flushAfterMs);
  }

  /** One write at a time; what comes meanwhile goes with the next one. */
  #flush(partition: Partition): Promise<void> {
    clearTimeout(partition.timer);
    partition.timer = undefined;
    const done = partition.turn.then(async () => {
      // The records of a partition that has gone to another archiver are that one's to write.
      if (!this.#isCurrent(partition)) return;
      const offset = await partition.lane.flush();
      if (offset !== undefined && this.#isCurrent(partition))
        this.#subscription.passed(partition.number, offset);
      if (partition.lane.pending.records > 0) this.#flushSoon(partition);
    });
    partition.turn = done.catch(() => undefined);
    return done;
  }

  #isCurrent(partition: Partition): boolean {
    return this.#partitions.get(partition.number) === partition;
  }
}
