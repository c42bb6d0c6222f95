import fc from 'fast-check';
import type { Alert, ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { callsOf, phaseSchema, randomFrom, type PhaseInput } from '../../../test-support/program.ts';
import { EndpointPipeline } from '../../../test-support/run-endpoints.ts';
import { detectionConfigSchema } from '../../registry.ts';
import { crowdAcrossActors } from './crowd.ts';
import { newCallers, type Callers } from './crowd-callers.ts';
import { ByteReader } from '../../codec/byte-reader.ts';
import { ByteWriter } from '../../codec/byte-writer.ts';
import { createEndpointDetection, type EndpointDetection } from '../../across-actors/endpoint-detection.ts';

const startMs = Date.parse('2026-03-02T00:00:00Z');
const hourMs = 3_600_000;
const detection = createEndpointDetection(detectionConfigSchema.parse({}));

const crowd = (
  from: string,
  until: string,
  perMinute: number,
  rest: Partial<PhaseInput> = {},
): PhaseInput => ({
  consumer: 'key',
  times: 50,
  from,
  until,
  rate: { kind: 'poisson', perMinute },
  endpoint: 'GET /orders',
  ...rest,
});
const callsFrom = (phases: readonly PhaseInput[], seed = 1): ApiCall[] => [
  ...callsOf(
    phases.map((one) => phaseSchema.parse(one)),
    startMs,
    seed,
  ),
];
const cloud: Partial<PhaseInput> = {
  origins: [{ net: '203.0.113', asn: 64_500, country: 'DE' }],
  addresses: 100,
};
/** The same crowd from three networks. */
const everywhere = (phase: PhaseInput): PhaseInput[] =>
  [64_500, 64_501, 64_502].map((asn, at) => ({
    ...phase,
    consumer: `${phase.consumer}-${asn}`,
    origins: [{ net: `198.51.${at}`, asn, country: 'DE' }],
  }));
const usual = everywhere(crowd('0h', '52h', 0.04, { consumer: 'shop', times: 20 }));
const spike = crowd('50h', '50h20m', 6, cloud);
const alertsOf = (calls: readonly ApiCall[], judging: EndpointDetection = detection): Alert[] => {
  const pipeline = new EndpointPipeline(judging);
  for (const call of calls) pipeline.add(call);
  pipeline.end();
  return pipeline.run.alerts;
};
const withSpikes = (settings: Record<string, unknown>): EndpointDetection =>
  createEndpointDetection(detectionConfigSchema.parse({ requestSpike: settings }));

describe('a crowd that spikes', () => {
  it('is one alert about the campaign that tells how many, from which network, and with which calls', () => {
    const alerts = alertsOf(callsFrom([...usual, spike]));
    expect(new Set(alerts.map(({ id }) => id)).size).toBe(1);
    const last = alerts.at(-1)!;
    expect(last).toMatchObject({
      type: 'request-spike',
      status: 'closed',
      actor: { kind: 'campaign', id: 'orders GET /orders' },
      service: 'orders',
      endpoint: 'GET /orders',
      evidence: { kind: 'crowd', learning: 'seasonal', network: 64_500 },
    });
    expect(last.raisedAt).toBe(startMs + 50 * hourMs + 60_000);
    expect(last.evidence['networkShare']).toBeGreaterThan(0.95);
    expect(last.evidence['usualNetworkShare']).toBeGreaterThan(0.25);
    expect(last.evidence['usualNetworkShare']).toBeLessThan(0.42);
    expect(last.summary).toMatch(/of them from network AS64500, usually 3. %; normal is up to/);
    // 50 keys, and some of the others: an estimate from a sample of 32.
    expect(last.evidence['distinctActors']).toBeGreaterThan(35);
    expect(last.evidence['distinctActors']).toBeLessThan(110);
    expect(last.count).toBeGreaterThan(4_000);
    expect(last.count).toBeLessThan(8_500);
    expect(last.sources.length).toBeGreaterThan(10);
    expect(last.sampleCallIds).toHaveLength(20);
  });

  it('is none where a handful makes it, however many others are there', () => {
    const handful = crowd('50h', '50h20m', 40, { ...cloud, consumer: 'busy', times: 10 });
    expect(alertsOf(callsFrom([...usual, handful]))).toEqual([]);
  });

  it('is none where it comes from everywhere as ever, or where nobody knows from where', () => {
    for (const from of [everywhere(spike), [{ ...spike, origins: undefined }]])
      for (const seed of [1, 2, 3]) expect(alertsOf(callsFrom([...usual, ...from], seed))).toEqual([]);
  });

  it('is none where the calls failed', () => {
    for (const status of ['401', '503'])
      expect(
        alertsOf(callsFrom([...usual, { ...spike, status: { [status]: 1 } }])).filter(
          ({ type }) => type === 'request-spike',
        ),
      ).toEqual([]);
  });

  it('is taken over when it stays for a day, and is not news again', () => {
    const calls = callsFrom([...usual, crowd('50h', '100h', 3, cloud)]);
    const alerts = alertsOf(calls);
    expect(new Set(alerts.map(({ id }) => id)).size).toBe(1);
    expect(alerts.at(-1)!.status).toBe('closed');
    expect(alerts.at(-1)!.lastSeenAt).toBeLessThan(startMs + 76 * hourMs);
  });

  it('is as off as the detector that it belongs to, and looks at its services only', () => {
    const calls = callsFrom([...usual, spike]);
    expect(alertsOf(calls, withSpikes({ enabled: false }))).toEqual([]);
    expect(alertsOf(calls, withSpikes({ scope: { services: ['payments'] } }))).toEqual([]);
    expect(alertsOf(calls, withSpikes({ scope: { consumers: ['key-1'] } }))).toEqual([]);
    expect(alertsOf(calls, withSpikes({ scope: { services: ['ord*'] } }))).not.toEqual([]);
    expect(alertsOf(calls, withSpikes({ dryRun: true }))[0]!.dryRun).toBe(true);
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
      fc.property(fc.nat(1_000_000), fc.integer({ min: 4, max: 9 }), (seed, perMinute) => {
        const calls = callsFrom([...usual, { ...spike, rate: { kind: 'poisson', perMinute } }], seed);
        const straight = alertsOf(calls);
        expect(straight.length).toBeGreaterThan(0);
        expect(alertsOf(calls, renewing)).toEqual(straight);
      }),
      { numRuns: 4, seed: 1 },
    );
  });
});

describe('the callers of a minute', () => {
  const counter = crowdAcrossActors.createCounter();
  const callersOf = (calls: readonly ApiCall[]): Callers =>
    calls.reduce<Callers | undefined>((callers, call) => counter.add(callers, call), undefined) ??
    newCallers();
  const bytesOf = (callers: Callers): Buffer => {
    const writer = new ByteWriter();
    crowdAcrossActors.encode(callers, writer);
    return writer.take();
  };

  it('are the same however the calls are spread over partitions, and in whatever order they are put together', () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.integer({ min: 1, max: 20 }), (seed, perMinute) => {
        const random = randomFrom(seed);
        const calls = callsFrom([{ ...spike, until: '50h1m', rate: { kind: 'poisson', perMinute } }], seed);
        const parts: ApiCall[][] = [[], [], []];
        for (const call of calls) parts[Math.floor(random() * 3)]!.push(call);
        const sum = newCallers();
        for (const part of parts.reverse())
          crowdAcrossActors.merge(
            sum,
            crowdAcrossActors.decode(new ByteReader(bytesOf(callersOf(part.reverse())))),
          );
        expect(bytesOf(sum)).toEqual(bytesOf(callersOf(calls)));
      }),
      { numRuns: 20, seed: 1 },
    );
  });
});
