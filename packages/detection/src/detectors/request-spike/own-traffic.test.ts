import { alertsFrom } from '../../../test-support/collect.ts';
import type { Alert, ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { callsOf, phaseSchema } from '../../../test-support/program.ts';
import { run } from '../../../test-support/run.ts';
import { createDetection, detectionConfigSchema, type ActorState } from '../../index.ts';

const startMs = Date.parse('2026-03-02T12:00:00Z');
const detection = createDetection(detectionConfigSchema.parse({ abnormalParameter: { enabled: false } }));

let calls = 0;
function call(atMs: number, changes: Partial<ApiCall> = {}): ApiCall {
  return {
    id: `call-${calls++}`.padStart(8, '0'),
    startedAt: startMs + atMs,
    actorKind: 'consumer',
    actorId: 'c-1',
    actorName: 'mallory',
    consumerId: 'c-1',
    consumerUsername: 'mallory',
    consumerTags: ['partner'],
    ip: '192.0.2.1',
    method: 'GET',
    path: '/orders/1',
    endpoint: 'GET /orders/{id}',
    service: 'orders',
    route: 'orders-read',
    status: 200,
    source: 'upstream',
    requestBytes: 100,
    responseBytes: 200,
    latencyMs: 5,
    ...changes,
  };
}

/** Folds `perSecond` calls for some seconds; a fresh actor unless one is given. */
function flood(
  seconds: number,
  perSecond: number,
  changes: Partial<ApiCall> = {},
  using = detection,
  actor: ActorState = using.actors.decode(undefined),
): { alerts: Alert[]; actor: ActorState } {
  const peers = using.peers.decode(undefined);
  const alerts: Alert[] = [];
  for (let i = 0; i < seconds * perSecond; i++) {
    const one = call(Math.floor((i * 1000) / perSecond), changes);
    alerts.push(...alertsFrom((out) => using.fold(actor, peers, one, out)));
  }
  return { alerts, actor };
}

describe('the alert of a request spike', () => {
  it('says who, what, against which expectation, and shows sample calls', () => {
    const [alert] = flood(10, 50, { country: 'NO', asn: 64_500 }).alerts;
    expect(alert).toMatchObject({
      revision: 1,
      type: 'request-spike',
      status: 'open',
      severity: 'medium',
      score: 50,
      actor: { kind: 'consumer', id: 'c-1', name: 'mallory', username: 'mallory', tags: ['partner'] },
      service: 'orders',
      route: 'orders-read',
      endpoint: 'GET /orders/{id}',
      startedAt: startMs,
      count: 401,
      observed: { value: 401, unit: 'requests/10s' },
      expected: { value: 0, low: 0, high: 400, unit: 'requests/10s' },
      summary:
        'mallory sent 401 requests in 10 s to orders; up to 400 is accepted without a baseline (0 h learnt so far).',
      evidence: { windowMs: 10_000, learning: 'cold', learntHours: 0, serverErrors: 0 },
    });
    expect(alert!.id).toMatch(/^[0-9a-f]{32}$/);
    expect(alert!.sources).toEqual([{ ip: '192.0.2.1', count: 201, country: 'NO', asn: 64_500 }]);
    expect(alert!.sampleCallIds).toHaveLength(20);
  });

  it('has the same id and content whenever the same calls are replayed', () => {
    const replay = (): Alert[] => {
      calls = 0;
      return flood(90, 60).alerts;
    };
    expect(replay()).toEqual(replay());
  });

  it('is published again when its severity rises and else at most once a minute, then less often', () => {
    const { alerts } = flood(3_600, 50);
    expect(new Set(alerts.map((alert) => alert.id)).size).toBe(1);
    expect(alerts.map((alert) => alert.revision)).toEqual(alerts.map((_, index) => index + 1));
    expect(alerts.length).toBeLessThan(40);
    expect(alerts.at(-1)!.severity).toBe('critical');
    expect(alerts.at(-1)!.count).toBeGreaterThan(160_000);
  });

  it('counts all calls from the first exceeded window to the last', () => {
    const { actor } = flood(40, 50);
    const [closed] = alertsFrom((out) => detection.close(actor, Infinity, out));
    expect(closed).toMatchObject({
      status: 'closed',
      count: 2_000,
      startedAt: startMs,
      lastSeenAt: startMs + 39_980,
    });
    expect(detection.closesAt(actor)).toBeUndefined();
    expect(alertsFrom((out) => detection.close(actor, Infinity, out))).toEqual([]);
  });

  it('closes with the same content by a later call as by `close`', () => {
    const byClose = flood(40, 50);
    const byCall = { actor: detection.actors.decode(detection.actors.encode(byClose.actor)) };
    const later = detection.closesAt(byClose.actor)! + 5_000;
    const folded = alertsFrom((out) =>
      detection.fold(byCall.actor, detection.peers.decode(undefined), call(later - startMs), out),
    );
    expect(folded).toEqual(alertsFrom((out) => detection.close(byClose.actor, later + 1_000_000, out)));
  });

  it('names no service and no endpoint when none has four fifths of the calls', () => {
    const actor = detection.actors.decode(undefined);
    const alerts: Alert[] = [];
    for (let i = 0; i < 900; i++) {
      const service = ['orders', 'catalog', 'accounts'][i % 3]!;
      const at = Math.floor((i * 1000) / 90);
      alerts.push(
        ...alertsFrom((out) =>
          detection.fold(
            actor,
            detection.peers.decode(undefined),
            call(at, { service, endpoint: `GET /${service}` }),
            out,
          ),
        ),
      );
    }
    expect(alerts[0]).toMatchObject({ service: null, endpoint: null });
  });

  it('keeps at most 20 sources and a bounded state, however many addresses, endpoints and services there are', () => {
    const actor = detection.actors.decode(undefined);
    const alerts: Alert[] = [];
    for (let i = 0; i < 6_000; i++) {
      const changes = {
        ip: `2001:db8::${i.toString(16)}`,
        endpoint: `GET /${i}`,
        route: `r${i}`,
        service: `s${i % 40}`,
      };
      alerts.push(
        ...alertsFrom((out) =>
          detection.fold(actor, detection.peers.decode(undefined), call(i * 10, changes), out),
        ),
      );
    }
    expect(alerts.at(-1)!.sources).toHaveLength(20);
    expect(detection.actors.encode(actor).length).toBeLessThan(16_384);
  });
});

describe('what a request spike is not', () => {
  it('is not raised by calls that Kong refused, nor do they count for anything', () => {
    const { alerts, actor } = flood(60, 100, { refused: true, status: 403, source: 'kong' });
    expect(alerts).toEqual([]);
    const untouched = { ...detection.actors.decode(undefined), lastSeenAt: startMs + 59_990 };
    expect(detection.actors.encode(actor)).toEqual(detection.actors.encode(untouched));
  });

  it('is not raised by retries of calls that the server failed', () => {
    expect(flood(60, 100, { status: 503 }).alerts).toEqual([]);
    expect(flood(60, 100, { status: 499 }).alerts).toEqual([]);
    expect(flood(60, 100, { status: 404 }).alerts).not.toEqual([]);
  });

  it('is not raised inside an announced window, and is outside of it or for others', () => {
    const during = (consumers: string[], until: string): Alert[] => {
      const exception = { consumers, from: '2026-03-02T12:00:00Z', until, owner: 'qa', comment: 'load test' };
      return flood(
        20,
        50,
        {},
        createDetection(detectionConfigSchema.parse({ requestSpike: { exceptions: [exception] } })),
      ).alerts;
    };
    expect(during(['mal*'], '2026-03-02T13:00:00Z')).toEqual([]);
    expect(during(['c-?'], '2026-03-02T14:00:00+01:00')).toEqual([]);
    expect(during(['m.l*', 'alice'], '2026-03-02T13:00:00Z')).toHaveLength(1);
    expect(during(['mal*'], '2026-03-02T12:00:01Z')).toHaveLength(1);
  });

  it('is not raised when it is disabled', () => {
    const disabled = createDetection(detectionConfigSchema.parse({ requestSpike: { enabled: false } }));
    expect(flood(60, 100, {}, disabled).alerts).toEqual([]);
  });

  it('is not raised by calls that come more than ten minutes late; they are counted as late', () => {
    const actor = detection.actors.decode(undefined);
    const peers = detection.peers.decode(undefined);
    alertsFrom((out) => detection.fold(actor, peers, call(700_000), out));
    for (let i = 0; i < 2_000; i++)
      expect(alertsFrom((out) => detection.fold(actor, peers, call(i), out))).toEqual([]);
    const inTime = Array.from({ length: 1_000 }, (_, i) => call(701_000 + i));
    const [alert] = inTime.flatMap((one) => alertsFrom((out) => detection.fold(actor, peers, one, out)));
    expect(alert!.evidence['lateCalls']).toBe(2_000);
  });
});

describe('the scope of a detector', () => {
  it('leaves out what it does not name, and exceptions only within it', () => {
    const spike = (scope: object): boolean => {
      const scoped = createDetection(detectionConfigSchema.parse({ requestSpike: { scope } }));
      const phase = phaseSchema.parse({
        consumer: 'acme',
        service: 'orders',
        from: '0d',
        until: '5m',
        rate: { kind: 'constant', perMinute: 3_000 },
      });
      return run(scoped, callsOf([phase], 0, 1)).alerts.some(({ type }) => type === 'request-spike');
    };
    expect(spike({})).toBe(true);
    expect(spike({ services: ['ord*'], consumers: ['acme', 'x'] })).toBe(true);
    expect(spike({ services: ['ord*'], consumers: ['x'] })).toBe(false);
    expect(spike({ services: ['billing'] })).toBe(false);
    expect(spike({ routes: ['none'] })).toBe(false);
    expect(() => detectionConfigSchema.parse({ requestSpike: { scope: { paths: ['x'] } } })).toThrow(/paths/);
  });
});

describe('configuration and states', () => {
  it('needs no configuration and tells what is wrong with one', () => {
    const byDefault = detectionConfigSchema.parse({});
    for (const settings of Object.values(byDefault))
      expect(settings).toEqual({ enabled: true, dryRun: false, sensitivity: 'normal', exceptions: [] });
    const exception = {
      consumers: ['a'],
      from: '2026-03-02T13:00:00Z',
      until: '2026-03-02T12:00:00Z',
      owner: 'qa',
      comment: 'x',
    };
    const check = (changed: object): string =>
      detectionConfigSchema.safeParse({ requestSpike: { exceptions: [{ ...exception, ...changed }] } }).error
        ?.message ?? '';
    expect(check({})).toContain('until must be later than from');
    expect(check({ until: 'tomorrow' })).toContain('ISO 8601');
    expect(check({ from: '2026-03-02T11:00:00Z' })).toBe('');
    expect(detectionConfigSchema.safeParse({ requestSpike: { sensitivity: 3 } }).error?.message).toContain(
      'expected one of \\"low\\"|\\"normal\\"|\\"high\\"',
    );
  });

  it('refuses a state that it did not write, such as the text of an earlier version', () => {
    const ofText = Buffer.from('[4,1772452800000,["A"]]');
    expect(() => detection.actors.decode(ofText)).toThrow("expected version 5 of an actor's state, got 91");
    expect(() => detection.peers.decode(ofText)).toThrow(
      'expected version 5 of the state of the peers of a service, got 91',
    );
    expect(() => detection.peers.decode(Buffer.from([5, 1]))).toThrow('ends in the middle of a field');
  });

  it('keys the states by actor and by service', () => {
    expect(detection.keysOf(call(0)).actor).toBe('a:consumer:c-1');
    expect(detection.keysOf(call(0)).peers).toBe('p:orders');
    const without = call(0);
    delete without.service;
    expect(detection.keysOf(without).peers).toBe('p:');
  });
});
