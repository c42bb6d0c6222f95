import type { RoleContext } from '@tripline/runtime';
import type { StateChanges } from '@tripline/state';
import { DueQueue } from './due-queue.ts';

/** More saved entries than this were not written by Tripline. */
const slotsMost = 1_000_000;
/** Of the most episodes, the share that is closed at once when there are more, so that it is seldom done. */
const earlyShare = 1 / 16;
const logEveryMs = 60_000;

/**
 * Which states of a partition have an open episode, and at which event time the first of them may end. Each entry has a key
 * of its own in the store (`open:<slot>`, slots are used again), so that a checkpoint writes those that changed and no others.
 *
 * Holds more than `most` only until its owner has closed what `takeEarliest` gives.
 */
export class OpenEpisodes {
  readonly #most: number;
  readonly #queue = new DueQueue();
  readonly #slots = new Map<string, number>();
  readonly #free: number[] = [];
  #slotCount = 0;
  /** By slot, what no checkpoint has yet: the key that is there now, or undefined. */
  readonly #changed = new Map<number, string | undefined>();

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#queue.size;
  }

  /** The earliest event time at which an episode may end; Infinity if none is open. */
  get nextMs(): number {
    return this.#queue.nextMs;
  }

  /** Keys of the states of which an episode may end by an event time, in the order in which they do. */
  dueBy(eventTimeMs: number): string[] {
    return this.#queue.dueBy(eventTimeMs);
  }

  /** `closesAtMs`: undefined if no episode of the state is open. */
  set(key: string, closesAtMs: number | undefined): void {
    if (closesAtMs === undefined) {
      if (this.#queue.delete(key)) this.#freeSlot(key);
      return;
    }
    if (this.#queue.dueMs(key) === closesAtMs) return;
    this.#queue.set(key, closesAtMs);
    this.#changed.set(this.#slots.get(key) ?? this.#takeSlot(key), key);
  }

  get isTooMany(): boolean {
    return this.#queue.size > this.#most;
  }

  /** Removes the keys of the states of which an episode would end first: so many that there is room for a while. */
  takeEarliest(): string[] {
    const left = this.#most - Math.ceil(this.#most * earlyShare);
    const keys = this.#queue.takeFirst(Math.max(0, this.#queue.size - left));
    for (const key of keys) this.#freeSlot(key);
    return keys;
  }

  /** Adds to a checkpoint what it has to save, and gives what `savedKeys` needs to find it again. */
  save(changes: StateChanges): number {
    for (const [slot, key] of this.#changed)
      changes.set(
        slotKey(slot),
        key === undefined ? null : Buffer.from(JSON.stringify([key, this.#queue.dueMs(key)])),
      );
    return this.#slotCount;
  }

  /** The checkpoint was made. */
  saved(): void {
    this.#changed.clear();
  }

  /** Takes up the values of `savedKeys` that exist. What is no entry is left out, and its key given to `onUnreadable`. */
  restore(
    slotCount: number,
    values: ReadonlyMap<string, Buffer>,
    onUnreadable: (key: string, problem: string) => void,
  ): void {
    this.#slotCount = slotCount;
    for (let slot = 0; slot < slotCount; slot++) {
      const value = values.get(slotKey(slot));
      const entry = value && entryOf(value);
      if (entry && !this.#slots.has(entry[0])) {
        this.#queue.set(entry[0], entry[1]);
        this.#slots.set(entry[0], slot);
        continue;
      }
      this.#free.push(slot);
      if (!value) continue;
      this.#changed.set(slot, undefined);
      if (!entry) onUnreadable(slotKey(slot), 'no JSON array of key and time');
    }
  }

  #takeSlot(key: string): number {
    const slot = this.#free.pop() ?? this.#slotCount++;
    this.#slots.set(key, slot);
    return slot;
  }

  #freeSlot(key: string): void {
    const slot = this.#slots.get(key)!;
    this.#slots.delete(key);
    this.#free.push(slot);
    this.#changed.set(slot, undefined);
  }
}

/** Where `save` put its entries. */
export function savedKeys(slotCount: number): string[] {
  return Array.from({ length: slotCount }, (_, slot) => slotKey(slot));
}

export function isSlotCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= slotsMost;
}

function slotKey(slot: number): string {
  return `open:${slot}`;
}

function entryOf(value: Buffer): [key: string, closesAtMs: number] | undefined {
  try {
    const entry: unknown = JSON.parse(value.toString());
    return isEntry(entry) ? entry : undefined;
  } catch {
    return undefined;
  }
}

export function isEntry(value: unknown): value is [key: string, closesAtMs: number] {
  return Array.isArray(value) && typeof value[0] === 'string' && Number.isFinite(value[1]);
}

/** Logs that episodes were closed early: at most once a minute, with how many there were since it did so last. */
export function closedEarlyLog({
  logger,
  now,
}: Pick<RoleContext, 'logger' | 'now'>): (episodes: number, most: number) => void {
  let episodes = 0;
  let loggedAt = -Infinity;
  return (more, most) => {
    episodes += more;
    if (now() - loggedAt < logEveryMs) return;
    logger.warn(
      { episodes, most },
      'more alerts are open in a partition than it keeps: those that would have ended first were closed early',
    );
    loggedAt = now();
    episodes = 0;
  };
}
