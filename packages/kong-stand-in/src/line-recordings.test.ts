import { readFileSync } from 'node:fs';
import * as net from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startKongStandIn } from './index.ts';
import type { KongStandIn, Seed, UpstreamAnswer } from './index.ts';

/** What of a line the test itself looks at; the comparison is of whole lines. */
interface Line {
  request: { method: string; uri: string; url: string; size: number; headers: Record<string, string> };
  response: { status: number; size: number; headers: Record<string, string> };
  latencies: Record<string, number>;
  client_ip: string;
  started_at: number;
  source: string;
  tries?: Record<string, unknown>[];
  tripline?: Record<string, string>;
}

const fixture = (name: string): string =>
  readFileSync(new URL(`../fixtures/${name}`, import.meta.url), 'utf8');
const cases = fixture('tcp-log/lines.ndjson')
  .trimEnd()
  .split('\n')
  .map((text) => JSON.parse(text) as { case: string; line: Line });

/** What Kong itself put into the headers of the request and of the answer. */
const addedToRequest =
  /^x-(consumer-(id|custom-id|username)|credential-identifier|anonymous-consumer|correlation-id)$/;
const addedToAnswer =
  /^(x-kong-.*|via|server|connection|x-correlation-id|(x-)?ratelimit-.*|retry-after|www-authenticate)$/;

/** Replaces what differs from request to request: ids, durations, times. */
function masked(line: Line): Line {
  const copy = structuredClone(line);
  const hide = (object: object, key: string): void => {
    const values = object as Record<string, unknown>;
    if (key in values) values[key] = `<${typeof values[key]}>`;
  };
  hide(copy.request, 'id');
  hide(copy.response.headers, 'x-kong-request-id');
  for (const key of ['request', 'receive', 'kong']) hide(copy.latencies, key);
  if (Number(copy.latencies['proxy']) >= 0) hide(copy.latencies, 'proxy');
  // More digits in a latency are more bytes on the wire.
  for (const key of ['x-kong-proxy-latency', 'x-kong-upstream-latency', 'x-kong-response-latency']) {
    copy.response.size -= copy.response.headers[key]?.length ?? 0;
    hide(copy.response.headers, key);
  }
  hide(copy, 'correlation_id');
  hide(copy.request.headers, 'x-correlation-id');
  hide(copy.response.headers, 'x-correlation-id');
  for (const one of copy.tries ?? [])
    for (const key of Object.keys(one)) if (key.startsWith('balancer')) hide(one, key);
  return copy;
}

const mallory = '06b22f47-26b6-49e5-aa14-c5a176f0eddd';

describe('the stand-in logs a request as Kong logged it', () => {
  let standIn: KongStandIn;
  let collector: net.Server;
  let upstreamAnswer: UpstreamAnswer = { status: 200 };
  let plugins: NonNullable<Seed['plugins']>;
  const lines: Line[] = [];

  beforeAll(async () => {
    let rest = '';
    collector = net.createServer((socket) =>
      socket.setEncoding('utf8').on('data', (chunk: string) => {
        const parts = (rest + chunk).split('\n');
        rest = parts.pop()!;
        for (const part of parts) lines.push(JSON.parse(part) as Line);
      }),
    );
    await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
    const { port } = collector.address() as AddressInfo;
    const seed = JSON.parse(fixture('seed.json')) as Seed;
    plugins = (seed.plugins ?? []).filter(
      (plugin) => !['tcp-log', 'acl', 'jwt', 'cors'].includes(String(plugin['name'])),
    );
    plugins.push({ name: 'tcp-log', config: { host: '127.0.0.1', port } });
    // The message is not in the log; its length is.
    const config = { status_code: 403, message: 'sixteen letters.' };
    plugins.push({ name: 'request-termination', consumer: { id: mallory }, config });
    const lua = "local h = kong.request.get_header('authorization');";
    plugins.push({
      name: 'tcp-log',
      service: { id: 'f84d2cc2-b6cd-4c61-b0db-f8599b3e4507' },
      route: { id: '2afcfe76-129d-448b-857c-da28c9a26bc7' },
      config: {
        host: '127.0.0.1',
        port,
        custom_fields_by_lua: {
          'tripline.token': "return 's3cret-token'",
          'tripline.credential': `${lua} if h then return ngx.encode_base64(ngx.hmac_sha1('k3y', h)) end`,
          'tripline.user':
            `${lua} if not h then return nil end; local b = h:match('^[Bb]asic%s+(.+)$'); if not b then return nil end; ` +
            `local d = ngx.decode_base64(b); if not d then return nil end; local u = d:match('^([^:]*):'); ` +
            `if u then return ngx.encode_base64(ngx.hmac_sha1('k3y', u)) end`,
        },
      },
    });
    standIn = await startKongStandIn({
      seed: { ...seed, plugins },
      workers: 1,
      upstream: () => upstreamAnswer,
    });
  });
  afterAll(async () => {
    await standIn.close();
    collector.close();
  });

  const send = async (recorded: Line): Promise<Line> => {
    const { request, response } = recorded;
    const kept = Object.entries(request.headers).filter(([name]) => !addedToRequest.test(name));
    const headers = Object.fromEntries(kept);
    if (headers['authorization']) {
      headers['authorization'] = `Basic ${Buffer.from('user100@example.com:wrong').toString('base64')}`;
    }
    upstreamAnswer = {
      status: response.status,
      headers: Object.fromEntries(
        Object.entries(response.headers).filter(
          ([name]) =>
            !addedToAnswer.test(name) || (name === 'www-authenticate' && recorded.source === 'upstream'),
        ),
      ),
    };
    const before = lines.length;
    standIn.handle({
      method: request.method,
      path: request.uri,
      headers,
      clientIp: recorded.client_ip,
      startedAt: recorded.started_at,
    });
    await expect.poll(() => lines.length, { interval: 2 }).toBe(before + 1);
    return lines.at(-1)!;
  };

  const limited = (name: string): boolean => name.startsWith('429');
  it.each(cases.filter((one) => !one.case.startsWith('custom') && !limited(one.case)))(
    '$case',
    async ({ line }) => {
      const sent = await send(line);
      // The recorded line ran through the plugin without custom fields; and through cors, whose headers come from upstream.
      delete sent.tripline;
      // Where Kong was given credentials that the recording does not show, the size cannot be the same.
      if (line.request.headers['authorization']) sent.request.size = line.request.size;
      // Kong wrote another port into the URL.
      sent.request.url = sent.request.url.replace(/:\d+(?=\/)/, ':8000');
      expect(masked(sent)).toEqual(masked(line));
    },
  );

  it.each(cases.filter((one) => limited(one.case)))('$case, after the limit is used up', async ({ line }) => {
    for (let sent = await send(line), tries = 0; sent.source !== 'kong'; sent = await send(line)) {
      tries += 1;
      expect(tries).toBeLessThan(10);
    }
    const sent = await send(line);
    sent.request.url = sent.request.url.replace(/:\d+(?=\/)/, ':8000');
    expect(masked(sent)).toEqual(masked(line));
  });

  it('adds the custom fields: the user as the real Kong computed it, the credential keyed, the token', async () => {
    const { line } = cases.find((one) => one.case === 'custom fields: failed basic auth')!;
    const sent = await send(line);
    expect(sent.tripline).toEqual({ ...line.tripline, credential: expect.stringMatching(/^[\w+/]{27}=$/) });
    expect(sent.tripline?.['credential']).not.toBe(line.tripline?.['credential']);
    expect(sent.request.headers['authorization']).toBe('REDACTED');
  });

  it('leaves the credential out where there is none', async () => {
    const { line } = cases.find((one) => one.case === 'custom fields: failed basic auth')!;
    const headers = { ...line.request.headers };
    delete headers['authorization'];
    const sent = await send({ ...line, request: { ...line.request, headers } });
    expect(sent.tripline).toEqual({ token: 's3cret-token' });
  });
});
