import type { Bus } from '@tripline/bus';
import { LakeRefusedError, LakeTooNewError, type Lake, type LakeTable } from '@tripline/lake';
import type { Topic } from '@tripline/model';
import {
  createPersist,
  StoppedError,
  type RoleHealth,
  type Persist,
  type RoleContext,
  type RunningRole,
} from '@tripline/runtime';
import { registerMetrics } from './metrics.ts';
import { TopicArchiver } from './topic-archiver.ts';

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
  const { maxRecords = 50_000, maxBytes = 48 * 2 ** 20, maxPendingBytes = 96 * 2 ** 20 } = options;
  const { flushAfterMs = 2_000, retryMs = 200, retryMaxMs = 10_000 } = options;
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
  lake.then(() => (open = true)).catch(() => undefined);

  const { ended, fail, finish } = createEnding();
  lake.catch((error: unknown) => fail(error));
  const followed: TopicArchiver[] = [];
  const insert = async (topic: Topic, partition: number, table: LakeTable, rows: readonly Buffer[]) => {
    const into = await Promise.race([lake, aborted]);
    await persist.run(
      `writing ${topic}/${partition}`,
      async () => {
        const seconds = metrics.insertSeconds.startTimer();
        await into.insert(table, rows);
        seconds();
      },
      (error) => error instanceof LakeRefusedError,
    );
  };
  for (const { topic, table } of sources) {
    followed.push(
      new TopicArchiver({
        topic,
        bus,
        insert: (partition, rows) => insert(topic, partition, table, rows),
        limits: { maxRecords, maxBytes, flushAfterMs },
        isMemoryFull: () => followed.reduce((sum, one) => sum + one.pendingBytes, 0) >= maxPendingBytes,
        stopped: stopping.signal,
        onFailure: fail,
        onArchived: (count) => (records += count),
        metrics,
        logger,
        now,
      }),
    );
  }

  const stop = async (): Promise<void> => {
    // A lake that works gets what is in memory; one that does not gets it after the next start, from the bus.
    persist.lastTry();
    if (!open || persist.failing().size > 0) stopping.abort();
    await Promise.all(followed.map((one) => one.stop()));
    await Promise.allSettled(followed.map((one) => one.drain()));
    stopping.abort();
    finish();
  };
  let stopped: Promise<void> | undefined;

  return {
    name: 'archiver',
    ended,
    stop: () => (stopped ??= stop()),
    health: () => healthOf({ bus, persist, open, records }),
  };
}

function healthOf(state: { bus: Bus; persist: Persist; open: boolean; records: number }): RoleHealth {
  const { bus, persist, open, records } = state;
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
}

/** How the role ends: with `fail`, unless it was stopped, or with `finish`. */
function createEnding(): { ended: Promise<void>; fail: (error: unknown) => void; finish: () => void } {
  let fail: (error: unknown) => void = () => undefined;
  let finish: () => void = () => undefined;
  const ended = new Promise<void>((resolve, reject) => {
    finish = resolve;
    fail = (error) => {
      if (!(error instanceof StoppedError)) reject(error instanceof Error ? error : new Error(String(error)));
    };
  });
  ended.catch(() => undefined);
  return { ended, fail, finish };
}
