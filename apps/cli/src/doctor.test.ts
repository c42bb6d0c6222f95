import { describe, expect, it } from 'vitest';
import { checkAddresses } from './doctor.ts';
import type { CollectorStatus } from './running.ts';

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
