import type { Alert, ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { EndpointPipeline } from '../../../test-support/run-endpoints.ts';
import { run } from '../../../test-support/run.ts';
import { createDetection, createEndpointDetection, detectionConfigSchema } from '../../index.ts';

const beganMs = Date.parse('2026-03-02T09:00:00Z');

/** Twenty unknown keys a minute, each from the next of so many addresses, beside 300 calls that are in order. */
function guessing(addresses: number, minutes: number, fromMs = beganMs): ApiCall[] {
  const call = (n: number, ip: string, more: Partial<ApiCall>): ApiCall => ({
    id: `${fromMs}-${n}-${ip}`,
    startedAt: fromMs + n * 3_000,
    actorKind: 'address',
    actorId: ip,
    actorName: ip,
    ip,
    method: 'GET',
    path: '/orders',
    endpoint: 'GET /orders',
    service: 'orders',
    status: 401,
    auth: 'failure',
    source: 'kong',
    requestBytes: 1,
    responseBytes: 1,
    latencyMs: 1,
    ...more,
  });
  return Array.from({ length: minutes * 20 }, (_, n) => [
    call(n, `10.0.0.${n % addresses}`, { credential: `~secret~${n}`, authScheme: 'apikey' }),
    ...Array.from({ length: 15 }, (_, other) =>
      call(n, `10.1.${n % 40}.${other}`, { status: 200, auth: 'success', source: 'upstream' }),
    ),
  ]).flat();
}

/** All revisions about the calls. */
function revisionsOf(calls: readonly ApiCall[], settings: object = {}): Alert[] {
  const config = detectionConfigSchema.parse(settings);
  const endpoints = new EndpointPipeline(createEndpointDetection(config));
  const { revisions } = run(
    createDetection(config),
    calls,
    (call) => endpoints.add(call),
    (alert) => endpoints.report(alert),
  );
  endpoints.end();
  return [...revisions, ...endpoints.run.alerts];
}

describe('brute force from one or several addresses', () => {
  it('is an alert about the address while it is the only one', () => {
    const revisions = revisionsOf(guessing(1, 30));
    expect(new Set(revisions.map(({ id }) => id)).size).toBe(1);
    expect(revisions.at(-1)).toMatchObject({
      type: 'brute-force',
      status: 'closed',
      actor: { kind: 'address', id: '10.0.0.0' },
      endpoint: 'GET /orders',
    });
    expect(revisions.map(({ revision }) => revision)).toEqual(revisions.map((_, index) => index + 1));
  });

  it('becomes one alert about the endpoint, with all addresses, when more of them do the same', () => {
    const revisions = revisionsOf(guessing(5, 40));
    expect(new Set(revisions.map(({ id }) => id)).size).toBe(1);
    const last = revisions.at(-1)!;
    expect(last.actor).toEqual({ kind: 'endpoint', id: 'orders GET /orders', name: 'orders GET /orders' });
    expect(last.evidence['addresses']).toBe(5);
    expect(last.sources.map(({ ip }) => ip).sort()).toEqual([
      '10.0.0.0',
      '10.0.0.1',
      '10.0.0.2',
      '10.0.0.3',
      '10.0.0.4',
    ]);
    expect(last.summary).toContain('5 addresses try credentials');
    expect(last.observed.value).toBeGreaterThan(last.expected.high);
    expect(revisions.map(({ status }) => status)).toEqual([
      ...revisions.slice(1).map(() => 'open'),
      'closed',
    ]);
  });

  it('is another alert two days later', () => {
    const calls = [...guessing(2, 20), ...guessing(2, 20, beganMs + 48 * 3_600_000)];
    const ids = new Set(revisionsOf(calls).map(({ id }) => id));
    expect(ids.size).toBe(2);
  });

  it('is told by itself where credential stuffing is only tried out', () => {
    const list = guessing(1, 30).map((call) => ({
      ...call,
      ...(call.status === 401 ? { user: `~user~${call.startedAt}`, source: 'upstream' as const } : {}),
    }));
    const alerts = revisionsOf(
      list.filter(({ status }) => status === 401),
      { credentialStuffing: { dryRun: true } },
    );
    const byType = new Map(alerts.map((alert) => [alert.type, alert.dryRun === true]));
    expect(byType).toEqual(
      new Map([
        ['credential-stuffing', true],
        ['brute-force', false],
      ]),
    );
  });
});
