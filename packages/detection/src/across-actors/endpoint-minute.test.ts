import fc from 'fast-check';
import type { ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { anyCall, beganMs, loginCall } from '../../test-support/login-call.ts';
import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';
import type { Detector } from '../detector.ts';
import { detectionConfigSchema, registry } from '../registry.ts';
import { endpointSettings } from '../settings.ts';
import { createEndpointDetection } from './endpoint-detection.ts';
import { MinuteParts, type EndpointMinute } from './endpoint-minute.ts';
import { MinuteHold } from './minute-hold.ts';
import type { MinutePartKind } from './minute-part.ts';
import { PreAggregator } from './pre-aggregator.ts';

const minuteParts = new MinuteParts(registry);

function minuteOf(calls: readonly ApiCall[]): EndpointMinute {
  const minute = minuteParts.newMinute();
  const count = minuteParts.createCounter();
  for (const one of calls) count(minute, one);
  return minute;
}

function merged(...minutes: EndpointMinute[]): string {
  const sum = minuteParts.newMinute();
  for (const minute of minutes) minuteParts.merge(sum, minute);
  return bytesOf(sum);
}

const bytesOf = (minute: EndpointMinute): string => minuteParts.encode(minute).toString('latin1');

describe('a minute of an endpoint, with the parts of all detectors', () => {
  const some = fc.array(anyCall, { maxLength: 400 });

  it('merges to the same in any order and grouping, and to what one partition would have counted', () => {
    fc.assert(
      fc.property(some, some, some, (a, b, c) => {
        const [one, two, three] = [minuteOf(a), minuteOf(b), minuteOf(c)];
        const whole = bytesOf(minuteOf([...a, ...b, ...c]));
        const pair = minuteParts.newMinute();
        minuteParts.merge(pair, two);
        minuteParts.merge(pair, three);
        expect(merged(one, two, three)).toBe(whole);
        expect(merged(three, two, one)).toBe(whole);
        expect(merged(one, pair)).toBe(whole);
        expect(merged(pair, one)).toBe(whole);
      }),
      { numRuns: 60, seed: 1 },
    );
  });

  it('is the same after it went through its bytes, also with what is added later', () => {
    fc.assert(
      fc.property(some, some, (a, b) => {
        const straight = minuteOf(a);
        const { minute: read, dropped } = minuteParts.decode(minuteParts.encode(straight));
        expect(dropped).toBe(0);
        expect(bytesOf(read)).toBe(bytesOf(straight));
        const count = minuteParts.createCounter();
        for (const one of b) {
          count(straight, one);
          count(read, one);
        }
        expect(bytesOf(read)).toBe(bytesOf(straight));
      }),
      { numRuns: 60, seed: 2 },
    );
  });

  it('takes at most 32 KB, however many addresses, accounts and user agents there are', () => {
    const minute = minuteParts.newMinute();
    const count = minuteParts.createCounter();
    for (let n = 0; n < 20_000; n++) {
      count(
        minute,
        loginCall({
          id: `${n}`.padStart(45, '0'),
          ip: `2001:db8:${n.toString(16)}:85a3:8d3:1319:8a2e:7348`,
          user: `~user~${`${n}`.padStart(22, '0')}`,
          userAgent: 'x'.repeat(5_000),
          country: 'NO',
          asn: 4_200_000_000 + n,
          status: n % 2 === 0 ? 401 : 200,
        }),
      );
    }
    expect(minuteParts.encode(minute).length).toBeLessThan(32_000);
  });

  it('of foreign bytes is refused with an Error, or no larger than one that was counted', () => {
    const bytes = minuteParts.encode(
      minuteOf(Array.from({ length: 300 }, (_, n) => loginCall({ ip: `10.0.0.${n}`, user: `~user~${n}` }))),
    );
    const change = fc.record({ at: fc.nat(bytes.length - 1), to: fc.nat(255), cut: fc.nat(bytes.length) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), fc.boolean(), (changes, isCut) => {
        const foreign = Buffer.from(bytes);
        for (const { at, to } of changes) foreign[at] = to;
        let minute: EndpointMinute;
        try {
          ({ minute } = minuteParts.decode(isCut ? foreign.subarray(0, changes[0]!.cut) : foreign));
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
          expect(error).not.toBeInstanceOf(RangeError);
          return;
        }
        expect(minuteParts.encode(minute).length).toBeLessThanOrEqual(3 * bytes.length);
      }),
      { numRuns: 1_000, seed: 3 },
    );
  });
});

/** Counts calls with a large response: one object is all that a detector across actors takes. */
interface Toy {
  total: number;
}
const largeResponses = (version = 1): MinutePartKind<Toy, Toy> => ({
  id: 200,
  partVersion: version,
  stateVersion: version,
  newPart: () => ({ total: 0 }),
  createCounter: () => ({ add: (part, call) => ({ total: (part?.total ?? 0) + call.responseBytes }) }),
  merge: (part, other) => void (part.total += other.total),
  encode: ({ total }, writer: ByteWriter) => writer.uint(total),
  decode: (reader: ByteReader) => ({ total: reader.uint() }),
  createJudge: () => ({
    enabled: true,
    isOfNote: () => true,
    newState: () => ({ total: 0 }),
    judge: (state, part, { service, endpoint, judgedAt }, out) => {
      state.total += part?.total ?? 0;
      if (state.total < 1_000) return;
      const unit = 'bytes';
      out.alert({
        ...{ id: 'toy', revision: 1, type: 'data-scraping', severity: 'low', score: 1, status: 'open' },
        actor: { kind: 'endpoint', id: endpoint, name: endpoint },
        ...{ service, route: null, endpoint, raisedAt: judgedAt, startedAt: judgedAt, lastSeenAt: judgedAt },
        ...{ count: 1, observed: { value: state.total, unit }, summary: '', sources: [], evidence: {} },
        ...{ expected: { value: 0, low: 0, high: 999, unit }, sampleCallIds: [], references: [] },
      });
    },
    close: () => undefined,
    closesAt: () => undefined,
    encode: ({ total }, writer) => writer.uint(total),
    decode: (reader) => ({ total: reader.uint() }),
  }),
});
const toys = (version = 1): Detector[] => [
  {
    alertType: 'data-scraping',
    setting: 'toy',
    title: 'Toy',
    summary: 'Finds large responses.',
    settings: endpointSettings,
    acrossActors: largeResponses(version),
  },
];

describe('a detector that is added', () => {
  const config = detectionConfigSchema.parse({});
  const emissions = (detectors: readonly Detector[]) => {
    const sources = [0, 1].map((from) => new PreAggregator(from, undefined, detectors));
    for (const source of sources) {
      source.add(loginCall({ responseBytes: 600 }));
      source.rest();
    }
    return sources.flatMap(({ unsent }) => unsent);
  };

  it('is one object: its parts are counted, sent, merged and judged, and its states saved', () => {
    const detection = createEndpointDetection(config, toys());
    const hold = new MinuteHold(2, toys());
    const steps = emissions(toys()).flatMap((emission) => hold.take(emission));
    const whole = steps.flatMap(({ minutes }) => minutes);
    expect(whole).toHaveLength(1);
    const state = detection.create(whole[0]!);
    const alerts = detection.judge(state, whole[0]!, steps[0]!.step);
    expect(alerts.map(({ observed }) => observed.value)).toEqual([1_200]);
    const read = detection.decode(detection.encode(state), (problem) => expect.fail(problem));
    expect(detection.judge(read, whole[0]!, 1)[0]!.observed.value).toBe(2_400);
  });

  it('is dropped and counted where it is unknown or of another version, and stops nobody else', () => {
    const both = [...registry, ...toys(2)];
    for (const detectors of [registry, [...registry, ...toys(1)]]) {
      const hold = new MinuteHold(2, detectors);
      const minutes = emissions(both).flatMap((emission) =>
        hold.take(emission).flatMap((step) => step.minutes),
      );
      expect(hold.droppedParts).toBe(2);
      expect(minutes.map(({ minute }) => minute.calls)).toEqual([2]);

      const newer = createEndpointDetection(config, both);
      const state = newer.create({ service: 's', endpoint: 'e' });
      newer.judge(state, { window: 1, service: 's', endpoint: 'e', minute: newMinuteOf(both) }, 1);
      const problems: string[] = [];
      const older = createEndpointDetection(config, detectors);
      older.decode(newer.encode(state), (problem) => problems.push(problem));
      expect(problems).toEqual([expect.stringMatching(/detector 200.*(unknown here|expected is 1)/)]);
    }
  });

  const newMinuteOf = (detectors: readonly Detector[]): EndpointMinute => {
    const parts = new MinuteParts(detectors);
    const minute = parts.newMinute();
    parts.createCounter()(minute, loginCall({ startedAt: beganMs }));
    return minute;
  };
});
