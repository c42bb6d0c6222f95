import { setTimeout as sleep } from 'node:timers/promises';
import type { Bus, BusBatch, Subscription } from '@tripline/bus';
import { LakeRefusedError, LakeTooNewError, type Lake, type LakeTable } from '@tripline/lake';
import type { Topic } from '@tripline/model';
import { Counter, Gauge, Histogram, type RoleContext, type RunningRole } from '@tripline/runtime';
import type { StateStore } from '@tripline/state';
import { Lane } from './lane.ts';

export interface ArchiverOptions extends RoleContext {
  bus: Bus;
  /** Opens the lake; called again, with back-off, for as long as it rejects. Nothing else waits for it. */
  lake: () => Promise<Lake>;
  /** Where the archiver notes what it is about to write; its own, not shared with another role. */
  state: StateStore;
  retentionDays: number;
  /** A batch is written when it holds so many records, default 50,000, … */
  maxRecords?: number;
  /** … or so many bytes, default 48 MiB, … */
  maxBytes?: number;
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

/** Ends what waits when the role stops. */
class Stopped extends Error {
  override message = 'The archiver is stopping.';
}

/**
 * API calls, alerts and responses from the bus to the lake, each record once; see `Lane` for how. While the lake is
 * opening or does not answer, the bus keeps the records, and the archiver at most two batches per partition in memory.
 */
export function startArchiver(options: ArchiverOptions): RunningRole {
  const { bus, state, logger, now } = options;
  const maxRecords = options.maxRecords ?? 50_000;
  const maxBytes = options.maxBytes ?? 48 * 2 ** 20;
  const flushAfterMs = options.flushAfterMs ?? 2_000;
  const retryMs = options.retryMs ?? 200;
  const retryMaxMs = options.retryMaxMs ?? 10_000;
  const metrics = registerMetrics(options);

  const stopping = new AbortController();
  const aborted = new Promise<never>((_, reject) => {
    stopping.signal.addEventListener('abort', () => reject(new Stopped()), { once: true });
  });
  aborted.catch(() => undefined);
  let lastTry = false;
  let open = false;
  let records = 0;
  const failing = new Map<string, string>();
  const busySince = new Map<string, number>();

  /** Tries until it succeeds or the role stops; what `isFinal` says yes to is thrown at once. */
  const persist = async <T>(
    what: string,
    work: () => Promise<T>,
    isFinal: (error: unknown) => boolean = () => false,
  ): Promise<T> => {
    for (let waitMs = retryMs; ; waitMs = Math.min(waitMs * 2, retryMaxMs)) {
      busySince.set(what, now());
      try {
        const done = await work();
        if (failing.delete(what)) logger.info({ what }, 'works again');
        return done;
      } catch (error) {
        if (isFinal(error)) {
          failing.delete(what);
          throw error;
        }
        metrics.failures.inc();
        const problem = error instanceof Error ? error.message : String(error);
        if (!failing.has(what)) logger.error({ what, err: error }, 'failed; trying again until it works');
        failing.set(what, problem);
        if (lastTry) throw new Stopped();
      } finally {
        busySince.delete(what);
      }
      await sleep(waitMs, undefined, { signal: stopping.signal }).catch(() => {
        throw new Stopped();
      });
    }
  };

  const lake = persist(
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

  const follow = ({
    topic,
    table,
  }: (typeof sources)[number]): { subscription: Subscription; drain: () => Promise<void> } => {
    const lanes = new Map<number, { lane: Lane; flush: () => Promise<void>; soon: () => void }>();

    const laneOf = (partition: number): NonNullable<ReturnType<typeof lanes.get>> => {
      const known = lanes.get(partition);
      if (known) return known;
      const lane = new Lane({
        topic,
        partition,
        bus,
        load: async () => (await state.load(partition, [topic])).get(topic),
        save: (note) =>
          persist(`noting ${topic}/${partition}`, () =>
            state.checkpoint(partition, new Map([[topic, note]]), 0),
          ),
        insert: async (ndjson, token) => {
          const into = await Promise.race([lake, aborted]);
          await persist(
            `writing ${topic}/${partition}`,
            async () => {
              const seconds = metrics.insertSeconds.startTimer();
              await into.insert(table, ndjson, token);
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
          jumped: (expected, found, lost) => {
            metrics.lost.inc({ topic }, lost);
            logger.error(
              { topic, partition, expected, found, lost },
              'the bus does not go on where it ended',
            );
          },
        },
      });
      let timer: NodeJS.Timeout | undefined;
      let turn = Promise.resolve();
      // One write at a time; what comes meanwhile is the next one's.
      const flush = (): Promise<void> => {
        clearTimeout(timer);
        timer = undefined;
        const done = turn.then(async () => {
          const offset = await lane.flush();
          if (offset !== undefined) subscription.passed(partition, offset);
          if (lane.pending.records > 0) soon();
        });
        turn = done.catch(() => undefined);
        return done;
      };
      const soon = (): void => {
        if (stopping.signal.aborted) return;
        timer ??= setTimeout(() => void flush().catch(fail), flushAfterMs);
      };
      const made = { lane, flush, soon };
      lanes.set(partition, made);
      return made;
    };

    const onBatch = async (batch: BusBatch): Promise<void> => {
      const { lane, flush, soon } = laneOf(batch.partition);
      try {
        if (!lane.add(batch)) {
          await flush();
          lane.add(batch);
        }
        const { records: count, bytes } = lane.pending;
        if (count >= maxRecords || bytes >= maxBytes) await flush();
        else soon();
      } catch (error) {
        // Its records are on the bus still, behind the note.
        if (!(error instanceof Stopped)) throw error;
      }
    };

    const subscription = bus.consume({
      topic,
      group: 'archiver',
      startAt: (partition) => laneOf(partition).lane.open(),
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
      if (!(error instanceof Stopped)) reject(error instanceof Error ? error : new Error(String(error)));
    };
  });
  ended.catch(() => undefined);
  lake.catch((error: unknown) => fail(error));
  const followed = sources.map(follow);

  const stop = async (): Promise<void> => {
    // A lake that works gets what is in memory; one that does not gets it after the next start, from the bus.
    lastTry = true;
    if (!open || failing.size > 0) stopping.abort();
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
      const late = [...busySince].find(([, since]) => now() - since > stalledMs);
      if (late)
        return { alive: false, ready: false, detail: `${late[0]} takes more than ${stalledMs / 1_000} s` };
      const [problem] = failing;
      if (problem)
        return { alive: true, ready: false, detail: `${problem[0]} fails, trying again: ${problem[1]}` };
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
    lost: new Counter({
      name: 'tripline_archiver_lost_total',
      help: 'Records that the bus no longer had when the archiver came to read them.',
      labelNames,
      registers,
    }),
    failures: new Counter({
      name: 'tripline_archiver_failures_total',
      help: 'Failed attempts to open the lake or to write to it.',
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
