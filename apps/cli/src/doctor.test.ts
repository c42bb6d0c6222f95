import { describe, expect, it } from 'vitest';
import { checkAddresses, checkClock, checkLag } from './doctor.ts';
import type { CollectorStatus, Status } from './running.ts';

const usual: CollectorStatus['observations']['clients'] = {
  lines: 2_000,
  distinct: 600,
  top: '192.0.2.1',
  topShare: 0.02,
  privateShare: 0,
  topPlace: 'Frankfurt, DE (AS64580)',
  topPlaceShare: 0.3,
  topPlaceActors: 40,
};
const check = (change: Partial<typeof usual>) =>
  checkAddresses({
    observations: { clients: { ...usual, ...change }, senders: [] },
  } as unknown as CollectorStatus);

describe('doctor on client addresses', () => {
  it('says that detectors of places rest when nearly all of many actors are at one place', () => {
    expect(check({ topPlaceShare: 0.97 })).toMatchObject([
      {
        level: 'warn',
        what: 'client addresses: 97 % of the located lines, of 40 actors, are from Frankfurt, DE (AS64580)',
        advice: expect.stringContaining('Impossible travel and credential sharing rest') as unknown,
      },
    ]);
  });

  it('is content with many places, and with a few actors at one', () => {
    expect(check({})).toMatchObject([{ level: 'ok' }]);
    expect(check({ topPlaceShare: 1, topPlaceActors: 5 })).toMatchObject([{ level: 'ok' }]);
  });

  it('names the address that shows for everybody', () => {
    expect(check({ topShare: 0.95, topPlaceShare: 0.97 })).toMatchObject([
      { level: 'warn', what: 'client addresses: 600 different, 95 % of 2000 lines are from 192.0.2.1' },
    ]);
  });
});

describe('doctor on the clock', () => {
  it.each([
    [40, 'ok', "clock: lines come at best 40 ms after Kong's time of them"],
    [90_000, 'warn', "clock: lines come at best 90 s after Kong's time of them"],
    [300_087_136, 'warn', "clock: lines come at best 3 days after Kong's time of them"],
    [-7_000, 'warn', "clock: Kong's clock is 7 s ahead"],
  ])('tells an offset of %i ms as %s, in units that a person reads', (clockOffsetMs, level, what) => {
    const status = { observations: { clockOffsetMs } } as unknown as CollectorStatus;
    expect(checkClock(status)).toMatchObject({ level, what });
  });
});

describe('doctor on the lag', () => {
  it('says who has lost records to a full topic, and what to do', () => {
    const lag = [
      { topic: 'api-calls', group: 'archiver', records: 7, lost: 4_200 },
      { topic: 'api-calls', group: 'processor', records: 0 },
    ];
    expect(checkLag({ lag } as unknown as Status)).toMatchObject([
      {
        level: 'warn',
        what: expect.stringMatching(/^lost: archiver .* on api-calls that 4200 records/) as unknown,
        advice: expect.stringContaining('bus.maxBytes') as unknown,
      },
    ]);
  });
});
