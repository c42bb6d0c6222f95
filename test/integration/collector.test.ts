import { connect as connectTls } from 'node:tls';
import { createEmbeddedBus } from '@tripline/bus';
import type { ApiCall, DeadLetter } from '@tripline/model';
import { afterEach, describe, expect, it } from 'vitest';
import {
  createStarter,
  expectBalanced,
  numberedLine as numbered,
  plainLine as line,
  testCertificate,
} from '../support/collector.ts';
import { createOutage } from '../support/outage.ts';
import { connect, recording, scratchDir, until, watchTopic } from '../support/parts.ts';
import { freePort } from '../support/running.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});
const start = createStarter(undo);

describe('the collector', () => {
  it('puts every recorded line on the bus as an API call, whatever connection and piece it comes in', async () => {
    const { collector, bus, accounting } = await start();
    const calls = watchTopic<ApiCall>(bus, 'api-calls');
    const lines = ['normal', 'edge-cases', 'errors', 'terminated-and-limited', 'custom-fields'].flatMap(
      recording,
    );
    const sockets = await Promise.all([
      connect(collector.port),
      connect(collector.port),
      connect(collector.port),
    ]);
    lines.forEach((one, index) => {
      const socket = sockets[index % 3]!;
      const cut = (index * 37) % one.length;
      socket.write(one.subarray(0, cut));
      socket.write(one.subarray(cut));
    });
    await until(() => calls.length === lines.length, 'all lines are on the bus');
    expect(new Set(calls.map((call) => call.id)).size).toBe(lines.length);
    expect(accounting()).toMatchObject({ received: lines.length, published: lines.length, inFlight: 0 });
  });

  it('never writes a byte to a connection', async () => {
    const { collector, accounting } = await start();
    const socket = await connect(collector.port);
    socket.write(line);
    socket.write('rubbish\n{}\n');
    await until(() => accounting().received === 3, 'three lines are read');
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await collector.stop();
    await closed;
    expect(socket.received).toEqual([]);
    expect(socket.bytesRead).toBe(0);
  });

  it('quarantines exactly the bad line, and reads the next one on the same connection', async () => {
    const { collector, bus, accounting } = await start({ maxLineBytes: 5_000 });
    const letters = watchTopic<DeadLetter>(bus, 'dead-letters');
    const socket = await connect(collector.port);
    const bad: [string, Buffer | string][] = [
      ['not-json', 'rubbish'],
      ['not-json', line.subarray(0, 700)],
      ['not-json', Buffer.from([123, 0, 125])],
      ['not-json', Buffer.from([0xff, 0xfe])],
      ['not-a-log-line', '[]'],
      ['not-a-log-line', '{"__proto__":{"started_at":1}}'],
      ['too-deep', `{"a":${'['.repeat(2_000)}`],
      [
        'bad-time',
        line
          .toString()
          .trimEnd()
          .replace(/"started_at":[0-9]+/, '"started_at":1e400'),
      ],
      ['too-long', 'x'.repeat(5_001)],
    ];
    let good = 0;
    for (const [, text] of bad) {
      socket.write(text);
      socket.write(good % 2 === 0 ? '\n' : '\r\n');
      socket.write(numbered(good++));
      socket.write('\n\r\n');
    }
    await until(
      () => accounting().published === good && letters.length === bad.length,
      'all is accounted for',
    );
    const expected = new Map<string, number>();
    for (const [reason] of bad) expected.set(reason, (expected.get(reason) ?? 0) + 1);
    // A line that is too long may be found so before it ends; the reasons count, not the order.
    expect(Object.fromEntries([...accounting().rejected].sort())).toEqual(
      Object.fromEntries([...expected].sort()),
    );
    expect(letters.map((letter) => letter.reason).sort()).toEqual(bad.map(([reason]) => reason).sort());
    expectBalanced(accounting());
  });

  it('keeps no secret of a bad line in the dead letter', async () => {
    const { collector, bus } = await start();
    const letters = watchTopic<DeadLetter>(bus, 'dead-letters');
    const socket = await connect(collector.port);
    socket.write(
      `{"request":{"headers":{"apikey":"hunter2-canary-key","cookie":"sid=canary-cookie-77"},"uri":"/x?token=canary-token-1"\n`,
    );
    await until(() => letters.length === 1, 'the dead letter');
    expect(JSON.stringify(letters)).not.toMatch(/canary/);
    expect(letters[0]!.sample).toContain('apikey');
  });

  it('closes a connection whose line does not end in time, and leaves one alone that is idle between lines', async () => {
    const { collector, accounting } = await start({ frameTimeoutMs: 100 });
    const [slow, idle] = [await connect(collector.port), await connect(collector.port)];
    idle.write(numbered(1));
    slow.write(numbered(2));
    slow.write('{"started_at"');
    await new Promise((resolve) => slow.once('close', resolve));
    expect(accounting().rejected.get('unfinished')).toBe(1);
    idle.write(numbered(3));
    await until(() => accounting().published === 3, 'the idle connection still works');
    expectBalanced(accounting());
  });

  it('refuses connections beyond the limits, in all and from one address, and takes new ones when others have gone', async () => {
    const { collector, accounting, metrics } = await start({
      maxConnections: 3,
      maxConnectionsPerAddress: 2,
    });
    const first = await connect(collector.port);
    const second = await connect(collector.port);
    const third = await connect(collector.port);
    await new Promise((resolve) => third.once('close', resolve));
    first.destroy();
    let n = 0;
    await until(async () => {
      const again = await connect(collector.port);
      again.write(numbered(n++));
      await new Promise((resolve) => setTimeout(resolve, 20));
      return accounting().published > 0;
    }, 'a new connection is taken');
    second.destroy();
    expect(await metrics()).toMatch(
      /tripline_collector_connections_refused_total\{reason="too-many-from-address"\} [1-9]/,
    );
  });

  it('takes connections from allowed addresses only', async () => {
    const refusing = await start({ allow: ['10.0.0.0/8', '2001:db8::/32'] });
    const socket = await connect(refusing.collector.port);
    await new Promise((resolve) => socket.once('close', resolve));
    const taking = await start({ allow: ['127.0.0.0/8'] });
    (await connect(taking.collector.port)).write(line);
    await until(() => taking.accounting().published === 1, 'the line is taken');
    await expect(start({ allow: ['not-a-network'] })).rejects.toThrow(/collector\.allow: "not-a-network"/);
  });

  it('refuses lines without the token, before anything else looks at them', async () => {
    const { collector, accounting } = await start({}, { token: 's3cret-token' });
    const socket = await connect(collector.port);
    const lines = recording('custom-fields');
    for (const one of lines) socket.write(one);
    socket.write(line);
    await until(() => accounting().received === lines.length + 1, 'all lines are read');
    await until(() => accounting().inFlight === 0, 'all is published');
    expect(accounting()).toMatchObject({
      published: lines.length,
      rejected: new Map([['missing-token', 1]]),
    });
  });

  it('takes the same lines over TLS', async () => {
    const files = { certFile: 'cert.pem', keyFile: 'key.pem' };
    const { collector, accounting } = await start({ tls: { port: 0, ...files } }, { tls: testCertificate() });
    // As Kong does: the certificate is not verified.
    const socket = connectTls({ port: collector.tlsPort!, host: '127.0.0.1', rejectUnauthorized: false });
    const lines = recording('tls-transport');
    for (const one of lines) socket.write(one);
    await until(() => accounting().published === lines.length, 'all lines are published');
    socket.destroy();
    const plain = await connect(collector.tlsPort!);
    plain.write(line);
    await new Promise((resolve) => plain.once('close', resolve));
    expect(accounting().received).toBe(lines.length);
  });

  it('spools lines while the bus is full, loses none, and publishes them in their order when there is room', async () => {
    const { collector, bus, accounting, log } = await start({}, { maxBytes: 40_000 });
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const ids: string[] = [];
    const reader = bus.consume({
      topic: 'api-calls',
      group: 'slow',
      startAt: () => Promise.resolve(undefined),
      onBatch: async ({ body, nextOffset }) => {
        await held;
        for (const text of body.toString().split('\n').slice(0, -1))
          ids.push((JSON.parse(text) as { id: string }).id);
        reader.passed(0, nextOffset);
      },
    });
    const socket = await connect(collector.port);
    let sent = 0;
    await until(() => {
      for (let i = 0; i < 5; i++) socket.write(numbered(sent++));
      return accounting().spooled > 20;
    }, 'lines are spooled');
    expect(collector.health()).toMatchObject({ ready: true });
    expect(collector.health().detail).toMatch(/spooling since .* api-calls is full/);
    release();
    await until(() => accounting().spooled === 0 && accounting().received === sent, 'the spool is empty');
    await until(() => new Set(ids).size === sent, 'every line is on the bus');
    const once = [...new Set(ids)];
    expect(once).toEqual([...once].sort());
    expect(accounting().dropped.size).toBe(0);
    expect(log.join('')).toMatch(/go to the spool .* api-calls is full/);
    expectBalanced(accounting());
  });

  it('drops and counts lines when bus and spool are full, tells of it, and goes on when there is room', async () => {
    const { collector, bus, accounting, log } = await start(
      { spool: { maxBytes: 1_000 } },
      { maxBytes: 20_000 },
    );
    const reader = bus.consume({
      topic: 'api-calls',
      group: 'slow',
      startAt: () => Promise.resolve(0),
      onBatch: async () => {},
    });
    const socket = await connect(collector.port);
    let sent = 0;
    const send = (count: number): void => {
      for (let i = 0; i < count; i++) socket.write(numbered(sent++));
    };
    await until(() => {
      send(5);
      return (accounting().dropped.get('spool-full') ?? 0) > 0;
    }, 'lines are dropped');
    await until(() => accounting().inFlight === 0 && accounting().received === sent, 'all is accounted for');
    expectBalanced(accounting());
    expect(log.join('')).toMatch(/lines were dropped: the spool .* holds/);
    reader.passed(0, accounting().published);
    await until(() => accounting().spooled === 0, 'the spool is empty');
    const before = accounting().published;
    send(1);
    await until(() => accounting().published === before + 1, 'a line is published again');
    expectBalanced(accounting());
  });

  it('never stops reading when the bus does not answer: what does not fit into memory waits on disk', async () => {
    const scratch = scratchDir();
    undo.push(scratch.dispose);
    const outage = createOutage(createEmbeddedBus({ path: scratch.path }));
    outage.mode = 'silent';
    const { collector, bus, accounting } = await start({}, { bus: outage.bus, maxInFlightRecords: 20_000 });
    const calls = watchTopic<ApiCall>(bus, 'api-calls');
    const socket = await connect(collector.port);
    for (let n = 0; n < 15_000; n++) {
      socket.write(numbered(n));
      if (n % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => accounting().received === 15_000, 'every line is read');
    await until(() => accounting().inFlight === 0, 'every line is on disk');
    expect(accounting()).toMatchObject({ spooled: 15_000, dropped: new Map() });
    expectBalanced(accounting());
    outage.end();
    await until(() => accounting().published === 15_000, 'everything is published');
    expectBalanced(accounting());
    expect(new Set(calls.map(({ id }) => id)).size).toBe(15_000);
  });

  it('loses nothing that a connection had delivered when it is told to stop', async () => {
    const { collector, bus, accounting } = await start();
    const calls = watchTopic<ApiCall>(bus, 'api-calls');
    const socket = await connect(collector.port);
    socket.on('end', () => socket.end());
    for (let n = 0; n < 3_000; n++) socket.write(numbered(n));
    await new Promise<void>((resolve) => socket.write('', () => resolve()));
    await collector.stop();
    await until(() => calls.length === 3_000, 'all lines are on the bus');
    expect(accounting()).toMatchObject({ received: 3_000, published: 3_000 });
  });

  it('says which port is taken and what to set', async () => {
    const { collector } = await start();
    await expect(start({ port: collector.port })).rejects.toThrow(
      /Cannot listen on 127\.0\.0\.1:\d+: another program has it.*collector\.port/,
    );
  });

  it('listens to nothing when one of its ports is taken or its certificate is none', async () => {
    const taken = await start();
    const files = { certFile: 'cert.pem', keyFile: 'key.pem' };
    const { port } = taken.collector;
    const free = await freePort();
    await expect(start({ port: free, tls: { port, ...files } }, { tls: testCertificate() })).rejects.toThrow(
      /Cannot listen on .*collector\.tls\.port/,
    );
    await expect(start({ port: free, http: { port, maxBodyBytes: 1_000 } })).rejects.toThrow(
      /Cannot listen on .*collector\.http\.port/,
    );
    const none = { cert: Buffer.from('junk'), key: Buffer.from('junk') };
    await expect(start({ port: free, tls: { port: 0, ...files } }, { tls: none })).rejects.toThrow(
      /^collector\.tls: certFile and keyFile cannot be used/,
    );
    await expect(connect(free)).rejects.toThrow(/ECONNREFUSED/);
  });

  it('shows the whole account in its metrics', async () => {
    const { collector, metrics, accounting } = await start();
    const socket = await connect(collector.port);
    socket.write(line);
    socket.write('rubbish\n');
    await until(() => accounting().published === 1 && accounting().received === 2, 'both lines');
    const text = await metrics();
    expect(text).toContain('tripline_collector_lines_received_total 2');
    expect(text).toContain('tripline_collector_lines_published_total 1');
    expect(text).toContain('tripline_collector_lines_rejected_total{reason="not-json"} 1');
    expect(text).toContain('tripline_collector_lines_in_flight 0');
  });
});
