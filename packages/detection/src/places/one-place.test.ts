import { alertsFrom } from '../../test-support/collect.ts';
import type { ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { callsOf, phaseSchema, type PhaseInput } from '../../test-support/program.ts';
import { run } from '../../test-support/run.ts';
import { ByteReader } from '../codec/byte-reader.ts';
import { ByteWriter } from '../codec/byte-writer.ts';
import { createDetection, detectionConfigSchema } from '../index.ts';
import { decodeOnePlace, encodeOnePlace, newOnePlace, restsAtOnePlace, type OnePlace } from './one-place.ts';

const startMs = Date.parse('2026-03-02T00:00:00Z');

type Origin = NonNullable<PhaseInput['origins']>[number];
const proxy: Origin = {
  net: '192.0.2',
  asn: 64_580,
  country: 'DE',
  city: 'Frankfurt',
  at: [50.1, 8.7],
  userAgent: 'app/1.0',
};
const abroad: Origin = {
  net: '198.51.100',
  asn: 64_540,
  country: 'US',
  city: 'New York',
  at: [40.7, -74],
  userAgent: 'curl/8.5.0',
};
const staff = (times: number, rest: Partial<PhaseInput> = {}): PhaseInput => ({
  consumer: 'staff',
  times,
  from: '0d',
  until: '5d',
  rate: { kind: 'poisson', perMinute: 1 / times },
  origins: [proxy],
  ...rest,
});
const callsFrom = (...phases: PhaseInput[]): ApiCall[] => [
  ...callsOf(
    phases.map((phase) => phaseSchema.parse(phase)),
    startMs,
    1,
  ),
];
function stateAfter(calls: readonly ApiCall[], through = (state: OnePlace): OnePlace => state): OnePlace {
  let state = newOnePlace();
  for (const call of calls) {
    state = through(state);
    restsAtOnePlace(state, call);
  }
  return state;
}
/** One of the staff comes from abroad, with a client never used before, minutes after a call through the proxy. */
const around = staff(1, { consumer: 'staff-3', from: '4d9h', until: '4d9h20m', origins: [abroad] });
const travelsOf = (calls: readonly ApiCall[]): string[] =>
  run(createDetection(detectionConfigSchema.parse({})), calls).alerts.map(({ type }) => type);

describe('one place', () => {
  it('lets the detectors of places rest where nearly all of many actors are seen at one', () => {
    expect(stateAfter(callsFrom(staff(30)))).toMatchObject({ isResting: true, asn: 64_580, country: 'DE' });
    expect(travelsOf(callsFrom(staff(30), around))).toEqual([]);
  });

  it('does not rest for a few actors at one place: what one of them does elsewhere is an alert', () => {
    expect(stateAfter(callsFrom(staff(6))).isResting).toBe(false);
    expect(travelsOf(callsFrom(staff(6), around))).toEqual(['impossible-travel']);
  });

  it('does not rest for one busy consumer among many that are elsewhere', () => {
    const others = Array.from({ length: 30 }, (_, at) =>
      staff(1, {
        consumer: `c${at}`,
        rate: { kind: 'poisson', perMinute: 0.02 },
        origins: [{ ...abroad, asn: 65_000 + at }],
      }),
    );
    const busy = staff(1, { consumer: 'busy', rate: { kind: 'poisson', perMinute: 20 } });
    expect(stateAfter(callsFrom(busy, ...others)).isResting).toBe(false);
  });

  it('wakes up when the clients’ own addresses are seen', () => {
    const after = callsFrom(staff(30), staff(30, { from: '5d', until: '5d4h', origins: [proxy, abroad] }));
    expect(stateAfter(after).isResting).toBe(false);
  });

  it('comes to the same wherever its state is encoded and decoded', () => {
    const calls = callsFrom(staff(30), staff(30, { from: '5d', until: '5d30m', origins: [proxy, abroad] }));
    const renewed = stateAfter(calls, (state) => {
      const writer = new ByteWriter();
      encodeOnePlace(state, writer);
      return decodeOnePlace(new ByteReader(writer.take()));
    });
    expect(renewed).toEqual(stateAfter(calls));
  });

  it('stays as it began, and takes no bytes, where no database locates the calls', () => {
    const calls = callsFrom(staff(30, { origins: undefined }));
    expect(stateAfter(calls)).toEqual(newOnePlace());
    const detection = createDetection(detectionConfigSchema.parse({}));
    const peers = detection.peers.decode(undefined);
    for (const call of calls.slice(0, 100))
      alertsFrom((out) => detection.fold(detection.actors.decode(undefined), peers, call, out));
    expect(detection.peers.encode(peers).at(-1)).toBe(0);
  });
});
