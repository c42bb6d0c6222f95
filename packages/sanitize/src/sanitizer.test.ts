import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createSanitizer, maxTextChars } from './index.ts';
import type { Sanitizer } from './index.ts';

const key = Buffer.from('a key for tests, of more than 32 bytes');
const sanitizer = createSanitizer({ key });
const token = /~[a-z]+~[A-Za-z0-9_-]{22}/g;
const kinds = (text: string): string => text.replace(token, (found) => `<${found.split('~')[1]!}>`);

describe('tokens', () => {
  test('equal secrets give equal tokens, in all ways of writing them', () => {
    const email = sanitizer.token('email', 'alice@example.com');
    expect(sanitizer.text('alice@example.com')).toBe(email);
    expect(sanitizer.text('Alice@Example.com')).toBe(email);
    expect(sanitizer.path('/users/alice%40example.com/orders')).toBe(`/users/${email}/orders`);
    expect(sanitizer.path('/users/alice%2540example.com/orders')).toBe(`/users/${email}/orders`);
    expect(sanitizer.text(Buffer.from('alice@example.com').toString('base64'))).toBe(email);
    expect(sanitizer.unknown('{"to":"alice\\u0040example.com"}')).toBe(`{"to":"${email}"}`);

    const secret = sanitizer.token('secret', 'p w/1');
    expect(sanitizer.parameter('password', 'p w/1')).toBe(secret);
    expect(sanitizer.url('/a?password=p+w%2F1')).toBe(`/a?password=${secret}`);
    expect(sanitizer.parameter('authorization', 'Bearer p w/1')).toBe(`Bearer ${secret}`);
    expect(sanitizer.cookies('sid=p w/1')).toEqual({ sid: secret });

    const card = sanitizer.token('card', '4111111111111111');
    expect(sanitizer.text('4111 1111 1111 1111')).toBe(card);
    expect(sanitizer.text('4111-1111-1111-1111')).toBe(card);
    const iban = sanitizer.token('iban', 'DE89370400440532013000');
    expect(sanitizer.text('IBAN de89 3704 0044 0532 0130 00.')).toBe(`IBAN ${iban}.`);
  });

  test('a token is its kind and 132 bits of HMAC-SHA-256 of kind and secret', () => {
    expect(sanitizer.token('secret', 'abc')).toMatch(/^~secret~[A-Za-z0-9_-]{22}$/);
    expect(sanitizer.token('user', 'abc')).not.toBe(
      sanitizer.token('secret', 'abc').replace('secret', 'user'),
    );
  });

  test('equal secrets under different keys have different tokens', () => {
    const other = createSanitizer({ key: Buffer.alloc(32, 1) });
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), (secret) => {
        expect(other.token('secret', secret)).not.toBe(sanitizer.token('secret', secret));
      }),
    );
  });

  test('different secrets have different tokens, remembered or not', () => {
    const seen = new Set(
      Array.from({ length: 60_000 }, (_, index) => sanitizer.token('secret', `s${index}`)),
    );
    expect(seen.size).toBe(60_000);
    expect(sanitizer.token('secret', 's0')).toBe(createSanitizer({ key }).token('secret', 's0'));
  });
});

describe('names', () => {
  test.each(
    `authorization Proxy-Authorization apikey API_KEY x-api-key X-Acme-Api-Key accessToken access_token refresh-token idToken
     password PASSWD PaSsWoRd pwd user[password] user%5Bpassword%5D password_confirmation newPassword2 secret client_secret
     clientSecret session sid connect.sid SessionId session_id JSESSIONID PHPSESSID csrf csrfmiddlewaretoken X-XSRF-TOKEN jwt
     signature sig X-Amz-Signature X-Hub-Signature-256 x-amz-security-token X-Amz-Credential code otp pin key auth x-auth
     credential private_key signing-key appkey cookie Set-Cookie code_verifier client_assertion SAMLResponse cvv cardNumber
     Ocp-Apim-Subscription-Key pass db_pass passphrase verification_code`.split(/\s+/),
  )('%s is secret', (name) => {
    expect(sanitizer.isSecretName(name)).toBe(true);
  });

  test.each(
    `page sort q from ids user author authority keyword monkey keys status_code country_code zipcode postal-code promoCode
     sort_key partitionKey idempotency-key sec-websocket-key token_type max_tokens session_count secretary x-request-id host
     user-agent accept referer content-type if-none-match x-forwarded-for traceparent x-correlation-id assignee pinned
     password_policy compass passenger state nonce encoding decode design x-consumer-id tries started_at paths`.split(
      /\s+/,
    ),
  )('%s is not secret', (name) => {
    expect(sanitizer.isSecretName(name)).toBe(false);
  });

  test("the operator's names count in any case and with any separators, in every place", () => {
    const own = createSanitizer({ key, secretNames: ['x-tenant-badge', 'Personalausweis'] });
    for (const name of ['X-Tenant-Badge', 'x_tenant_badge', 'XTENANTBADGE', 'user[personalausweis]']) {
      expect(own.isSecretName(name)).toBe(true);
      expect(sanitizer.isSecretName(name)).toBe(false);
    }
    const secret = own.token('secret', 'abc');
    expect(own.parameter('x-tenant-badge', 'abc')).toBe(secret);
    expect(own.url('/a?X_Tenant_Badge=abc&b=1')).toBe(`/a?X_Tenant_Badge=${secret}&b=1`);
    expect(own.path('/personalausweis/abc/show')).toBe(`/personalausweis/${secret}/show`);
    expect(own.unknown('{"x-tenant-badge":["abc",1]}')).toBe(
      `{"x-tenant-badge":["${secret}",${own.token('secret', '1')}]}`,
    );
  });

  test('values that tell nothing stay', () => {
    for (const value of ['', 'REDACTED', 'true', 'null'])
      expect(sanitizer.parameter('authorization', value)).toBe(value);
    expect(sanitizer.unknown('{"authorization":"REDACTED","access-control-allow-credentials":true}')).toBe(
      '{"authorization":"REDACTED","access-control-allow-credentials":true}',
    );
  });

  test('the scheme of an authorization stays', () => {
    expect(kinds(sanitizer.parameter('Authorization', 'Basic dXNlcjpwYXNzd29yZA=='))).toBe('Basic <secret>');
    expect(kinds(sanitizer.unknown('{"authorization":"Bearer abc","a":1}'))).toBe(
      '{"authorization":"Bearer <secret>","a":1}',
    );
    expect(
      kinds(sanitizer.unknown('authorization: Digest username="bob", response="00ff"\r\nhost: x')),
    ).not.toMatch(/bob|00ff/);
  });
});

describe('what looks like a secret', () => {
  test.each([
    ['see eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0. there', 'see <secret> there'],
    ['Bearer abc', 'Bearer <secret>'],
    ['bearer%20abc', 'bearer%20<secret>'],
    ['Bearer+abc', 'Bearer+<secret>'],
    ['http://bob:pw@proxy:3128/', 'http://<secret>@proxy:3128/'],
    ['http://bob:p/w@proxy:3128/', 'http://<secret>@proxy:3128/'],
    ['Mail to alice@example.com, please', 'Mail to <email>, please'],
    ['mailto:bob+tag@mail.example.co.uk', 'mailto:<email>'],
    ['AKIAIOSFODNN7EXAMPLE', '<secret>'],
    ['call +49 (0)171 1234567 now', 'call <phone> now'],
    ['call 0049 171 1234567', 'call <phone>'],
    ['+14155552671', '<phone>'],
    ['(415) 555-2671', '<phone>'],
    ['415-555-2671 or 415.555.2672', '<phone> or <phone>'],
    ['call 00491711234567', 'call <phone>'],
    ['0171/1234567', '<phone>'],
    ['020 7946 0958', '<phone>'],
    ['06 12 34 56 78', '<phone>'],
    ['06.12.34.56.78', '<phone>'],
    ['378282246310005', '<card>'],
    ['card=4111+1111+1111+1111', 'card=<card>'],
    ['GB82 WEST 1234 5698 7654 32 is mine', '<iban> is mine'],
    ['NL91ABNA0417164300', '<iban>'],
    ['password=hunter2&user=x', 'password=<secret>&user=x'],
    ['password: hunter2, user: x', 'password: <secret>, user: x'],
    ['next=%2Fa%3Ftoken%3Dabc%26b%3D1', 'next=%2Fa%3Ftoken%3D<secret>%26b%3D1'],
    ['/token/abc in text', '/token/<secret> in text'],
    ['dXNlcjpwYXNzd29yZA==', '<secret>'],
    ['aHFub2VrOjE/P2Z6TlVEcEQ=', '<secret>'],
    ['see/aHFub2VrOjE/P2Z6TlVEcEQ=', '<secret>'],
  ])('in text: %s', (text, expected) => {
    expect(kinds(sanitizer.text(text))).toBe(expected);
  });

  test.each([
    ['/reset/eyJhbGciOiJIUzI1NiJ9.e30.c2ln', '/reset/<secret>'],
    ['/verify/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08', '/verify/<secret>'],
    ['/v1/token/abc123/use', '/v1/token/<secret>/use'],
    ['/password/hunter2', '/password/<secret>'],
    ['/apikey/k', '/apikey/<secret>'],
    ['/v1%2Ftoken%2Fabc123', '/v1%2Ftoken%2F<secret>'],
    ['/code/123456', '/code/<secret>'],
    ['/cart;jsessionid=12AB;v=1', '/cart;jsessionid=<secret>;v=1'],
    ['/pay/4111111111111111/confirm', '/pay/<card>/confirm'],
    ['/call/%2B491711234567', '/call/<phone>'],
  ])('in a path: %s', (path, expected) => {
    expect(kinds(sanitizer.path(path))).toBe(expected);
  });

  test.each([
    ['/a?token=x&page=2#id_token=y&state=1', '/a?token=<secret>&page=2#id_token=<secret>&state=1'],
    ['https://u:p@api.example.com:8443/users/1?q=a', 'https://<secret>@api.example.com:8443/users/1?q=a'],
    ['/a?user%5Bpassword%5D=a%26b&c', '/a?user%5Bpassword%5D=<secret>&c'],
    ['/a?password=a"b;c,d&e=f', '/a?password=<secret>&e=f'],
    ['/a?eyJhbGciOiJIUzI1NiJ9.e30.c2ln', '/a?<secret>'],
    ['/a?=x&&apikey=&apikey', '/a?=x&&apikey=&apikey'],
  ])('in a URL: %s', (url, expected) => {
    expect(kinds(sanitizer.url(url))).toBe(expected);
  });

  test("the operator's patterns match everywhere and in decoded forms", () => {
    const own = createSanitizer({ key, secretPatterns: ['ACME-\\d{4}', 'x*'] });
    const secret = own.token('secret', 'ACME-1234');
    expect(own.text('badge ACME-1234.')).toBe(`badge ${secret}.`);
    expect(own.path('/badges/ACME-1234')).toBe(`/badges/${secret}`);
    expect(own.url('/a?b=ACME%2d1234')).toBe(`/a?b=${secret}`);
    expect(own.unknown('{"n":"\\u0041CME-1234"}')).toBe(`{"n":"${secret}"}`);
  });
});

describe('after names of one-time links and tickets', () => {
  test.each(
    `/reset/kT9x2Qb7Lm /users/password/edit/5f2b9c0d3e4a1b6c7d8e /reset-password/Zx81pQ0 /verify-email/c2VjcmV0LXZlcmlmeQ
     /login/magic/9f8e7d6c5b4a39 /invitations/AbC123xYz9Q/accept /password/reset/Rr7-resetviareferer /verifyEmail/kT9x2Qb7
     /reset/MQ/c9o3vx-7b0ff0c3b3a1/ /user/reset/1/1618033988/Xyz12abQ9 /password/reset/confirm/MTIz/5f4-1a2b3c4d/
     /email/verify/42/6b3a55e0261b /users/invitation/accept/8Fk2mNpQ7xYz /users/unlock/Xk29Qpw7ZLm /magic-link/9f8e7d6c5b
     /activate/7f3c9a1b-0f4e-4d2a-9c11-0123456789ab /confirm/a1b2c3d4 /unsubscribe/42/9f8e7d6c5b /share/kT9x2Qb7LmAb
     /invite/kTxQbLmZ /einladung/kT9x2Qb7Lm /webhooks/whk1a2b3c4d /hooks/xk3j5n8q2w7e9r4t6y1u3i5o7p /signup/kT9x2Qb7Lm
     /reset%2FkT9x2Qb7Lm /ical/work/private-9f8e7d6c5b4a39/basic.ics /(S(lit3py55t21z5v55vlm25s55))/page.aspx
     /bot110201543:AAHdqTcvCHvGWJxfSeofSAssKPALDsawQxx/getMe /services/TABCDEFGH/BABCDEFGH/abcdefghijklmnopqrst
     /a?ticket=Tk-9a8b7c6d5e /a?ticket=ST-1856-aA5Yuvrxz7 /x?pgtIou=PGTIOU-84678-8a9d2f3b4c /a?invite=AbC123xYz /a?reset=kT9x2Qb7
     /a?__clerk_ticket=kT9x2Qb7Lm /a?appid=0123456789abcdef0123 /a?oobCode=abcdef /a?invite_code=hello /a?next=/reset/kT9x2Qb7Lm
     /app#/reset/kT9x2Qb7Lm /app#ticket=kT9x2Qb7Lm`.split(/\s+/),
  )('the token goes: %s', (url) => {
    const shown = kinds(sanitizer.url(url));
    expect(shown).toContain('<secret>');
    expect(shown.replace('<secret>', '').length).toBeLessThanOrEqual(url.length - 5);
    expect(kinds(sanitizer.text(`see ${url} there`))).toContain('<secret>');
  });

  test.each(
    `/tickets/123 /tickets/ABC-12345 /tickets/507f1f77bcf86cd799439011 /ticket/INC0012345 /invite/settings /invitations/42 /reset/v2
     /ticket/7f3c9a1b-0f4e-4d2a-9c11-0123456789ab /reset/step-2 /confirm/order-123 /verify/email /activate/2fa /activate/server12
     /reset/app.4f3a2b1c.js /share/2026-11-21 /shares/42 /hooks/pre-commit /webhooks/42 /join/us /signup/step2 /magic/items
     /webhooks/7f3c9a1b-0f4e-4d2a-9c11-0123456789ab /recover/backup-2026-11-21 /invite/verifyEmailAddress /reset/:token
     /detail/a1b2c3d4 /templates/kT9x2Qb7 /articles/how-to-reset-password /parts/0800-7310-4410
     /a?appid=440 /a?appid=com.example.app /a?ticket=ABC-12345 /a?confirm=true /a?reset=1 /a?verified_at=2026-11-21T10:30:00Z`.split(
      /\s+/,
    ),
  )('words, numbers and what people make of both stay: %s', (url) => {
    expect(sanitizer.url(url)).toBe(url);
  });

  test('a token has the same token as a parameter, in a path and in JSON', () => {
    const token = sanitizer.token('secret', 'kT9x2Qb7Lm');
    expect(sanitizer.parameter('reset', 'kT9x2Qb7Lm')).toBe(token);
    expect(sanitizer.path('/reset/kT9x2Qb7Lm')).toBe(`/reset/${token}`);
    expect(sanitizer.unknown('{"invite":"kT9x2Qb7Lm","page":"kT9x2Qb7Lm"}')).toBe(
      `{"invite":"${token}","page":"kT9x2Qb7Lm"}`,
    );
  });
});

describe('checksums, trace ids and revisions', () => {
  const [md5, sha1, sha256] = [
    '0f1e2d3c4b5a6978'.repeat(2),
    '0f1e2d3c4b5a69788796'.repeat(2),
    '0f1e2d3c4b5a6978'.repeat(4),
  ];

  test.each([
    ['etag', `"${md5}"`],
    ['If-None-Match', `W/"${md5}", "${sha1}"`],
    ['traceparent', `00-${md5}-00f067aa0ba902b7-01`],
    ['X-B3-TraceId', md5],
    ['b3', `${md5}-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90`],
    ['x-request-id', md5],
    ['x-kong-request-id', md5],
    ['sha', sha1],
    ['sha256', sha256],
    ['commit', sha1],
    ['commit_sha', sha1],
    ['digest', `sha-256=${Buffer.alloc(32, 7).toString('base64')}`],
    ['content-md5', Buffer.from(md5, 'hex').toString('base64')],
    ['checksum', md5],
    ['rev', sha1],
    ['file_hash', sha256],
  ])('stay under the name %s', (name, value) => {
    expect(sanitizer.parameter(name, value)).toBe(value);
    expect(sanitizer.url(`/a?${name}=${encodeURIComponent(value)}&b=1`)).toBe(
      `/a?${name}=${encodeURIComponent(value)}&b=1`,
    );
  });

  test.each([
    `/repos/a/b/commits/${sha1}`,
    `/commit/${sha1}/files`,
    `/v2/library/nginx/blobs/sha256:${sha256}`,
    `/v2/library/nginx/manifests/sha256%3A${sha256}`,
    `/tree/${sha1}/src`,
    `/compare/commit/${sha1}...${Array.from(sha1).reverse().join('')}`,
    `/api/traces/${md5}`,
    `/next?to=%2Fcommits%2F${sha1}`,
  ])('stay in the path %s', (url) => {
    expect(sanitizer.url(url)).toBe(url);
    expect(sanitizer.text(`see ${url}`)).toBe(`see ${url}`);
  });

  test.each([
    ['hash', md5],
    ['token_digest', md5],
    ['password_sha256', sha256],
    ['q', sha1],
    ['etag', 'alice@example.com'],
    ['x-request-id', 'eyJhbGciOiJIUzI1NiJ9.e30.c2ln'],
    ['sha', sha1.slice(1)],
    ['checksum', 'aB3dE5fG7hI9jK1lM3nO5pQ7'],
  ])('go under the name %s, or where they are none: %s', (name, value) => {
    expect(kinds(sanitizer.parameter(name, value))).toMatch(/^<(?:secret|email)>$/);
  });

  test('go after other names in a path', () => {
    expect(kinds(sanitizer.path(`/verify/${sha1}`))).toBe('/verify/<secret>');
    expect(kinds(sanitizer.path(`/files/${sha256}`))).toBe('/files/<secret>');
  });
});

describe('ids and names', () => {
  test.each([
    '577b832ab1131d6d598e8f2ebd52da0c',
    '577B832AB1131D6D598E8F2EBD52DA0C',
    '7f3c9a1b-0f4e-4d2a-9c11-0123456789ab',
    'customer-17',
    'jane roe',
    'dev.parking.80',
    'auth0|5f7c8ec7c33c6c004bbafe82',
    'uid=jroe,ou=people',
    '',
  ])('%s stays', (id) => {
    expect(sanitizer.identifier(id)).toBe(id);
  });

  test.each([
    ['jane.roe@example.org', /^~email~.{22}$/],
    ['4111111111111111', /^~card~.{22}$/],
    ['+49 171 1234567', /^~phone~.{22}$/],
    ['078-05-1120', /^~nationalid~.{22}$/],
    [`ldap_auth_cache:${'0528907c'.repeat(8)}`, /^~secret~.{22}$/],
    [`sha256:${'0528907c'.repeat(8)}`, /^~secret~.{22}$/],
    [`etag:${'0528907c'.repeat(4)}`, /^~secret~.{22}$/],
    ['0528907c'.repeat(8), /^~secret~.{22}$/],
    ['$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy', /^~secret~.{22}$/],
    ['CN=jane.roe@example.org,O=Example', /^~secret~.{22}$/],
    ['eyJhbGciOiJIUzI1NiJ9.e30.c2ln', /^~secret~.{22}$/],
    ['x'.repeat(201), /^~long~.{22}$/],
  ])('%s becomes one token', (id, token) => {
    const made = sanitizer.identifier(id);
    expect(made).toMatch(token);
    expect(sanitizer.identifier(made)).toBe(made);
  });

  test('different ones stay different, also beyond the bound on length', () => {
    const ids = Array.from({ length: 500 }, (_, n) => `${'ou=people,'.repeat(30)}uid=${n}`);
    expect(new Set(ids.map(sanitizer.identifier)).size).toBe(500);
  });
});

describe('cookies', () => {
  test('names stay, each value is a token', () => {
    const jar = sanitizer.cookies('sid=f6dc22; theme=dark;empty=; __proto__=x; nameless');
    expect(Object.entries(jar).map(([name, value]) => [name, kinds(value)])).toEqual([
      ['sid', '<secret>'],
      ['theme', '<secret>'],
      ['empty', ''],
      ['__proto__', '<secret>'],
      ['', '<secret>'],
    ]);
    expect(jar['theme']).toBe(sanitizer.token('secret', 'dark'));
  });

  test('a header that is too long ends in one token for the rest', () => {
    const jar = sanitizer.cookies(
      Array.from({ length: 5_000 }, (_, index) => `c${index}=v${index}`).join('; '),
    );
    expect(kinds(Object.keys(jar).at(-1)!)).toBe('<long>');
    expect(Object.keys(jar).length).toBeLessThan(maxTextChars / 10);
    const cut = sanitizer.cookies(`sid=${'x'.repeat(10_000)}`);
    expect(Object.keys(cut).map(kinds)).toEqual(['<long>']);
  });
});

describe('what is ordinary comes through unchanged', () => {
  const recorded = JSON.parse(
    readFileSync(new URL('../fixtures/benign-recorded.json', import.meta.url), 'utf8'),
  ) as Record<'paths' | 'userAgents' | 'referers' | 'targets' | 'parameters' | 'headers', string[]>;
  const uuid = '7f3c9a1b-0f4e-4d2a-9c11-0123456789ab';
  const written: Record<keyof typeof recorded, string[]> = {
    paths: `/orders/123 /products/red-shoe /v1/users/42/orders/${uuid} /users/507f1f77bcf86cd799439011 /a/01ARZ3NDEKTSV4RRFFQ69G5FAV
      /items/1795303232269 /items/4006381333931 /blog/2026/11/21/how-to-choose-the-best-running-shoes-in-2026 /auth/login
      /auth/realms/main/protocol/openid-connect/certs /oauth2/token /password/reset /password/forgot /token/refresh /session/new
      /static/js/main.3f2a1b9c.chunk.js /img/logo@2x.png /npm/@scope/package /api/v1/keys/public /code/of-conduct
      /search/customerOrdersByDateRangeAndStatus /files/Quarterly_Report_2026_Final_Version.pdf /codes/DE /v2/sessions/12
      /catalog/caf%C3%A9/%E6%97%A5%E6%9C%AC /geo/52.520008,13.404954 /range/2026-11-01..2026-11-30 /${uuid}/${uuid}
      /snapshots/2026-11-21T10:30:00Z /ip/203.0.113.45 /tickets/ABC-12345 /isbn/978-3-16-148410-0 /key/value /.well-known/jwks.json
      /sk-SK/obchod/damske-topanky-na-zimu /releases/v10.20.30-beta.4 /orders/00001234567 /u/@alice /ean/0012345678905
      /versions/1.24.0-rc.3/files/main.4f3a2b1c.js /invoices/0090001234 /tracking/1Z999AA10123456784 /parts/0800-7310-4410 /users/42/sessions/count
      /repos/acme/shop/commits/5f2b9c0d3e4a1b6c7d8e5f2b9c0d3e4a1b6c7d8e /tickets/507f1f77bcf86cd799439011 /invite/settings /reset/step-2 /verify/email
      /parts/12345678A /slots/20261121A /bookings/261121-0042 /codes/123-456-789 /share/2026-11-21 /shipments/00340434161094015902`.split(/\s+/),
    userAgents: [
      'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.6478.127 Safari/537.36 Edg/126.0.2592.87',
      'Mozilla/5.0 (Linux; Android 14; SM-S918B Build/UP1A.231005.007; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/126.0.6478.122 Mobile Safari/537.36',
      'okhttp/4.12.0',
      'python-requests/2.32.3',
      'Java-http-client/17.0.11',
      'Amazon CloudFront',
      'facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)',
      'Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0.1938.76 Safari/537.36',
      'Dalvik/2.1.0 (Linux; U; Android 9; SM-G960F Build/PPR1.180610.011)',
      'AcmeShop/7.12.3 (com.acme.shop; build:20261121; iOS 17.5.1) Alamofire/5.9.1',
      'aws-sdk-go-v2/1.30.1 os/linux lang/go#1.22.5 md/GOARCH#amd64 api/s3#1.58.0',
      'Prometheus/2.53.0',
      'Terraform/1.9.2 (+https://www.terraform.io) terraform-provider-kong/7.0.0',
    ],
    referers: [
      'https://www.google.com/',
      'https://www.example.com/products/red-shoe?color=blue&size=42#reviews',
      'android-app://com.google.android.googlequicksearchbox/',
      'https://shop.example.com:8443/search?q=running+shoes&utm_source=newsletter&utm_campaign=black-friday-2026',
    ],
    targets: [
      '/catalog/products?page=2&sort=-created_at&q=blue+shoes&from=2026-11-01&ids=1,2,3',
      '/orders?status=open&created_after=2026-11-21T10:30:00%2B01:00&limit=100&offset=2000',
      '/map?bbox=13.0883,52.3382,13.7611,52.6755&zoom=12',
      '/list?filter%5Bstate%5D=open&fields=name,email,phone&include=items.product',
      '/events?since=1795303232269&until=1795389632269',
      '/p?utm_source=google&utm_medium=cpc&gclid=',
      '/a?token_type=bearer&grant_type=client_credentials&state=open',
      '/items?price=10.00-99.99&currency=EUR&country_code=DE',
      `/orders/${uuid}?expand=lines`,
      '//catalog///echo//?debug&a=&a',
    ],
    parameters: [
      'blue shoes', "O'Brien", 'select all that apply', '2026-11-21', '2026-11-21 10:30:00', '21.11.2026', '11/21/2026 10:30', '-created_at',
      '1,2,3', '{"a":[1,2],"state":"open"}', 'name:asc,price:desc', '日本の靴', 'مرحبا', '👟 shoes', '12.345,67', '1 000 000 000', '10.0.0.1',
      '2001:db8::1', 'en-GB,en;q=0.9', 'attachment; filename="annual-report-2026.pdf"', 'cursor:100', 'VXNlcjoxMjM0', 'a=b==', 'XL', 'true',
      'please refund my order number 123456789012', '00012345', '1795303232.269', '0.4111111111111111', 'ISBN 978-3-16-148410-0', uuid,
      `${uuid},${uuid}`, '#ff8800', 'rgba(255, 136, 0, 0.5)', 'Schillerstraße 12, 10625 Berlin', '3.7.1.0-rc1+build.20261121', 'T-Shirt (men) 100% cotton',
      'Token expired, please log in', 'Basic plan', '50 % off', 'C:\\Program Files\\App', 'a@b', '@alice', 'supercalifragilisticexpialidocious',
      'internationalization_and_localization', 'createdAtGreaterThanOrEqualTo', '1-2-3-4-5', '555 1234', '12:30-14:45',
    ],
    headers: [
      '"v1"', 'W/"5f3-18f2c3d4e5f"', '"5d8c72a5edda8d6a"', 'W/"1a2b-3c4d5e6f"', 'bytes=0-1023', 'Sat, 21 Nov 2026 23:23:26 GMT', 'max-age=31536000, immutable',
      'application/vnd.api+json; charset=utf-8', 'multipart/form-data; boundary=b', '203.0.113.7, 198.51.100.8', 'for=198.51.100.7;proto=https',
      '"Chromium";v="126", "Not/A)Brand";v="8"', 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8', '?0', 'same-origin',
      'Bearer error="invalid_token"', 'Basic realm="service"', 'api.example.com:8443', 'keep-alive, Upgrade',
    ],
  }; // prettier-ignore
  const methods: Record<keyof typeof recorded, (value: string) => string> = {
    paths: sanitizer.path,
    userAgents: sanitizer.text,
    referers: sanitizer.url,
    targets: sanitizer.url,
    parameters: (value) => sanitizer.parameter('q', value),
    headers: sanitizer.text,
  };

  test('at most 1 % of at least 300 recorded and further values are changed', () => {
    let values = 0;
    const changed: string[] = [];
    for (const kind of Object.keys(methods) as (keyof typeof recorded)[]) {
      for (const value of [...recorded[kind], ...written[kind]]) {
        values++;
        const result = methods[kind](value);
        if (result !== value) changed.push(`${kind}: ${value} -> ${result}`);
      }
    }
    expect(values).toBeGreaterThanOrEqual(300);
    expect(changed.length / values, changed.join('\n')).toBeLessThanOrEqual(0.01);
  });

  test('none of the values written for it is changed', () => {
    const changed = (Object.keys(methods) as (keyof typeof recorded)[]).flatMap((kind) =>
      written[kind]
        .filter((value) => methods[kind](value) !== value)
        .map((value) => `${value} -> ${methods[kind](value)}`),
    );
    expect(changed).toEqual([]);
  });
});

describe('for any input', () => {
  // Strings that are made of what the rules look for, so that all of them meet.
  const piece = fc.constantFrom(
    ...['@', '%40', '%2540', '%25', '%', '+', '=', ':', '"', '\\"', '\\u0040', '\\', '/', '//', '://', '?', '#', '&', ';', ',', ' ', '{', '}', '[', ']'],
    ...['a', 'alice', 'example.com', 'password', 'token', 'Bearer ', 'Basic ', 'Digest username=', 'cookie: ', 'authorization', '~', '~secret~', 'eyJ', '.'],
    ...['eyJhbGciOiJub25lIn0', '4111', '111111111111', '+49', '0171', '-', '1234567', 'DE89', '370400440532013000', '-----BEGIN PRIVATE KEY-----', '\n', 'é', '😀'],
    ...['/reset/', '/invitations/', '/password/edit/', '/cpf/', '/commits/', 'ticket', 'kT9x2', 'Qb7Lm', '42', 'v2', '078-05-1120', '12345678Z', 'X1234567L', 'sha256:', 'etag='],
    ...['Zm9vOmJhcmJhemJhcg==', '0123456789abcdef0123456789abcdef', 'aB3dE5fG7hI9jK1lM3nO5pQ7', '7f3c9a1b-0f4e-4d2a-9c11-0123456789ab', '\uffff', '\ud800'],
    sanitizer.token('secret', 'x'),
  ); // prettier-ignore
  const text = fc.oneof(
    fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join('')),
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc.json(),
    fc.webUrl({ withQueryParameters: true, withFragments: true }),
  );
  const methods: Record<string, (of: Sanitizer, value: string) => string> = {
    text: (of, value) => of.text(value),
    path: (of, value) => of.path(value),
    url: (of, value) => of.url(value),
    unknown: (of, value) => of.unknown(value),
    'parameter of a secret name': (of, value) => of.parameter('password', value),
    'parameter of another name': (of, value) => of.parameter('q', value),
    'parameter of a link': (of, value) => of.parameter('reset', value),
    'parameter with a national id': (of, value) => of.parameter('cpf', value),
    'parameter with a checksum': (of, value) => of.parameter('etag', value),
    identifier: (of, value) => of.identifier(value),
  };
  const withPatterns = createSanitizer({ key, secretPatterns: ['a', '[0-9]+', '~'] });

  test.each(Object.entries(methods))('%s: never throws, is idempotent and bounded', (_, method) => {
    fc.assert(
      fc.property(text, fc.constantFrom(sanitizer, withPatterns), (value, of) => {
        const once = method(of, value);
        expect(method(of, once)).toBe(once);
        // One character may be a secret (`pin=1`), and a token has up to 29.
        expect(once.length).toBeLessThanOrEqual(value.length * 29 + 29);
      }),
      { numRuns: 1_500 },
    );
  });

  test.each(Object.entries(methods))(
    '%s: the result does not depend on what was seen before',
    (_, method) => {
      fc.assert(
        fc.property(text, (value) => {
          expect(method(createSanitizer({ key }), value)).toBe(method(sanitizer, value));
        }),
        { numRuns: 200 },
      );
    },
  );

  test('the short look at a text never spares it what a full one would find', () => {
    // `unknown` takes no short look.
    fc.assert(
      fc.property(text, (value) => {
        expect(sanitizer.text(value)).toBe(sanitizer.unknown(value));
      }),
      { numRuns: 3_000, examples: [['-----BEGIN PRIVATE KEY-----;/reset/']] },
    );
  });

  test('cookies: never throws, and every value is a token or empty', () => {
    fc.assert(
      fc.property(text, (header) => {
        for (const value of Object.values(sanitizer.cookies(header)))
          expect(kinds(value)).toMatch(/^(?:<secret>)?$/);
      }),
      { numRuns: 1_000 },
    );
  });

  test('tokens stay as they are wherever they stand', () => {
    fc.assert(
      fc.property(text, fc.string(), (around, secret) => {
        const made = sanitizer.token('secret', secret);
        expect(sanitizer.text(`${around} ${made}`)).toContain(made);
        expect(sanitizer.parameter('apikey', made)).toBe(made);
      }),
      { numRuns: 500 },
    );
  });

  const adversarial: Record<string, string> = {
    'many @': '@',
    'chained addresses': 'a@a.aa',
    'percent signs': '%25',
    digits: '1',
    'digits and blanks': '4 ',
    'digits and hyphens': '4111-',
    'JWT beginnings': 'eyJ',
    'JWT parts': 'eyJhbGciOi.',
    'PEM beginnings': '-----BEGIN A-----',
    'scheme words': 'bearer ',
    'secret pairs': 'pin=1&',
    'open quotes': '"password":"',
    'open brackets': '"password":[',
    colons: 'a:',
    slashes: '//a:b',
    'secret segments': '/token',
    backslashes: '\\\\',
    'base64 in rows': 'YUBiLmNvIGFAYi5jbw==',
    'IBAN beginnings': 'DE89 ',
    commas: 'pin=,;',
    tokens: '~secret~aaaaaaaaaaaaaaaaaaaaaa',
    'names of links': '/reset',
    'link pairs': 'ticket=',
    'open link quotes': '"invite":"',
    'SSN beginnings': '078-05-',
    'hexadecimal after names': '/commits/0f1e2d3c4b5a69780f1e2d3c4b5a6978',
  };
  test.each(Object.entries(adversarial))(
    'no more than the bound is analysed or returned: 1 MB of %s',
    (_, unit) => {
      const long = unit.repeat(Math.ceil(1_000_000 / unit.length));
      for (const method of [sanitizer.text, sanitizer.path, sanitizer.url, sanitizer.unknown]) {
        const result = method(long);
        expect(result.length).toBeLessThanOrEqual(maxTextChars);
        expect(method(result)).toBe(result);
        // What is behind the bound can be seen only in the token.
        expect(method(`${long}x`).replace(/~long~.{22}$/, '')).toBe(result.replace(/~long~.{22}$/, ''));
      }
    },
  );

  test('what is behind the bound on length is one ~long~ token', () => {
    const result = sanitizer.text('word '.repeat(3_000));
    expect(kinds(result)).toMatch(/^(?:word )+(?:w|wo|wor|word)?<long>$/);
    expect(result.length).toBeLessThanOrEqual(maxTextChars);
  });
});

describe('options that cannot be', () => {
  test('a pattern that is no regular expression is refused with its place and text', () => {
    expect(() => createSanitizer({ key, secretPatterns: ['a', '(b'] })).toThrow(
      /secretPatterns\[1\]: "\(b" is not a regular expression/,
    );
  });
  test('an empty name is refused', () => {
    expect(() => createSanitizer({ key, secretNames: ['a', '-_'] })).toThrow(
      /secretNames: "-_" is not a name/,
    );
  });
  test('a short key is refused with its length', () => {
    expect(() => createSanitizer({ key: Buffer.alloc(16) })).toThrow(
      /key: it has 16 bytes; allowed: 32 or more/,
    );
  });
});
