import { describe, expect, it } from 'vitest';
import { decodeProfile, encodeProfile, excessOf, learn, newProfile } from './profile.ts';

describe('a profile', () => {
  it('keeps the hours of the day apart, however far their levels vary', () => {
    const profile = newProfile();
    // The second day doubles the deviation's characters in every second slot; 1970-01-01 was no weekend.
    for (let hour = 0; hour < 24; hour++) learn(profile, hour, [100 * hour, 110 * hour, 120 * hour]);
    for (let hour = 0; hour < 24; hour++) {
      const step = hour % 2 === 0 ? 10_000 : 100;
      learn(profile, 24 + hour, [100 * hour + step, 110 * hour + step, 120 * hour + step]);
    }
    const read = decodeProfile(encodeProfile(profile));
    for (let hour = 0; hour < 24; hour++) {
      const half = hour % 2 === 0 ? 5_000 : 50;
      for (const [size, level] of [100, 110, 120].entries())
        expect(excessOf(read, hour, size, level * hour + half), `hour ${hour}`).toBe(0);
    }
    expect(read).toEqual(profile);
  });

  it('is as it was after its text, before anything is learnt', () => {
    expect(decodeProfile(encodeProfile(newProfile()))).toEqual(newProfile());
  });
});
