import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';
import { CALL_WEIGHT } from './limits.ts';
import { encodeProfile, type Floors, type Learning, type Levels } from './profile.ts';
import {
  COUNTS,
  newHour,
  SHORT_PER_HOUR,
  type Excess,
  type HourRecord,
  type ShadowHour,
  type WindowCounts,
} from './window-counts.ts';

const LEARNINGS = ['cold', 'overall', 'seasonal'] as const satisfies readonly Learning[];

/** `newestHour` is that of the newest window: no hour under way is later. Counts are written in `unit`s. */
function encodeHour(hour: HourRecord | null, newestHour: number, unit: number, writer: ByteWriter): void {
  if (!hour) {
    writer.uint(0);
    return;
  }
  const { most, high, expected } = hour;
  writer.uint(1 + newestHour - hour.hour);
  writer.uint((hour.exceeded ? 1 : 0) + (hour.foreseen ? 2 : 0) + 4 * LEARNINGS.indexOf(hour.learning));
  for (let size = 0; size < 3; size++) {
    writer.uint(most[size]! / unit);
    writer.number(high[size]!);
    writer.number(expected[size]!);
  }
}

function decodeHour(reader: ByteReader, newestHour: number, unit: number): HourRecord | null {
  const age = reader.uint();
  if (age === 0) return null;
  const flags = reader.uint();
  const hour = newHour(1 + newestHour - age);
  hour.learning = LEARNINGS[flags >> 2]!;
  hour.exceeded = (flags & 1) !== 0;
  hour.foreseen = (flags & 2) !== 0;
  for (let size = 0; size < 3; size++) {
    hour.most[size] = reader.uint() * unit;
    hour.high[size] = reader.number();
    hour.expected[size] = reader.number();
  }
  return hour;
}

/** What the counts are multiples of: whole calls, of which nearly all take one byte, unless the server failed some. */
function unitOf(counts: readonly number[], current: HourRecord | null, before: HourRecord | null): number {
  // All at once: failed calls are what is below a whole one.
  let all = 0;
  for (let at = 0; at < counts.length; at++) all |= counts[at]!;
  if (current) all |= current.most[0] | current.most[1] | current.most[2];
  if (before) all |= before.most[0] | before.most[1] | before.most[2];
  return all % CALL_WEIGHT === 0 ? CALL_WEIGHT : 1;
}

function encodeLevels(levels: Levels, writer: ByteWriter): void {
  for (const level of levels) writer.uint(level);
}

const decodeLevels = (reader: ByteReader): Levels => [reader.uint(), reader.uint(), reader.uint()];

export function encodeWindowCounts(windows: WindowCounts, writer: ByteWriter): void {
  const { newest, counts, current, before, shadow, peaks } = windows;
  const newestHour = Math.floor(newest / SHORT_PER_HOUR);
  const unit = unitOf(counts, current, before);
  writer.uint(newest + 1);
  writer.boolean(unit === CALL_WEIGHT);
  for (let at = 0; at < counts.length; at++) writer.uint(counts[at]! / unit);
  encodeHour(current, newestHour, unit, writer);
  encodeHour(before, newestHour, unit, writer);
  writer.uint(shadow.length);
  for (const { hour, levels, exceeded } of shadow) {
    writer.uint(2 * hour + (exceeded ? 1 : 0));
    encodeLevels(levels, writer);
  }
  writer.uint(peaks.length);
  for (const { hour, levels } of peaks) {
    writer.uint(hour);
    encodeLevels(levels, writer);
  }
  const { profile } = windows;
  if (Buffer.isBuffer(profile)) {
    writer.section(profile);
    return;
  }
  const start = writer.beginSection();
  encodeProfile(profile, writer);
  writer.endSection(start);
}

export function decodeWindowCounts(reader: ByteReader, floors: Floors): WindowCounts {
  const newest = reader.uint() - 1;
  const newestHour = Math.floor(newest / SHORT_PER_HOUR);
  const unit = reader.boolean() ? CALL_WEIGHT : 1;
  const counts: number[] = [];
  for (let at = 0; at < COUNTS; at++) counts.push(reader.uint() * unit);
  const current = decodeHour(reader, newestHour, unit);
  const before = decodeHour(reader, newestHour, unit);
  const shadow: ShadowHour[] = [];
  for (let left = reader.count(4); left > 0; left--) {
    const both = reader.uint();
    shadow.push({ hour: Math.floor(both / 2), levels: decodeLevels(reader), exceeded: both % 2 === 1 });
  }
  const peaks: WindowCounts['peaks'] = [];
  for (let left = reader.count(4); left > 0; left--)
    peaks.push({ hour: reader.uint(), levels: decodeLevels(reader) });
  return { floors, newest, counts, current, before, profile: reader.sectionBytes(), shadow, peaks };
}

export function encodeExcess(excess: Excess, writer: ByteWriter): void {
  writer.uint(excess.size);
  writer.uint(excess.startsAt);
  writer.number(excess.count);
  writer.number(excess.high);
  writer.number(excess.expected);
  writer.number(excess.factor);
  writer.uint(LEARNINGS.indexOf(excess.learning));
  writer.uint(excess.learntHours);
}

export function decodeExcess(reader: ByteReader): Excess {
  return {
    size: reader.uint(),
    startsAt: reader.uint(),
    count: reader.number(),
    high: reader.number(),
    expected: reader.number(),
    factor: reader.number(),
    learning: LEARNINGS[reader.uint()] ?? 'cold',
    learntHours: reader.uint(),
  };
}
