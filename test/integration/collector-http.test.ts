import { request } from 'node:http';
import { request as requestTls } from 'node:https';
import { join } from 'node:path';
import { createLogHandler, Intake } from '@tripline/app-collector';
import { createEmbeddedBus, type Bus } from '@tripline/bus';
import { createNormaliser } from '@tripline/kong';
import type { ApiCall, DeadLetter } from '@tripline/model';
import { afterEach, describe, expect, it } from 'vitest';
import { Spool } from '../../apps/collector/src/spool.ts';
import {
  createStarter,
  expectBalanced,
  numberedLine,
  plainLine,
  sanitizer,
  testCertificate,
} from '../support/collector.ts';
import { createOutage, type Outage } from '../support/outage.ts';
import { connect, recording, scratchDir, testContext, until, watchTopic } from '../support/parts.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});
const start = createStarter(undo);
const http = { port: 0, maxBodyBytes: 8 * 2 ** 20 };

function scratch(): string {
  const { path, dispose } = scratchDir();
  undo.push(dispose);
  return path;
}

function outageOf(mode: Outage['mode']): Outage {
  const outage = createOutage(createEmbeddedBus({ path: scratch() }));
  outage.mode = mode;
  return outage;
}

/** Lines as Kong's queue hands them over: an array if it may batch, else the line alone. */
function bodyOf(lines: readonly Buffer[]): Buffer {
  const texts = lines.map((line) => line.subarray(0, -1));
  return Buffer.concat([
    Buffer.from('['),
    ...texts.flatMap((text, index) => (index === 0 ? [text] : [Buffer.from(','), text])),
    Buffer.from(']'),
  ]);
}

interface Answer {
  status: number;
  retryAfter: string | null;
  body: { message: string; accepted?: number; rejected?: Record<string, number> };
}

async function post(port: number, body: Buffer | string, init: RequestInit = {}): Promise<Answer> {
  const answer = await fetch(`http://127.0.0.1:${port}/any/path`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
    ...init,
  });
  return {
    status: answer.status,
    retryAfter: answer.headers.get('retry-after'),
    body: (await answer.json()) as Answer['body'],
  };
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);
const numbered = (from: number, to: number): Buffer[] => range(from, to).map(numberedLine);

describe('the collector on http-log', () => {
  it('makes the same API calls of batches as of the same lines over TCP', async () => {
    const files = [
      'normal',
      'edge-cases',
      'errors',
      'terminated-and-limited',
      'custom-fields',
      'tls-transport',
    ];
    const lines = files.flatMap(recording);
    const tcp = await start();
    const overTcp = watchTopic<ApiCall>(tcp.bus, 'api-calls');
    (await connect(tcp.collector.port)).write(Buffer.concat(lines));
    await until(() => overTcp.length === lines.length, 'all lines are on the bus');

    const { collector, bus, accounting } = await start({ http });
    const calls = watchTopic<ApiCall>(bus, 'api-calls');
    for (const method of ['POST', 'PUT', 'PATCH']) {
      const third = ['POST', 'PUT', 'PATCH'].indexOf(method);
      for (const file of files.slice(2 * third, 2 * third + 2)) {
        const body = recording(file);
        expect(await post(collector.httpPort!, bodyOf(body), { method })).toMatchObject({
          status: 200,
          body: { accepted: body.length, rejected: {} },
        });
      }
    }
    await until(() => calls.length === lines.length, 'all lines are on the bus');
    expect(calls).toEqual(overTcp);
    expect(accounting()).toMatchObject({ received: lines.length, published: lines.length, inFlight: 0 });
  });

  it('takes single lines, over one kept connection', async () => {
    const { collector, accounting } = await start({ http });
    for (const line of numbered(0, 20)) {
      expect((await post(collector.httpPort!, line)).status).toBe(200);
    }
    expect(accounting()).toMatchObject({ received: 20, published: 20 });
    expect((await post(collector.httpPort!, '[]')).status).toBe(200);
    expect(accounting().received).toBe(20);
  });

  it('takes the good lines of a batch, and refuses the others alone', async () => {
    const { collector, bus, accounting } = await start({ http, maxLineBytes: 20_000 });
    const letters = watchTopic<DeadLetter>(bus, 'dead-letters');
    const [one, two] = numbered(0, 2).map((line) => line.toString().trim());
    const body = `[${one}, {"apikey": "canary-key-1" "x"}, [1,"]"], {"a":"${'x'.repeat(20_000)}"},\n${two}]`;
    expect(await post(collector.httpPort!, body)).toMatchObject({
      status: 200,
      body: { accepted: 2, rejected: { 'not-json': 1, 'not-a-log-line': 1, 'too-long': 1 } },
    });
    expect(accounting()).toMatchObject({ received: 5, published: 2 });
    expectBalanced(accounting());
    await until(() => letters.length === 3, 'the dead letters');
    expect(JSON.stringify(letters)).not.toContain('canary');
  });

  it('takes a batch that comes again for the same calls, also of a Kong that writes no request ids', async () => {
    const { collector, bus, accounting } = await start({ http });
    const calls = watchTopic<ApiCall>(bus, 'api-calls');
    const line = Buffer.from(plainLine.toString().replace(/"id":"[0-9a-f]{32}",?/, ''));
    const batch = bodyOf([line, line, line]);
    for (let time = 0; time < 2; time++) expect((await post(collector.httpPort!, batch)).status).toBe(200);
    await until(() => calls.length === 6, 'both are published');
    const ids = calls.map(({ id }) => id);
    expect(new Set(ids).size).toBe(3);
    expect(ids.slice(3)).toEqual(ids.slice(0, 3));
    // tcp-log sends nothing twice: each of them is a call, on whatever connection it comes.
    for (const socket of [await connect(collector.port), await connect(collector.port)])
      socket.write(Buffer.concat([line, line]));
    await until(() => calls.length === 10, 'those over TCP too');
    expect(new Set(calls.slice(6).map(({ id }) => id)).size).toBe(4);
    expectBalanced(accounting());
  });

  it('counts TCP sessions as what they are, and needs no other line beside them', async () => {
    const { collector, bus, accounting, metrics } = await start({ http });
    const letters = watchTopic<DeadLetter>(bus, 'dead-letters');
    const session = Buffer.from('{"session":{"status":200},"started_at":1796040387351,"upstream":{}}\n');
    expect(await post(collector.httpPort!, bodyOf([session, session]))).toMatchObject({
      status: 200,
      body: { accepted: 0, rejected: {}, streamSessions: 2 },
    });
    (await connect(collector.port)).write(Buffer.concat([session, numberedLine(1), Buffer.from('{}\n')]));
    await until(() => accounting().published === 1 && letters.length === 1, 'the other lines');
    expect(accounting()).toMatchObject({
      received: 5,
      streamSessions: 3,
      rejected: new Map([['not-a-log-line', 1]]),
    });
    expectBalanced(accounting());
    expect(await metrics()).toContain('tripline_collector_stream_sessions_total 3');
  });

  it('says 400 to what holds no log line, 401 to what lacks the token, 405 and 415 to what it does not take', async () => {
    const { collector, accounting } = await start({ http }, { token: 's3cret-token' });
    const port = collector.httpPort!;
    const withToken = bodyOf(recording('custom-fields'));
    const without = bodyOf(numbered(0, 3));
    for (const bad of ['rubbish', '[{"a":1}', '{}', '[1,2]', '<xml/>']) {
      expect((await post(port, bad)).status, bad).toBe(400);
    }
    expect(await post(port, without)).toMatchObject({
      status: 401,
      body: { rejected: { 'missing-token': 3 } },
    });
    expect((await post(port, withToken)).status).toBe(200);
    const mixed = Buffer.concat([withToken.subarray(0, -1), Buffer.from(','), without.subarray(1)]);
    expect(await post(port, mixed)).toMatchObject({
      status: 200,
      body: { rejected: { 'missing-token': 3 } },
    });
    expect((await post(port, withToken, { headers: { 'content-encoding': 'gzip' } })).status).toBe(415);
    expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(405);
    expectBalanced(accounting());
  });

  it('says 413 to a body that is too large, told beforehand or not, and goes on with the connection', async () => {
    const { collector, accounting } = await start({ http: { port: 0, maxBodyBytes: 50_000 } });
    const large = bodyOf(numbered(0, 100));
    expect(large.length).toBeGreaterThan(100_000);
    const told = await post(collector.httpPort!, large);
    expect(told).toMatchObject({ status: 413 });
    expect(told.body.message).toMatch(/50000 bytes \(collector\.http\.maxBodyBytes\)/);
    const stream = new ReadableStream({
      start: (controller) => {
        for (let at = 0; at < large.length; at += 10_000) controller.enqueue(large.subarray(at, at + 10_000));
        controller.close();
      },
    });
    const untold = { body: stream, duplex: 'half' } as RequestInit;
    expect((await post(collector.httpPort!, large, untold)).status).toBe(413);
    expect((await post(collector.httpPort!, bodyOf(numbered(0, 5)))).status).toBe(200);
    expect(accounting().received).toBe(5);
  });

  it('says 200 only when every line is on the disk, while the bus is away', async () => {
    const outage = outageOf('refuse');
    const { collector, accounting, spoolDir, bus } = await start({ http }, { bus: outage.bus });
    const calls = watchTopic<ApiCall>(bus, 'api-calls');
    for (let batch = 0; batch < 5; batch++) {
      const answer = await post(collector.httpPort!, bodyOf(numbered(batch * 50, batch * 50 + 50)));
      expect(answer.status).toBe(200);
      // What another process would find if this one were killed now.
      const found = new Spool({ dir: spoolDir, maxBytes: 2 ** 20 });
      await found.load();
      expect(found.records).toBe((batch + 1) * 50);
    }
    outage.end();
    await until(() => calls.length === 250, 'everything is published');
    expect(new Set(calls.map(({ id }) => id)).size).toBe(250);
    expectBalanced(accounting());
  });

  it('says 503 when neither bus nor spool takes the lines, loses none that its sender sends again', async () => {
    const outage = outageOf('refuse');
    const { collector, accounting, bus } = await start(
      { http, spool: { maxBytes: 100_000 } },
      { bus: outage.bus },
    );
    const calls = watchTopic<ApiCall>(bus, 'api-calls');
    const sent = new Set<number>();
    const refused: number[] = [];
    for (let batch = 0; batch < 20; batch++) {
      const { status, retryAfter } = await post(
        collector.httpPort!,
        bodyOf(numbered(batch * 10, batch * 10 + 10)),
      );
      expect([200, 503]).toContain(status);
      if (status === 503) {
        refused.push(batch);
        expect(retryAfter).toBe('5');
      } else sent.add(batch);
    }
    expect(refused.length).toBeGreaterThan(5);
    expect(accounting().returned).toBeGreaterThan(50);
    expect(accounting().dropped.size).toBe(0);
    expectBalanced(accounting());
    outage.end();
    for (const batch of refused) {
      await until(async () => {
        const body = bodyOf(numbered(batch * 10, batch * 10 + 10));
        return (await post(collector.httpPort!, body)).status === 200;
      }, 'it is taken');
    }
    await until(() => new Set(calls.map(({ id }) => id)).size === 200, 'every line is on the bus');
    expectBalanced(accounting());
  });

  it('gives lines back when bus and spool are full, instead of dropping them', async () => {
    const { collector, accounting, bus } = await start(
      { http, spool: { maxBytes: 1 } },
      { maxBytes: 100_000 },
    );
    bus.consume({
      topic: 'api-calls',
      group: 'slow',
      startAt: () => Promise.resolve(0),
      onBatch: async () => {},
    });
    const statuses: number[] = [];
    for (let from = 0; !statuses.includes(503); from += 100)
      statuses.push((await post(collector.httpPort!, bodyOf(numbered(from, from + 100)))).status);
    expect(statuses.at(0)).toBe(200);
    expect(accounting()).toMatchObject({
      returned: 100,
      published: (statuses.length - 1) * 100,
      dropped: new Map(),
    });
  });

  it('holds four of the largest bodies at a time, and gives up the one that began first for a further one', async () => {
    const { collector } = await start({ http: { port: 0, maxBodyBytes: 10_000 } });
    const open = range(0, 4).map(() => {
      const waiting = request({
        port: collector.httpPort,
        method: 'POST',
        headers: { 'content-length': 10_000 },
      });
      waiting.on('error', () => undefined);
      return waiting;
    });
    // One after the other, so that it is known which began first.
    for (const waiting of open)
      await new Promise<void>((resolve) => waiting.write(Buffer.alloc(9_900, 32), () => resolve()));
    const line = numberedLine(1);
    await until(async () => (await post(collector.httpPort!, line)).status === 200, 'a short one is taken');
    const statuses = Promise.all(
      open.map(
        (waiting) =>
          new Promise((resolve) =>
            waiting.on('response', (answer) => {
              answer.resume();
              resolve(answer.statusCode);
            }),
          ),
      ),
    );
    for (const waiting of open) waiting.end(Buffer.alloc(100, 32));
    const answered = await statuses;
    expect(answered.filter((status) => status === 503).length).toBeGreaterThanOrEqual(1);
    // Blank bodies are no fault: none of the others was given up.
    expect(new Set(answered)).toEqual(new Set([200, 503]));
  });

  it('closes a connection whose body does not come in time', async () => {
    const { collector, accounting } = await start({ http, frameTimeoutMs: 100 });
    const socket = await connect(collector.httpPort!);
    socket.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n[');
    await new Promise((resolve) => socket.once('close', resolve));
    expect(accounting().received).toBe(0);
  });

  it('takes connections from allowed addresses only', async () => {
    const { collector } = await start({ http, allow: ['10.0.0.0/8'] });
    await expect(post(collector.httpPort!, '[]')).rejects.toThrow();
  });

  it('speaks HTTPS where the collector has a certificate', async () => {
    const files = { certFile: 'cert.pem', keyFile: 'key.pem' };
    const { collector, accounting } = await start(
      { http, tls: { port: 0, ...files } },
      { tls: testCertificate() },
    );
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const options = { port: collector.httpPort, method: 'POST', rejectUnauthorized: false };
      const sent = requestTls(options, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      });
      sent.on('error', reject);
      sent.end(bodyOf(recording('normal')));
    });
    expect(status).toBe(200);
    expect(accounting().published).toBe(recording('normal').length);
  });

  it('answers what is under way when it is told to stop, and takes nothing new', async () => {
    const outage = outageOf('silent');
    const { collector, accounting } = await start({ http }, { bus: outage.bus });
    const answer = post(collector.httpPort!, bodyOf(numbered(0, 10)));
    await until(() => accounting().inFlight === 10, 'the lines wait for the bus');
    const stopped = collector.stop();
    expect(collector.health().ready).toBe(false);
    outage.end();
    expect((await answer).status).toBe(200);
    await stopped;
    await expect(post(collector.httpPort!, '[]')).rejects.toThrow();
    expect(accounting().published + accounting().spooled).toBe(10);
    expectBalanced(accounting());
  });
});

describe('the handler by itself, as in a serverless function', () => {
  const handlerOn = (bus: Bus): ((request: Request) => Promise<Response>) => {
    undo.push(() => bus.close());
    const normalise = createNormaliser({ sanitizer });
    return createLogHandler({ intake: new Intake({ ...testContext(), bus, sanitizer, normalise }) });
  };
  const post = (body: Buffer): Request => new Request('https://logs.example/', { method: 'POST', body });

  it('publishes before it answers, and without a disk gives lines back when the bus is away', async () => {
    const path = join(scratch(), 'bus');
    const outage = createOutage(createEmbeddedBus({ path }));
    const handle = handlerOn(outage.bus);
    expect((await handle(post(bodyOf(numbered(0, 10))))).status).toBe(200);
    expect(outage.published.flat().length).toBe(10);
    outage.mode = 'refuse';
    const refused = await handle(post(bodyOf(numbered(10, 20))));
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('5');
    outage.end();
    expect((await handle(post(bodyOf(numbered(10, 20))))).status).toBe(200);
    expect(outage.published.flat().length).toBe(20);
  });
});
