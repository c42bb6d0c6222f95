import { describe, expect, it } from 'vitest';
import { ByteReader } from '../codec/byte-reader.ts';
import { ByteWriter } from '../codec/byte-writer.ts';
import { decodeProfile, encodeProfile, excessOf, learn, newProfile, type Profile } from './profile.ts';

function throughBytes(profile: Profile): Profile {
  const writer = new ByteWriter();
  encodeProfile(profile, writer);
  const reader = new ByteReader(writer.take());
  const read = decodeProfile(reader);
  reader.expectEnd();
  return read;
}

describe('a profile', () => {
  it('keeps the hours of the day apart, however far their levels vary', () => {
    const profile = newProfile();
    // The second day makes the deviation of every second slot one that does not fit in six bytes; 1970-01-01 was no weekend.
    for (let hour = 0; hour < 24; hour++) learn(profile, hour, [100 * hour, 110 * hour, 120 * hour]);
    for (let hour = 0; hour < 24; hour++) {
      const step = hour % 2 === 0 ? 10_000 : 100;
      learn(profile, 24 + hour, [100 * hour + step, 110 * hour + step, 120 * hour + step]);
    }
    const read = throughBytes(profile);
    for (let hour = 0; hour < 24; hour++) {
      const half = hour % 2 === 0 ? 5_000 : 50;
      for (const [size, level] of [100, 110, 120].entries())
        expect(excessOf(read, hour, size, level * hour + half), `hour ${hour}`).toBe(0);
    }
    expect(read).toEqual(profile);
  });

  it('is as it was after its bytes, before anything is learnt', () => {
    expect(throughBytes(newProfile())).toEqual(newProfile());
  });
});
