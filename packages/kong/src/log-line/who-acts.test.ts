import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { ApiCall } from '@tripline/model';
import { createSanitizer } from '@tripline/sanitize';
import { describe, expect, it } from 'vitest';
import { lineOf } from './frames.ts';
import type { ServiceSettings } from './judge.ts';
import { createNormaliser, type NormaliserOptions } from './normalise.ts';

const sanitizer = createSanitizer({ key: Buffer.alloc(32, 1) });
const fixtures = fileURLToPath(new URL('../../../../test/fixtures/tcp-log/', import.meta.url));

function reader(options: Partial<NormaliserOptions> = {}): (line: Buffer | object) => ApiCall {
  const normalise = createNormaliser({ sanitizer, ...options });
  return (line) => {
    const result = normalise(
      lineOf(Buffer.isBuffer(line) ? line : Buffer.from(JSON.stringify(line))),
      Infinity,
    );
    if (result.kind !== 'accepted') throw new Error(result.kind);
    return result.call;
  };
}

/** Per recorded line, by its header X-Case: status, who acts, what was presented, what the call says about credentials. */
const recorded: Record<string, string> = {
  'auth-key': `
    key-none: 401 address nothing challenge
    key-wrong-header: 401 address something failure
    key-right-header: 200 consumer - -
    key-wrong-query: 401 address something failure
    key-right-query: 200 consumer - -
    key-empty-header: 401 address nothing challenge
    key-two-headers: 401 address something failure
    key-header-right-query-wrong: 200 consumer - -
    key-other-header-name: 401 address nothing challenge
    key-empty-query: 401 address nothing challenge
    key-as-bearer: 401 address nothing challenge
    key-query-not-allowed: 401 address nothing challenge
    key-body-none: 401 address nothing challenge
    key-body-wrong: 401 address something failure
    key-body-right: 200 consumer - -
    key-body-right-json: 200 consumer - -
    key-body-not-form: 401 address nothing challenge
    key-hide-header: 200 consumer - -
    key-hide-query: 200 consumer - -
    key-hide-wrong: 401 address something failure
    key-realm-none: 401 address nothing challenge
    key-realm-wrong: 401 address something failure
    key-anon-none: 200 address - -
    key-anon-wrong: 200 address something -
    key-anon-right: 200 consumer - -
    key-options-plain: 401 address nothing challenge
    key-preflight-401: 401 address nothing challenge
    key-preflight-not-run: 200 address nothing -
    key-preflight-cors: 200 address nothing -
    key-preflight-cors-continue: 401 address nothing challenge
    key-cors-get-none: 401 address nothing challenge
  `,
  'auth-basic-jwt': `
    basic-none: 401 address nothing challenge
    basic-wrong-password: 401 address something failure
    basic-right: 200 consumer - -
    basic-unknown-user: 401 address something failure
    basic-proxy-authorization-right: 200 consumer - -
    basic-other-scheme: 401 address something failure
    basic-empty-header: 401 address something failure
    basic-hide-right: 200 consumer - -
    basic-hide-wrong: 401 address something failure
    basic-anon-none: 200 address - -
    basic-anon-wrong: 200 address something -
    basic-anon-right: 200 consumer - -
    basic-preflight-401: 401 address nothing challenge
    jwt-none: 401 address nothing challenge
    jwt-expired: 401 address something expired
    jwt-bad-signature: 401 address something failure
    jwt-unknown-issuer: 401 address something failure
    jwt-not-a-token: 401 address something failure
    jwt-right: 200 consumer - -
    jwt-right-query: 200 consumer - -
    jwt-expired-query: 401 address something expired
    jwt-basic-header-instead: 401 address nothing challenge
    jwt-cookie-none: 401 address nothing challenge
    jwt-cookie-expired: 401 address something expired
    jwt-cookie-right: 200 consumer - -
    jwt-anon-none: 200 address - -
    jwt-anon-expired: 200 address something -
    jwt-preflight-401: 401 address nothing challenge
    jwt-preflight-not-run: 200 address nothing -
  `,
  'auth-hmac-ldap': `
    hmac-none: 401 address nothing challenge
    hmac-right: 200 consumer - -
    hmac-wrong-secret: 401 address something failure
    hmac-unknown-user: 401 address something failure
    hmac-clock-skew-past: 401 address something expired
    hmac-clock-skew-future: 401 address something expired
    hmac-no-date: 401 address something expired
    hmac-malformed: 401 address something failure
    hmac-other-scheme: 401 address something expired
    hmac-bad-algorithm: 401 address something failure
    hmac-anon-none: 200 address - -
    hmac-anon-wrong: 200 address something -
    ldap-none: 401 address nothing challenge
    ldap-wrong-password: 401 address something failure
    ldap-right: 200 credential/kong something -
    ldap-right-again: 200 credential/kong something -
    ldap-right-other-user: 200 credential/kong something -
    ldap-other-scheme: 401 address something failure
    ldap-anon-none: 200 address - -
    ldap-anon-wrong: 200 address something -
    ldap-anon-right: 200 credential/kong something -
    ldap-server-down: 500 address something -
  `,
  'auth-combined': `
    or-none: 200 address - -
    or-key: 200 consumer - -
    or-basic: 200 consumer - -
    or-both-wrong: 200 address something -
    or-key-right-basic-wrong: 200 consumer - -
    and-none: 401 address nothing challenge
    and-key-only: 401 consumer - challenge
    and-basic-only: 401 address nothing challenge
    and-both-two-consumers: 200 consumer - -
    acl-none: 401 address nothing challenge
    acl-wrong-key: 401 address something failure
    acl-not-member: 403 consumer - - refused
    acl-member: 200 consumer - -
    acl-deny-member: 403 consumer - - refused
    acl-deny-not-member: 200 consumer - -
    acl-without-auth: 401 address nothing challenge
    oauth-token-client-credentials: 200 address - success
    oauth-token-wrong-secret: 400 address - failure
    oauth-token-unknown-client: 400 address - failure
    oauth-token-wrong-grant: 400 address - failure
    oauth-none: 401 address nothing challenge
    oauth-right: 200 consumer - -
    oauth-right-query: 200 consumer - -
    oauth-wrong: 401 address something failure
    oauth-wrong-query: 401 address something failure
    oauth-anon-none: 200 address - -
    oauth-anon-wrong: 200 address something -
    oauth-token-plain-http: 400 address - failure
    session-login-by-key: 200 consumer - -
    session-by-cookie: 200 consumer - -
    session-none: 200 address - -
    session-bad-cookie: 200 address something -
  `,
  'auth-accept': `
    accept-application/json-none: 401 address nothing challenge
    accept-application/json-wrong: 401 address something failure
    accept-*/*-none: 401 address nothing challenge
    accept-*/*-wrong: 401 address something failure
    accept-text/html-none: 401 address nothing challenge
    accept-text/html-wrong: 401 address something failure
    accept-text/plain-none: 401 address nothing challenge
    accept-text/plain-wrong: 401 address something failure
    accept-application/xml-none: 401 address nothing challenge
    accept-application/xml-wrong: 401 address something failure
    accept-application/grpc-none: 401 address nothing challenge
    accept-application/grpc-wrong: 401 address something failure
    accept-image/png-none: 401 address nothing challenge
    accept-image/png-wrong: 401 address something failure
    accept-None-none: 401 address nothing challenge
    accept-None-wrong: 401 address something failure
  `,
  'auth-hidden': `
    hide-hmac-none: 401 address nothing challenge
    hide-hmac-wrong: 401 address something failure
    hide-hmac-right: 200 consumer - -
    hide-ldap-wrong: 401 address something failure
    hide-ldap-right: 200 credential/kong something -
    hide-oauth-wrong: 401 address something failure
    hide-oauth-none: 401 address nothing challenge
    hide-key-none: 401 address nothing challenge
    hide-key-wrong-header: 401 address something failure
    hide-key-wrong-query: 401 address something failure
    hide-key-anon-wrong: 200 address - -
    hide-basic-none: 401 address nothing challenge
    hide-basic-wrong: 401 address something failure
    hide-basic-anon-wrong: 200 address - -
    hide-basic-other-scheme: 401 address something failure
  `,
  grpc: `
    grpc-login-ok: 200 address - success
    grpc-login-unauthenticated: 200 address - failure
    grpc-login-unauthenticated: 200 address - failure
    grpc-login-unauthenticated: 200 address - failure
    grpc-login-unauthenticated: 200 address - failure
    grpc-get-ok: 200 consumer - -
    grpc-get-not-found: 200 consumer - -
    grpc-get-permission-denied: 200 consumer - -
    grpc-get-internal: 200 consumer - -
    grpc-get-exhausted: 200 consumer - -
    grpc-kong-no-key: 401 address nothing challenge
    grpc-kong-wrong-key: 401 address something failure
    grpc-kong-terminated: 403 consumer - - refused
    grpc-kong-limited: 200 consumer - -
    grpc-kong-limited: 200 consumer - -
    grpc-kong-limited: 429 consumer - - refused
    grpc-no-route: 404 address nothing -
    grpc-unimplemented: 200 consumer - -
    grpc-stream-ok: 200 consumer - -
    grpc-stream-fails: 200 consumer - -
    grpc-stream-cancelled: 200 consumer - -
    grpc-deadline: 499 consumer - -
    http11-to-grpc-route: 426 address - -
  `,
};

describe.each(Object.entries(recorded))('recorded lines of %s', (name, table) => {
  const read = reader();
  const lines = readFileSync(`${fixtures}${name}.ndjson`)
    .toString('latin1')
    .split('\n')
    .slice(0, -1)
    .map((text) => Buffer.from(`${text}\n`, 'latin1'));
  const rows = table
    .trim()
    .split('\n')
    .map((row) => row.trim());

  it.each(rows.map((row, index) => [row, lines[index]!]))('%s', (row, line) => {
    const { request } = JSON.parse(line.toString('utf8')) as { request: { headers: Record<string, string> } };
    const { status, actorKind, verifiedBy, presented, auth, refused } = read(line);
    const actor = verifiedBy === undefined ? actorKind : `${actorKind}/${verifiedBy}`;
    const words = [status, actor, presented ?? '-', auth ?? '-', ...(refused ? ['refused'] : [])];
    expect(`${request.headers['x-case']!}: ${words.join(' ')}`).toBe(row);
  });

  it('are all in the table', () => expect(rows).toHaveLength(lines.length));
});

const t0 = Date.UTC(2026, 2, 2, 9);
const hourMs = 3_600_000;
let serial = 0;
interface Shape {
  at?: number;
  ip?: string;
  method?: string;
  uri?: string;
  status?: number;
  headers?: object;
  query?: object;
  answer?: object;
  service?: string;
  extra?: object;
}

/** A line of a service behind Kong that no plugin authenticates. */
function upstream(shape: Shape): object {
  const { at = t0, ip = '203.0.113.9', method = 'GET', uri = '/things', status = 200 } = shape;
  const name = shape.service ?? 'shop';
  return {
    started_at: at,
    client_ip: ip,
    request: {
      id: (++serial).toString(16).padStart(32, '0'),
      method,
      uri,
      size: 300,
      headers: shape.headers ?? {},
      querystring: shape.query ?? {},
    },
    response: { status, size: 500, headers: shape.answer ?? {} },
    latencies: { request: 12, proxy: 10, kong: 2 },
    upstream_status: String(status),
    source: 'upstream',
    service: { id: name, name },
    route: { id: name, name, paths: ['/'] },
    tries: [{ ip: '127.0.0.1', port: 9100 }],
    ...shape.extra,
  };
}

describe('what a service answers about credentials', () => {
  const read = reader();
  it.each<[string, Shape, string]>([
    ['nothing was sent', {}, 'nothing -'],
    ['a GET without a credential is refused', { status: 401 }, 'nothing challenge'],
    ['a PROPFIND without one', { status: 401, method: 'PROPFIND' }, 'nothing challenge'],
    [
      'a preflight',
      { status: 401, method: 'OPTIONS', headers: { 'access-control-request-method': 'GET' } },
      'nothing challenge',
    ],
    ['the first leg of NTLM', { status: 401, answer: { 'www-authenticate': 'NTLM' } }, 'nothing challenge'],
    [
      'the second leg of NTLM',
      {
        status: 401,
        headers: { authorization: 'REDACTED' },
        answer: { 'www-authenticate': 'NTLM TlRMTVNTUAACAAAA' },
      },
      'nothing challenge',
    ],
    [
      'the second leg of Negotiate, with further schemes',
      {
        status: 401,
        headers: { authorization: 'REDACTED' },
        answer: { 'www-authenticate': ['Negotiate oYG2MIGzoAMKAQ==', 'Basic realm="x"'] },
      },
      'nothing challenge',
    ],
    [
      'a stale nonce of Digest',
      {
        status: 401,
        headers: { authorization: 'REDACTED' },
        answer: { 'www-authenticate': 'Digest realm="a", nonce="b", stale=true' },
      },
      'nothing challenge',
    ],
    [
      'a wrong password of Digest',
      {
        status: 401,
        headers: { authorization: 'REDACTED' },
        answer: { 'www-authenticate': 'Digest realm="a", nonce="b", stale=false' },
      },
      'something failure',
    ],
    [
      'an expired bearer token',
      {
        status: 401,
        headers: { authorization: 'REDACTED' },
        answer: {
          'www-authenticate': 'Bearer error="invalid_token", error_description="The token expired at 9:00"',
        },
      },
      'something expired',
    ],
    [
      'a poll with cookies that are no session',
      { status: 401, headers: { cookie: '_ga=GA1; theme=dark' } },
      'nothing challenge',
    ],
    [
      'a session that is over',
      { status: 401, headers: { cookie: 'theme=dark; JSESSIONID=0A1B' } },
      'something failure',
    ],
    [
      'a token against cross-site requests is no session',
      { status: 401, headers: { cookie: 'csrftoken=abcdef' } },
      'nothing challenge',
    ],
    ['a login form', { status: 401, method: 'POST', uri: '/login' }, 'something failure'],
    ['a login form that was accepted', { method: 'POST', uri: '/api/v2/auth/login' }, '- success'],
    ['a one-time code', { status: 400, method: 'POST', uri: '/auth/verify-otp' }, '- failure'],
    ['a one-time code, by its path before', { status: 422, method: 'POST', uri: '/otp/verify' }, '- failure'],
    ['a token endpoint', { status: 400, method: 'POST', uri: '/oauth2/token' }, '- failure'],
    ['a reset of a password', { status: 429, method: 'POST', uri: '/password/reset' }, '- failure'],
    ['an order that is wrong', { status: 422, method: 'POST', uri: '/orders' }, 'nothing -'],
    [
      'a form that sends back to itself',
      { status: 302, method: 'POST', uri: '/login', answer: { location: '/login?error' } },
      '- failure',
    ],
    [
      'a form that sends on',
      { status: 302, method: 'POST', uri: '/login', answer: { location: 'https://shop.example/account' } },
      '- success',
    ],
    [
      'a gRPC login that failed',
      { method: 'POST', uri: '/acme.v1.Auth/Login', answer: { 'grpc-status': '16' } },
      '- failure',
    ],
    [
      'a gRPC login of nobody known',
      { method: 'POST', uri: '/acme.v1.Auth/SignIn', answer: { 'grpc-status': '5' } },
      '- failure',
    ],
    [
      'a gRPC call without a credential',
      { method: 'POST', uri: '/acme.v1.Orders/Get', answer: { 'grpc-status': '16' } },
      'nothing challenge',
    ],
    [
      'a gRPC order that is not there',
      { method: 'POST', uri: '/acme.v1.Orders/Get', answer: { 'grpc-status': '5' } },
      'nothing -',
    ],
    ['a wrong key that is forbidden', { status: 403, headers: { 'x-api-key': 'abc' } }, 'something failure'],
    ['forbidden without a key', { status: 403 }, 'nothing -'],
    ['no credential, though a parameter is called key', { query: { key: 'checkout.title' } }, 'nothing -'],
    ['a credential in a parameter called key', { query: { key: 'k9f83hf8h3f83hf8' } }, 'something -'],
  ])('%s', (_, shape, expected) => {
    const { presented, auth, actorKind } = read(upstream(shape));
    expect(`${presented ?? '-'} ${auth ?? '-'}`).toBe(expected);
    expect(actorKind).toBe('address');
  });
});

describe('guesses that Kong hides', () => {
  const basic = (shape: Shape): object => ({
    ...upstream({ ...shape, service: 'hidden' }),
    ...(shape.status === 401 ? { source: 'kong', upstream_status: '', tries: [] } : {}),
  });

  it('are failures on a route that hides credentials, though fingerprints show those of others', () => {
    const read = reader();
    const alice = { consumer: { id: 'c1', username: 'alice' }, authenticated_entity: { id: 'k1' } };
    for (let n = 0; n < 5; n++)
      read(basic({ extra: { ...alice, tripline: { credential: 'fp', user: 'u' } } }));
    // In Proxy-Authorization, or behind something else in Authorization, a password has no fingerprint.
    const guess = { status: 401, answer: { 'www-authenticate': 'Basic realm="service"' } };
    expect(read(basic(guess)).auth).toBe('failure');
  });

  it('are failures, not expired, whatever answer the client accepts', () => {
    const read = reader();
    const refused = (type: string, length: number): string | undefined =>
      read(
        basic({
          status: 401,
          headers: { authorization: 'REDACTED' },
          answer: {
            'www-authenticate': 'hmac',
            'content-type': `${type}; charset=utf-8`,
            'content-length': String(length),
          },
        }),
      ).auth;
    const types: [string, number][] = [
      ['application/json', 0],
      ['text/html', 140],
      ['application/xml', 67],
      ['text/plain', -23],
    ];
    for (const [type, longer] of types) {
      expect([98, 102, 169].map((length) => refused(type, length + longer))).toEqual([
        'failure',
        'failure',
        'expired',
      ]);
    }
  });
});

describe('an invented credential', () => {
  it.each<[string, (n: number) => Shape]>([
    ['in a header', (n) => ({ headers: { 'x-api-key': `invented-${n}` } })],
    ['as a bearer token', (n) => ({ headers: { authorization: `Bearer invented-${n}` } })],
    [
      'as a basic user',
      (n) => ({ headers: { authorization: `Basic ${Buffer.from(`u${n}:p`).toString('base64')}` } }),
    ],
    ['in the query', (n) => ({ query: { apikey: `invented-${n}` } })],
    ['as a cookie', (n) => ({ headers: { cookie: `session=invented-${n}` } })],
    [
      'as headers that Kong adds',
      (n) => ({
        headers: {
          'x-consumer-id': `c${n}`,
          'x-consumer-username': `u${n}`,
          'x-credential-identifier': `k${n}`,
        },
      }),
    ],
    [
      'as a fingerprint',
      (n) => ({ headers: { authorization: 'REDACTED' }, extra: { tripline: { credential: `fp-${n}` } } }),
    ],
  ])('%s makes no actor: not on a public route, without a route, nor where it is refused', (_, shape) => {
    const read = reader();
    const actors = new Set<string>();
    for (let n = 0; n < 300; n++)
      for (const status of [200, 401, 403, 404]) {
        const at = t0 + n * hourMs;
        actors.add(read(upstream({ ...shape(n), status, at })).actorId);
        const noRoute = {
          source: 'kong',
          upstream_status: '',
          service: undefined,
          route: undefined,
          tries: undefined,
        };
        const { extra } = shape(n);
        actors.add(read(upstream({ ...shape(n), at, status: 404, extra: { ...extra, ...noRoute } })).actorId);
      }
    expect([...actors]).toEqual(['203.0.113.9']);
  });
});

describe('a credential that Kong verified without a consumer', () => {
  const read = reader();
  const call = (id: string, headers: object = {}): ApiCall =>
    read(
      upstream({
        headers: { authorization: 'REDACTED', ...headers },
        extra: { authenticated_entity: { id } },
      }),
    );

  it('is one actor whatever tokens it uses, by the id that Kong gives it', () => {
    const calls = [1, 2, 3].map((n) =>
      read(
        upstream({
          extra: { authenticated_entity: { id: 'sub-7' }, tripline: { credential: `token-${n}` } },
        }),
      ),
    );
    expect(new Set(calls.map((one) => one.actorId)).size).toBe(1);
    expect(calls[0]).toMatchObject({ actorKind: 'credential', verifiedBy: 'kong' });
    expect(call('sub-8').actorId).not.toBe(calls[0]!.actorId);
  });

  it('leaves neither an e-mail address nor the hash of a password behind', () => {
    const hash = 'ldap_auth_cache:0528907c0528907c0528907c0528907c0528907c0528907c0528907c0528907c';
    expect(JSON.stringify(call('jane.roe@example.org'))).not.toContain('jane');
    expect(JSON.stringify(call(hash))).not.toContain('0528907c');
  });

  it('of LDAP is the user, who stays the same when the password changes', () => {
    const before = call(`ldap_auth_cache:${'a'.repeat(64)}`, { 'x-credential-identifier': 'jroe' });
    const after = call(`ldap_auth_cache:${'b'.repeat(64)}`, { 'x-credential-identifier': 'jroe' });
    expect(after.actorId).toBe(before.actorId);
    expect(JSON.stringify(before)).not.toContain('jroe');
  });

  it('is not the header that a client can send where another plugin sets the id', () => {
    expect(call('sub-7', { 'x-credential-identifier': 'sub-8' }).actorId).toBe(call('sub-7').actorId);
  });
});

describe('a service that authenticates callers itself, as declared', () => {
  const jwt = (claims: object): string =>
    `${['{"alg":"HS256"}', JSON.stringify(claims)].map((part) => Buffer.from(part).toString('base64url')).join('.')}.c2ln`;
  const declared = (identity: ServiceSettings['identity']) =>
    reader({ services: [{ name: 'shop', identity }] });

  it.each<[string, ServiceSettings['identity'], (who: string, n: number) => Shape]>([
    ['a header', { header: 'X-Client-Id' }, (who) => ({ headers: { 'x-client-id': who } })],
    ['a cookie', { cookie: 'shop_user' }, (who) => ({ headers: { cookie: `a=b; shop_user=${who}` } })],
    ['a parameter', { query: 'client' }, (who) => ({ query: { client: who } })],
    [
      'a claim of a token in a header',
      { claim: 'sub', header: 'x-jwt' },
      (who, n) => ({ headers: { 'x-jwt': jwt({ sub: who, iat: n }) } }),
    ],
    [
      'a claim of a token in a cookie',
      { claim: 'uid', cookie: 'at' },
      (who, n) => ({ headers: { cookie: `at=${jwt({ uid: who, iat: n })}` } }),
    ],
    [
      'a claim of the bearer token, as Kong computes it',
      { claim: 'sub' },
      (who) => ({ headers: { authorization: 'REDACTED' }, extra: { tripline: { claim: who } } }),
    ],
    [
      'a claim of a bearer token in clear',
      { claim: 'sub' },
      (who, n) => ({ headers: { authorization: `Bearer ${jwt({ sub: who, iat: n })}` } }),
    ],
  ])('by %s, is each caller one actor, as a keyed token', (_, identity, shape) => {
    const read = declared(identity);
    const calls = [1, 2, 3].map((n) => read(upstream(shape('anna-17', n))));
    expect(new Set(calls.map((one) => one.actorId)).size).toBe(1);
    expect(calls[0]).toMatchObject({
      actorKind: 'credential',
      verifiedBy: 'declared',
      presented: 'something',
    });
    expect(JSON.stringify(calls.map(({ actorId, actorName }) => [actorId, actorName]))).not.toContain('anna');
    expect(read(upstream(shape('bert-18', 1))).actorId).not.toBe(calls[0]!.actorId);
    expect(read(upstream({ ...shape('carl-19', 1), status: 401 })).actorKind).toBe('address');
    expect(read(upstream({ ...shape('carl-19', 1), service: 'other' })).actorKind).toBe('address');
    expect(read(upstream({})).actorKind).toBe('address');
  });

  it('does not let a client invent callers: beyond 20 new ones a day its address acts, however slowly they come', () => {
    const read = declared({ header: 'x-client-id' });
    const actors = new Set<string>();
    let byAddress = 0;
    for (let n = 0; n < 300; n++) {
      const { actorKind, actorId } = read(
        upstream({ at: t0 - 8 * hourMs + n * 240_000, headers: { 'x-client-id': `c${n}` } }),
      );
      actors.add(actorId);
      if (actorKind === 'address') byAddress++;
    }
    expect(byAddress).toBe(280);
    expect(actors.size).toBe(21);
  });

  it('knows the people of an office again, however many they are', () => {
    const read = declared({ header: 'x-client-id' });
    const morning = (day: number) =>
      Array.from({ length: 200 }, (_, n) =>
        read(upstream({ at: t0 + day * 24 * hourMs + n * 1_000, headers: { 'x-client-id': `c${n}` } })),
      );
    morning(0);
    expect(morning(1).every((call) => call.actorKind === 'credential')).toBe(true);
  });

  it('makes nobody of a caller at an endpoint that serves everybody', () => {
    const read = declared({ header: 'x-client-id' });
    read(upstream({ uri: '/catalog' }));
    expect(read(upstream({ uri: '/catalog', headers: { 'x-client-id': 'c1' } })).actorKind).toBe('address');
  });
});

describe('an endpoint that is seen to verify credentials', () => {
  const key = { 'x-api-key': 'k9f83hf8h3f83hf8' };
  const refuse = (read: (line: object) => ApiCall, times: number): void => {
    for (let n = 0; n < times; n++) read(upstream({ status: 401, ip: `198.51.100.${n % 9}` }));
  };

  it('makes actors of credentials that it has served for an hour', () => {
    const read = reader();
    refuse(read, 5);
    expect(read(upstream({ headers: key })).actorKind).toBe('address');
    expect(read(upstream({ headers: key, at: t0 + hourMs - 1 })).actorKind).toBe('address');
    const later = { headers: key, at: t0 + hourMs };
    expect(read(upstream(later))).toMatchObject({ actorKind: 'credential', verifiedBy: 'learnt' });
    expect(read(upstream({ ...later, status: 404 }))).toMatchObject({ actorKind: 'credential' });
    expect(read(upstream({ ...later, status: 401 })).actorKind).toBe('address');
    expect(read(upstream({ ...later, uri: '/public' })).actorKind).toBe('address');
  });

  it('makes none of invented ones, though it only asks for any to be there', () => {
    const read = reader();
    refuse(read, 5);
    for (let n = 0; n < 500; n++) {
      const headers = { 'x-api-key': `invented-${n}-7a8b9c` };
      expect(read(upstream({ at: t0 + n * 60_000, headers })).actorKind).toBe('address');
    }
  });

  it.each<[string, (read: (line: object) => ApiCall) => void]>([
    ['nobody without a credential was refused', () => undefined],
    ['few were', (read) => refuse(read, 4)],
    [
      'they were one client',
      (read) => {
        for (let n = 0; n < 50; n++) read(upstream({ status: 401 }));
      },
    ],
    [
      'one was served',
      (read) => {
        refuse(read, 50);
        read(upstream({ ip: '198.51.100.77' }));
      },
    ],
  ])('is not taken for one where %s', (_, before) => {
    const read = reader();
    before(read);
    read(upstream({ headers: key }));
    expect(read(upstream({ headers: key, at: t0 + 2 * hourMs })).actorKind).toBe('address');
  });
});

describe('endpoints that the operator names', () => {
  const read = reader({
    services: [
      {
        name: 'shop',
        authEndpoints: [
          { path: '/enter/*', failure: { statuses: [409], redirectTo: '/enter*' } },
          { path: '/gate', method: 'PUT', failure: { responseBytesBelow: 501 } },
        ],
      },
    ],
  });
  it.each<[Shape, string]>([
    [{ method: 'POST', uri: '/enter/now', status: 409 }, 'failure'],
    [{ method: 'POST', uri: '/enter/now', status: 400 }, 'failure'],
    [{ method: 'POST', uri: '/enter/now', status: 302, answer: { location: '/enter?again' } }, 'failure'],
    [{ method: 'POST', uri: '/enter/now', status: 302, answer: { location: '/home' } }, 'success'],
    [{ method: 'POST', uri: '/enter/now/again', status: 409 }, '-'],
    [{ method: 'PUT', uri: '/gate' }, 'failure'],
    [{ method: 'PUT', uri: '/gate', service: 'other' }, '-'],
  ])('%j: %s', (shape, auth) => {
    expect(read(upstream(shape)).auth ?? '-').toBe(auth);
  });
});

it('counts what others do with success at the same address, where credentials are refused', () => {
  const read = reader();
  const consumer = { consumer: { id: 'c1', username: 'ann' }, authenticated_entity: { id: 'k1' } };
  for (let n = 0; n < 7; n++) read(upstream({ at: t0 + n, extra: consumer }));
  const refused = { status: 401, headers: { 'x-api-key': 'wrong' } };
  expect(read(upstream({ ...refused, at: t0 + 10 })).addressSuccesses).toBe(7);
  expect(read(upstream({ ...refused, at: t0 + 10, ip: '203.0.113.10' })).addressSuccesses).toBeUndefined();
  expect(read(upstream({ ...refused, at: t0 + 10, service: 'other' })).addressSuccesses).toBeUndefined();
  expect(read(upstream({ ...refused, at: t0 + 3 * hourMs })).addressSuccesses).toBeUndefined();
});
