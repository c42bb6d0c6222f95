import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type LookupFunction } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import type { Alert } from '@tripline/model';
import type { ChannelMessage } from '../channel.ts';
import type { Delivery } from '../delivery.ts';
import { addToDigest, digestAlertsMax, emptyDigest, type AlertDigest } from '../digest.ts';
import { excerptOf } from '../http/excerpt.ts';
import type { HttpPosterOptions } from '../http/post.ts';
import { proxyFor, proxyFromEnvironment } from '../http/proxy.ts';
import { isPublicAddress } from '../http/target.ts';
import { createChannels } from './index.ts';
import { signWebhook, webhookMessage, type WebhookMessage, type WebhookSettings } from './webhook.ts';

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
const content: ChannelMessage = { kind: 'alert', event: 'raised', alert };
const message = webhookMessage('w', content);
const digestMessage = (channel: string, digest: AlertDigest): WebhookMessage =>
  webhookMessage(channel, { kind: 'digest', digest });

type Settings = Omit<WebhookSettings, 'type'>;

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** A receiver on localhost, and what it got. */
async function receiver(answer: (response: ServerResponse, request: IncomingMessage) => void): Promise<{
  receiver: Settings;
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

/** Sends the message about `alert` to a webhook. */
function sender(options: Partial<HttpPosterOptions> = {}) {
  return {
    async send(settings: Settings): Promise<Delivery> {
      const channels = createChannels([{ type: 'webhook', ...settings }], {
        now: () => nowMs,
        ...options,
      });
      cleanUps.push(() => channels.close());
      return channels.list[0]!.send(content);
    },
  };
}

describe('a webhook', () => {
  test('carries id, timestamp and a signature that the receiver can verify', async () => {
    const { receiver: target, got } = await receiver((response) => response.writeHead(204).end());
    expect(await sender().send(target)).toEqual({ kind: 'delivered' });
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
    expect(webhookMessage('w', { ...content, alert: { ...alert } }).id).toBe(message.id);
    expect(
      webhookMessage('w', { ...content, event: 'updated', alert: { ...alert, revision: 4 } }).id,
    ).not.toBe(message.id);
  });
});

describe('an answer', () => {
  test.each([
    [200, { kind: 'delivered' }],
    [410, { kind: 'gone' }],
    [400, { kind: 'rejected', problem: 'the receiver answered 400' }],
    [404, { kind: 'rejected' }],
    [408, { kind: 'retry' }],
    [425, { kind: 'retry' }],
    [429, { kind: 'retry' }],
    [500, { kind: 'retry' }],
    [503, { kind: 'retry' }],
  ])('of %i means %j', async (status, outcome) => {
    const { receiver: target } = await receiver((response) => response.writeHead(status).end('x'));
    expect(await sender().send(target)).toMatchObject(outcome);
  });

  test('that refuses is quoted, without secrets, markup and control characters', async () => {
    const { receiver: target } = await receiver((response, request) =>
      response
        .writeHead(400, { 'content-type': 'text/html' })
        .end(
          `<html><b>no_text</b>\r\n\u001b[31m\u202e at ${request.url} for ops@acme.test, ` +
            'key c2VjcmV0 or sk_live_4eC39HqLyjWDarjtT1zdp7dc</html>',
        ),
    );
    const outcome = await sender().send({ ...target, url: `${target.url}/T0123456789` });
    expect(outcome).toEqual({
      kind: 'rejected',
      problem: 'the receiver answered 400',
      answer: 'no_text [31m at /hook/*** for *** key *** or ***',
    });
  });

  test('that refuses and never ends is quoted by its beginning', async () => {
    const { receiver: target } = await receiver((response) => {
      response.writeHead(422);
      response.write('no '.repeat(3_000));
    });
    const outcome = await sender().send(target);
    expect(outcome).toMatchObject({ kind: 'rejected' });
    expect((outcome as { answer: string }).answer).toMatch(/^(no ){60,}…?/);
    expect((outcome as { answer: string }).answer.length).toBeLessThanOrEqual(200);
  });

  test.each([
    [429, '7', true],
    [429, undefined, true],
    [503, '7', true],
    [503, undefined, undefined],
    [500, '7', undefined],
  ])('%i with Retry-After %s asks for a pause: %s', async (status, retryAfter, pauseAll) => {
    const { receiver: target } = await receiver((response) =>
      response.writeHead(status, retryAfter === undefined ? {} : { 'retry-after': retryAfter }).end(),
    );
    const outcome = (await sender().send(target)) as { pauseAll?: boolean };
    expect(outcome.pauseAll).toBe(pauseAll);
  });

  test('that redirects is not followed', async () => {
    const { receiver: other, got } = await receiver((response) => response.writeHead(200).end());
    const { receiver: target } = await receiver((response) =>
      response.writeHead(302, { location: other.url }).end(),
    );
    expect(await sender().send(target)).toMatchObject({
      kind: 'rejected',
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
    expect(await sender().send(target)).toEqual({ kind: 'delivered' });
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
    const outcome = await sender().send(target);
    expect(outcome).toMatchObject({ kind: 'retry' });
    expect((outcome as { retryAfterMs?: number }).retryAfterMs).toBe(retryAfterMs);
  });

  test('that does not come in time is a transient failure', async () => {
    const { receiver: target } = await receiver(() => undefined);
    expect(await sender({ timeoutMs: 50 }).send(target)).toEqual({
      kind: 'retry',
      problem: 'no answer within 50 ms',
    });
  });

  test('that is no HTTP, or no answer at all, is a transient failure', async () => {
    const server = createTcpServer((socket) => socket.end('hello\n', () => socket.destroy()));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const target = { id: 'w', url: `http://127.0.0.1:${port}/`, secret: 's', allowPrivate: true };
    expect(await sender().send(target)).toMatchObject({ kind: 'retry' });
    await new Promise((resolve) => server.close(resolve));
    expect(await sender().send(target)).toMatchObject({
      kind: 'retry',
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
    const outcome = await sender().send({ id: 'w', url, secret: 's' });
    expect(outcome).toMatchObject({
      kind: 'rejected',
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
    const outcome = await sender({ lookup }).send({
      id: 'w',
      url: `http://rebind.test:${port}/`,
      secret: 's',
    });
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
    expect(await sender({ lookup }).send(target)).toEqual({ kind: 'delivered' });
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

describe('a digest', () => {
  test('counts each message by type and severity, and names the most severe alerts', () => {
    const digest = emptyDigest('p', nowMs);
    for (let n = 0; n < 1_000; n++)
      addToDigest(digest, 'raised', { ...alert, id: `low-${n}`, severity: 'low' }, nowMs);
    addToDigest(digest, 'raised', { ...alert, id: 'bad', severity: 'critical' }, nowMs + 5);
    addToDigest(digest, 'closed', { ...alert, id: 'bad', severity: 'critical' }, nowMs + 9);
    expect(digest).toMatchObject({
      policy: 'p',
      from: nowMs,
      to: nowMs + 9,
      messages: 1_002,
      counts: [
        { type: 'request-spike', severity: 'low', raised: 1_000, updated: 0, closed: 0 },
        { type: 'request-spike', severity: 'critical', raised: 1, updated: 0, closed: 1 },
      ],
    });
    expect(digest.alerts.map(({ id }) => id)).toEqual([
      'bad',
      ...Array.from({ length: digestAlertsMax - 1 }, (_, n) => `low-${n}`),
    ]);
  });

  test('is bounded whatever the records on the bus say', () => {
    const digest = emptyDigest('p', nowMs);
    const long = 'x'.repeat(100_000);
    for (let n = 0; n < 500; n++) {
      const actor = { ...alert.actor, name: long };
      addToDigest(
        digest,
        'raised',
        { ...alert, id: `${n}`, type: `${n}` as never, summary: long, actor },
        nowMs,
      );
    }
    expect(digest.counts.length).toBeLessThanOrEqual(33);
    expect(digest.counts.reduce((sum, count) => sum + count.raised, 0)).toBe(500);
    expect(digestMessage('w', digest).body.length).toBeLessThan(30_000);
  });

  test('is a message whose id is the same for the same receiver and content only', () => {
    const digest = emptyDigest('p', nowMs);
    const made = digestMessage('w', digest);
    expect(JSON.parse(made.body)).toMatchObject({
      type: 'alerts.digest',
      timestamp: new Date(nowMs).toISOString(),
      data: { policy: 'p', list: expect.stringContaining(`GET /alerts?since=${nowMs}`) },
    });
    expect(digestMessage('w', structuredClone(digest))).toEqual(made);
    expect(digestMessage('v', digest).id).not.toBe(made.id);
    addToDigest(digest, 'raised', alert, nowMs);
    expect(digestMessage('w', digest).id).not.toBe(made.id);
  });
});

test('an excerpt takes linear time and one line, whatever the answer is', () => {
  const of = (text: string): string =>
    excerptOf(text, { url: 'https://a.test/x', secret: 'secret-of-16-chars' });
  for (const text of ['<', '@', 'a@', 'x1', '\n', '\u2028']) {
    const excerpt = of(text.repeat(4_096));
    expect(excerpt.length).toBeLessThanOrEqual(200);
    expect(excerpt).not.toMatch(/[\n\r\u2028]/);
  }
  expect(of('the secret-of-16-chars is wrong')).toBe('the *** is wrong');
  expect(of('invalid_payload: missing_text_or_fallback_or_attachments')).toContain(
    'missing_text_or_fallback',
  );
});

describe('a proxy', () => {
  /** A forward proxy that knows names which nobody else does, and what it was asked for. */
  async function proxy(answer?: {
    connect: string;
  }): Promise<{ url: string; asked: string[]; headers: string[] }> {
    const asked: string[] = [];
    const headers: string[] = [];
    const server = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`);
      headers.push(String(request.headers['proxy-authorization']));
      request.resume().on('end', () => response.writeHead(204).end());
    });
    server.on('connect', (request, socket) => {
      asked.push(`CONNECT ${request.url}`);
      headers.push(String(request.headers['proxy-authorization']));
      socket.end(answer?.connect ?? 'HTTP/1.1 502 Bad Gateway\r\n\r\n');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanUps.push(() => {
      server.closeAllConnections();
      server.close();
    });
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, headers };
  }
  const nobody = ((_name, _options, callback) => {
    callback(new Error('names are the business of the proxy'), [], 0);
  }) as LookupFunction;
  const through = (env: Record<string, string>) =>
    sender({ lookup: nobody, proxy: proxyFromEnvironment(env) });

  test('carries a message to a name that only it can resolve', async () => {
    const { url, asked } = await proxy();
    const target = { id: 'w', url: 'http://chat.example/hook', secret: 's' };
    expect(await through({ HTTP_PROXY: url }).send(target)).toEqual({
      kind: 'delivered',
    });
    expect(asked).toEqual(['POST http://chat.example/hook']);
  });

  test('is asked for a tunnel to an https target, with its user name and password', async () => {
    const { url, asked, headers } = await proxy();
    const target = { id: 'w', url: 'https://chat.example/hook', secret: 's' };
    const withUser = url.replace('//', '//us%40er:p%3Ass@');
    const outcome = await through({ HTTPS_PROXY: withUser }).send(target);
    expect(asked).toEqual(['CONNECT chat.example:443']);
    expect(headers).toEqual([`Basic ${Buffer.from('us@er:p:ss').toString('base64')}`]);
    expect(outcome).toMatchObject({ kind: 'retry' });
    expect((outcome as { problem: string }).problem).toMatch(/502.*through the proxy 127\.0\.0\.1:\d+\)$/);
    expect(JSON.stringify(outcome)).not.toContain('ss@');
  });

  test('tunnels TLS to the target itself', async () => {
    let first = '';
    const tunnel = createTcpServer((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        socket.once('data', (hello: Buffer) => {
          first = hello.toString('latin1');
          socket.destroy();
        });
      });
    });
    await new Promise<void>((resolve) => tunnel.listen(0, '127.0.0.1', resolve));
    cleanUps.push(() => tunnel.close());
    const url = `http://127.0.0.1:${(tunnel.address() as AddressInfo).port}`;
    const target = { id: 'w', url: 'https://chat.example/hook', secret: 's' };
    const outcome = await through({ HTTPS_PROXY: url }).send(target);
    expect(outcome).toMatchObject({ kind: 'retry' });
    // A TLS record with a ClientHello that names the target; the path and the message are nowhere in the clear.
    expect(first.charCodeAt(0)).toBe(22);
    expect(first).toContain('chat.example');
    expect(first).not.toContain('/hook');
  });

  test.each([
    'http://10.0.0.1/',
    'http://169.254.169.254/latest/meta-data',
    'http://[fd00::1]/',
    'http://metadata.google.internal/',
    'http://vault/',
    'http://printer.local./',
    'https://db.corp/',
  ])('does not carry to the private target %s unless that is allowed', async (target) => {
    const { url, asked } = await proxy();
    const proxied = through({ HTTP_PROXY: url, HTTPS_PROXY: url });
    const to = { id: 'w', url: target, secret: 's' };
    expect(await proxied.send(to)).toMatchObject({
      kind: 'rejected',
      problem: expect.stringContaining('"allowPrivate": true'),
    });
    expect(asked).toEqual([]);
    await proxied.send({ ...to, allowPrivate: true });
    expect(asked).toHaveLength(1);
  });

  test('is passed by for what NO_PROXY names, where addresses are checked as ever', async () => {
    const { url, asked } = await proxy();
    const { got, port } = await receiver((response) => response.writeHead(200).end());
    const lookup = ((_name, _options, callback) => {
      callback(null, [{ address: '127.0.0.1', family: 4 }]);
    }) as LookupFunction;
    const direct = sender({
      lookup,
      proxy: proxyFromEnvironment({ HTTP_PROXY: url, NO_PROXY: 'chat.example' }),
    });
    const target = { id: 'w', url: `http://in.chat.example:${port}/`, secret: 's' };
    expect(await direct.send(target)).toMatchObject({ kind: 'rejected' });
    expect(await direct.send({ ...target, allowPrivate: true })).toMatchObject({
      kind: 'delivered',
    });
    expect(got).toHaveLength(1);
    expect(asked).toEqual([]);
  });

  test.each([
    ['https://a.test/', { HTTP_PROXY: 'http://p:1' }, undefined],
    ['https://a.test/', { HTTPS_PROXY: 'http://p:1' }, 'http://p:1/'],
    ['https://a.test/', { https_proxy: 'p:1', HTTPS_PROXY: 'http://q:2' }, 'http://p:1/'],
    ['https://a.test/', { HTTPS_PROXY: '' }, undefined],
    ['https://a.test/', { HTTPS_PROXY: 'http://p:1', NO_PROXY: '*' }, undefined],
    ['https://x.a.test/', { HTTPS_PROXY: 'http://p:1', no_proxy: 'b.test, .a.test' }, undefined],
    ['https://xa.test/', { HTTPS_PROXY: 'http://p:1', NO_PROXY: 'a.test' }, 'http://p:1/'],
    ['https://a.test:8443/', { HTTPS_PROXY: 'http://p:1', NO_PROXY: 'a.test:443' }, 'http://p:1/'],
    ['https://a.test/', { HTTPS_PROXY: 'http://p:1', NO_PROXY: 'a.test:443' }, undefined],
    ['https://10.1.2.3/', { HTTPS_PROXY: 'http://p:1', NO_PROXY: '10.0.0.0/8' }, undefined],
    ['https://11.1.2.3/', { HTTPS_PROXY: 'http://p:1', NO_PROXY: '10.0.0.0/8 11.1.2.4' }, 'http://p:1/'],
    ['https://[fd00::1]/', { HTTPS_PROXY: 'http://p:1', NO_PROXY: 'fd00::/8' }, undefined],
    ['http://localhost:1/', { HTTP_PROXY: 'http://p:1' }, undefined],
    ['http://127.0.0.1/', { HTTP_PROXY: 'http://p:1' }, undefined],
    ['http://[::1]/', { HTTP_PROXY: 'http://p:1' }, undefined],
  ])('for %s of %j is %s', (url, env, expected) => {
    expect(proxyFor(new URL(url), proxyFromEnvironment(env))?.href).toBe(expected);
  });

  test.each(['socks5://p:1', 'http://', 'http://u:%zz@p:1'])(
    '%s is refused by name, without its value',
    (text) => {
      expect(() => proxyFromEnvironment({ HTTPS_PROXY: text })).toThrow(
        /^The environment variable HTTPS_PROXY .*allowed: http:\/\/host:port/,
      );
    },
  );
});
