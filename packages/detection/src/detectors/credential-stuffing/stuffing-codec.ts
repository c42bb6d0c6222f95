import { finite } from '../../across-actors/origin.ts';
import { decodeGrowing, encodeGrowing } from '../../alerts/episode.ts';
import type { Tolerance } from '../../baseline/sensitivity.ts';
import {
  decodeExcess,
  decodeWindowCounts,
  encodeExcess,
  encodeWindowCounts,
} from '../../baseline/window-counts-codec.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { readAccounts, writeAccounts } from './accounts-codec.ts';
import { readOutcomes, writeOutcomes } from './logins-codec.ts';
import { measures } from './measures.ts';
import type { Counts, HourUnderWay, StuffingEpisode, StuffingState } from './stuffing-state.ts';
import { attemptFloors } from './usual-attempts.ts';

/** Raise it when bytes of states that were written before can no longer be read. */
export const STUFFING_STATE_VERSION = 1;

const suspects = ['no', 'burst', 'open'] as const satisfies readonly HourUnderWay['suspect'][];

export function writeStuffing(writer: ByteWriter, state: StuffingState): void {
  const { usual, hour, hours, minutes, episode, pool, dayPool } = state;
  writer.uint(state.newestMs);
  writer.uint(state.late);
  writer.uint(usual.hours);
  writer.uint(usual.freshHours);
  writeCounts(writer, usual);
  encodeWindowCounts(state.windows, writer);
  writer.uint(hour.number);
  writer.uint(suspects.indexOf(hour.suspect));
  writeCounts(writer, hour);
  writeCountsByNumber(writer, hours);
  writeCountsByNumber(writer, minutes);
  writer.flags(episode !== null, pool !== null, dayPool !== null);
  if (episode) writeEpisode(writer, episode);
  if (pool) writeOutcomes(writer, pool);
  if (dayPool) writeOutcomes(writer, dayPool);
  writeAccounts(writer, state.memory);
}

/** `tolerance` is that of the detector's sensitivity. */
export function readStuffing(reader: ByteReader, tolerance: Tolerance): StuffingState {
  const newestMs = reader.uint();
  const late = reader.uint();
  const usual = { hours: reader.uint(), freshHours: reader.uint(), ...readCounts(reader) };
  const windows = decodeWindowCounts(reader, attemptFloors(usual.hours, tolerance));
  const number = reader.uint();
  const suspect = memberAt(suspects, reader.uint());
  const hour: HourUnderWay = { number, suspect, ...readCounts(reader) };
  const hours = readCountsByNumber(reader);
  const minutes = readCountsByNumber(reader);
  const [hasEpisode, hasPool, hasDayPool] = reader.flags(3);
  return {
    newestMs,
    late,
    windows,
    usual,
    hour,
    hours,
    minutes,
    episode: hasEpisode === true ? readEpisode(reader) : null,
    pool: hasPool === true ? readOutcomes(reader) : null,
    dayPool: hasDayPool === true ? readOutcomes(reader) : null,
    memory: readAccounts(reader),
  };
}

function writeCounts(writer: ByteWriter, { unexplained, fresh, failures, successes }: Counts): void {
  writer.number(unexplained);
  writer.number(fresh);
  writer.number(failures);
  writer.number(successes);
}

function readCounts(reader: ByteReader): Counts {
  const unexplained = finite(reader.number());
  const fresh = finite(reader.number());
  const failures = finite(reader.number());
  return { unexplained, fresh, failures, successes: finite(reader.number()) };
}

function writeCountsByNumber(writer: ByteWriter, byNumber: ReadonlyMap<number, Counts>): void {
  writer.uint(byNumber.size);
  for (const [number, counts] of byNumber) {
    writer.uint(number);
    writeCounts(writer, counts);
  }
}

function readCountsByNumber(reader: ByteReader): Map<number, Counts> {
  const byNumber = new Map<number, Counts>();
  for (let left = reader.count(5); left > 0; left--) byNumber.set(reader.uint(), readCounts(reader));
  return byNumber;
}

function writeEpisode(writer: ByteWriter, episode: StuffingEpisode): void {
  writer.text(episode.id);
  encodeGrowing(episode, writer);
  writer.uint(episode.seen);
  writer.uint(episode.late);
  writer.number(episode.ratio);
  writer.boolean(episode.usualRatio !== null);
  if (episode.usualRatio !== null) writer.number(episode.usualRatio);
  writer.number(episode.mostPerHour);
  writer.uint(episode.resumedAt);
  // The measure stands where other excesses have the size of their window.
  encodeExcess({ ...episode.worst, size: measures.indexOf(episode.worst.measure) }, writer);
}

function readEpisode(reader: ByteReader): StuffingEpisode {
  const id = reader.text();
  const growing = decodeGrowing(reader);
  const seen = reader.uint();
  const late = reader.uint();
  const ratio = finite(reader.number());
  const usualRatio = reader.boolean() ? finite(reader.number()) : null;
  const mostPerHour = finite(reader.number());
  const resumedAt = reader.uint();
  const { size, ...numbers } = decodeExcess(reader);
  const worst = { measure: memberAt(measures, size), ...numbers };
  return { ...growing, id, seen, late, ratio, usualRatio, mostPerHour, resumedAt, worst };
}

/** The member that a number in bytes stands for. Throws if there is none. */
function memberAt<Member>(members: readonly Member[], at: number): Member {
  const member = members[at];
  if (member === undefined)
    throw new Error(`the state has ${at} where a number below ${members.length} is expected`);
  return member;
}
