import { alertTypes } from '@tripline/detection';
import type { Alert } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import type { Label } from '../traffic/stage.ts';
import { evaluateSeed, evaluationOf } from './evaluate.ts';
import { judge } from './match.ts';
import { page } from './report.ts';

const hourMs = 3_600_000;

describe('judging alerts', () => {
  const label = (one: Partial<Label>): Label => ({
    kind: 'attack',
    variant: 'request-spike:1',
    type: 'request-spike',
    title: '',
    optional: false,
    parameters: {},
    startedAt: 10 * hourMs,
    endedAt: 11 * hourMs,
    times: [10 * hourMs, 11 * hourMs],
    calls: 2,
    actors: new Set(['consumer:c1']),
    endpoints: new Set(['GET /orders']),
    addresses: new Set(['20.1.2.3']),
    openedAccounts: new Set(),
    tolerates: null,
    ...one,
  });
  const alert = (one: Partial<Alert>): Alert => ({
    id: 'a1',
    revision: 1,
    type: 'request-spike',
    severity: 'high',
    score: 70,
    actor: { kind: 'consumer', id: 'c1', name: 'c1' },
    service: null,
    route: null,
    endpoint: null,
    raisedAt: 10.1 * hourMs,
    startedAt: 10 * hourMs,
    lastSeenAt: 11 * hourMs,
    count: 400,
    status: 'closed',
    observed: { value: 1, unit: '' },
    expected: { value: 1, low: 0, high: 1, unit: '' },
    summary: '',
    sources: [],
    evidence: {},
    sampleCallIds: [],
    references: [],
    ...one,
  });
  const kindOf = (one: Alert, ...labels: Label[]): string => judge([one], labels).get(one)!.kind;

  it('an alert of the type, about an actor of the attack, in its time, finds it', () => {
    expect(kindOf(alert({}), label({}))).toBe('finds');
  });

  it('a close relative of the type finds it, another type is collateral', () => {
    const stuffing = label({ type: 'brute-force' });
    expect(kindOf(alert({ type: 'credential-stuffing' }), stuffing)).toBe('finds');
    expect(kindOf(alert({ type: 'request-spike' }), stuffing)).toBe('collateral');
  });

  it('about another actor, at another time, or raised before the attack began, it is false', () => {
    expect(kindOf(alert({ actor: { kind: 'consumer', id: 'c2', name: 'c2' } }), label({}))).toBe('false');
    expect(
      kindOf(alert({ startedAt: 13 * hourMs, raisedAt: 13 * hourMs, lastSeenAt: 14 * hourMs }), label({})),
    ).toBe('false');
    expect(kindOf(alert({ startedAt: 9 * hourMs, raisedAt: 9.5 * hourMs }), label({}))).toBe('false');
  });

  it('an alert about an endpoint finds the one attack that sent most to it, not all that were under way', () => {
    const many = label({
      variant: 'credential-stuffing:4',
      times: Array.from({ length: 300 }, () => 10.5 * hourMs),
    });
    const slow = label({ variant: 'credential-stuffing:6', startedAt: 0, endedAt: 500 * hourMs });
    const one = alert({ actor: { kind: 'endpoint', id: 'e', name: 'GET /orders' }, endpoint: 'GET /orders' });
    expect(judge([one], [slow, many]).get(one)).toEqual({ kind: 'finds', labels: [many] });
  });

  it('an alert about an endpoint goes to an attack of its type, though one of another type sent more', () => {
    const guesses = label({ variant: 'credential-stuffing:8', type: 'brute-force' });
    const ramp = label({ times: Array.from({ length: 300 }, () => 10.5 * hourMs) });
    const about = {
      actor: { kind: 'endpoint', id: 'e', name: 'GET /orders' },
      endpoint: 'GET /orders',
    } as const;
    const stuffing = alert({ ...about, type: 'credential-stuffing' });
    expect(judge([stuffing], [ramp, guesses]).get(stuffing)).toEqual({
      kind: 'finds',
      labels: [guesses],
    });
    const probing = alert({ ...about, type: 'path-probing' });
    expect(judge([probing], [ramp, guesses]).get(probing)).toEqual({
      kind: 'collateral',
      label: ramp,
    });
  });

  it('what the catalogue tolerates is tolerated so often, and false from then on', () => {
    const migration = label({ kind: 'benign', tolerates: { types: ['request-spike'], most: 1 } });
    const [first, second] = [alert({}), alert({ id: 'a2', raisedAt: 10.5 * hourMs })];
    const verdicts = judge([second, first], [migration]);
    expect(verdicts.get(first)!.kind).toBe('tolerated');
    expect(verdicts.get(second)!.kind).toBe('false');
  });
});

describe('evaluation', () => {
  const options = { seed: 5, days: 10, consumers: 40, pastDays: 2 };
  let evaluated: ReturnType<typeof evaluateSeed> | undefined;
  /** The run without anything invented, made once. */
  const plain = (): ReturnType<typeof evaluateSeed> => (evaluated ??= evaluateSeed(options));

  it('a short run finds what ten days suffice for, once each, troubles nobody, and says so in the documented shape', async () => {
    const evaluation = evaluationOf(options, [await plain()]);
    expect(Object.keys(evaluation.detectors)).toEqual([...alertTypes]);
    for (const [type, one] of Object.entries(evaluation.detectors)) {
      // A stale credential is nobody's attack: the scenarios with one tolerate its alert.
      if (type === 'stale-credential') continue;
      expect(one.planted).toBeGreaterThan(0);
      expect(one.found).toBeLessThanOrEqual(one.planted);
      expect(one.recall).toBeCloseTo(one.found / one.planted, 2);
      expect(one.falsePer1000ConsumerDays).toBeCloseTo(
        (one.falseAlerts / evaluation.consumerDays) * 1_000,
        1,
      );
      expect(
        Object.values(one.byVariant).reduce((sum, variant) => sum + variant.planted, 0),
      ).toBeGreaterThanOrEqual(one.planted);
    }
    const spike = evaluation.detectors['request-spike']!;
    // The floor of a run in which victims are known for five days at most; the report has the full figures.
    expect(spike.byVariant['request-spike:1']).toMatchObject({ planted: 1, found: 1 });
    expect(spike.byVariant['request-spike:5']).toMatchObject({ planted: 1, found: 1 });
    expect(spike.secondsToAlertP50).toBeLessThan(600);
    for (const [type, one] of Object.entries(evaluation.detectors)) {
      if (one.planted > 0) expect(one.alertsPerEpisode, type).toBe(1);
      expect(one.falsePer1000ConsumerDays, JSON.stringify(one.falseSamples)).toBeLessThanOrEqual(1);
      if (one.planted === 0 || type === 'request-spike' || type === 'credential-stuffing') continue;
      expect(one.recall, `${type}: ${JSON.stringify(one.byVariant)}`).toBe(1);
    }
    // The slow one begins on the second day, before anybody's places are known.
    expect(evaluation.detectors['credential-stuffing']!.found).toBeGreaterThanOrEqual(8);
    expect(page(evaluation)).toContain('| request-spike');
  }, 300_000);

  it('every attack that is found is found, too, when the attacker invents a credential for each request', async () => {
    const foundIn = ({ outcomes }: Awaited<ReturnType<typeof plain>>): string[] =>
      outcomes.flatMap(({ label, alerts }) => (alerts.length > 0 ? [label.variant] : [])).sort();
    const found = foundIn(await plain());
    expect(found.length).toBeGreaterThan(40);
    expect(foundIn(await evaluateSeed({ ...options, invent: 'mixed' }))).toEqual(
      expect.arrayContaining(found),
    );
  }, 300_000);
});
