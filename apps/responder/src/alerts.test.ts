import { bodyOf } from '@tripline/bus';
import { decide, parsePolicies } from '@tripline/policy';
import { webhookMessage } from '@tripline/notify';
import { describe, expect, it } from 'vitest';
import { parseAlerts } from './alerts.ts';
import { anAlert } from './test-support.ts';

const whole = {
  ...anAlert(),
  actor: { kind: 'consumer', id: 'c', name: 'acme', username: 'acme', customId: 'i', tags: ['gold'] },
  sources: [{ ip: '203.0.113.9', count: 1, country: 'NO', asn: 64_500 }],
  dryRun: true,
};

const anyValues: readonly unknown[] = [
  null,
  -1,
  0,
  1.5,
  1e300,
  '',
  'x',
  true,
  [],
  [null],
  ['a'],
  {},
  { a: null },
];

const policies = parsePolicies(
  JSON.stringify({
    policies: [
      {
        id: 'p',
        match: {
          severityAtLeast: 'low',
          country: ['NO'],
          network: ['203.0.113.0/24'],
          not: { consumer: { username: ['x*'], tags: ['internal'] }, endpoint: ['GET /x'] },
        },
        actions: [{ type: 'block', duration: '15m', status: 429, message: 'stop' }],
      },
    ],
  }),
);

describe('records of alerts that are JSON but no alert', () => {
  it('are left out with the field that is wrong, and nothing that is let through ends the responder', () => {
    if (!policies.ok) throw new Error(JSON.stringify(policies));
    let malformed = 0;
    let alerts = 0;
    const take = (record: unknown): void => {
      const parsed = parseAlerts(bodyOf([Buffer.from(JSON.stringify(record))]), () => malformed++);
      for (const alert of parsed) {
        alerts++;
        decide(policies.policies, alert);
        webhookMessage('w', { kind: 'alert', event: 'raised', alert });
      }
    };
    take(whole);
    expect(alerts).toBe(1);
    for (const value of anyValues) {
      take(value);
      for (const name of Object.keys(whole)) take({ ...whole, [name]: value });
      for (const name of Object.keys(whole.actor))
        take({ ...whole, actor: { ...whole.actor, [name]: value } });
      for (const name of Object.keys(whole.sources[0]!))
        take({ ...whole, sources: [{ ...whole.sources[0], [name]: value }] });
    }
    expect(malformed).toBeGreaterThan(150);
    expect(alerts).toBeGreaterThan(20);
    const problems: string[] = [];
    const body = bodyOf(['{"id":"a"}', 'rubbish', '[]'].map((text) => Buffer.from(text)));
    parseAlerts(body, (problem) => problems.push(problem));
    expect(problems).toEqual([
      'the record is no alert: revision is missing or has another type',
      'the record is no JSON',
      'the record is no JSON object',
    ]);
  });
});
