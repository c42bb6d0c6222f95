import { BeginAgainError, type BusBatch } from '@tripline/bus';
import type { Alert } from '@tripline/model';
import { createMetrics, Histogram, StoppedError } from '@tripline/runtime';
import { FencedError } from '@tripline/state';
import { describe, expect, it } from 'vitest';
import { PartitionWorker, type Fold } from './partition-worker.ts';

/** A worker whose effects are noted in order; what `failing` names fails. */
function workerWith(failing: { effect?: string; error?: Error } = {}) {
  const effects: string[] = [];
  const clock = { nowMs: 0 };
  const effect = (name: string): Promise<void> => {
    effects.push(name);
    return failing.effect === name ? Promise.reject(failing.error!) : Promise.resolve();
  };
  const fold: Fold = {
    changedStates: 0,
    unsaved: false,
    open: () => Promise.resolve(),
    fold: async () => {
      await effect('fold');
      return [{} as Alert];
    },
    idle: async () => {
      await effect('idle');
      return [];
    },
    checkpoint: (offset) => effect(`checkpoint ${offset}`),
  };
  const worker = new PartitionWorker({
    fold,
    offset: 0,
    now: () => clock.nowMs,
    checkpointEveryMs: 0,
    publish: () => effect('publish'),
    busWorks: () => true,
    checkpointSeconds: new Histogram({ name: 's', help: 's', registers: [createMetrics()] }),
    onCheckpoint: (offset) => effects.push(`committed ${offset}`),
    afterCheckpoint: () => effect('follow-up'),
    onClaimLost: (problem) => effects.push(`lost: ${problem}`),
  });
  return { worker, effects, clock, failing };
}

const batch = (nextOffset: number): BusBatch => ({
  topic: 'api-calls',
  partition: 3,
  firstOffset: nextOffset - 1,
  nextOffset,
  count: 1,
  body: Buffer.alloc(0),
});

describe('a partition worker', () => {
  it('folds, publishes, saves, commits and follows up, in this order, one batch after the other', async () => {
    const { worker, effects } = workerWith();
    await Promise.all([worker.handle(batch(1)), worker.handle(batch(2))]);
    const steps = (offset: number): string[] => [
      'fold',
      'publish',
      `checkpoint ${offset}`,
      `committed ${offset}`,
      'follow-up',
    ];
    expect(effects).toEqual([...steps(1), ...steps(2)]);
  });

  it.each(['fold', 'publish'])(
    'saves nothing any more after a batch that ended half-way: %s fails',
    async (effect) => {
      const { worker, effects, failing } = workerWith({ effect, error: new StoppedError() });
      await expect(worker.handle(batch(1))).rejects.toThrow(StoppedError);
      delete failing.effect;
      await expect(worker.handle(batch(2))).rejects.toThrow(BeginAgainError);
      await worker.tick();
      await worker.saveLast();
      expect(effects.join()).not.toContain('checkpoint');
    },
  );

  it('does not save alerts as closed that could not be published after a tick', async () => {
    const { worker, effects, clock, failing } = workerWith();
    await worker.handle(batch(1));
    clock.nowMs = 20_000;
    Object.assign(failing, { effect: 'publish', error: new StoppedError() });
    await expect(worker.tick()).rejects.toThrow(StoppedError);
    delete failing.effect;
    effects.length = 0;
    await worker.saveLast();
    expect(effects).toEqual([]);
  });

  it('begins again when another process has claimed its partition, and commits nothing', async () => {
    const error = new FencedError('claimed again');
    const { worker, effects } = workerWith({ effect: 'checkpoint 1', error });
    await expect(worker.handle(batch(1))).rejects.toThrow(BeginAgainError);
    expect(effects).toEqual(['fold', 'publish', 'checkpoint 1', 'lost: claimed again']);
    await expect(worker.handle(batch(2))).rejects.toThrow('The claim on partition 3 is void.');
    await worker.saveLast();
    expect(effects.length).toBe(4);
  });

  it('saves nothing after its partition was revoked, also in the midst of a batch', async () => {
    const { worker, effects } = workerWith();
    const handled = worker.handle(batch(1));
    while (!effects.includes('fold')) await Promise.resolve();
    worker.revoke();
    await handled;
    await worker.saveLast();
    expect(effects.join()).not.toContain('checkpoint');
  });
});
