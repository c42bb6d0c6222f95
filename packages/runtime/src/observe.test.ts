import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, expect, it } from 'vitest';
import { createMetrics, serveObserve, type ObserveServer } from './observe.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

async function serve(): Promise<ObserveServer> {
  const server = await serveObserve({
    host: '127.0.0.1',
    port: 0,
    metrics: createMetrics(),
    roles: () => [],
    actions: { 'GET /status': () => Promise.resolve({ status: 200, body: {} }) },
  });
  undo.push(() => server.close());
  return server;
}

/** The answer to a request line and `Host` as they stand, which no HTTP client would send. */
async function answerTo(port: number, requestLine: string, host = 'x'): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.end(`${requestLine} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`);
  return text(socket);
}

it.each(['GET //', 'GET http://[', 'GET /%', 'OPTIONS *', 'GET http://other.example//x', 'POST ?'])(
  'refuses "%s" and goes on',
  async (requestLine) => {
    const { port } = await serve();
    expect(await answerTo(port, requestLine)).toMatch(/^HTTP\/1\.1 40[04] /);
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200);
  },
);

it('keeps actions from web pages whose name was made to lead to this machine', async () => {
  const { port } = await serve();
  for (const host of [
    'evil.example',
    `evil.example:${port}`,
    '127.0.0.1.evil.example',
    'localhost.evil.example',
    '',
  ])
    expect(await answerTo(port, 'GET /status', host)).toMatch(/^HTTP\/1\.1 403 /);
  for (const host of ['localhost', `localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`])
    expect(await answerTo(port, 'GET /status', host)).toMatch(/^HTTP\/1\.1 200 /);
  expect(await answerTo(port, 'GET /healthz', 'tripline.internal:9602')).toMatch(/^HTTP\/1\.1 200 /);
});

it('says what there is instead of what is not', async () => {
  const { port } = await serve();
  const answer = await fetch(`http://127.0.0.1:${port}/statuss`);
  expect(answer.status).toBe(404);
  expect(await answer.json()).toEqual({
    message: 'There is no GET /statuss; there are GET /healthz, GET /readyz, GET /metrics, GET /status.',
  });
});

it('holds a thousand connections at most', async () => {
  const { port } = await serve();
  const sockets = Array.from({ length: 1_010 }, () =>
    connect(port, '127.0.0.1').on('error', () => undefined),
  );
  undo.push(() => sockets.forEach((socket) => socket.destroy()));
  const closed = (): number => sockets.filter((socket) => socket.closed).length;
  await expect.poll(closed, { timeout: 10_000, interval: 20 }).toBe(10);
});

it('says which port is taken and what to set', async () => {
  const { port } = await serve();
  const second = serveObserve({ host: '127.0.0.1', port, metrics: createMetrics(), roles: () => [] });
  await expect(second).rejects.toThrow(/^Cannot listen on 127\.0\.0\.1:\d+: .* Set http\.port/);
});
