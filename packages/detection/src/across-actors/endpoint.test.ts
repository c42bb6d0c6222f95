import fc from 'fast-check';
import type { Alert, ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { loginsOf, loginsSchema } from '../../test-support/logins.ts';
import { randomFrom } from '../../test-support/program.ts';
import { EndpointPipeline, EndpointRun } from '../../test-support/run-endpoints.ts';
import { detectionConfigSchema } from '../registry.ts';
import { ENDPOINT_WINDOW_MS, GRACE_MS, OPEN_MINUTES_MOST, PARTS_PER_EMISSION } from './limits.ts';
import { createEndpointDetection } from './endpoint-detection.ts';
import {
  addToMinute,
  attemptKey,
  decodeMinute,
  encodeMinute,
  mergeMinute,
  newMinute,
  unexplainedAmong,
  unexplainedOf,
  type EndpointMinute,
} from './endpoint-minute.ts';
import { addWalked } from '../detectors/object-enumeration/id-coverage.ts';
import { MinuteHold } from './minute-hold.ts';
import { PreAggregator, type Emission } from './pre-aggregator.ts';
import { Sample, sampleHash } from '../sketches/sample.ts';

const beganMs = Date.parse('2026-03-02T09:00:00Z');
const detection = createEndpointDetection(detectionConfigSchema.parse({}));

function call(more: Partial<ApiCall>): ApiCall {
  const ip = more.ip ?? '10.0.0.1';
  return {
    id: `call-${more.startedAt ?? 0}-${ip}-${more.user ?? ''}`,
    startedAt: beganMs,
    actorKind: 'address',
    actorId: ip,
    actorName: ip,
    ip,
    method: 'POST',
    path: '/login',
    endpoint: 'POST /login',
    service: 'accounts',
    status: 401,
    source: 'upstream',
    requestBytes: 1,
    responseBytes: 1,
    latencyMs: 1,
    ...((more.status ?? 401) === 401 ? { auth: 'failure' as const } : {}),
    ...more,
  };
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

const anyCall = fc
  .record({
    address: fc.nat(300),
    account: fc.nat(300),
    status: fc.constantFrom(200, 401, 401, 401, 403, 404, 503),
    auth: fc.constantFrom(undefined, 'challenge' as const, 'success' as const),
    consumer: fc.boolean(),
    country: fc.constantFrom(undefined, 'NO', 'SE'),
    n: fc.nat(1_000_000),
  })
  .map(({ address, account, status, auth, consumer, country, n }) =>
    call({
      id: `call-${n}-${address}-${account}-${status}-${auth}-${country}-${consumer}`,
      startedAt: beganMs + n,
      ip: `10.0.${address >> 8}.${address & 255}`,
      user: `~user~${account}`,
      status,
      ...(auth === undefined ? {} : { auth }),
      ...(consumer ? { consumerId: `c${account}`, actorName: `consumer ${account}` } : {}),
      ...(country === undefined ? {} : { country, asn: n % 7 }),
    }),
  );

function minuteOf(calls: readonly ApiCall[]): EndpointMinute {
  const minute = newMinute();
  for (const one of calls) addToMinute(minute, one);
  return minute;
}

function merged(...minutes: EndpointMinute[]): string {
  const sum = newMinute();
  for (const minute of minutes) mergeMinute(sum, minute);
  return JSON.stringify(encodeMinute(sum));
}

describe('a minute of an endpoint', () => {
  const some = fc.array(anyCall, { maxLength: 400 });

  it('merges to the same in any order and grouping, and to what one partition would have counted', () => {
    fc.assert(
      fc.property(some, some, some, (a, b, c) => {
        const [one, two, three] = [minuteOf(a), minuteOf(b), minuteOf(c)];
        const whole = JSON.stringify(encodeMinute(minuteOf([...a, ...b, ...c])));
        const pair = newMinute();
        mergeMinute(pair, two);
        mergeMinute(pair, three);
        expect(merged(one, two, three)).toBe(whole);
        expect(merged(three, two, one)).toBe(whole);
        expect(merged(one, pair)).toBe(whole);
        expect(merged(pair, one)).toBe(whole);
      }),
      { numRuns: 60, seed: 1 },
    );
  });

  it('is the same after it went through its text, also for what is added later', () => {
    fc.assert(
      fc.property(some, some, (a, b) => {
        const straight = minuteOf(a);
        const read = decodeMinute(JSON.parse(JSON.stringify(encodeMinute(straight))) as never);
        expect(encodeMinute(read)).toEqual(encodeMinute(straight));
        for (const one of b) {
          addToMinute(straight, one);
          addToMinute(read, one);
        }
        expect(encodeMinute(read)).toEqual(encodeMinute(straight));
      }),
      { numRuns: 60, seed: 2 },
    );
  });

  it('takes at most 32 KB, however many addresses, accounts and user agents there are', () => {
    const minute = newMinute();
    for (let n = 0; n < 20_000; n++) {
      addToMinute(
        minute,
        call({
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
    expect(JSON.stringify(encodeMinute(minute)).length).toBeLessThan(32_000);
  });

  it('finds nothing to explain one address with many accounts, or many addresses with many', () => {
    const oneAddress = minuteOf(Array.from({ length: 50 }, (_, n) => call({ user: `~user~${n}` })));
    expect(unexplainedOf(oneAddress).attempts).toBe(50);
    const many = Array.from({ length: 50 }, (_, n) => call({ ip: `10.0.0.${n}`, user: `~user~${n}` }));
    expect(unexplainedOf(minuteOf(many)).attempts).toBe(50);
  });

  it('finds explained: a client that repeats itself, one account from many addresses, who gets in after all', () => {
    const client = Array.from({ length: 500 }, (_, n) => call({ id: `call-${n}`, user: '~user~1' }));
    expect(unexplainedOf(minuteOf(client)).attempts).toBe(1);
    const fleet = Array.from({ length: 50 }, (_, n) => call({ ip: `10.0.0.${n}`, user: '~user~1' }));
    expect(unexplainedOf(minuteOf(fleet)).attempts).toBe(0);
    const mistyped = Array.from({ length: 30 }, (_, n) => [
      call({ ip: `10.0.0.${n}`, user: `~user~${n}` }),
      call({ ip: `10.0.0.${n}`, user: `~user~${n}`, id: `again-${n}-0000`, status: 200 }),
    ]).flat();
    expect(unexplainedOf(minuteOf(mistyped)).attempts).toBe(0);
  });

  it('does not hold a device that fails for ever against those who mistype in the same minute', () => {
    const stale = call({ ip: '10.0.0.1', user: '~user~1' });
    const mistyped = { ip: '10.0.0.2', user: '~user~2' };
    const minute = minuteOf([stale, call(mistyped), call({ ...mistyped, id: 'again-000', status: 200 })]);
    expect(unexplainedOf(minute).share).toBe(0.5);
    expect(unexplainedAmong(minute, new Set(), () => true)).toBe(1);
    const staleKey = attemptKey('10.0.0.1', '~user~1');
    expect(unexplainedAmong(minute, new Set(), (pair) => pair !== staleKey)).toBe(0);
    expect(unexplainedAmong(minute, new Set(['10.0.0.1']), () => true)).toBe(0);
  });

  it('estimates the unexplained attempts that are asked about where not all who got in are kept', () => {
    // Of 60 addresses that fail every second gets in, and 200 others do.
    let sum = 0;
    for (let run = 0; run < 40; run++) {
      const calls = Array.from({ length: 60 }, (_, n) =>
        call({ ip: `10.${run}.0.${n}`, user: `~user~${n}` }),
      );
      for (let n = 0; n < 260; n++)
        if (n >= 60 || n % 2 === 0)
          calls.push(call({ ip: `10.${run}.${n >> 8}.${n & 255}`, user: `~user~${n}`, status: 200 }));
      const asked = new Set(
        Array.from({ length: 40 }, (_, n) => attemptKey(`10.${run}.0.${n}`, `~user~${n}`)),
      );
      sum += unexplainedAmong(minuteOf(calls), new Set(), (pair) => asked.has(pair));
    }
    expect(Math.abs(sum / 40 / 20 - 1)).toBeLessThan(0.2);
  });

  it('counts as failures what was refused for its credentials, whatever the status, and a challenge as nothing', () => {
    const minute = minuteOf([
      call({ status: 503 }),
      call({ status: 499 }),
      call({ status: 403 }),
      call({ status: 403, auth: 'failure' }),
      call({ status: 400, auth: 'failure' }),
      call({ status: 200, auth: 'failure' }),
      call({ status: 302, auth: 'success' }),
      call({ status: 401, auth: 'challenge' }),
      call({ status: 200, auth: 'challenge' }),
    ]);
    expect(minute).toMatchObject({ calls: 9, failures: 3, serverErrors: 2, successes: 1 });
    expect(minute.callers?.size, 'the callers of a 403 and of a success are one').toBe(1);
    expect(minuteOf([call({ auth: 'challenge' })])).toEqual({ ...newMinute(), calls: 1 });
  });

  it('counts the addresses of one /64 as one source', () => {
    const scan = (status: number): ApiCall[] =>
      Array.from({ length: 600 }, (_, n) =>
        call({
          id: `scan-${status}-${n}`,
          ip: `2001:db8:77:1::${(n + 1).toString(16)}`,
          network: '2001:db8:77:1::/64',
          user: `~user~${n}`,
          status,
        }),
      );
    const minute = minuteOf([...scan(401), ...scan(200)]);
    expect(minute.failing!.sources.sorted().map(([source]) => source)).toEqual(['2001:db8:77:1::/64']);
    expect(minute.succeeded!.sorted().map(([source]) => source)).toEqual(['2001:db8:77:1::/64']);
    for (const [, { value }] of minute.tried!.entries())
      for (const { ip } of value.values()) expect(ip).toBe('2001:db8:77:1::/64');
    for (const [, { value }] of minute.callers!.entries()) expect(value.ip).toBe('2001:db8:77:1::/64');
    const walked = addWalked(null, scan(200)[0]!, {
      ...{ objects: [], numbers: [7], page: -1, limit: 0, collection: -1 },
    });
    expect(walked!.sorted().map(([, { value }]) => value.ip)).toEqual(['2001:db8:77:1::/64']);
  });
});

describe('a sample', () => {
  it('estimates the number of distinct keys to 13 % standard error, exact below its size', () => {
    for (const [distinct, within] of [
      [40, 0],
      [2_000, 0.4],
      [100_000, 0.4],
    ] as const) {
      let squares = 0;
      for (let run = 0; run < 40; run++) {
        const sample = new Sample<null>(64);
        for (let n = 0; n < distinct; n++) {
          const key = `${run}-${n}`;
          for (let twice = 0; twice < 2; twice++) sample.pick(key, sampleHash(key), () => null);
        }
        const error = sample.distinct() / distinct - 1;
        squares += error * error;
        expect(Math.abs(error)).toBeLessThanOrEqual(within);
      }
      expect(Math.sqrt(squares / 40)).toBeLessThanOrEqual(distinct < 64 ? 0 : 0.16);
    }
  });
});

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
    if (renew && random() < 0.1)
      for (const [key, state] of run.states) run.states.set(key, detection.decode(detection.encode(state)));
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
    source.add(call({ startedAt: beganMs }));
    source.add(call({ startedAt: beganMs + ENDPOINT_WINDOW_MS + GRACE_MS }));
    source.sent();
    source.add(call({ startedAt: beganMs + 1_000 }));
    source.add(call({ startedAt: beganMs - 11 * 60_000 }));
    source.add(call({ startedAt: beganMs + 2 * ENDPOINT_WINDOW_MS + GRACE_MS }));
    const window = beganMs / ENDPOINT_WINDOW_MS;
    expect(source.unsent.flatMap(({ parts }) => parts.map(([step, at]) => [step, at]))).toEqual([
      [window + 1, window],
      [window + 1, window + 1],
    ]);
    expect(source.late).toBe(1);
  });

  it('holds minutes back until every source has come so far, or says that it is idle', () => {
    const hold = new MinuteHold(3);
    const part: Emission['parts'][number] = [5, 5, 's', 'e', encodeMinute(minuteOf([call({})]))];
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
        call({
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
      expect(JSON.stringify(emission).length).toBeLessThan(900_000);
    }
    const failures = source.unsent.flatMap(({ parts }) => parts.map(([, , , , minute]) => minute[2]));
    expect(failures.reduce((sum, count) => sum + count, 0)).toBe(60_000);
  });

  it('judges the oldest minutes without a source that never speaks, rather than hold more and more', () => {
    const hold = new MinuteHold(2);
    const minute = encodeMinute(minuteOf([call({})]));
    let given = 0;
    for (let step = 1; step <= 50; step++) {
      const parts = Array.from({ length: 100 }, (_, n): Emission['parts'][number] => [
        step,
        step,
        's',
        `e${n}`,
        minute,
      ]);
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

  it('refuses state of another version with what to do', () => {
    expect(() => detection.decode('[9]')).toThrow(
      /state of an endpoint: expected version 6 .* delete the processor state/,
    );
    expect(() => new PreAggregator(0, '[9]')).toThrow(/expected version 1/);
  });
});
