import {
  FencedError,
  StateLostError,
  type PartitionState,
  type StateChanges,
  type StateStore,
} from '@tripline/state';
import { createQueue } from './pause.ts';

/**
 * The responder's state: what its two parts keep, and the position of the controller on `alerts`. Every save of a
 * partition carries the position, so saves go one after the other: an older position never overwrites a newer one.
 */
export interface RoleState {
  /** What was there at the start. */
  readonly entries: readonly { partition: number; key: string; value: string }[];
  /** Up to where the alerts of the partition were decided. */
  offset(partition: number): number | undefined;
  /** Saves changes in one atomic step; with `offset` also the new position. */
  save(partition: number, changes: StateChanges, offset?: number): Promise<void>;
}

/**
 * Claims every partition: whoever acted as responder before can no longer save anything. What is saved is kept in memory
 * too, so that a store that was emptied gets all of it again.
 */
export async function openRoleState(
  store: StateStore,
  partitions: number,
  on: {
    /** The store had been emptied, and everything was saved again. */
    restored?: () => void;
    /** Another responder has claimed the state since: nothing can be saved any more. */
    fenced?: (error: FencedError) => void;
  } = {},
): Promise<RoleState> {
  const slices: Slice[] = [];
  for (let partition = 0; partition < partitions; partition++) {
    const claimed = await store.claim(partition);
    slices.push({ claimed, values: await claimed.loadAll(), offset: claimed.offset });
  }
  const entries = slices.flatMap(({ values }, partition) =>
    [...values].map(([key, value]) => ({ partition, key, value })),
  );

  const restore = async (): Promise<void> => {
    for (const [partition, slice] of slices.entries()) {
      slice.claimed = await store.claim(partition);
      if (slice.values.size > 0 || slice.offset !== undefined)
        await slice.claimed.checkpoint(slice.values, slice.offset ?? 0);
    }
    on.restored?.();
  };

  const queue = createQueue();
  return {
    entries,
    offset: (partition) => slices[partition]?.offset,
    save: (partition, changes, offset) =>
      queue(async () => {
        const slice = slices[partition]!;
        const position = offset ?? slice.offset ?? 0;
        try {
          await slice.claimed.checkpoint(changes, position);
        } catch (error) {
          if (error instanceof FencedError) on.fenced?.(error);
          if (!(error instanceof StateLostError)) throw error;
          await restore();
          await slice.claimed.checkpoint(changes, position);
        }
        slice.offset = position;
        for (const [key, value] of changes) {
          if (value === null) slice.values.delete(key);
          else slice.values.set(key, value);
        }
      }),
  };
}

interface Slice {
  claimed: PartitionState;
  values: Map<string, string>;
  offset: number | undefined;
}
