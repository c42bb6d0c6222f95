import { BeginAgainError, type Bus, type BusBatch, type Subscription } from '@tripline/bus';
import { LakeRefusedError, LakeTooNewError, type Lake, type LakeTable } from '@tripline/lake';
import type { Topic } from '@tripline/model';
import {
  Counter,
  createPersist,
  Gauge,
  Histogram,
  StoppedError,
  type RoleContext,
  type RunningRole,
} from '@tripline/runtime';
import { Lane } from './lane.ts';

export interface ArchiverOptions extends RoleContext {
  bus: Bus;
  /** Opens the lake; called again, with back-off, for as long as it rejects. Nothing else waits for it. */
  lake: () => Promise<Lake>;
  retentionDays: number;
  /** A batch is written when it holds so many records, default 50,000, … */
  maxRecords?: number;
  /** … or so many bytes, default 48 MiB, or all partitions together hold `maxPendingBytes`, … */
  maxBytes?: number;
  /** Default 96 MiB. While the lake is away, memory holds this and one batch of the bus per partition. */
  maxPendingBytes?: number;
  /** … or its first record has waited for so long (ms), default 2,000: larger batches cost the engine less per row. */
  flushAfterMs?: number;
  /** Wait before the first retry, in ms, default 200; doubles up to `retryMaxMs`, default 10,000. */
  retryMs?: number;
  retryMaxMs?: number;
}

const sources: { topic: Topic; table: LakeTable }[] = [
  { topic: 'api-calls', table: 'apiCalls' },
  { topic: 'alerts', table: 'alerts' },
  { topic: 'responses', table: 'responses' },
];
/** An insert that has not ended for so long has stalled. */
const stalledMs = 120_000;

/**
 * API calls, alerts and responses from the bus to the lake, each record once; see `Lane` for how. It keeps no state: where it
 * was is the group's position on the bus, and what was written twice the lake takes together. While the lake is opening or does
 * not answer, the bus keeps the records, and memory a bounded part of them (`maxPendingBytes`).
 */
export function startArchiver(options: ArchiverOptions): RunningRole {
  const { bus, logger, now } = options;
  const maxRecords = options.maxRecords ?? 50_000;
  const maxBytes = options.maxBytes ?? 48 * 2 ** 20;
  const maxPendingBytes = options.maxPendingBytes ?? 96 * 2 ** 20;
  const flushAfterMs = options.flushAfterMs ?? 2_000;
  const retryMs = options.retryMs ?? 200;
  const retryMaxMs = options.retryMaxMs ?? 10_000;
  const metrics = registerMetrics(options);

  const stopping = new AbortController();
  const aborted = new Promise<never>((_, reject) => {
    stopping.signal.addEventListener('abort', () => reject(new StoppedError()), { once: true });
  });
  aborted.catch(() => undefined);
  const persist = createPersist({
    logger,
    now,
    stopped: stopping.signal,
    retryMs,
    retryMaxMs,
    onFailure: () => metrics.failures.inc(),
  });
  let open = false;
  let records = 0;

  const lake = persist.run(
    'opening the lake',
    async () => {
      const opened = await options.lake();
      await opened.migrate({ retentionDays: options.retentionDays });
      return opened;
    },
    (error) => error instanceof LakeTooNewError,
  );
  lake.then(
    () => (open = true),
    () => undefined,
  );

  const everyLane = new Set<Lane>();
  const pendingBytes = (): number => {
    let sum = 0;
    for (const lane of everyLane) sum += lane.pending.bytes;
    return sum;
  };

  const follow = ({
    topic,
    table,
  }: (typeof sources)[number]): { subscription: Subscription; drain: () => Promise<void> } => {
    const lanes = new Map<number, { lane: Lane; flush: () => Promise<void>; soon: () => void }>();

    const open = (partition: number): void => {
      const lane = new Lane({
        topic,
        partition,
        bus,
        insert: async (records) => {
          const into = await Promise.race([lake, aborted]);
          await persist.run(
            `writing ${topic}/${partition}`,
            async () => {
              const seconds = metrics.insertSeconds.startTimer();
              await into.insert(table, records);
              seconds();
            },
            (error) => error instanceof LakeRefusedError,
          );
        },
        now,
        on: {
          archived: (count, bytes) => {
            records += count;
            metrics.records.inc({ topic }, count);
            metrics.bytes.inc({ topic }, bytes);
            metrics.lastSuccess.set(now() / 1_000);
          },
          refused: (offset, detail, problem) => {
            metrics.refused.inc({ topic });
            const where = { topic, partition, offset, detail };
            if (problem)
              logger.error({ ...where, err: problem }, 'a refused record could not be kept either');
            else logger.warn(where, 'the lake refused a record: it is among the dead letters');
          },
        },
      });
      let timer: NodeJS.Timeout | undefined;
      let turn = Promise.resolve();
      const isCurrent = (): boolean => lanes.get(partition) === made;
      // One write at a time; what comes meanwhile is the next one's.
      const flush = (): Promise<void> => {
        clearTimeout(timer);
        timer = undefined;
        const done = turn.then(async () => {
          // What has gone to another archiver is read from the bus by that one.
          if (!isCurrent()) return;
          const offset = await lane.flush();
          if (offset !== undefined && isCurrent()) subscription.passed(partition, offset);
          if (lane.pending.records > 0) soon();
        });
        turn = done.catch(() => undefined);
        return done;
      };
      const soon = (): void => {
        if (stopping.signal.aborted) return;
        timer ??= setTimeout(() => {
          flush().catch(fail);
        }, flushAfterMs);
      };
      const made = { lane, flush, soon };
      forget(partition);
      lanes.set(partition, made);
      everyLane.add(lane);
    };
    const forget = (partition: number): void => {
      const gone = lanes.get(partition);
      if (gone) everyLane.delete(gone.lane);
      lanes.delete(partition);
    };

    const onBatch = async (batch: BusBatch): Promise<void> => {
      const found = lanes.get(batch.partition);
      if (!found) throw new BeginAgainError(`${topic}/${batch.partition} is not this archiver's.`);
      const { lane, flush, soon } = found;
      try {
        lane.add(batch);
        const { records: count, bytes } = lane.pending;
        if (count >= maxRecords || bytes >= maxBytes || pendingBytes() >= maxPendingBytes) await flush();
        else soon();
      } catch (error) {
        // Its records are on the bus still, behind the group's position.
        if (!(error instanceof StoppedError)) throw error;
      }
    };

    const subscription = bus.consume({
      topic,
      group: 'archiver',
      // Where the group was told to be by `passed`.
      startAt: (partition) => {
        open(partition);
        return Promise.resolve(undefined);
      },
      onRevoked: forget,
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
      onBatch,
      maxBatchBytes: 8 * 2 ** 20,
    });
    subscription.stopped.catch(fail);
    return {
      subscription,
      drain: async () => {
        for (const { flush } of lanes.values()) await flush();
      },
    };
  };

  let fail: (error: unknown) => void = () => undefined;
  let finish: () => void = () => undefined;
  const ended = new Promise<void>((resolve, reject) => {
    finish = resolve;
    fail = (error) => {
      if (!(error instanceof StoppedError)) reject(error instanceof Error ? error : new Error(String(error)));
    };
  });
  ended.catch(() => undefined);
  lake.catch((error: unknown) => fail(error));
  const followed = sources.map(follow);

  const stop = async (): Promise<void> => {
    // A lake that works gets what is in memory; one that does not gets it after the next start, from the bus.
    persist.lastTry();
    if (!open || persist.failing().size > 0) stopping.abort();
    await Promise.all(followed.map(({ subscription }) => subscription.stop()));
    await Promise.allSettled(followed.map(({ drain }) => drain()));
    stopping.abort();
    finish();
  };
  let stopped: Promise<void> | undefined;

  return {
    name: 'archiver',
    ended,
    stop: () => (stopped ??= stop()),
    health: () => {
      // An upgrade of the tables may take long, and would begin again after a restart.
      const late = open ? persist.stalled(stalledMs) : undefined;
      if (late !== undefined)
        return { alive: false, ready: false, detail: `${late} takes more than ${stalledMs / 1_000} s` };
      const [problem] = persist.failing();
      if (problem)
        return { alive: true, ready: false, detail: `${problem[0]} fails, trying again: ${problem[1]}` };
      const elsewhere = bus.problem();
      if (elsewhere !== null) return { alive: true, ready: false, detail: elsewhere };
      if (!open) return { alive: true, ready: false, detail: 'opening the lake' };
      return { alive: true, ready: true, detail: `${records} records archived` };
    },
  };
}

function registerMetrics({ metrics }: RoleContext) {
  const registers = [metrics];
  const labelNames = ['topic'];
  return {
    records: new Counter({
      name: 'tripline_archiver_records_total',
      help: 'Records written to the lake.',
      labelNames,
      registers,
    }),
    bytes: new Counter({
      name: 'tripline_archiver_bytes_total',
      help: 'Bytes of the records written to the lake.',
      labelNames,
      registers,
    }),
    refused: new Counter({
      name: 'tripline_archiver_refused_total',
      help: 'Records that the lake does not take; they are among the dead letters.',
      labelNames,
      registers,
    }),
    jumps: new Counter({
      name: 'tripline_archiver_jumps_total',
      help: 'Times that the bus did not go on where the archiver had ended: records were gone, or the bus is another one.',
      labelNames,
      registers,
    }),
    lost: new Counter({
      name: 'tripline_archiver_lost_records_total',
      help: 'Records that were gone from the bus before they were archived: at most so many, as Kafka leaves positions out.',
      labelNames,
      registers,
    }),
    failures: new Counter({
      name: 'tripline_archiver_failures_total',
      help: 'Failed attempts at the state or the lake, each tried again.',
      registers,
    }),
    insertSeconds: new Histogram({
      name: 'tripline_archiver_insert_seconds',
      help: 'Duration of an insert that succeeded.',
      buckets: [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30],
      registers,
    }),
    lastSuccess: new Gauge({
      name: 'tripline_archiver_last_success_time_seconds',
      help: 'When records were last written, in seconds since the epoch.',
      registers,
    }),
  };
}
