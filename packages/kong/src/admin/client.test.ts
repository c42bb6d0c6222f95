import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import { startKongStandIn } from '@tripline/kong-stand-in';
import type { KongStandIn, KongStandInOptions } from '@tripline/kong-stand-in';
import { afterEach, describe, expect, it } from 'vitest';
import { KongDeniedError, KongUnavailableError } from './admin-api.ts';
import type { KongAdmin, KongAdminOptions } from './admin-api.ts';
import { createKongAdmin } from './client.ts';

const secret = 'very-secret-admin-token';
const pem = (name: string): string => readFileSync(new URL(`fixtures/${name}.pem`, import.meta.url), 'utf8');
const uuid = (index: number): string => `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`;
const ghost = '99999999-0000-4000-8000-000000000000';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function start(
  standInOptions: KongStandInOptions = {},
  options: Partial<KongAdminOptions> = {},
): Promise<{ standIn: KongStandIn; admin: KongAdmin; consumerId: string }> {
  const standIn = await startKongStandIn({ rebuildEveryMs: 0, ...standInOptions });
  open.push(standIn);
  return {
    standIn,
    admin: connect(standIn.adminUrl, options),
    consumerId: '00000003-0000-4000-8000-000000000001',
  };
}

function connect(url: string, options: Partial<KongAdminOptions> = {}): KongAdmin {
  const admin = createKongAdmin({ url, timeoutMs: 2_000, ...options });
  open.push(admin);
  return admin;
}

/** A server that gives one and the same answer. */
async function answering(status: number, headers: Record<string, string>, body: string): Promise<string> {
  const server = http.createServer((_, response) => response.writeHead(status, headers).end(body));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push({
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const block = (consumer: string) => ({
  name: 'request-termination',
  consumer: { id: consumer },
  config: { status_code: 403, message: 'Blocked because of unusual traffic' },
  tags: ['tripline', 'tripline-response:r1'],
});

describe('reading', () => {
  it('tells version, database and plugins of the node', async () => {
    const { admin } = await start();
    const node = await admin.node();
    expect(node).toMatchObject({ version: '3.9.3', database: 'postgres', hostname: 'kong-stand-in' });
    expect(node.availablePlugins).toEqual(
      expect.arrayContaining(['tcp-log', 'request-termination', 'rate-limiting']),
    );
  });

  it('gives every plugin of a list of several pages exactly once', async () => {
    const plugins = Array.from({ length: 2_345 }, (_, index) => ({
      id: uuid(index),
      name: 'request-termination',
      consumer: { id: uuid(index) },
      config: {},
      tags: index % 2 ? ['tripline'] : null,
    }));
    const consumers = plugins.map(({ id }, index) => ({ id, username: `consumer-${index}` }));
    const { admin, standIn } = await start({ seed: { consumers, plugins } });
    const all = await admin.plugins();
    expect(all.map((plugin) => plugin.id)).toEqual(plugins.map((plugin) => plugin.id));
    expect(standIn.counters().adminRequests).toEqual({ 'GET /plugins': 3 });
    expect(await admin.plugins('tripline')).toHaveLength(1_172);
  });

  it('finds consumers by id and username, in any alphabet, and says undefined for others', async () => {
    const { admin, consumerId } = await start();
    expect(await admin.consumer('alice')).toMatchObject({ id: consumerId, custom_id: 'cust-1001' });
    expect(await admin.consumer(consumerId)).toMatchObject({ username: 'alice' });
    expect(await admin.consumer('Søren Ødegård')).toMatchObject({ custom_id: 'cust-2001' });
    expect(await admin.consumer('nobody')).toBeUndefined();
    expect(await admin.consumer('../plugins')).toBeUndefined();
    expect(await admin.consumer('')).toBeUndefined();
  });
});

describe('writing', () => {
  it('makes a plugin, does nothing worse when asked again, changes and removes it', async () => {
    const { admin, consumerId } = await start();
    const made = await admin.putPlugin(uuid(1), block(consumerId));
    expect(made).toMatchObject({ kind: 'done', plugin: { id: uuid(1), consumer: { id: consumerId } } });
    expect(await admin.putPlugin(uuid(1), block(consumerId))).toMatchObject({ kind: 'done' });
    expect(await admin.plugins('tripline')).toHaveLength(1);
    const changed = await admin.patchPlugin(uuid(1), { config: { status_code: 451 } });
    expect(changed).toMatchObject({
      kind: 'done',
      plugin: { config: { status_code: 451, message: 'Blocked because of unusual traffic' } },
    });
    expect(await admin.deletePlugin(uuid(1))).toEqual({ kind: 'done' });
    expect(await admin.deletePlugin(uuid(1))).toEqual({ kind: 'done' });
    expect(await admin.plugins('tripline')).toEqual([]);
  });

  it("reports an operator's plugin in the same place as a conflict and leaves it as it is", async () => {
    const { admin, consumerId } = await start();
    const operators = { ...block(consumerId), tags: ['ops'], config: { status_code: 410 } };
    await admin.putPlugin(uuid(1), operators);
    expect(await admin.putPlugin(uuid(2), block(consumerId))).toMatchObject({
      kind: 'conflict',
      problem: expect.stringContaining(consumerId),
    });
    expect(await admin.plugins('ops')).toMatchObject([{ id: uuid(1), config: { status_code: 410 } }]);
  });

  it('tells a consumer that is gone from a refusal', async () => {
    const { admin, consumerId } = await start();
    expect(await admin.putPlugin(uuid(1), block(ghost))).toMatchObject({ kind: 'no-consumer' });
    const wrong = { ...block(consumerId), config: { status_code: 7 } };
    expect(await admin.putPlugin(uuid(1), wrong)).toEqual({
      kind: 'refused',
      problem: expect.stringContaining('value should be between 100 and 599') as string,
    });
    expect(await admin.patchPlugin(ghost, { enabled: false })).toMatchObject({ kind: 'refused' });
  });

  it('takes a route or service that is gone for a reason to read again, not for a refusal', async () => {
    const { admin, consumerId } = await start();
    for (const gone of [{ route: { id: ghost } }, { service: { id: ghost } }]) {
      const limit = { ...block(consumerId), name: 'rate-limiting', config: { minute: 5 }, ...gone };
      await expect(admin.putPlugin(uuid(1), limit)).rejects.toThrow(KongUnavailableError);
    }
  });

  it('writes one plugin of a name per consumer and route, and reads its configuration as it was shown', async () => {
    const { admin, consumerId } = await start();
    const [consumer, route] = [{ id: consumerId }, { id: '00000002-0000-4000-8000-000000000001' }];
    const limit = { name: 'rate-limiting', config: { minute: 5 }, tags: [] };
    const theirs = await admin.putPlugin(uuid(1), { ...limit, route });
    const shown = theirs.kind === 'done' ? theirs.plugin.config : {};
    expect(shown).toHaveProperty('redis.port');
    const config = Object.fromEntries(Object.entries(shown).filter(([key]) => !key.startsWith('redis_')));
    const copy = await admin.putPlugin(uuid(2), { ...limit, config, route, consumer });
    expect(copy).toMatchObject({ kind: 'done', plugin: { config: shown, route, consumer } });
    expect(await admin.putPlugin(uuid(3), { ...limit, consumer })).toMatchObject({ kind: 'done' });
    expect(await admin.putPlugin(uuid(4), { ...limit, route, consumer })).toMatchObject({ kind: 'conflict' });
  });

  it('knows a Kong that cannot be written to', async () => {
    const { admin, consumerId } = await start({ dbless: true });
    expect((await admin.node()).database).toBe('off');
    for (const outcome of [
      await admin.putPlugin(uuid(1), block(consumerId)),
      await admin.patchPlugin('00000006-0000-4000-8000-000000000001', { enabled: false }),
      await admin.deletePlugin('00000006-0000-4000-8000-000000000001'),
    ]) {
      expect(outcome).toMatchObject({ kind: 'read-only', problem: expect.stringContaining('DB-less') });
    }
    expect(await admin.plugins()).toHaveLength(5);
  });
});

describe('faults', () => {
  it.each([500, 502, 503, 429])(
    '%i is unavailable, and what it did or did not do shows later',
    async (status) => {
      const { admin, standIn, consumerId } = await start();
      standIn.failNext(1, status, { afterEffect: true });
      await expect(admin.putPlugin(uuid(1), block(consumerId))).rejects.toThrow(KongUnavailableError);
      expect(await admin.plugins('tripline')).toHaveLength(1);
      standIn.failNext(1, status);
      await expect(admin.deletePlugin(uuid(1))).rejects.toThrow(String(status));
      expect(await admin.plugins('tripline')).toHaveLength(1);
    },
  );

  it('says where nobody listens, and works again when Kong is back, on the same client', async () => {
    const { admin, standIn } = await start();
    await admin.node();
    await standIn.down();
    await expect(admin.node()).rejects.toThrow(KongUnavailableError);
    await expect(admin.node()).rejects.toThrow(
      `GET ${standIn.adminUrl}/: connection refused. Is Kong running`,
    );
    await standIn.up();
    expect((await admin.node()).version).toBe('3.9.3');
  });

  it('gives up after the time-out', async () => {
    const { standIn } = await start({ adminLatencyMs: 5_000 });
    const admin = connect(standIn.adminUrl, { timeoutMs: 50 });
    await expect(admin.plugins()).rejects.toThrow('no answer within 50 ms');
  });

  it('does not read an answer without end', async () => {
    const url = await answering(
      200,
      { 'content-type': 'application/json' },
      `"${'x'.repeat(33 * 1024 * 1024)}"`,
    );
    await expect(connect(url).plugins()).rejects.toThrow('larger than 32 MB');
  });

  it('does not follow a list without end', async () => {
    const page = JSON.stringify({ data: [], next: '/plugins?offset=abc' });
    const url = await answering(200, { 'content-type': 'application/json' }, page);
    await expect(connect(url).plugins()).rejects.toThrow('list without end');
  });

  it.each([
    [
      'the Manager or a portal',
      200,
      'text/html',
      '<html><head><title>Kong Manager</title></head></html>',
      'HTML instead',
    ],
    [
      'the proxy port',
      404,
      'application/json',
      '{"message":"no Route matched with those values"}',
      'no Route matched',
    ],
    ['something else with JSON', 200, 'application/json', '{"hello":"world"}', '8001 by default'],
    ['a redirect', 302, 'text/html', '', '302'],
  ])('recognises %s in the place of the Admin API', async (_, status, type, body, words) => {
    const admin = connect(await answering(status, { 'content-type': type }, body));
    await expect(admin.node()).rejects.toThrow(KongUnavailableError);
    await expect(admin.node()).rejects.toThrow(words);
    await expect(admin.plugins()).rejects.toThrow('check kong.adminUrl');
  });

  it('never takes a wrong address for a consumer or plugin that is gone', async () => {
    const admin = connect(
      await answering(404, { 'content-type': 'application/json' }, '{"message":"Not found"}'),
    );
    await expect(admin.consumer('alice')).rejects.toThrow(KongUnavailableError);
    await expect(admin.deletePlugin(uuid(1))).rejects.toThrow(KongUnavailableError);
    await expect(admin.putPlugin(uuid(1), block(ghost))).rejects.toThrow(KongUnavailableError);
  });

  it('takes an HTML 415 for a refusal', async () => {
    const html = '<html>\r\n<head><title>415 Unsupported Media Type</title></head></html>';
    const admin = connect(await answering(415, { 'content-type': 'text/html' }, html));
    expect(await admin.putPlugin(uuid(1), block(ghost))).toEqual({
      kind: 'refused',
      problem: expect.stringContaining('415 HTML instead of JSON (415 Unsupported Media Type)') as string,
    });
  });
});

describe('Enterprise', () => {
  it('works in a workspace, and only there', async () => {
    const { standIn, admin } = await start({ workspace: 'team a' }, { workspace: 'team a' });
    expect(await admin.consumer('alice')).toMatchObject({ username: 'alice' });
    expect(await admin.plugins()).toHaveLength(5);
    expect((await admin.node()).version).toBe('3.9.3');
    expect(await connect(standIn.adminUrl).plugins()).toEqual([]);
    await expect(connect(standIn.adminUrl, { workspace: 'gone' }).consumer('alice')).rejects.toThrow(
      'the workspace "gone" exists',
    );
  });

  it('sends the token, and says what to do without one or with a wrong one', async () => {
    const { standIn } = await start({ rbacToken: secret });
    expect(await connect(standIn.adminUrl, { token: secret }).plugins()).toHaveLength(5);
    await expect(connect(standIn.adminUrl).plugins()).rejects.toThrow(KongDeniedError);
    await expect(connect(standIn.adminUrl).plugins()).rejects.toThrow('set kong.adminToken');
    await expect(connect(standIn.adminUrl, { token: 'wrong' }).plugins()).rejects.toThrow(
      'token (kong.adminToken) is valid',
    );
  });

  it('no error holds the token, however the call fails', async () => {
    const { standIn, admin } = await start({ rbacToken: 'another' }, { token: secret });
    const errors: unknown[] = [];
    const keep = (error: unknown): void => void errors.push(error);
    await admin.plugins().catch(keep);
    standIn.failNext(1, 500);
    await admin.plugins().catch(keep);
    await standIn.down();
    await admin.plugins().catch(keep);
    try {
      createKongAdmin({ url: standIn.adminUrl, token: `${secret}\n` });
    } catch (error) {
      keep(error);
    }
    expect(errors).toHaveLength(4);
    for (const error of errors) {
      const { message, stack, cause } = error as Error;
      expect(`${message}${stack ?? ''}${String(cause)}${JSON.stringify(cause)}`).not.toContain(secret);
    }
  });
});

describe('TLS', () => {
  const server = (): KongStandInOptions => ({ adminTls: { key: pem('key'), cert: pem('cert') } });

  it('refuses an unknown certificate and says how to trust it', async () => {
    const { admin } = await start(server());
    await expect(admin.node()).rejects.toThrow('self-signed. Give it as kong.tls.caFile');
  });

  it('trusts the given authority, for the expected name only', async () => {
    const { standIn } = await start(server());
    await expect(connect(standIn.adminUrl, { tls: { ca: pem('cert') } }).node()).rejects.toThrow(
      'kong.tls.serverName',
    );
    const named = connect(standIn.adminUrl, { tls: { ca: pem('cert'), serverName: 'kong-admin.test' } });
    expect((await named.node()).version).toBe('3.9.3');
  });

  it('accepts anything only when told so', async () => {
    const { standIn } = await start(server());
    expect((await connect(standIn.adminUrl, { tls: { insecure: true } }).node()).version).toBe('3.9.3');
  });

  it('tells http and https apart in its words', async () => {
    const secure = await start(server());
    const plain = await start();
    await expect(connect(secure.standIn.adminUrl.replace('https', 'http')).node()).rejects.toThrow(
      KongUnavailableError,
    );
    await expect(connect(plain.standIn.adminUrl.replace('http', 'https')).node()).rejects.toThrow(
      'does not speak TLS',
    );
  });
});

describe('options', () => {
  it.each([
    ['localhost:8001', 'kong.adminUrl'],
    ['not a url', 'not a URL'],
    ['http://user:hunter2@localhost:8001', 'kong.adminHeaders'],
    ['http://localhost:8001/?a=1', 'query'],
  ])('refuses %s with the key and what is allowed', (url, words) => {
    expect(() => createKongAdmin({ url })).toThrow(words);
    expect(() => createKongAdmin({ url })).toThrow('Allowed: http://host:port');
    expect(() => createKongAdmin({ url })).not.toThrow('hunter2');
  });
});
