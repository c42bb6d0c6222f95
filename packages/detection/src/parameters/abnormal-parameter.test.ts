import { apiCallSchema, type Alert, type ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { randomFrom } from '../../test-support/program.ts';
import {
  abnormalParameterClosesAt,
  closeAbnormalParameter,
  decodeAbnormalParameter,
  encodeAbnormalParameter,
  foldAbnormalParameter,
  newAbnormalParameterState,
  type AbnormalParameterState,
} from './abnormal-parameter.ts';

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

function learnt(): AbnormalParameterState {
  const state = newAbnormalParameterState();
  const random = randomFrom(3);
  for (let at = 0; at < 300; at++) {
    const status = ['open', 'open', 'paid', 'shipped'][Math.floor(random() * 4)]!;
    expect(
      foldAbnormalParameter(
        state,
        call(`c${at % 9}`, at * 6 - 1_600, { query: { view: ['full'], status: [status] } }),
      ),
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
      revisions.push(...foldAbnormalParameter(state, call('eve', 300 + at / 10, { query })));
    }
    revisions.push(...closeAbnormalParameter(state, START_MS + 500 * MINUTE_MS));
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
    expect(abnormalParameterClosesAt(state)).toBeUndefined();
  });

  it('judges path parameters, too', () => {
    const alerts = foldAbnormalParameter(learnt(), call('eve', 300, { path: "/orders/1' OR '1'='1" }));
    expect(alerts[0]?.summary).toContain('{0}');
  });

  it.each([
    ['a new enum value', { view: ['full'], status: ['refunded'] }],
    ['a new optional parameter', { view: ['full'], status: ['open'], include: ['items'] }],
  ])('takes %s that many consumers bring within minutes for a rollout', (_, query) => {
    const state = learnt();
    const alerts: Alert[] = [];
    for (let at = 0; at < 40; at++)
      alerts.push(...foldAbnormalParameter(state, call(`c${at % 9}`, 300 + at, { query })));
    alerts.push(...closeAbnormalParameter(state, Infinity));
    expect(alerts).toEqual([]);
  });

  it('alerts on the same from one consumer alone, when the others have had ten minutes', () => {
    const state = learnt();
    const query = { view: ['full'], status: ['refunded'] };
    expect(foldAbnormalParameter(state, call('eve', 300, { query }))).toEqual([]);
    expect(abnormalParameterClosesAt(state)).toBe(START_MS + 310 * MINUTE_MS);
    const alerts = foldAbnormalParameter(state, call('c1', 330));
    expect(alerts.map((one) => [one.actor.id, one.raisedAt])).toEqual([['eve', START_MS + 310 * MINUTE_MS]]);
  });

  it('does not take role=admin for a rollout, however many consumers send it', () => {
    const state = learnt();
    const query = { view: ['full'], status: ['open'], role: ['admin'] };
    const actors = new Set<string>();
    for (let at = 0; at < 20; at++) {
      for (const alert of foldAbnormalParameter(state, call(`c${at % 9}`, 300 + at, { query })))
        actors.add(alert.actor.id);
    }
    expect(actors.size).toBe(9);
  });

  it('learns neither from what failed nor from what is unusual nor from what Kong refused', () => {
    const state = learnt();
    const before = state.profile.calls;
    foldAbnormalParameter(state, call('c1', 300, { status: 404 }));
    foldAbnormalParameter(state, call('c1', 301, { refused: true, status: 403, source: 'kong' }));
    foldAbnormalParameter(state, call('c1', 302, { query: { view: ['full'], status: ["x' or 1=1"] } }));
    expect(state.profile.calls).toBe(before);
  });

  it('gives the same alerts from a state that is encoded and decoded between any two calls', () => {
    let copy = decodeAbnormalParameter(undefined);
    const state = newAbnormalParameterState();
    const random = randomFrom(4);
    for (let at = 0; at < 400; at++) {
      const odd = at > 100 && random() < 0.1;
      const next = call(`c${at % 5}`, at, odd ? { query: { view: ['x'.repeat(at)], status: ['open'] } } : {});
      copy = decodeAbnormalParameter(encodeAbnormalParameter(copy) ?? undefined);
      expect(foldAbnormalParameter(copy, next)).toEqual(foldAbnormalParameter(state, next));
    }
    expect(closeAbnormalParameter(copy, Infinity)).toEqual(closeAbnormalParameter(state, Infinity));
  });
});
