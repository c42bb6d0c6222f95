import type { StateChanges, StateStore } from '@tripline/state';
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

export async function openRoleState(store: StateStore, partitions: number): Promise<RoleState> {
  const entries: { partition: number; key: string; value: string }[] = [];
  const offsets = new Map<number, number>();
  for (let partition = 0; partition < partitions; partition++) {
    for (const [key, value] of await store.loadAll(partition)) entries.push({ partition, key, value });
    const offset = await store.offset(partition);
    if (offset !== undefined) offsets.set(partition, offset);
  }
  const queue = createQueue();
  return {
    entries,
    offset: (partition) => offsets.get(partition),
    save: (partition, changes, offset) =>
      queue(async () => {
        const position = offset ?? offsets.get(partition) ?? 0;
        await store.checkpoint(partition, changes, position);
        offsets.set(partition, position);
      }),
  };
}
