import type { Excess } from '../baseline/window-counts.ts';
import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';
import { finite } from './origin.ts';

/** All of an excess but which window it is of, which each detector names in its own way. */
type ExcessNumbers = Omit<Excess, 'size'>;

const learnings = ['cold', 'overall', 'seasonal'] as const satisfies readonly Excess['learning'][];

export function writeExcess(writer: ByteWriter, excess: ExcessNumbers): void {
  writer.uint(excess.startsAt);
  writer.number(excess.count);
  writer.number(excess.high);
  writer.number(excess.expected);
  writer.number(excess.factor);
  writer.uint(learnings.indexOf(excess.learning));
  writer.uint(excess.learntHours);
}

export function readExcess(reader: ByteReader): ExcessNumbers {
  return {
    startsAt: reader.uint(),
    count: finite(reader.number()),
    high: finite(reader.number()),
    expected: finite(reader.number()),
    factor: finite(reader.number()),
    learning: memberAt(learnings, reader.uint()),
    learntHours: reader.uint(),
  };
}

/** The member that a number in bytes stands for. Throws if there is none. */
export function memberAt<Member>(members: readonly Member[], at: number): Member {
  const member = members[at];
  if (member === undefined)
    throw new Error(`the state has ${at} where a number below ${members.length} is expected`);
  return member;
}
