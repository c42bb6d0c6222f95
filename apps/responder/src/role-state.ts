import { FencedError, StateLostError, type PartitionState, type StateStore } from '@tripline/state';
import { createQueue } from './pause.ts';

/** What one save changes: null removes the key. */
export type RoleStateChanges = Map<string, string | null>;

/**
 * The responder's state: what its two parts keep, and the position of the controller on `alerts`. Every save of a
 * partition carries the position, so saves go one after the other: an older position never overwrites a newer one.
 */
export interface RoleState {
  /**
   * What was there at the start under keys that begin with `prefix`, decoded; `name` is the rest of the key. What `decode`
   * throws at was written by another version, or is damaged: it is told, left out, and goes with the next save of its
   * partition.
   */
  read<Value>(
    prefix: string,
    decode: (value: string, name: string) => Value,
  ): { partition: number; name: string; value: Value }[];
  /** Up to where the alerts of the partition were decided. */
  offset(partition: number): number | undefined;
  /** Saves changes in one atomic step; with `offset` also the new position. */
  save(partition: number, changes: RoleStateChanges, offset?: number): Promise<void>;
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
    /** What stands under this key cannot be read. */
    unreadable?: (key: string, problem: string) => void;
    /** Another responder has claimed the state since: nothing can be saved any more. */
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

  const queue = createQueue();
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
  /** Keys that are to go. */
  unreadable: string[];
  offset: number | undefined;
}

function textsOf(values: ReadonlyMap<string, Buffer>): Map<string, string> {
  return new Map([...values].map(([key, value]) => [key, value.toString()]));
}

function bytesOf(values: ReadonlyMap<string, string | null>): Map<string, Buffer | null> {
  return new Map([...values].map(([key, value]) => [key, value === null ? null : Buffer.from(value)]));
}
