import type { RoleContext } from '@tripline/runtime';
import type { StateChanges } from '@tripline/state';
import { DueQueue } from './due-queue.ts';
import { createRareLog } from './rare-log.ts';

/** A store that says it has more slots was not written by Tripline. */
const maxSlots = 1_000_000;
/** The share of the episodes that is closed at once when there are too many, so that it is seldom done. */
const earlyShare = 1 / 16;

/**
 * The states of a partition with an open episode, and the event time at which each may end first. Each entry has a key of its own in the
 * store (`open:<slot>`, slots are used again), so that a checkpoint writes the entries that changed and no others.
 *
 * There are more than `maxEpisodes` only until the owner has closed what `takeEarliest` gives.
 */
export class OpenEpisodes {
  readonly #maxEpisodes: number;
  readonly #queue = new DueQueue();
  readonly #slots = new Map<string, number>();
  readonly #free: number[] = [];
  #slotCount = 0;
  /** By slot, what no checkpoint has yet: the key that takes the slot now, or undefined if it is free. */
  readonly #changed = new Map<number, string | undefined>();

  constructor(maxEpisodes: number) {
    this.#maxEpisodes = maxEpisodes;
  }

  get size(): number {
    return this.#queue.size;
  }

  /** The earliest event time at which an episode may end; Infinity if none is open. */
  get nextMs(): number {
    return this.#queue.nextMs;
  }

  /** Keys of the states with an episode that may end by an event time, in the order in which they do. */
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
    return this.#queue.size > this.#maxEpisodes;
  }

  /** Removes and returns the keys of the states whose episodes would end first: so many that there is room for a while. */
  takeEarliest(): string[] {
    const left = this.#maxEpisodes - Math.ceil(this.#maxEpisodes * earlyShare);
    const keys = this.#queue.takeFirst(Math.max(0, this.#queue.size - left));
    for (const key of keys) this.#freeSlot(key);
    return keys;
  }

  /** Adds the entries that changed to a checkpoint; returns the number of slots, with which `savedKeys` finds them again. */
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

  /**
   * Takes up the values of `savedKeys` that exist; what cannot be used is given to `onRelearn`. Of more than there is room for, those
   * stay that end last; the others end when their state is used again.
   */
  restore(
    slotCount: number,
    values: ReadonlyMap<string, Buffer>,
    onRelearn: (key: string, problem: string) => void,
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
      if (!entry) onRelearn(slotKey(slot), 'no JSON array of key and time');
    }
    const found = this.#queue.size;
    if (found <= this.#maxEpisodes) return;
    for (const key of this.#queue.takeFirst(found - this.#maxEpisodes)) this.#freeSlot(key);
    onRelearn(
      slotKey(0),
      `${found} episodes were open; ${this.#maxEpisodes} are kept, the others end when their state is used again`,
    );
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
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= maxSlots;
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

function isEntry(value: unknown): value is [key: string, closesAtMs: number] {
  return Array.isArray(value) && typeof value[0] === 'string' && Number.isFinite(value[1]);
}

/** Logs that episodes were closed early, at most once a minute. */
export function closedEarlyLog({
  logger,
  now,
}: Pick<RoleContext, 'logger' | 'now'>): (episodes: number, maxOpenEpisodes: number) => void {
  const log = createRareLog(now, (episodes, maxOpenEpisodes: number) =>
    logger.warn(
      { episodes, most: maxOpenEpisodes },
      'more alerts are open in a partition than it keeps: those that would have ended first were closed early',
    ),
  );
  return (episodes, maxOpenEpisodes) => log(maxOpenEpisodes, episodes);
}
