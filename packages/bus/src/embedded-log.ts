import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Topic } from '@tripline/model';
import { open, type Database, type RootDatabase } from 'lmdb';
import { bodyOfBlock, countOf } from './embedded-blocks.ts';
import { recordsOf, skipRecords } from './records.ts';

/** Where to read on, by partition. */
export type LogPositions = Map<number, number>;

/**
 * Reads the log of an embedded bus without changing it, also while a process uses the bus: LMDB gives each reader the state
 * of the last commit. Throws if there is no bus at the path.
 */
export class EmbeddedLogReader {
  readonly #root: RootDatabase<Buffer, number[]>;
  readonly #blocks: Database<Buffer, [string, number, number]>;
  readonly #partitions: number;

  constructor(path: string) {
    if (!existsSync(join(path, 'data.mdb'))) throw new Error(`There is no bus at ${path}.`);
    this.#root = open<Buffer, number[]>({ path, encoding: 'binary', maxDbs: 4, readOnly: true });
    this.#blocks = this.#root.openDB({ name: 'blocks', encoding: 'binary' });
    const positions: Database<{ offset: number }, [string, string, number]> = this.#root.openDB({
      name: 'positions',
      encoding: 'json',
    });
    this.#partitions = positions.get(['', 'partitions', 0])?.offset ?? 1;
  }

  /** Behind the newest record of each partition. */
  ends(topic: Topic): LogPositions {
    const ends: LogPositions = new Map();
    for (let partition = 0; partition < this.#partitions; partition++) {
      const range = {
        start: [topic, partition, Infinity],
        end: [topic, partition, -1],
        reverse: true,
        limit: 1,
      } as const;
      for (const { key, value } of this.#blocks.getRange(range as never))
        ends.set(partition, key[2] + countOf(value));
    }
    return ends;
  }

  /** The records from the positions on, partition by partition; moves the positions behind each record that it gives. */
  *read(topic: Topic, positions: LogPositions): Generator<Buffer, void, undefined> {
    for (let partition = 0; partition < this.#partitions; partition++) {
      const range = { start: [topic, partition, 0], end: [topic, partition, Infinity] } as const;
      for (const { key, value } of this.#blocks.getRange(range as never)) {
        const position = positions.get(partition) ?? 0;
        const end = key[2] + countOf(value);
        if (end <= position) continue;
        // A copy: the memory of what was read is LMDB's.
        const body = Buffer.from(bodyOfBlock(value));
        let next = Math.max(position, key[2]);
        for (const record of recordsOf(skipRecords(body, next - key[2]))) {
          positions.set(partition, ++next);
          yield record;
        }
      }
    }
  }

  async close(): Promise<void> {
    await this.#root.close();
  }
}
