import { alertsFrom } from '../../test-support/collect.ts';
import type { Alert, ApiCall } from '@tripline/model';
import { expect, it } from 'vitest';
import { createDetection, detectionConfigSchema } from '../index.ts';

const startMs = Date.parse('2026-03-02T12:00:00Z');

/** A burst of 500 calls within 10 s, and what follows: raised and closed. */
function alertsOf(settings: unknown): Alert[] {
  const detection = createDetection(detectionConfigSchema.parse(settings));
  const actor = detection.actors.decode(undefined);
  const peers = detection.peers.decode(undefined);
  const burst = Array.from({ length: 500 }, (_, n): ApiCall => ({
    id: `call-${n}`.padStart(8, '0'),
    startedAt: startMs + n * 20,
    actorKind: 'consumer',
    actorId: 'c-1',
    actorName: 'mallory',
    consumerId: 'c-1',
    ip: '192.0.2.1',
    method: 'GET',
    path: '/orders',
    endpoint: 'GET /orders',
    service: 'orders',
    status: 200,
    source: 'upstream',
    requestBytes: 100,
    responseBytes: 200,
    latencyMs: 5,
  }));
  const alerts = burst.flatMap((call) => alertsFrom((out) => detection.fold(actor, peers, call, out)));
  return [...alerts, ...alertsFrom((out) => detection.close(actor, startMs + 86_400_000, out))];
}

it('marks every revision of the alerts of a detector that is only tried out, and changes nothing else', () => {
  const real = alertsOf({});
  expect(real.map(({ status }) => status)).toContain('open');
  expect(real.map(({ status }) => status)).toContain('closed');
  expect(alertsOf({ requestSpike: { dryRun: true } })).toEqual(
    real.map((alert) => ({ ...alert, dryRun: true })),
  );
});

it('leaves the alerts of other detectors alone', () => {
  const others = { bruteForce: { dryRun: true }, credentialStuffing: { dryRun: true } };
  expect(alertsOf(others)).toEqual(alertsOf({}));
  expect(alertsOf({}).some((alert) => 'dryRun' in alert)).toBe(false);
});
