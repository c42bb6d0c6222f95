import { readFileSync } from 'node:fs';
import * as net from 'node:net';
import type { AddressInfo } from 'node:net';
import * as tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { defaultSeed, demoKey, startKongStandIn } from './index.ts';
import type { KongStandIn, KongStandInOptions, Seed } from './index.ts';

const alice = '00000003-0000-4000-8000-000000000001';
const orders = '00000001-0000-4000-8000-000000000002';
const key = demoKey({ username: 'alice' });
const pem = (name: string): string =>
  readFileSync(new URL(`../fixtures/tls/${name}.pem`, import.meta.url), 'utf8');

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function start(
  options: KongStandInOptions = {},
  plugins: NonNullable<Seed['plugins']> = [],
): Promise<KongStandIn> {
  const seed = defaultSeed();
  const standIn = await startKongStandIn({
    rebuildEveryMs: 0,
    seed: { ...seed, plugins: [...(seed.plugins ?? []), ...plugins] },
    ...options,
  });
  open.push(standIn);
  return standIn;
}

interface Collector {
  port: number;
  lines: Record<string, unknown>[];
  /** Lines per connection, in order of connecting. */
  connections: { lines: number; ended: boolean }[];
  close(): Promise<void>;
}

async function collect(secure = false): Promise<Collector> {
  const lines: Record<string, unknown>[] = [];
  const connections: Collector['connections'] = [];
  const sockets = new Set<net.Socket>();
  const onSocket = (socket: net.Socket): void => {
    const connection = { lines: 0, ended: false };
    connections.push(connection);
    sockets.add(socket);
    let rest = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop()!;
      connection.lines += parts.length;
      lines.push(...parts.map((part) => JSON.parse(part) as Record<string, unknown>));
    });
    socket.on('end', () => (connection.ended = true));
    socket.on('error', () => undefined);
  };
  const server = secure
    ? tls.createServer({ key: pem('key'), cert: pem('cert') }, onSocket)
    : net.createServer(onSocket);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const collector: Collector = {
    port: (server.address() as AddressInfo).port,
    lines,
    connections,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
  open.push(collector);
  return collector;
}

const tcpLog = (port: number, config: Record<string, unknown> = {}) => ({
  name: 'tcp-log',
  config: { host: '127.0.0.1', port, ...config },
});
const request = (path = '/orders', headers: Record<string, string> = { apikey: key }) => ({
  method: 'GET',
  path,
  headers,
  clientIp: '198.51.100.7',
});
const post = (standIn: KongStandIn, path: string, body: unknown): Promise<globalThis.Response> =>
  fetch(`${standIn.adminUrl}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

describe('tcp-log lines', () => {
  it('travel over one long-lived connection per worker', async () => {
    const collector = await collect();
    const standIn = await start({}, [tcpLog(collector.port)]);
    for (let i = 0; i < 500; i += 1) standIn.handle(request());
    await standIn.flushed();
    for (let i = 0; i < 500; i += 1) standIn.handle(request());
    await expect.poll(() => collector.lines.length).toBe(1_000);
    expect(collector.connections.map(({ lines }) => lines)).toEqual([500, 500]);
    expect(standIn.counters()).toMatchObject({
      proxied: 1_000,
      linesSent: 1_000,
      linesFailed: 0,
      connectionsOpened: 2,
    });
  });

  it('are dropped and counted while the collector is down, and arrive again afterwards', async () => {
    const gone = await collect();
    await gone.close();
    const standIn = await start({}, [tcpLog(gone.port)]);
    for (let i = 0; i < 20; i += 1) expect(standIn.handle(request()).status).toBe(200);
    await standIn.flushed();
    expect(standIn.counters()).toMatchObject({ linesSent: 0, linesFailed: 20 });

    const back = await collect();
    const [plugin] = (
      (await (await fetch(`${standIn.adminUrl}/plugins?size=1000`)).json()) as {
        data: { id: string; name: string }[];
      }
    ).data.filter((one) => one.name === 'tcp-log');
    await fetch(`${standIn.adminUrl}/plugins/${plugin!.id}`, {
      method: 'PATCH',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ config: { port: back.port } }),
    });
    standIn.handle(request());
    await expect.poll(() => back.lines.length).toBe(1);
  });

  it('travel inside TLS when the plugin says so, whatever the certificate', async () => {
    const collector = await collect(true);
    const standIn = await start({}, [tcpLog(collector.port, { tls: true })]);
    standIn.handle(request());
    await expect.poll(() => collector.lines.length).toBe(1);
  });

  it('leave an idle connection to be closed by Kong after its keep-alive', async () => {
    const collector = await collect();
    const standIn = await start({ workers: 1 }, [tcpLog(collector.port, { keepalive: 30 })]);
    standIn.handle(request());
    await expect.poll(() => collector.connections[0]?.ended).toBe(true);
    standIn.handle(request());
    await expect.poll(() => collector.connections.map(({ lines }) => lines)).toEqual([1, 1]);
  });
});

describe('a plugin change', () => {
  it('reaches the traffic only with the next rebuild, as in Kong', async () => {
    const standIn = await start({ rebuildEveryMs: Infinity });
    const block = { name: 'request-termination', config: { status_code: 403 } };
    expect((await post(standIn, `/consumers/${alice}/plugins`, block)).status).toBe(201);
    expect(standIn.handle(request()).status).toBe(200);
    standIn.rebuild();
    expect(standIn.handle(request()).status).toBe(403);
    expect(standIn.handle(request('/catalog/products', {})).status).toBe(200);
  });

  it('is undone when the consumer is deleted, whose key is refused at once', async () => {
    const standIn = await start();
    await post(standIn, `/consumers/${alice}/plugins`, {
      name: 'request-termination',
      config: { status_code: 403 },
    });
    expect(standIn.handle(request()).status).toBe(403);
    await fetch(`${standIn.adminUrl}/consumers/${alice}`, { method: 'DELETE' });
    expect(standIn.handle(request()).status).toBe(401);
  });
});

describe('of several plugins of one kind the most specific one counts', () => {
  const route = '00000002-0000-4000-8000-000000000006';
  const scopes: [string, Record<string, unknown>][] = [
    ['global', {}],
    ['service', { service: { id: orders } }],
    ['route', { route: { id: route } }],
    ['consumer', { consumer: { id: alice } }],
    ['route and service', { route: { id: route }, service: { id: orders } }],
    ['consumer and service', { consumer: { id: alice }, service: { id: orders } }],
    ['consumer and route', { consumer: { id: alice }, route: { id: route } }],
    [
      'consumer, route and service',
      { consumer: { id: alice }, route: { id: route }, service: { id: orders } },
    ],
  ];
  it.each(scopes.map(([name], rank) => [name, rank] as const))('%s', async (_, rank) => {
    const plugins = scopes.slice(0, rank + 1).map(([, scope], index) => ({
      name: 'request-termination',
      ...scope,
      config: { status_code: 450 + index },
    }));
    const standIn = await start({}, plugins.reverse());
    expect(standIn.handle(request('/orders')).status).toBe(450 + rank);
  });
});

describe('rate-limiting', () => {
  it('lets through as many as the window allows, then 429 until the next window', async () => {
    let now = 1_795_303_200_000;
    const standIn = await start({ clock: () => now }, [
      { name: 'rate-limiting', consumer: { id: alice }, config: { second: 2, minute: 3, policy: 'local' } },
    ]);
    const statuses = (n: number): number[] =>
      Array.from({ length: n }, () => standIn.handle(request()).status);
    expect(statuses(4)).toEqual([200, 200, 429, 429]);
    now += 1_000;
    expect(statuses(2)).toEqual([200, 429]);
    expect(standIn.handle(request()).headers).toMatchObject({
      'retry-after': '59',
      'x-ratelimit-remaining-minute': '0',
    });
    now += 59_000;
    expect(statuses(3)).toEqual([200, 200, 429]);
    expect(standIn.handle(request('/orders', { apikey: demoKey({ username: 'dana' }) })).status).toBe(200);
  });
});

describe('the proxy over HTTP', () => {
  it('takes the last forwarded address, waits for the upstream and logs when the request is over', async () => {
    const collector = await collect();
    const standIn = await start({ upstream: () => ({ status: 201, body: '{"ok":true}', latencyMs: 30 }) }, [
      tcpLog(collector.port),
    ]);
    const answer = await fetch(`${standIn.proxyUrl}/catalog/products?debug&a=1&a=2`, {
      method: 'POST',
      headers: { 'x-forwarded-for': '203.0.113.9, 198.51.100.23' },
      body: 'abc',
    });
    expect([answer.status, await answer.json()]).toEqual([201, { ok: true }]);
    await expect.poll(() => collector.lines.length).toBe(1);
    expect(collector.lines[0]).toMatchObject({
      client_ip: '198.51.100.23',
      request: { id: answer.headers.get('x-kong-request-id'), querystring: { debug: true, a: ['1', '2'] } },
      response: { status: 201 },
      latencies: { proxy: 30 },
      upstream_uri: '/products?debug&a=1&a=2',
      upstream_status: '201',
    });
  });

  it('asks for credentials and says so', async () => {
    const standIn = await start();
    const answer = await fetch(`${standIn.proxyUrl}/orders`);
    expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([401, 'Key']);
    const basic = `Basic ${Buffer.from('dana:dana-password').toString('base64')}`;
    expect(
      (await fetch(`${standIn.proxyUrl}/accounts/admin`, { headers: { authorization: basic } })).status,
    ).toBe(200);
  });
});

describe('fault switches of the Admin API', () => {
  it('fails as often as told, before or after the effect', async () => {
    const standIn = await start();
    const consumer = (username: string): Promise<number> =>
      post(standIn, '/consumers', { username }).then((answer) => answer.status);
    standIn.failNext(2, 503);
    expect([await consumer('a'), await consumer('a'), await consumer('a')]).toEqual([503, 503, 201]);
    standIn.failNext(1, 500, { afterEffect: true });
    expect([await consumer('b'), await consumer('b')]).toEqual([500, 409]);
    expect(standIn.counters()).toMatchObject({ adminWrites: 5, adminRequests: { 'POST /consumers': 5 } });
  });

  it('refuses connections while down, without touching the traffic', async () => {
    const standIn = await start();
    await standIn.down();
    await expect(fetch(`${standIn.adminUrl}/`)).rejects.toThrow();
    expect((await fetch(`${standIn.proxyUrl}/catalog/a`)).status).toBe(200);
    await standIn.up();
    expect((await fetch(`${standIn.adminUrl}/status`)).status).toBe(200);
  });

  it('without a database checks the body first, then refuses every write with 405', async () => {
    const standIn = await start({ dbless: true });
    const refused = await post(standIn, '/consumers', { username: 'x' });
    expect([refused.status, await refused.json()]).toEqual([
      405,
      {
        code: 12,
        name: 'operation unsupported',
        message: "cannot create 'consumers' entities when not using a database",
      },
    ]);
    expect((await post(standIn, '/consumers', {})).status).toBe(400);
  });
});
