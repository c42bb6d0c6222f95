import type { Alert, ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { beganMs, loginCall } from '../../test-support/login-call.ts';
import { loginsOf, loginsSchema } from '../../test-support/logins.ts';
import { randomFrom } from '../../test-support/program.ts';
import { EndpointPipeline, EndpointRun } from '../../test-support/run-endpoints.ts';
import { detectionConfigSchema, registry } from '../registry.ts';
import { sampleHash } from '../sketches/sample.ts';
import { encodeEmission, type EmittedPart, type Emission } from './emission.ts';
import { createEndpointDetection, type EndpointState } from './endpoint-detection.ts';
import { MinuteParts } from './endpoint-minute.ts';
import { ENDPOINT_WINDOW_MS, GRACE_MS, OPEN_MINUTES_MOST, PARTS_PER_EMISSION } from './limits.ts';
import { MinuteHold } from './minute-hold.ts';
import { PreAggregator } from './pre-aggregator.ts';

const detection = createEndpointDetection(detectionConfigSchema.parse({}));
const minuteParts = new MinuteParts(registry);

/** The bytes of a minute with one failed login. */
function oneFailure(): Buffer {
  const minute = minuteParts.newMinute();
  minuteParts.createCounter()(minute, loginCall({}));
  return minuteParts.encode(minute);
}

/** Forty minutes of logins and an attack from many addresses in the middle, on two endpoints. */
function traffic(seed: number): ApiCall[] {
  const attack = {
    from: '10m',
    until: '20m',
    perMinute: 60,
    addresses: 900,
    accounts: 900,
    failing: 0.99,
    tries: 1,
  };
  const users = { from: '0d', until: '40m', addresses: 300, accounts: 300 };
  return loginsOf(
    [
      { ...users, perMinute: 30, consumers: true },
      { ...users, perMinute: 20, endpoint: 'POST /token' },
      attack,
      { ...attack, from: '12m', endpoint: 'POST /token' },
    ].map((program) => loginsSchema.parse(program)),
    beganMs,
    seed,
  );
}

/** A state as it is after it was saved and loaded. */
function renewed(state: EndpointState): EndpointState {
  return detection.decode(detection.encode(state), (problem) => expect.fail(problem));
}

/** The alerts of calls that are spread over partitions by actor; emissions interleave at random and some come again. */
function spread(calls: readonly ApiCall[], partitions: number, seed: number, renew: boolean): Alert[] {
  const random = randomFrom(seed);
  let sources = Array.from({ length: partitions }, (_, from) => new PreAggregator(from));
  const queues: Emission[][] = sources.map(() => []);
  const send = (source: PreAggregator, from: number): void => {
    queues[from]!.push(...source.unsent);
    source.sent();
  };
  for (const one of calls) {
    const from = sampleHash(`${one.actorKind}:${one.actorId}`) % partitions;
    sources[from]!.add(one);
    if (renew && random() < 0.02) {
      // A restart: what was unsent is sent, and perhaps it had been before.
      sources = sources.map((source, number) => {
        if (random() < 0.5) queues[number]!.push(...source.unsent);
        return new PreAggregator(number, source.encode());
      });
    }
  }
  sources.forEach((source, from) => {
    source.rest();
    send(source, from);
  });

  const run = new EndpointRun(detection, partitions);
  const taken: Emission[][] = queues.map(() => []);
  while (queues.some((queue) => queue.length > 0)) {
    const from = Math.floor(random() * partitions);
    const again = taken[from]!.length > 0 && random() < 0.2;
    const next = again ? taken[from]![Math.floor(random() * taken[from]!.length)]! : queues[from]!.shift();
    if (!next) continue;
    if (!again) taken[from]!.push(next);
    run.take(next);
    if (renew && random() < 0.1) for (const [key, state] of run.states) run.states.set(key, renewed(state));
  }
  run.close(Number.MAX_SAFE_INTEGER);
  return run.alerts;
}

describe('the re-key step', () => {
  it('gives the same alerts to the letter for any partitions, interleaving, repeats and restarts', () => {
    for (const seed of [1, 2, 3]) {
      const calls = traffic(seed);
      const pipeline = new EndpointPipeline(detection);
      for (const one of calls) pipeline.add(one);
      pipeline.end();
      const expected = pipeline.run.alerts.map((alert) => JSON.stringify(alert));
      expect(new Set(pipeline.run.alerts.map((alert) => alert.id)).size).toBe(2);
      for (const partitions of [1, 2, 8]) {
        for (const renew of [false, true]) {
          const found = spread(calls, partitions, seed * 100 + partitions, renew);
          expect(found.map((alert) => JSON.stringify(alert))).toEqual(expected);
        }
      }
    }
  });

  it('gives the same alerts when calls are late by up to the grace, on any number of partitions', () => {
    const calls = traffic(4);
    const random = randomFrom(5);
    const late = calls
      .map((one) => ({ one, arrivesAt: one.startedAt + random() * GRACE_MS }))
      .sort((a, b) => a.arrivesAt - b.arrivesAt)
      .map(({ one }) => one);
    const expected = spread(calls, 1, 1, false);
    expect(expected.length).toBeGreaterThan(4);
    for (const partitions of [1, 2, 8]) expect(spread(late, partitions, 7, false)).toEqual(expected);
  });

  it('counts later calls in the minute they belong to, with the next one that is judged', () => {
    const source = new PreAggregator(0);
    source.add(loginCall({ startedAt: beganMs }));
    source.add(loginCall({ startedAt: beganMs + ENDPOINT_WINDOW_MS + GRACE_MS }));
    source.sent();
    source.add(loginCall({ startedAt: beganMs + 1_000 }));
    source.add(loginCall({ startedAt: beganMs - 11 * 60_000 }));
    source.add(loginCall({ startedAt: beganMs + 2 * ENDPOINT_WINDOW_MS + GRACE_MS }));
    const window = beganMs / ENDPOINT_WINDOW_MS;
    expect(source.unsent.flatMap(({ parts }) => parts.map(({ step, window: at }) => [step, at]))).toEqual([
      [window + 1, window],
      [window + 1, window + 1],
    ]);
    expect(source.late).toBe(1);
  });

  it('holds minutes back until every source has come so far, or says that it is idle', () => {
    const hold = new MinuteHold(3);
    const part: EmittedPart = { step: 5, window: 5, service: 's', endpoint: 'e', minute: oneFailure() };
    const mark = (from: number, number: number, until: number, idle = false): Emission => ({
      from,
      number,
      until,
      idle,
      parts: [],
    });
    expect(hold.take({ ...mark(0, 1, 6), parts: [part] })).toEqual([]);
    expect(hold.take(mark(1, 1, 4))).toEqual([]);
    expect(hold.waitingFor).toEqual([1, 2]);
    expect(hold.take(mark(1, 2, 5))).toEqual([]);
    expect(hold.take(mark(2, 1, -1, true)).map(({ step }) => step)).toEqual([5]);
    // The idle source speaks again, and what it says was overtaken: it is judged with what comes next.
    expect(hold.take({ ...mark(2, 2, 5), parts: [part] })).toEqual([]);
    expect(hold.take(mark(0, 2, 7)).length + hold.take(mark(1, 3, 7)).length).toBe(0);
    expect(hold.take(mark(2, 3, 7)).map(({ step, minutes }) => [step, minutes[0]?.window])).toEqual([[6, 5]]);
  });

  it('stays bounded under a flood of endpoints, services and addresses, and says what it could not tell apart', () => {
    const source = new PreAggregator(0);
    for (let n = 0; n < 60_000; n++)
      source.add(
        loginCall({
          startedAt: beganMs + n,
          ip: `2001:db8::${n.toString(16)}`,
          endpoint: `GET /${'x'.repeat(50)}/${n % 7_001}`,
          service: `service-${n % 97}`,
        }),
      );
    expect(source.openMinutes).toBeLessThan(OPEN_MINUTES_MOST + 200);
    expect(source.pooled).toBeGreaterThan(10_000);
    expect(source.encode().length).toBeLessThan(8_000_000);
    source.rest();
    for (const emission of source.unsent) {
      expect(emission.parts.length).toBeLessThanOrEqual(PARTS_PER_EMISSION);
      expect(encodeEmission(emission).length).toBeLessThan(900_000);
    }
    const calls = source.unsent.flatMap(({ parts }) =>
      parts.map(({ minute }) => minuteParts.decode(minute).minute.calls),
    );
    expect(calls.reduce((sum, count) => sum + count, 0)).toBe(60_000);
  });

  it('judges the oldest minutes without a source that never speaks, rather than hold more and more', () => {
    const hold = new MinuteHold(2);
    const minute = oneFailure();
    let given = 0;
    for (let step = 1; step <= 50; step++) {
      const parts = Array.from({ length: 100 }, (_, n): EmittedPart => {
        return { step, window: step, service: 's', endpoint: `e${n}`, minute };
      });
      for (const ready of hold.take({ from: 0, number: step, until: step, idle: false, parts }))
        given += ready.minutes.length;
    }
    expect(hold.held).toBeLessThanOrEqual(4_096);
    expect(given).toBe(hold.forced);
    expect(given + hold.held).toBe(5_000);
  });
});

describe('settings', () => {
  it('neither judges nor learns what an exception names, and does so outside of it', () => {
    const alertsWith = (until: string): number => {
      const config = detectionConfigSchema.parse({
        credentialStuffing: {
          exceptions: [
            {
              endpoints: ['accounts POST /*'],
              from: '2026-03-02T09:00:00Z',
              until,
              owner: 'QA',
              comment: 'wrong passwords on purpose',
            },
          ],
        },
      });
      const pipeline = new EndpointPipeline(createEndpointDetection(config));
      for (const one of traffic(1)) pipeline.add(one);
      pipeline.end();
      return pipeline.run.alerts.length;
    };
    expect(alertsWith('2026-03-02T10:00:00Z')).toBe(0);
    expect(alertsWith('2026-03-02T09:05:00Z')).toBeGreaterThan(0);
  });

  it('refuse state of another version and say what is begun anew', () => {
    const never = (problem: string): never => expect.fail(problem);
    expect(() => detection.decode(Buffer.from([6, 0]), never)).toThrow(
      'the state of an endpoint has version 6, expected is 7: the endpoint is learnt anew',
    );
    expect(() => new PreAggregator(0, Buffer.from([1, 0]))).toThrow(
      'the state of the pre-aggregation has version 1, expected is 2: minutes under way are counted anew',
    );
    expect(() => new MinuteHold(1).restore(Buffer.from([9]))).toThrow(/has version 9, expected is 1/);
  });
});
