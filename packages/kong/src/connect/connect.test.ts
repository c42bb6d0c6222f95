import { createHmac } from 'node:crypto';
import * as net from 'node:net';
import type { AddressInfo } from 'node:net';
import { defaultSeed, startKongStandIn } from '@tripline/kong-stand-in';
import type { KongStandIn, Seed } from '@tripline/kong-stand-in';
import { afterEach, describe, expect, it } from 'vitest';
import type { KongAdmin, KongPlugin } from '../admin/admin-api.ts';
import { createKongAdmin } from '../admin/client.ts';
import { claimExpression, customFieldsByLua, fieldsThatCanFail } from './custom-fields.ts';
import {
  applyConnectPlan,
  connectPluginId,
  describeConnectPlan,
  planConnect,
  whoCanReadTheKey,
} from './plan.ts';
import { connectDeckYaml } from './deck.ts';
import type { ConnectSettings } from './plan.ts';

const token = 's3cret-token';
const fingerprintKey = 'k3y-of-the-fingerprints';
/** Without token and key. */
const bare: ConnectSettings = { collectorHost: '127.0.0.1', collectorPort: 9600, tls: false };
const wanted: ConnectSettings = { ...bare, token, fingerprintKey };
const serviceId = '00000001-0000-4000-8000-000000000001';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function start(
  plugins: NonNullable<Seed['plugins']> = [],
): Promise<{ standIn: KongStandIn; admin: KongAdmin }> {
  const seed = defaultSeed();
  const standIn = await startKongStandIn({
    seed: { ...seed, plugins: [...(seed.plugins ?? []), ...plugins] },
    rebuildEveryMs: 0,
  });
  const admin = createKongAdmin({ url: standIn.adminUrl });
  open.push(standIn, admin);
  return { standIn, admin };
}

const plugin = (fields: Partial<KongPlugin>): KongPlugin => ({
  id: '11111111-1111-4111-8111-111111111111',
  name: 'tcp-log',
  instance_name: null,
  enabled: true,
  config: { host: '127.0.0.1', port: 9600, tls: false, custom_fields_by_lua: customFieldsByLua(wanted) },
  tags: ['tripline'],
  consumer: null,
  service: null,
  route: null,
  protocols: ['http', 'https'],
  created_at: 1,
  ...fields,
});

describe('the expressions', () => {
  it('are those that were run on a real Kong, inside pcall, so that an error loses a field and not the line', () => {
    const guarded = (lua: string): string =>
      `local ok, v = pcall(function() ${lua} end); if ok then return v end`;
    expect(customFieldsByLua({ token: 's3cret-token', fingerprintKey: 'k3y' })).toEqual({
      'tripline.token': "return 's3cret-token'",
      'tripline.credential': guarded(
        "local h = kong.request.get_header('authorization'); if h then return ngx.encode_base64(ngx.hmac_sha1('k3y', h)) end",
      ),
      'tripline.user': guarded(
        "local h = kong.request.get_header('authorization'); if not h then return nil end; " +
          "local b = h:match('^[Bb]asic%s+(.+)$'); if not b then return nil end; " +
          'local d = ngx.decode_base64(b); if not d then return nil end; ' +
          "local u = d:match('^([^:]*):'); if u then return ngx.encode_base64(ngx.hmac_sha1('k3y', u)) end",
      ),
    });
    expect(customFieldsByLua({})).toBeUndefined();
    expect(fieldsThatCanFail(customFieldsByLua({ ...wanted, claim: 'sub' })!)).toEqual([]);
  });

  it('name the functions that could fail', () => {
    expect(
      fieldsThatCanFail({
        stage: "return 'prod'",
        number: ' return 17 ;',
        nothing: 'return nil',
        guarded: "local ok, v = pcall(kong.request.get_header, 'x'); return ok and v or nil",
        header: "return kong.request.get_header('x'):lower()",
        other: "return pcallback('x')",
        quoted: "return 'a' .. kong.ctx.shared.b",
      }),
    ).toEqual(['header', 'other', 'quoted']);
  });

  it('take a claim under any name that a claim may sensibly have, and no other', () => {
    for (const claim of ['sub', 'user_id', 'https://example.com/user-id', 'urn:id', 'cognito@x'])
      expect(claimExpression(claim, 'k3y')).toContain(`name == '${claim}'`);
    for (const claim of ['', "a'b", 'a\\b', 'a b', 'ключ', ']]', 'x'.repeat(201)])
      expect(() => claimExpression(claim, 'k3y')).toThrow(/^claim .*allowed: 1 to 200/);
    expect(() => claimExpression('sub', "k'y")).toThrow(/^fingerprintKey /);
    const fields = customFieldsByLua({ fingerprintKey: 'k3y', claim: 'sub' })!;
    expect(fields['tripline.claim']).toBe(claimExpression('sub', 'k3y'));
    expect(customFieldsByLua({ token: 't0ken', claim: 'sub' })).toEqual({
      'tripline.token': "return 't0ken'",
    });
    expect(connectDeckYaml({ ...wanted, claim: 'sub' })).toContain('        tripline.claim: |-\n');
    expect(connectDeckYaml({ ...wanted, claim: 'sub' })).not.toContain('PLACEHOLDER');
  });

  it.each([
    "it's",
    'a\\b',
    'a"b',
    'line\nbreak',
    '',
    ']]',
    'ключ',
    'x'.repeat(201),
    '{vault://env/x}',
    '${{ env }}',
  ])('never let %j into a Lua string, and do not show it', (text) => {
    for (const name of ['token', 'fingerprintKey'] as const) {
      const attempt = (): unknown => planConnect({ ...wanted, [name]: text }, []);
      expect(attempt).toThrow(`${name} `);
      expect(attempt).toThrow('Allowed: 1 to 200 of A-Z a-z 0-9');
      if (text.length > 4) expect(attempt).not.toThrow(text);
    }
  });
});

describe('the plan', () => {
  it('creates the plugin under the same id each time', async () => {
    const { admin } = await start();
    const plan = planConnect(wanted, await admin.plugins());
    expect(plan).toMatchObject({ kind: 'create', id: connectPluginId(), others: [] });
    expect(await applyConnectPlan(admin, plan)).toMatchObject({ kind: 'done' });
    // A second run that planned before the first one was done.
    expect(await applyConnectPlan(admin, plan)).toMatchObject({ kind: 'done' });
    expect((await admin.plugins('tripline')).map(({ id }) => id)).toEqual([connectPluginId()]);
    const again = planConnect(wanted, await admin.plugins());
    expect(again.kind).toBe('nothing');
    expect(await applyConnectPlan(admin, again)).toEqual({ kind: 'unchanged' });
  });

  it('has a uuid of its own for each workspace', () => {
    expect(connectPluginId()).toMatch(
      /^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    expect(connectPluginId('a')).not.toBe(connectPluginId('b'));
  });

  it('changes only what differs, field by field, and keeps scope and what is not its own', async () => {
    const { admin } = await start([
      {
        id: '11111111-1111-4111-8111-111111111111',
        name: 'tcp-log',
        instance_name: 'request-stream',
        enabled: false,
        service: { id: serviceId },
        tags: ['tripline', 'team-a'],
        config: {
          host: 'old.example.com',
          port: 9600,
          timeout: 500,
          custom_fields_by_lua: { 'tripline.token': "return 'the-old-token'", stage: "return 'prod'" },
        },
      },
    ]);
    const plan = planConnect(wanted, await admin.plugins());
    expect(plan).toMatchObject({
      kind: 'change',
      changes: [
        { field: 'config.host', before: '"old.example.com"', after: '"127.0.0.1"' },
        { field: 'config.custom_fields_by_lua["tripline.token"]' },
        { field: 'config.custom_fields_by_lua["tripline.credential"]', before: 'not set' },
        { field: 'config.custom_fields_by_lua["tripline.user"]', before: 'not set' },
        { field: 'enabled', before: 'false', after: 'true' },
      ],
    });
    expect(await applyConnectPlan(admin, plan)).toMatchObject({ kind: 'done' });
    const after = (await admin.plugins('tripline'))[0]!;
    expect(after).toMatchObject({
      instance_name: 'request-stream',
      enabled: true,
      service: { id: serviceId },
      tags: ['tripline', 'team-a'],
      config: {
        host: '127.0.0.1',
        port: 9600,
        timeout: 500,
        custom_fields_by_lua: { stage: "return 'prod'" },
      },
    });
    expect(planConnect(wanted, await admin.plugins()).kind).toBe('nothing');
  });

  it('takes the custom fields off when neither token nor key is wanted', async () => {
    const { admin } = await start();
    await applyConnectPlan(admin, planConnect(wanted, []));
    await applyConnectPlan(admin, planConnect(bare, await admin.plugins()));
    expect((await admin.plugins('tripline'))[0]!.config['custom_fields_by_lua']).toBeNull();
  });

  it('does not choose between several tagged plugins', () => {
    const two = [
      plugin({}),
      plugin({ id: '22222222-2222-4222-8222-222222222222', service: { id: serviceId } }),
    ];
    const plan = planConnect(wanted, two);
    expect(plan.kind).toBe('ambiguous');
    expect(describeConnectPlan(plan)).toContain('2 tcp-log plugins are tagged "tripline"');
    expect(describeConnectPlan(plan)).toContain(`(of service ${serviceId})`);
  });

  it("never touches an operator's global plugin, says that it is in the way and what can be done", async () => {
    const operators = {
      id: '33333333-3333-4333-8333-333333333333',
      name: 'tcp-log',
      config: { host: 'siem.example.com', port: 514 },
    };
    const { admin, standIn } = await start([operators]);
    const plan = planConnect(wanted, await admin.plugins());
    expect(plan).toMatchObject({ kind: 'occupied', pointsHere: false });
    expect(await applyConnectPlan(admin, plan)).toEqual({ kind: 'unchanged' });
    expect(standIn.counters().adminWrites).toBe(0);
    expect(describeConnectPlan(plan)).toContain('sends to siem.example.com:514');
    expect(describeConnectPlan(plan)).toContain(
      'PATCH /plugins/33333333-3333-4333-8333-333333333333 {"tags":["tripline"]}',
    );
  });

  it('recognises an untagged plugin that sends here already', () => {
    const plan = planConnect(wanted, [plugin({ tags: null })]);
    expect(plan).toMatchObject({ kind: 'occupied', pointsHere: true });
    expect(describeConnectPlan(plan)).toContain('sends to this collector already');
  });

  it('never overwrites a plugin under its own id that an operator took over', () => {
    const plan = planConnect(wanted, [
      plugin({ id: connectPluginId(), tags: ['ops'], service: { id: serviceId } }),
    ]);
    expect(plan.kind).toBe('occupied');
  });

  it("mentions an operator's plugin elsewhere, which hides its service from Tripline", () => {
    const elsewhere = plugin({
      tags: null,
      service: { id: serviceId },
      config: { host: 'siem.example.com', port: 514 },
    });
    const plan = planConnect(wanted, [elsewhere]);
    expect(plan).toMatchObject({ kind: 'create', others: [elsewhere] });
    const text = describeConnectPlan(plan);
    expect(text).toContain(
      `tcp-log plugin 11111111-1111-4111-8111-111111111111 (of service ${serviceId}) -> siem.example.com:514`,
    );
    expect(text).toContain('does not reach Tripline');
  });

  it('names everything that is wrong with the settings at once', () => {
    const attempt = (): unknown =>
      planConnect({ ...wanted, collectorHost: 'a b', collectorPort: 0, token: "'" }, []);
    for (const words of ['collectorHost: "a b"', 'collectorPort: 0', 'token '])
      expect(attempt).toThrow(words);
  });
});

describe('beside http-log', () => {
  const httpLog = (fields: Partial<KongPlugin> = {}, config: object = {}): KongPlugin =>
    plugin({
      name: 'http-log',
      tags: null,
      config: { http_endpoint: 'http://kong:pw@collector:9603/', ...config },
      ...fields,
    });
  const settings = { ...bare, httpPort: 9603 };

  it('makes no tcp-log plugin where http-log sends here already, and says so', async () => {
    const plan = planConnect(settings, [httpLog()]);
    expect(plan).toMatchObject({ kind: 'http-log', lacks: [], twice: [] });
    const { admin, standIn } = await start();
    expect(await applyConnectPlan(admin, plan)).toEqual({ kind: 'unchanged' });
    expect(standIn.counters().adminWrites).toBe(0);
    const text = describeConnectPlan(plan);
    expect(text).toContain('(global) sends to this collector already (http://collector:9603/)');
    expect(text).toContain('would send each line twice');
  });

  it('names the custom fields that such a plugin lacks, and keeps them up to date where it is tagged', () => {
    const token = { ...settings, token: 's3cret-token' };
    const lacking = planConnect(token, [httpLog()]);
    expect(lacking).toMatchObject({ kind: 'http-log', lacks: ['tripline.token'] });
    expect(describeConnectPlan(lacking)).toContain('{"tags":["tripline"]}');
    const custom_fields_by_lua = { stage: "return 'prod'" };
    const tagged = httpLog({ tags: ['tripline'] }, { custom_fields_by_lua });
    expect(planConnect(token, [tagged])).toMatchObject({
      kind: 'change',
      change: {
        config: {
          custom_fields_by_lua: { stage: "return 'prod'", 'tripline.token': "return 's3cret-token'" },
        },
      },
      changes: [{ field: 'config.custom_fields_by_lua["tripline.token"]' }],
    });
    expect(planConnect(settings, [tagged])).toMatchObject({ kind: 'nothing' });
    expect(describeConnectPlan(planConnect(settings, [tagged]))).toContain(
      'sends to http://collector:9603/ as wanted',
    );
  });

  it.each([
    ['is disabled', httpLog({ enabled: false })],
    ['posts elsewhere', httpLog({}, { http_endpoint: 'https://siem.example.com/' })],
    ['has no URL', httpLog({}, { http_endpoint: 'siem' })],
  ])('makes the tcp-log plugin where http-log %s', (_what, one) => {
    const plan = planConnect(settings, [one]);
    expect(plan).toMatchObject({ kind: 'create', twice: [] });
    expect(planConnect(bare, [httpLog()])).toMatchObject({ kind: 'create' });
  });

  it('says what comes twice where both send here', () => {
    const ofService = httpLog({ service: { id: serviceId } });
    const created = planConnect(settings, [ofService]);
    expect(created).toMatchObject({ kind: 'create', twice: [ofService] });
    expect(describeConnectPlan(created)).toMatch(
      /comes twice, counts once.*\n {2}http-log plugin \S+ \(of service/,
    );
    const both = planConnect({ ...wanted, httpPort: 9603 }, [plugin({}), httpLog()]);
    expect(both).toMatchObject({ kind: 'nothing', twice: [{ name: 'http-log' }] });
  });
});

describe('over TLS', () => {
  const tls: ConnectSettings = { ...bare, tls: true, tlsSni: 'logs.example.com', verify: true };

  it('asks for a name and lets Kong verify the certificate, where that is wanted', () => {
    expect(planConnect(tls, [])).toMatchObject({
      kind: 'create',
      plugin: { config: { tls: true, tls_sni: 'logs.example.com', ssl_verify: true } },
    });
    expect(connectDeckYaml(tls)).toContain(
      '      tls: true\n      tls_sni: "logs.example.com"\n      ssl_verify: true\n',
    );
    const present = plugin({
      config: { host: '127.0.0.1', port: 9600, tls: true, tls_sni: null, ssl_verify: false },
    });
    expect(planConnect(tls, [present])).toMatchObject({
      kind: 'change',
      change: { config: { tls_sni: 'logs.example.com', ssl_verify: true } },
    });
  });

  it('leaves name and verification as they are, where nothing is said about them', () => {
    const config = { host: '127.0.0.1', port: 9600, tls: true, tls_sni: 'own.example.com', ssl_verify: true };
    expect(planConnect({ ...bare, tls: true }, [plugin({ config })]).kind).toBe('nothing');
    const created = planConnect({ ...bare, tls: true }, []);
    expect(created.kind === 'create' && Object.keys(created.plugin.config)).toEqual(['host', 'port', 'tls']);
  });

  it('refuses a name that is none, and names without TLS', () => {
    expect(() => planConnect({ ...tls, tlsSni: 'a b' }, [])).toThrow('tlsSni: "a b" is no host name');
    expect(() => planConnect({ ...tls, tls: false }, [])).toThrow('say something of TLS only');
  });
});

describe('what is shown', () => {
  it('never holds the token or the key, new or old', () => {
    const old = plugin({
      config: {
        host: 'x',
        port: 1,
        tls: true,
        custom_fields_by_lua: customFieldsByLua({ token: 'old-tok', fingerprintKey: 'old-key' }),
      },
    });
    const shown = [
      describeConnectPlan(planConnect(wanted, [])),
      describeConnectPlan(planConnect(wanted, [old])),
      describeConnectPlan(planConnect(wanted, [plugin({})])),
      connectDeckYaml(wanted),
    ].join('\n');
    for (const hidden of [token, fingerprintKey, 'old-tok', 'old-key']) expect(shown).not.toContain(hidden);
  });

  it('says who can read the key whenever it installs one', () => {
    const words = (text: string): string => text.replace(/\s+/g, ' ');
    expect(words(describeConnectPlan(planConnect(wanted, [])))).toContain(whoCanReadTheKey);
    expect(words(describeConnectPlan(planConnect(bare, [])))).not.toContain(whoCanReadTheKey);
  });

  it('is a decK file whose secrets come from the environment', () => {
    expect(connectDeckYaml({ ...wanted, tls: true }))
      .toBe(`# tcp-log plugin for Tripline. Add it to your decK state, or: deck gateway apply <this file>
# Never "deck gateway sync" with this file alone: sync removes everything that it does not name.
# Needs the environment variable DECK_TRIPLINE_TOKEN
# Needs the environment variable DECK_TRIPLINE_FINGERPRINT_KEY
_format_version: "3.0"
plugins:
  - name: tcp-log
    id: ${connectPluginId()}
    enabled: true
    tags:
      - tripline
    config:
      host: "127.0.0.1"
      port: 9600
      tls: true
      custom_fields_by_lua:
        tripline.token: |-
          return '\${{ env "DECK_TRIPLINE_TOKEN" }}'
        tripline.credential: |-
          local ok, v = pcall(function() local h = kong.request.get_header('authorization'); if h then return ngx.encode_base64(ngx.hmac_sha1('\${{ env "DECK_TRIPLINE_FINGERPRINT_KEY" }}', h)) end end); if ok then return v end
        tripline.user: |-
          local ok, v = pcall(function() local h = kong.request.get_header('authorization'); if not h then return nil end; local b = h:match('^[Bb]asic%s+(.+)$'); if not b then return nil end; local d = ngx.decode_base64(b); if not d then return nil end; local u = d:match('^([^:]*):'); if u then return ngx.encode_base64(ngx.hmac_sha1('\${{ env "DECK_TRIPLINE_FINGERPRINT_KEY" }}', u)) end end); if ok then return v end
`);
  });
});

it('once applied, every line carries the token and the fingerprints of what was presented', async () => {
  const { standIn, admin } = await start();
  const received = new Promise<string>((resolve) => {
    const server = net.createServer((socket) => socket.setEncoding('utf8').on('data', resolve));
    open.push({ close: () => new Promise((done) => server.close(() => done())) });
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      void (async () => {
        await applyConnectPlan(admin, planConnect({ ...wanted, collectorPort: port }, await admin.plugins()));
        const authorization = `Basic ${Buffer.from('dana:wrong').toString('base64')}`;
        standIn.handle({
          method: 'GET',
          path: '/accounts/admin',
          headers: { authorization },
          clientIp: '203.0.113.9',
        });
      })();
    });
  });
  const line = JSON.parse(await received) as { tripline: unknown };
  const hmac = (text: string): string => createHmac('sha1', fingerprintKey).update(text).digest('base64');
  expect(line.tripline).toEqual({
    token,
    user: hmac('dana'),
    credential: hmac(`Basic ${Buffer.from('dana:wrong').toString('base64')}`),
  });
  await standIn.close();
});
