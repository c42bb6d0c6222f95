import { describe, expect, it } from 'vitest';
import { apiCallProblem } from './api-call-shape.ts';
import { alertProblem, apiCallSchema, type Alert, type ApiCall } from './index.ts';

const call: Required<ApiCall> = {
  id: 'abcdefgh.1',
  startedAt: 1_700_000_000_000,
  actorKind: 'consumer',
  actorId: 'c',
  actorName: 'n',
  verifiedBy: 'kong',
  consumerId: 'c',
  consumerUsername: 'u',
  consumerCustomId: 'i',
  consumerTags: ['t'],
  credentialId: 'k',
  credential: '~key~x',
  user: '~user~x',
  authScheme: 'key',
  presented: 'something',
  auth: 'failure',
  addressSuccesses: 1,
  ip: '2001:db8::1',
  network: '2001:db8::/64',
  country: 'DE',
  city: 'Berlin',
  latitude: 52.5,
  longitude: 13.4,
  asn: 64_500,
  asOrganization: 'o',
  method: 'GET',
  host: 'h',
  path: '/a/1',
  endpoint: 'GET /a/{id}',
  service: 's',
  route: 'r',
  query: { q: ['1', '2'], debug: [] },
  userAgent: 'a',
  referer: 'r',
  contentType: 't',
  cookies: { c: '~cookie~x' },
  headers: { h: 'v' },
  status: 200,
  source: 'upstream',
  upstreamStatus: '502, 200',
  grpcStatus: 16,
  pathGone: true,
  refused: true,
  requestBytes: 1,
  responseBytes: 2,
  latencyMs: 3,
  upstreamMs: 2,
  workspace: 'w',
};

const alert: Required<Alert> = {
  id: 'a',
  revision: 1,
  type: 'brute-force',
  severity: 'high',
  score: 70,
  actor: { kind: 'address', id: 'i', name: 'n', username: 'u', customId: 'c', tags: ['t'] },
  service: 's',
  route: null,
  endpoint: 'e',
  raisedAt: 1,
  startedAt: 1,
  lastSeenAt: 1,
  count: 1,
  status: 'open',
  dryRun: true,
  observed: { value: 1, unit: 'u' },
  expected: { value: 1, low: 0, high: 1, unit: 'u' },
  summary: 's',
  sources: [{ ip: 'i', count: 1, country: 'DE', asn: 1 }],
  evidence: { pattern: 'accounts' },
  sampleCallIds: ['c'],
  references: ['r'],
};

/** Values as JSON can carry them, of every type. */
const values: unknown[] = [
  null,
  0,
  -1,
  1.5,
  1e300,
  '',
  'x',
  'NaN',
  true,
  false,
  [],
  [null],
  [1],
  {},
  { a: 1 },
  { a: [1] },
];

describe('the check of API calls', () => {
  it('takes a whole call, one with the required fields alone, and one with fields that it does not know', () => {
    expect(apiCallProblem(call)).toBeUndefined();
    const least = Object.fromEntries(
      Object.entries(call).filter(
        ([name]) => !apiCallSchema.shape[name as keyof ApiCall].safeParse(undefined).success,
      ),
    );
    expect(apiCallProblem(least)).toBeUndefined();
    expect(apiCallProblem({ ...least, later: { than: 'this' } })).toBeUndefined();
  });

  it('names the field that is missing, or of another type', () => {
    for (const name of Object.keys(call) as (keyof ApiCall)[]) {
      const without = Object.fromEntries(Object.entries(call).filter(([other]) => other !== name));
      const isRequired = !apiCallSchema.shape[name].safeParse(undefined).success;
      expect(apiCallProblem(without)).toBe(isRequired ? name : undefined);
      for (const value of values)
        expect([undefined, name]).toContain(apiCallProblem({ ...call, [name]: value }));
      expect(apiCallProblem({ ...call, [name]: null })).toBe(name);
    }
    for (const value of ['text', 1, null, undefined, true, []]) expect(apiCallProblem(value)).toBe('');
  });

  it('refuses whatever the schema refuses, but for forms and lengths of texts', () => {
    const lenient = new Set(['id', 'ip', 'network', 'country']);
    for (const name of Object.keys(call) as (keyof ApiCall)[]) {
      for (const value of values) {
        const isText = typeof value === 'string';
        const changed = { ...call, [name]: value };
        if (apiCallSchema.safeParse(changed).success)
          expect(apiCallProblem(changed), `${name} ${JSON.stringify(value)}`).toBeUndefined();
        else if (!lenient.has(name) || !isText)
          expect(apiCallProblem(changed), `${name} ${JSON.stringify(value)}`).toBe(name);
      }
    }
  });
});

describe('the check of alerts', () => {
  it('takes alerts and names the field that is missing, or of another type', () => {
    expect(alertProblem(alert)).toBeUndefined();
    expect(alertProblem({ ...alert, endpoint: null, service: null })).toBeUndefined();
    for (const name of Object.keys(alert) as (keyof Alert)[]) {
      const without = Object.fromEntries(Object.entries(alert).filter(([other]) => other !== name));
      expect(alertProblem(without)).toBe(name === 'dryRun' ? undefined : name);
      for (const value of values)
        expect([undefined, name]).toContain(alertProblem({ ...alert, [name]: value }));
    }
    expect(alertProblem({ ...alert, sources: [null] })).toBe('sources');
    expect(alertProblem({ ...alert, actor: { kind: 'address', name: 'n' } })).toBe('actor');
    expect(alertProblem({ ...alert, expected: { value: 'x', low: 0, high: 1, unit: 'u' } })).toBe('expected');
  });
});
