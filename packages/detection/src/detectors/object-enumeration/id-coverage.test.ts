import fc from 'fast-check';
import type { Alert, ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { callsOf, phaseSchema, randomFrom, type PhaseInput } from '../../../test-support/program.ts';
import { EndpointPipeline } from '../../../test-support/run-endpoints.ts';
import { detectionConfigSchema } from '../../registry.ts';
import { ByteReader } from '../../codec/byte-reader.ts';
import { ByteWriter } from '../../codec/byte-writer.ts';
import { createEndpointDetection, type EndpointDetection } from '../../across-actors/endpoint-detection.ts';
import { idCoverage } from './id-coverage.ts';
import { newAskedIds, type AskedIds } from './id-coverage-sample.ts';

const startMs = Date.parse('2026-03-02T00:00:00Z');
const detection = createEndpointDetection(detectionConfigSchema.parse({}));

const usual: PhaseInput = {
  consumer: 'client',
  times: 5,
  from: '0d',
  until: '27h',
  rate: { kind: 'poisson', perMinute: 0.1 },
  asks: { path: '/orders/{n}', of: 50_000, random: true },
};
const walk = (rest: Partial<PhaseInput> = {}): PhaseInput => ({
  consumer: 'nobody',
  anonymous: true,
  addresses: 1_000,
  from: '26h',
  until: '26h30m',
  rate: { kind: 'poisson', perMinute: 40 },
  asks: { path: '/orders/{n}', first: 90_000 },
  ...rest,
});
const callsFrom = (phases: PhaseInput[], seed = 1): ApiCall[] => [
  ...callsOf(
    phases.map((one) => phaseSchema.parse(one)),
    startMs,
    seed,
  ),
];
const alertsOf = (calls: readonly ApiCall[], judging: EndpointDetection = detection): Alert[] => {
  const pipeline = new EndpointPipeline(judging);
  for (const call of calls) pipeline.add(call);
  pipeline.end();
  return pipeline.run.alerts;
};

describe('coverage of ids', () => {
  it('tells the range of the ids, how many went through it, and the largest of them', () => {
    const last = alertsOf(callsFrom([usual, walk()])).at(-1)!;
    expect(last).toMatchObject({
      type: 'object-enumeration',
      status: 'closed',
      actor: { kind: 'endpoint', id: 'orders GET /orders/{id}' },
      observed: { unit: 'ranges of 64 ids/h' },
      expected: { high: 4 },
      evidence: { learning: 'overall', learntHours: 26, distinctActors: 64 },
    });
    expect(last.evidence['leastId']).toBeGreaterThanOrEqual(90_000);
    expect(last.evidence['largestId']).toBeLessThan(92_000);
    expect(last.evidence['largestShare']).toBeLessThan(0.05);
    expect(last.sources).toHaveLength(20);
    expect(last.sampleCallIds).toHaveLength(20);
  });

  it('leaves the walk of one actor to the detector of actors, also where others ask for some of the ids', () => {
    const alone = walk({ anonymous: false, consumer: 'acme', addresses: 1 });
    const beside = walk({
      rate: { kind: 'poisson', perMinute: 4 },
      asks: { path: '/orders/{n}', first: 90_000, of: 1_200, random: true },
    });
    expect(alertsOf(callsFrom([usual, alone, beside]))).toEqual([]);
  });

  it('says nothing in the first day of an endpoint', () => {
    expect(alertsOf(callsFrom([{ ...usual, from: '5h' }, walk()]))).toEqual([]);
  });

  it('is as off as the detector that it belongs to', () => {
    const off = createEndpointDetection(
      detectionConfigSchema.parse({ objectEnumeration: { enabled: false } }),
    );
    expect(alertsOf(callsFrom([usual, walk()]), off)).toEqual([]);
  });

  describe('on a busy endpoint', () => {
    const busy = (rest: Partial<PhaseInput> = {}): PhaseInput => ({
      consumer: 'client',
      times: 100,
      from: '0d',
      until: '52h',
      rate: { kind: 'poisson', perMinute: 0.5 },
      asks: { path: '/orders/{n}', of: 600_000, random: true },
      ...rest,
    });

    it('finds a walk over 40 keys that is a sixth of the calls, once, and tells its ids and keys', () => {
      const keys = Array.from({ length: 40 }, (_, key) =>
        busy({
          consumer: `key-${key}`,
          times: 1,
          from: '26h',
          until: '29h',
          rate: { kind: 'constant', perMinute: 0.25, jitter: 0.9 },
          asks: { path: '/orders/{n}', first: 30_000 + key, stride: 40 },
        }),
      );
      const alerts = alertsOf(callsFrom([busy({ until: '30h' }), ...keys]));
      expect(new Set(alerts.map(({ id }) => id)).size).toBe(1);
      const { status, evidence } = alerts.at(-1)!;
      expect(status).toBe('closed');
      expect(evidence['leastId']).toBeGreaterThanOrEqual(29_952);
      expect(evidence['largestId']).toBeLessThan(31_872);
      expect(evidence['distinctActors']).toBeGreaterThanOrEqual(40);
    });

    it('finds a walk among more popular objects than there is room for', () => {
      const popular = busy({ asks: { path: '/orders/{n}', of: 6_400, random: true } });
      const alerts = alertsOf(
        callsFrom([
          popular,
          walk({ from: '40h', until: '42h', rate: { kind: 'constant', perMinute: 10, jitter: 0.9 } }),
        ]),
      );
      expect(new Set(alerts.map(({ id }) => id)).size).toBe(1);
      expect(alerts[0]!.raisedAt).toBeLessThan(startMs + 41 * 3_600_000);
    });

    it('finds a walk after one actor went through more ids than there is room for', () => {
      const alone = walk({
        anonymous: false,
        consumer: 'acme',
        addresses: 1,
        from: '25h',
        until: '26h40m',
        rate: { kind: 'constant', perMinute: 60 },
      });
      const spread = walk({
        from: '27h',
        until: '29h',
        rate: { kind: 'constant', perMinute: 10, jitter: 0.9 },
        asks: { path: '/orders/{n}', first: 200_000 },
      });
      const alerts = alertsOf(callsFrom([busy({ times: 20, until: '30h' }), alone, spread]));
      expect(new Set(alerts.map(({ id }) => id)).size).toBe(1);
      expect(alerts.at(-1)!.evidence['leastId']).toBeGreaterThanOrEqual(200_000);
    });

    it('holds more calls for the same objects for no walk: a third more, four times in a sale, sixteen times', () => {
      const few = (consumer: string, perMinute: number, rest: Partial<PhaseInput> = {}): PhaseInput =>
        busy({
          consumer,
          times: 30,
          until: '72h',
          rate: { kind: 'poisson', perMinute },
          asks: { path: '/orders/{n}', of: 3_000, random: true },
          ...rest,
        });
      const usually = few('client', 0.02);
      for (const more of [0.33, 3, 15]) {
        const grown = few('more', 0.02 * more, { from: '48h' });
        expect(alertsOf(callsFrom([usually, grown])), `${more}`).toEqual([]);
      }
    });

    it('holds a catalogue of consecutive ids, published and opened by everybody, for no walk', () => {
      const opened = busy({
        from: '49h',
        until: '51h',
        asks: { path: '/orders/{n}', first: 100_000, of: 1_000, random: true },
      });
      expect(alertsOf(callsFrom([busy({ rate: { kind: 'poisson', perMinute: 0.1 } }), opened]))).toEqual([]);
    });

    it('holds new numbers for all ids for no walk', () => {
      const asks = { path: '/orders/{n}', of: 4_000, random: true };
      const moved = busy({ from: '49h', asks: { ...asks, first: 700_000 } });
      expect(alertsOf(callsFrom([busy({ until: '49h', asks }), moved]))).toEqual([]);
    });

    it('lets new ids of their own that everybody reads once grow with all other calls, as in a sale, not by themselves', () => {
      const own = (perMinute: number, from: string, first: number): PhaseInput =>
        walk({
          from,
          until: '52h',
          rate: { kind: 'poisson', perMinute },
          asks: { path: '/orders/{n}', first },
        });
      const before = [busy({ times: 20 }), own(3, '0d', 200_000)];
      const sale = [busy({ times: 60, consumer: 'more', from: '49h' }), own(12, '49h', 400_000)];
      expect(alertsOf(callsFrom([...before, ...sale]))).toEqual([]);
      expect(alertsOf(callsFrom([...before, sale[1]!]))).not.toEqual([]);
    });
  });

  it('gives the same alerts wherever the state is encoded and decoded in between', () => {
    const renewing: EndpointDetection = {
      ...detection,
      judge(state, whole, step) {
        Object.assign(
          state,
          detection.decode(detection.encode(state), (problem) => expect.fail(problem)),
        );
        return detection.judge(state, whole, step);
      },
    };
    fc.assert(
      fc.property(
        fc.nat(1_000_000),
        fc.integer({ min: 15, max: 60 }),
        fc.integer({ min: 50_000, max: 90_000 }),
        (seed, perMinute, first) => {
          const calls = callsFrom(
            [
              usual,
              // Asked for again and again, also among the ids of the walk.
              { ...usual, consumer: 'reader', asks: { path: '/orders/{n}', first, of: 300, random: true } },
              walk({
                rate: { kind: 'poisson', perMinute },
                asks: { path: '/orders/{n}', first },
              }),
            ],
            seed,
          );
          const straight = alertsOf(calls);
          expect(straight.length).toBeGreaterThan(0);
          expect(alertsOf(calls, renewing)).toEqual(straight);
        },
      ),
      { numRuns: 5, seed: 1 },
    );
  });
});

describe('ids of a minute', () => {
  const counter = idCoverage.createCounter();
  const idsOf = (calls: readonly ApiCall[]): AskedIds | undefined =>
    calls.reduce<AskedIds | undefined>((ids, call) => counter.add(ids, call), undefined);
  const bytesOf = (ids: AskedIds): Buffer => {
    const writer = new ByteWriter();
    idCoverage.encode(ids, writer);
    return writer.take();
  };

  it('are the same however the calls are spread over partitions, and in whatever order they are put together', () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.integer({ min: 20, max: 400 }), (seed, perMinute) => {
        const random = randomFrom(seed);
        const calls = callsFrom(
          [
            walk({
              until: '26h1m',
              rate: { kind: 'poisson', perMinute },
              asks: { path: '/orders/{n}', of: 300, random: true },
            }),
          ],
          seed,
        );
        const parts: ApiCall[][] = [[], [], []];
        for (const call of calls) parts[Math.floor(random() * 3)]!.push(call);
        const sum = newAskedIds();
        for (const part of parts.reverse()) {
          const ids = idsOf(part);
          if (ids) idCoverage.merge(sum, idCoverage.decode(new ByteReader(bytesOf(ids))));
        }
        expect(bytesOf(sum)).toEqual(bytesOf(idsOf(calls)!));
      }),
      { numRuns: 20, seed: 1 },
    );
  });

  it('are whole ranges where there are more than 64, so that ranges can be told to be full', () => {
    const calls = callsFrom([walk({ until: '26h10m', rate: { kind: 'constant', perMinute: 200 } })]);
    const numbers = idsOf(calls)!
      .sorted()
      .map(([number]) => Number(number));
    expect(numbers).toHaveLength(64);
    expect(new Set(numbers.map((number) => Math.floor(number / 64))).size).toBeLessThanOrEqual(2);
  });

  it('leave out what is created, as it has the next id', () => {
    const created = callsFrom([walk({ endpoint: 'PUT /orders/{id}', status: { '201': 1 } })]);
    expect(idsOf(created)).toBeUndefined();
    expect(idsOf(created.map((call) => ({ ...call, status: 200 })))).toBeDefined();
  });

  it('leave out calls that failed, and ids that are no numbers', () => {
    expect(idsOf(callsFrom([walk({ status: { '500': 1 } })]))).toBeUndefined();
    expect(idsOf(callsFrom([walk({ asks: { path: '/orders/{uuid}' } })]))).toBeUndefined();
  });
});
