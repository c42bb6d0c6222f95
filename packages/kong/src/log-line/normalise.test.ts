import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { apiCallSchema, type ApiCall } from '@tripline/model';
import { createSanitizer } from '@tripline/sanitize';
import { describe, expect, it } from 'vitest';
import { EqualLines } from './equal-lines.ts';
import { lineOf } from './frames.ts';
import { createNormaliser, type NormaliserOptions } from './normalise.ts';
import { createServedPaths } from './served-paths.ts';
import { createTemplateLearner } from './template-learner.ts';

const fixtures = fileURLToPath(new URL('../../../../test/fixtures/tcp-log/', import.meta.url));
const recording = (name: string): Buffer[] =>
  readFileSync(`${fixtures}${name}.ndjson`)
    .toString('latin1')
    .split('\n')
    .slice(0, -1)
    .map((line) => Buffer.from(`${line}\n`, 'latin1'));
const all = readdirSync(fixtures)
  .filter((name) => name.endsWith('.ndjson'))
  .flatMap((name) => recording(name.replace('.ndjson', '')));

const sanitizer = createSanitizer({ key: Buffer.alloc(32, 1) });
const normaliser = (options: Partial<NormaliserOptions> = {}) => createNormaliser({ sanitizer, ...options });
const normalise = normaliser();

function accepted(line: Buffer | object, options?: Partial<NormaliserOptions>): ApiCall {
  const bytes = Buffer.isBuffer(line) ? line : Buffer.from(JSON.stringify(line));
  const result = (options ? normaliser(options) : normalise)(lineOf(bytes), Infinity);
  if (result.kind === 'accepted') return result.call;
  throw new Error(result.kind === 'rejected' ? `${result.reason}: ${result.detail}` : result.kind);
}

function reasonOf(line: object, options?: Partial<NormaliserOptions>, nowMs = Infinity): string {
  const result = normaliser(options)(lineOf(Buffer.from(JSON.stringify(line))), nowMs);
  return result.kind === 'rejected' ? result.reason : result.kind;
}

/** A line in the fewest fields that Kong always sends. */
const plain = {
  started_at: 1_795_303_232_269,
  client_ip: '203.0.113.9',
  request: {
    id: '577b832ab1131d6d598e8f2ebd52da0c',
    method: 'GET',
    uri: '/orders/17',
    size: 100,
    headers: {},
    querystring: {},
  },
  response: { status: 200, size: 200, headers: {} },
  latencies: { request: 12, proxy: 10, kong: 2 },
  upstream_status: '200',
  source: 'upstream',
};
const withRequest = (request: object): typeof plain => ({
  ...plain,
  request: { ...plain.request, ...request },
});

/** The end of a TCP session, as Kong writes it. */
const session = {
  started_at: 1_796_040_387_351,
  client_ip: '203.0.113.9',
  session: { received: 5, sent: 5, status: 200, server_port: 5432 },
  upstream: { sent: 5, received: 5 },
  latencies: { kong: 0, session: 200 },
  tries: [],
};

describe('lines of TCP and TLS sessions', () => {
  it('are told from faults: with a service or without, refused by Kong or not', () => {
    const tls = { ...session.session, tls: { version: 'TLSv1.3', client_verify: 'NONE' } };
    for (const line of [
      session,
      { ...session, session: tls, service: { name: 'db' }, route: { name: 'db', protocols: ['tls'] } },
      { ...session, session: { ...session.session, status: 500 }, upstream: {}, tries: undefined },
    ])
      expect(reasonOf(line)).toBe('stream-session');
  });

  it('must carry the token where one is asked for', () => {
    const token = 's3cret-token';
    expect(reasonOf(session, { token })).toBe('missing-token');
    expect(reasonOf({ ...session, tripline: { token: 's3cret-tokeN' } }, { token })).toBe('wrong-token');
    expect(reasonOf({ ...session, tripline: { token } }, { token })).toBe('stream-session');
  });

  it('have a session in the place of request and response, and nothing else passes for one', () => {
    for (const line of [
      { ...session, session: 'x' },
      { ...session, session: null },
      { ...session, request: {} },
      { ...session, response: { status: 200 } },
    ])
      expect(reasonOf(line)).toBe('not-a-log-line');
    expect(reasonOf({ ...plain, session: {} })).toBe('accepted');
  });
});

describe('equal lines', () => {
  const { id, ...request } = plain.request;
  const withoutId = Buffer.from(JSON.stringify({ ...plain, request }));
  const idOf = (line: Buffer, equalLines?: EqualLines): string => {
    const result = normalise(lineOf(line), Infinity, equalLines);
    return result.kind === 'accepted' ? result.call.id : result.kind;
  };

  it('without a request id are different calls, with the same ids each time they are read', () => {
    const readAll = (): string[] => {
      const equalLines = new EqualLines();
      return Array.from({ length: 1_000 }, () => idOf(withoutId, equalLines));
    };
    const ids = readAll();
    expect(new Set(ids).size).toBe(1_000);
    expect(readAll()).toEqual(ids);
    // The first of them has the id of a line that has no equal.
    expect(ids[0]).toBe(idOf(withoutId));
  });

  it('with a request id are the same call', () => {
    const line = Buffer.from(JSON.stringify(plain));
    const equalLines = new EqualLines();
    expect(idOf(line, equalLines)).toBe(`${id}.${plain.started_at}`);
    expect(idOf(line, equalLines)).toBe(`${id}.${plain.started_at}`);
  });

  it('are told apart among many others, in bounded memory', () => {
    const equalLines = new EqualLines();
    const wrong: number[] = [];
    for (let n = 0; n < 100_000; n++) {
      if (equalLines.next(`one-${n}`) !== 0) wrong.push(n);
      if (n > 0 && equalLines.next(`one-${n - 1}`) !== 1) wrong.push(n);
    }
    expect(wrong).toEqual([]);
    expect(equalLines.next('one-90000')).toBe(2);
    // Long ago, and forgotten.
    expect(equalLines.next('one-1')).toBe(0);
  });
});

describe('the normaliser on recorded lines', () => {
  it('accepts every one of them, and each result is a valid API call', () => {
    expect(all.length).toBeGreaterThan(1_500);
    for (const line of all) {
      const call = accepted(line);
      expect(apiCallSchema.safeParse(call).error).toBeUndefined();
    }
  });

  it('gives each line an id of its own, and the same line the same id', () => {
    const ids = all.map((line) => accepted(line).id);
    expect(new Set(ids).size).toBe(all.length);
    expect(all.map((line) => accepted(line).id)).toEqual(ids);
  });

  it('keeps no API key, bearer token, password or cookie value that the lines carry', () => {
    const secrets = new Set<string>();
    for (const line of all) {
      const { request } = JSON.parse(line.toString('utf8')) as {
        request: { headers: Record<string, unknown>; querystring: Record<string, unknown> };
      };
      for (const source of [request.headers, request.querystring]) {
        for (const name of ['apikey', 'x-api-key', 'jwt']) {
          for (const value of [source[name]].flat())
            if (typeof value === 'string' && value.length > 6) secrets.add(value);
        }
      }
      for (const cookie of [request.headers.cookie].flat()) {
        for (const found of (typeof cookie === 'string' ? cookie : '').matchAll(
          /(?:sid|session)=([^;]{3,})/g,
        ))
          secrets.add(found[1]!);
      }
    }
    expect(secrets.size).toBeGreaterThan(100);
    const text = all.map((line) => JSON.stringify(accepted(line))).join('\n');
    for (const secret of secrets) expect(text).not.toContain(secret);
    expect(text).not.toMatch(/[\w.+-]+@[\w-]+\.[a-z]{2,}/);
  });

  it('knows a refused request of a known consumer from a failed one: only Kong itself refuses', () => {
    const calls = recording('terminated-and-limited').map((line) => accepted(line));
    const limited = calls.filter((call) => call.status === 429 && call.consumerId !== undefined);
    expect(limited.length).toBeGreaterThan(0);
    for (const call of limited) expect(call.refused).toBe(true);
    for (const call of recording('errors').map((line) => accepted(line))) {
      if (call.upstreamStatus) expect(call.refused).toBeUndefined();
    }
  });

  it('marks exactly the blocked requests of the recorded block as refused', () => {
    for (const call of recording('block-transition').map((line) => accepted(line))) {
      expect(call.refused === true).toBe(call.status === 403);
    }
  });

  it('takes nobody for the consumer that stands for the unauthenticated', () => {
    const anonymous = all
      .map((line) => accepted(line))
      .filter((call) => call.consumerUsername === 'anonymous');
    expect(anonymous.length).toBeGreaterThan(10);
    for (const call of anonymous) expect(call.actorKind).not.toBe('consumer');
  });

  it('tells failed basic-auth users apart by the fingerprints that Kong computed', () => {
    const calls = recording('custom-fields').map((line) => accepted(line));
    const failed = calls.filter((call) => call.status === 401 && call.authScheme === 'basic');
    expect(new Set(failed.map((call) => call.user)).size).toBeGreaterThan(20);
    expect(failed.every((call) => call.actorKind === 'address')).toBe(true);
  });
});

describe('the normaliser', () => {
  it('knows a line of Kong 2.8: no request id, no source, sizes as text', () => {
    const older = { ...withRequest({ id: undefined, size: '75' }), source: undefined };
    const call = accepted({ ...older, response: { ...older.response, size: '434' } });
    expect(call).toMatchObject({ source: 'upstream', requestBytes: 75, responseBytes: 434 });
    expect(call.id).toMatch(/^[0-9a-f]{32}\.[0-9a-z]+$/);
    const refused = accepted({
      ...older,
      upstream_status: undefined,
      consumer: { id: 'c1', username: 'mallory' },
      authenticated_entity: { id: 'k1' },
      latencies: { request: 1, proxy: -1, kong: 1 },
      response: { status: 403, size: '50', headers: {} },
    });
    expect(refused).toMatchObject({ source: 'kong', refused: true, actorKind: 'consumer' });
  });

  it('gives a line of Kong before 3.5 the same id however its end was framed', () => {
    const text = JSON.stringify(withRequest({ id: undefined }));
    const ids = ['', '\n', '\r\n'].map((end) => accepted(Buffer.from(text + end)).id);
    expect(new Set(ids).size).toBe(1);
  });

  it('takes an IPv4-mapped address for the IPv4 address, and no address for none', () => {
    expect(accepted({ ...plain, client_ip: '::ffff:198.51.100.23' })).toMatchObject({
      ip: '198.51.100.23',
      actorId: '198.51.100.23',
    });
    for (const client_ip of [undefined, 'unknown', 17, ['1.2.3.4'], '']) {
      const call = accepted({ ...plain, client_ip });
      expect(call.ip).toBeUndefined();
      expect(call.actorId).toBe('unknown');
    }
  });

  it('makes no presented credential an actor, served or refused', () => {
    const line = withRequest({ headers: { apikey: 'some-key-of-somebody' } });
    for (const status of [200, 401, 403, 404])
      expect(accepted({ ...line, response: { status } })).toMatchObject({
        actorKind: 'address',
        actorId: '203.0.113.9',
        credential: expect.stringMatching(/^~secret~/) as string,
      });
  });

  it('takes the /64 of an IPv6 address for the one who acts, and keeps the address', () => {
    expect(accepted({ ...plain, client_ip: '2001:db8:1:2:3::4' })).toMatchObject({
      ip: '2001:db8:1:2:3::4',
      network: '2001:db8:1:2::/64',
      actorId: '2001:db8:1:2::/64',
    });
  });

  it('gives one credential one token wherever it is presented', () => {
    const inHeader = accepted(withRequest({ headers: { 'x-api-key': ['some-key-of-somebody', 'another'] } }));
    const inQuery = accepted(withRequest({ querystring: { apikey: 'some-key-of-somebody' } }));
    expect(inHeader.credential).toBe(inQuery.credential);
  });

  it('trusts no x-consumer headers', () => {
    const call = accepted(
      withRequest({ headers: { 'x-consumer-id': 'c1', 'x-consumer-username': 'alice' } }),
    );
    expect(call.actorKind).toBe('address');
    expect(JSON.stringify(call)).not.toContain('alice');
  });

  it("takes Kong's route path at its word", () => {
    const call = accepted({
      ...withRequest({ uri: '/products/red-shoe/reviews?page=2' }),
      service: { name: 'catalog' },
      route: { name: 'reviews', paths: ['~/products/(?<slug>[^/]+)/reviews$'] },
    });
    expect(call).toMatchObject({
      path: '/products/red-shoe/reviews',
      endpoint: 'GET /products/{id}/reviews',
    });
  });

  describe('learns which words are objects', () => {
    const letters = (index: number): string =>
      index.toString(26).replace(/\d/g, (digit) => 'qrstuvwxyz'[+digit]!);
    const lineOfProduct = (index: number): typeof plain => ({
      ...withRequest({ uri: `/products/${letters(index)}-shoe` }),
      ...{ service: { name: 'catalog' }, route: { name: 'products', paths: ['/products'] } },
      client_ip: `203.0.113.${index % 100}`,
    });
    const endpointAfter = (
      change: (line: typeof plain) => object,
      last: object = lineOfProduct(1_001),
    ): string => {
      const normalise = normaliser({ templates: createTemplateLearner() });
      const read = (line: object) => normalise(lineOf(Buffer.from(JSON.stringify(line))), Infinity);
      for (let index = 0; index < 1_000; index++) read(change(lineOfProduct(index)));
      const result = read(last);
      return result.kind === 'accepted' ? result.call.endpoint : result.kind;
    };

    it.each<[string, (line: typeof plain) => object]>([
      ['as they are', (line) => line],
      // As an operator's `custom_fields_by_lua` leaves them.
      ['without their route', (line) => ({ ...line, route: undefined })],
      ['without their service', (line) => ({ ...line, service: undefined })],
      ['without both', (line) => ({ ...line, route: undefined, service: undefined })],
    ])('from calls that reached their service and succeeded, %s', (_what, change) => {
      expect(endpointAfter(change, change(lineOfProduct(1_001)))).toBe('GET /products/{id}');
    });

    it.each<[string, (line: typeof plain) => object]>([
      ['missing', (line) => ({ ...line, response: { ...line.response, status: 404 } })],
      ['redirected', (line) => ({ ...line, response: { ...line.response, status: 302 } })],
      ["Kong's own", (line) => ({ ...line, source: 'kong', upstream_status: undefined })],
      ['preflights', (line) => ({ ...line, request: { ...line.request, method: 'OPTIONS' } })],
      ["one client's", (line) => ({ ...line, client_ip: '203.0.113.66' })],
    ])('from no calls that are %s', (_what, change) => {
      expect(endpointAfter(change)).toBe(`GET /products/${letters(1_001)}-shoe`);
    });

    it('and keeps nothing of them that the sanitiser hides', () => {
      const templates = createTemplateLearner();
      const normalise = normaliser({ templates });
      for (let index = 0; index < 1_000; index++) {
        const uri = `/users/${letters(index)}@example.org/${letters(index)}`;
        const line = {
          ...lineOfProduct(index),
          ...withRequest({ uri }),
          client_ip: `203.0.113.${index % 100}`,
        };
        normalise(lineOf(Buffer.from(JSON.stringify(line))), Infinity);
      }
      expect(templates.learnt()).toEqual([{ service: 'catalog', under: '/users/{email}', words: [] }]);
    });
  });

  it('tells a path that is gone from one that nobody was served, also where the lines do not tell their route', () => {
    const served = createServedPaths();
    const normalise = normaliser({ served });
    const read = (line: object): true | undefined => {
      const result = normalise(lineOf(Buffer.from(JSON.stringify(line))), Infinity);
      return result.kind === 'accepted' ? result.call.pathGone : undefined;
    };
    const routed = { ...plain, service: { name: 'orders' }, route: { name: 'orders', paths: ['/orders'] } };
    const noRoute = (uri: string): object => ({
      ...withRequest({ uri }),
      client_ip: '203.0.113.10',
      response: { status: 404, size: 200, headers: {} },
      latencies: { request: 1, proxy: -1, kong: 1 },
      ...{ upstream_status: '', upstream_uri: '', source: 'kong' },
    });
    for (const line of [routed, plain]) {
      expect(read(line)).toBeUndefined();
      expect(read(noRoute('/orders/18?page=2'))).toBe(true);
      expect(read(noRoute('/.env'))).toBeUndefined();
    }
  });

  it('survives any type in any place', () => {
    const odd = [null, true, 17, '', 'text', [], ['a', 1, true], {}, { a: 1 }];
    for (const value of odd) {
      for (const key of [
        'consumer',
        'service',
        'route',
        'tripline',
        'authenticated_entity',
        'latencies',
        'client_ip',
        'source',
        'upstream_status',
      ]) {
        expect(apiCallSchema.safeParse(accepted({ ...plain, [key]: value })).error).toBeUndefined();
      }
      for (const key of ['paths', 'hosts', 'methods', 'headers', 'snis']) {
        const line = { ...plain, route: { name: 'orders', paths: ['/orders'], [key]: value } };
        expect(accepted(line, { served: createServedPaths() }).route).toBe('orders');
      }
      for (const key of ['headers', 'querystring', 'id', 'method', 'size']) {
        expect(apiCallSchema.safeParse(accepted(withRequest({ [key]: value }))).error).toBeUndefined();
      }
      for (const key of [
        'host',
        'user-agent',
        'cookie',
        'referer',
        'apikey',
        'authorization',
        'content-type',
      ]) {
        expect(
          apiCallSchema.safeParse(accepted(withRequest({ headers: { [key]: value } }))).error,
        ).toBeUndefined();
      }
      expect(
        apiCallSchema.safeParse(accepted(withRequest({ querystring: { a: value } }))).error,
      ).toBeUndefined();
    }
  });

  it('keeps parameters as they were repeated, and names that objects have of their own', () => {
    const text = JSON.stringify(
      withRequest({ querystring: { PLACE: ['1', true, ''], debug: true } }),
    ).replace('PLACE', '__proto__');
    const call = accepted(Buffer.from(text));
    expect(Object.entries(call.query!)).toEqual([
      ['__proto__', ['1', '']],
      ['debug', []],
    ]);
    expect(JSON.stringify(call)).toContain('"__proto__":["1",""]');
  });

  it('keeps the headers that the operator chose, sanitised', () => {
    const call = accepted(
      withRequest({ headers: { 'x-tenant': 'acme', 'x-session-token': 'abcdef123456', 'x-other': 'no' } }),
      {
        keepHeaders: ['X-Tenant', 'x-session-token'],
      },
    );
    expect(call.headers).toEqual({
      'x-tenant': 'acme',
      'x-session-token': expect.stringMatching(/^~/) as string,
    });
  });

  describe('sanitises what comes as an id or a name', () => {
    const card = '4111111111111111';
    const hash = `ldap_auth_cache:${'0528907c'.repeat(8)}`;
    const mail = 'jane.roe@example.org';

    it.each<[string, object]>([
      ['request.id', withRequest({ id: card })],
      ['request.method', withRequest({ method: card })],
      ['authenticated_entity.id, a hash', { ...plain, authenticated_entity: { id: hash } }],
      ['authenticated_entity.id, an address', { ...plain, authenticated_entity: { id: mail } }],
      ['consumer.custom_id', { ...plain, consumer: { id: 'c1', custom_id: `id ${mail}` } }],
      ['consumer.username', { ...plain, consumer: { id: 'c1', username: hash } }],
      ['consumer.id', { ...plain, consumer: { id: mail } }],
      ['consumer.tags', { ...plain, consumer: { id: 'c1', tags: ['a', hash] } }],
      ['service.name', { ...plain, service: { name: mail } }],
      ['service.id', { ...plain, service: { id: card } }],
      ['route.name', { ...plain, service: { name: 's' }, route: { name: hash } }],
      ['workspace_name', { ...plain, workspace_name: mail }],
      ['upstream_status', { ...plain, upstream_status: card }],
      ['the scheme of an authorization', withRequest({ headers: { authorization: 'hunter2canary abc' } })],
    ])('%s', (_place, line) => {
      const text = JSON.stringify(accepted(line));
      expect(text).not.toMatch(/4111|0528907c|jane|canary/i);
    });

    it('and leaves what Kong makes itself', () => {
      const uuid = '7f3c9a1b-0f4e-4d2a-9c11-0123456789ab';
      expect(
        accepted({
          ...plain,
          authenticated_entity: { id: uuid },
          consumer: { id: uuid, username: 'customer-17', custom_id: 'A 17' },
          service: { name: 'dev.parking.80' },
          route: { id: uuid },
          workspace_name: 'team-a',
          upstream_status: '502, 200',
        }),
      ).toMatchObject({
        id: `577b832ab1131d6d598e8f2ebd52da0c.${plain.started_at}`,
        method: 'GET',
        credentialId: uuid,
        consumerId: uuid,
        consumerUsername: 'customer-17',
        consumerCustomId: 'A 17',
        service: 'dev.parking.80',
        route: uuid,
        workspace: 'team-a',
        upstreamStatus: '502, 200',
      });
      expect(accepted(withRequest({ method: 'propfind' })).method).toBe('PROPFIND');
    });

    it('so that different ones stay different', () => {
      const ids = ['4111111111111111', '4012888888881881', 'request-0001', 'request-0002'];
      expect(new Set(ids.map((id) => accepted(withRequest({ id })).id)).size).toBe(4);
    });
  });

  it('adds the place of the address where a database knows it', () => {
    expect(
      accepted(plain, { locate: (ip) => (ip === '203.0.113.9' ? { country: 'DE', asn: 64500 } : undefined) }),
    ).toMatchObject({
      country: 'DE',
      asn: 64500,
    });
  });

  it('refuses lines that lack what a line needs, each for its reason', () => {
    expect(reasonOf({})).toBe('not-a-log-line');
    expect(reasonOf({ ...plain, response: {} })).toBe('not-a-log-line');
    expect(reasonOf({ ...plain, started_at: '1795303232269' })).toBe('not-a-log-line');
    expect(reasonOf({ ...plain, started_at: 0 })).toBe('bad-time');
    expect(reasonOf({ ...plain, started_at: 1_795_303_232 })).toBe('bad-time');
    expect(reasonOf({ ...plain, started_at: 2 ** 60 })).toBe('bad-time');
    expect(reasonOf(plain, { maxAheadMs: 1_000 }, plain.started_at - 1_001)).toBe('future-time');
    expect(reasonOf(plain, { maxAheadMs: 1_000 }, plain.started_at - 1_000)).toBe('accepted');
  });

  it('refuses lines without the configured token, and never shows it', () => {
    const token = 'a-shared-token-of-ours';
    expect(reasonOf(plain, { token })).toBe('missing-token');
    expect(reasonOf({ ...plain, tripline: { token: 'forged' } }, { token })).toBe('wrong-token');
    expect(JSON.stringify(accepted({ ...plain, tripline: { token } }, { token }))).not.toContain(token);
  });
});
