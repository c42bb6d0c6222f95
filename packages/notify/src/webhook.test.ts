import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type LookupFunction } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import type { Alert } from '@tripline/model';
import { isPublicAddress } from './target.ts';
import {
  createWebhookSender,
  retryDelayMs,
  signWebhook,
  webhookMessage,
  type WebhookReceiver,
  type WebhookSenderOptions,
} from './webhook.ts';

const nowMs = 1_700_000_000_123;
const alert: Alert = {
  id: 'a-1',
  revision: 3,
  type: 'request-spike',
  severity: 'high',
  score: 70,
  actor: { kind: 'consumer', id: 'c-1', name: 'acme' },
  service: null,
  route: null,
  endpoint: null,
  raisedAt: 1_699_999_000_000,
  startedAt: 1_699_998_000_000,
  lastSeenAt: 1_699_999_900_000,
  count: 1,
  status: 'open',
  observed: { value: 1, unit: 'x' },
  expected: { value: 1, low: 0, high: 1, unit: 'x' },
  summary: 's',
  sources: [],
  evidence: {},
  sampleCallIds: [],
  references: [],
};
const message = webhookMessage('alert.raised', alert);

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** A receiver on localhost, and what it got. */
async function receiver(answer: (response: ServerResponse, request: IncomingMessage) => void): Promise<{
  receiver: WebhookReceiver;
  got: { headers: IncomingMessage['headers']; body: string }[];
  port: number;
}> {
  const got: { headers: IncomingMessage['headers']; body: string }[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      got.push({ headers: request.headers, body });
      answer(response, request);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanUps.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return {
    receiver: { id: 'w', url: `http://127.0.0.1:${port}/hook`, secret: 'whsec_c2VjcmV0', allowPrivate: true },
    got,
    port,
  };
}

function sender(options: Partial<WebhookSenderOptions> = {}) {
  const made = createWebhookSender({ now: () => nowMs, ...options });
  cleanUps.push(() => made.close());
  return made;
}

describe('a webhook', () => {
  test('carries id, timestamp and a signature that the receiver can verify', async () => {
    const { receiver: target, got } = await receiver((response) => response.writeHead(204).end());
    expect(await sender().send(target, message)).toEqual({ kind: 'delivered', status: 204 });
    const { headers, body } = got[0]!;
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'webhook-id': message.id,
      'webhook-timestamp': '1700000000',
      'webhook-signature': signWebhook('whsec_c2VjcmV0', message, 1_700_000_000),
    });
    expect(JSON.parse(body)).toEqual({
      type: 'alert.raised',
      timestamp: '2023-11-14T21:56:40.000Z',
      data: alert,
    });
  });

  test('is signed as Standard Webhooks says: their own example', () => {
    // The test vector of the reference libraries (standard-webhooks/standard-webhooks).
    const example = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', body: '{"test": 2432232314}' };
    expect(signWebhook('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', example, 1_614_265_330)).toBe(
      'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    );
  });

  test('a secret without whsec_ is the key as it stands', () => {
    expect(signWebhook('secret', message, 1)).toBe(signWebhook('whsec_c2VjcmV0', message, 1));
  });

  test('its id is the same for the same state of an alert, and another for the next', () => {
    expect(webhookMessage('alert.raised', { ...alert }).id).toBe(message.id);
    expect(webhookMessage('alert.updated', { ...alert, revision: 4 }).id).not.toBe(message.id);
  });
});

describe('an answer', () => {
  test.each([
    [200, { kind: 'delivered', status: 200 }],
    [410, { kind: 'gone' }],
    [400, { kind: 'failed', transient: false, problem: 'the receiver answered 400' }],
    [404, { kind: 'failed', transient: false }],
    [408, { kind: 'failed', transient: true }],
    [429, { kind: 'failed', transient: true }],
    [500, { kind: 'failed', transient: true }],
    [503, { kind: 'failed', transient: true }],
  ])('of %i means %j', async (status, outcome) => {
    const { receiver: target } = await receiver((response) => response.writeHead(status).end('x'));
    expect(await sender().send(target, message)).toMatchObject(outcome);
  });

  test('that redirects is not followed', async () => {
    const { receiver: other, got } = await receiver((response) => response.writeHead(200).end());
    const { receiver: target } = await receiver((response) =>
      response.writeHead(302, { location: other.url }).end(),
    );
    expect(await sender().send(target, message)).toMatchObject({
      kind: 'failed',
      transient: false,
      problem: expect.stringContaining('redirect'),
    });
    expect(got).toEqual([]);
  });

  test('that never ends and is too long still counts by its status', async () => {
    const { receiver: target } = await receiver((response) => {
      response.writeHead(200);
      const more = (): void => {
        if (!response.destroyed && response.write('x'.repeat(65_536))) setImmediate(more);
      };
      response.on('drain', more);
      more();
    });
    expect(await sender().send(target, message)).toEqual({ kind: 'delivered', status: 200 });
  });

  test.each([
    ['7', 7_000],
    ['999999', 3_600_000],
    [new Date(1_700_000_010_000).toUTCString(), 9_877],
    ['soon', undefined],
  ])('with Retry-After: %s is waited for, at most an hour', async (header, retryAfterMs) => {
    const { receiver: target } = await receiver((response) =>
      response.writeHead(503, { 'retry-after': header }).end(),
    );
    const outcome = await sender().send(target, message);
    expect(outcome).toMatchObject({ kind: 'failed', transient: true });
    expect((outcome as { retryAfterMs?: number }).retryAfterMs).toBe(retryAfterMs);
  });

  test('that does not come in time is a transient failure', async () => {
    const { receiver: target } = await receiver(() => undefined);
    expect(await sender({ timeoutMs: 50 }).send(target, message)).toEqual({
      kind: 'failed',
      transient: true,
      problem: 'no answer within 50 ms',
    });
  });

  test('that is no HTTP, or no answer at all, is a transient failure', async () => {
    const server = createTcpServer((socket) => socket.end('hello\n', () => socket.destroy()));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const target = { id: 'w', url: `http://127.0.0.1:${port}/`, secret: 's', allowPrivate: true };
    expect(await sender().send(target, message)).toMatchObject({ kind: 'failed', transient: true });
    await new Promise((resolve) => server.close(resolve));
    expect(await sender().send(target, message)).toMatchObject({
      kind: 'failed',
      transient: true,
      problem: expect.stringContaining('ECONNREFUSED'),
    });
  });
});

describe('a target that is not the public internet', () => {
  test.each([
    'http://127.0.0.1/',
    'http://localhost/',
    'http://2130706433/',
    'http://0x7f.1/',
    'http://[::1]/',
    'http://[::ffff:127.0.0.1]/',
    'http://169.254.169.254/latest/meta-data',
    'http://10.0.0.1/',
    'http://[fd00::1]/',
    'http://[fe80::1]/',
    'http://[64:ff9b::7f00:1]/',
  ])('%s is refused, saying what to set', async (url) => {
    const outcome = await sender().send({ id: 'w', url, secret: 's' }, message);
    expect(outcome).toMatchObject({
      kind: 'failed',
      transient: false,
      problem: expect.stringMatching(/is not an address of the public internet; set "allowPrivate": true/),
    });
  });

  test('is refused after the name was resolved, and no connection is made', async () => {
    const { got, port } = await receiver((response) => response.writeHead(200).end());
    const lookup = ((_name, _options, callback) => {
      callback(null, [
        { address: '93.184.216.34', family: 4 },
        { address: '127.0.0.1', family: 4 },
      ]);
    }) as LookupFunction;
    const outcome = await sender({ lookup }).send(
      { id: 'w', url: `http://rebind.test:${port}/`, secret: 's' },
      message,
    );
    expect(outcome).toMatchObject({
      problem: expect.stringContaining('rebind.test, which resolves to 127.0.0.1'),
    });
    expect(got).toEqual([]);
  });

  test('is reached if the configuration of the receiver allows it', async () => {
    const { got, port } = await receiver((response) => response.writeHead(200).end());
    const target = { id: 'w', url: `http://localhost:${port}/`, secret: 's', allowPrivate: true };
    const lookup = ((_name, _options, callback) => {
      callback(null, [{ address: '127.0.0.1', family: 4 }]);
    }) as LookupFunction;
    expect(await sender({ lookup }).send(target, message)).toEqual({ kind: 'delivered', status: 200 });
    expect(got).toHaveLength(1);
  });

  test.each([
    ['93.184.216.34', true],
    ['100.64.0.1', false],
    ['172.32.0.1', true],
    ['172.31.255.255', false],
    ['255.255.255.255', false],
    ['0.0.0.0', false],
    ['2606:4700::1111', true],
    ['2001:db8::1', false],
    ['2002:7f00:1::', false],
    ['::', false],
    ['::ffff:93.184.216.34', false],
    ['not an address', false],
  ])('%s is public: %s', (address, expected) => {
    expect(isPublicAddress(address)).toBe(expected);
  });
});

describe('the wait before another attempt', () => {
  test('doubles up to a bound, of which at least half is waited', () => {
    const waits = (transient: boolean, random: number): number[] =>
      [1, 2, 3, 9, 10, 1_000].map((attempts) => retryDelayMs(attempts, { transient }, () => random));
    expect(waits(true, 1)).toEqual([1_000, 2_000, 4_000, 256_000, 300_000, 300_000]);
    expect(waits(true, 0)).toEqual([500, 1_000, 2_000, 128_000, 150_000, 150_000]);
    expect(waits(false, 1)).toEqual([60_000, 120_000, 240_000, 3_600_000, 3_600_000, 3_600_000]);
  });

  test('is never shorter than what the receiver asked for', () => {
    expect(retryDelayMs(1, { transient: true, retryAfterMs: 90_000 }, () => 0)).toBe(90_000);
  });
});
