import { FencedError, StateLostError, type PartitionState, type StateStore } from '@tripline/state';
import { createSerialQueue } from '@tripline/runtime';

/** What one save changes: null removes the key. */
export type RoleStateChanges = Map<string, string | null>;

/**
 * The responder's state: what controller and notifiers keep, and the controller's position on `alerts`. Every save of a
 * partition carries the position. Saves follow one another, so that an older position never overwrites a newer one.
 */
export interface RoleState {
  /**
   * Returns the decoded values under keys that begin with `prefix`; `name` is the rest of the key. A value for which
   * `decode` throws was written by another version, or is damaged: it is reported, left out, and deleted by the next save
   * of its partition.
   */
  read<Value>(
    prefix: string,
    decode: (value: string, name: string) => Value,
  ): { partition: number; name: string; value: Value }[];
  /** Offset behind the last alert of the partition that was decided. */
  offset(partition: number): number | undefined;
  /** Saves changes in one atomic step; with `offset` also the new position. */
  save(partition: number, changes: RoleStateChanges, offset?: number): Promise<void>;
}

/**
 * Opens the state and claims every partition, so that a responder that acted before can no longer save anything. All values
 * are kept in memory too, so that a store that was emptied gets all of them again.
 */
export async function openRoleState(
  store: StateStore,
  partitions: number,
  on: {
    /** Called when the store had been emptied, and everything was saved again. */
    restored?: () => void;
    /** Called with the key of a value that cannot be read. */
    unreadable?: (key: string, problem: string) => void;
    /** Called when another responder has claimed the state, so that nothing can be saved any more. */
    fenced?: (error: FencedError) => void;
  } = {},
): Promise<RoleState> {
  const slices: Slice[] = [];
  for (let partition = 0; partition < partitions; partition++) {
    const claimed = await store.claim(partition);
    slices.push({
      claimed,
      values: textsOf(await claimed.loadAll()),
      unreadable: [],
      offset: claimed.offset,
    });
  }

  const restore = async (): Promise<void> => {
    for (const [partition, slice] of slices.entries()) {
      slice.claimed = await store.claim(partition);
      if (slice.values.size > 0 || slice.offset !== undefined)
        await slice.claimed.checkpoint(bytesOf(slice.values), slice.offset ?? 0);
    }
    on.restored?.();
  };

  const queue = createSerialQueue();
  return {
    read(prefix, decode) {
      return slices.flatMap(({ values, unreadable }, partition) =>
        [...values].flatMap(([key, value]) => {
          if (!key.startsWith(prefix)) return [];
          const name = key.slice(prefix.length);
          try {
            return [{ partition, name, value: decode(value, name) }];
          } catch (error) {
            values.delete(key);
            unreadable.push(key);
            on.unreadable?.(key, (error as Error).message);
            return [];
          }
        }),
      );
    },
    offset: (partition) => slices[partition]?.offset,
    save: (partition, saved, offset) =>
      queue(async () => {
        const slice = slices[partition]!;
        const changes = new Map([...slice.unreadable.map((key) => [key, null] as const), ...saved]);
        const bytes = bytesOf(changes);
        const position = offset ?? slice.offset ?? 0;
        try {
          await slice.claimed.checkpoint(bytes, position);
        } catch (error) {
          if (error instanceof FencedError) on.fenced?.(error);
          if (!(error instanceof StateLostError)) throw error;
          await restore();
          await slice.claimed.checkpoint(bytes, position);
        }
        slice.unreadable = [];
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
  /** Keys to delete with the next save. */
  unreadable: string[];
  offset: number | undefined;
}

function textsOf(values: ReadonlyMap<string, Buffer>): Map<string, string> {
  return new Map([...values].map(([key, value]) => [key, value.toString()]));
}

function bytesOf(values: ReadonlyMap<string, string | null>): Map<string, Buffer | null> {
  return new Map([...values].map(([key, value]) => [key, value === null ? null : Buffer.from(value)]));
}
