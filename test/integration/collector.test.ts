import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { createEmbeddedBus, recordsOf } from '@tripline/bus';
import { readApiCall, type ApiCall, type DeadLetter } from '@tripline/model';
import { afterEach, describe, expect, it } from 'vitest';
import {
  certificate,
  createStarter,
  expectBalanced,
  numberedLine as numbered,
  plainLine as line,
  testCertificate,
  type TestCollector,
} from '../support/collector.ts';
import { createOutage } from '../support/outage.ts';
import { connect, recording, scratchDir, until, watchTopic } from '../support/parts.ts';
import { freePort } from '../support/running.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});
const start = createStarter(undo);

const connectMany = (port: number, count: number): Promise<Socket[]> =>
  Promise.all(Array.from({ length: count }, () => connect(port)));

const closed = (socket: Socket): Promise<unknown> =>
  socket.closed ? Promise.resolve() : new Promise((resolve) => socket.once('close', resolve));

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

  it('keeps no body of a refused or an accepted line', async () => {
    const { collector, bus } = await start({ maxLineBytes: 20_000 });
    const letters = watchTopic<DeadLetter>(bus, 'dead-letters');
    const calls = watchTopic<ApiCall>(bus, 'api-calls');
    const socket = await connect(collector.port);
    const bodies = (startedAt: number, times: number): string => {
      const parsed = JSON.parse(line.toString()) as { request: object };
      const said = 'I am Jane Canarywood of Canary Lane 7. '.repeat(times);
      return JSON.stringify({
        ...parsed,
        started_at: startedAt,
        request: { ...parsed.request, body: { name: 'Jane Canarywood', diagnosis: 'canaryitis' } },
        ai: { proxy: { payload: { request: JSON.stringify({ content: said }), response: said } } },
      });
    };
    for (const text of [
      bodies(Date.now(), 1),
      bodies(Date.now() + 600_000, 1),
      bodies(Date.now(), 1).slice(0, -30),
      bodies(Date.now(), 1).replace('"Jane Canary', 'Jane "Canary'),
      bodies(Date.now(), 1_000),
      'a letter of Jane Canarywood',
    ])
      socket.write(`${text}\n`);
    await until(() => letters.length === 5 && calls.length === 1, 'five dead letters and a call');
    expect(JSON.stringify([letters, calls])).not.toMatch(/canar|jane/i);
    // What it is can be seen.
    expect(letters.find(({ reason }) => reason === 'future-time')!.sample).toMatch(
      /"started_at":\d{13}.*"body":\{"name":"~text~ 15 chars"/,
    );
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

  it.each(['tls', 'https'] as const)(
    'checks and counts connections to its %s port before any handshake',
    async (which) => {
      const tls = { port: 0, certFile: 'cert.pem', keyFile: 'key.pem' };
      const ports = { tls, http: { port: 0, maxBodyBytes: 1_000 } };
      const portOf = ({ collector }: TestCollector): number =>
        (which === 'tls' ? collector.tlsPort : collector.httpPort)!;
      const options = { tls: testCertificate() };
      const refusing = await start({ ...ports, allow: ['192.0.2.1'] }, options);
      await Promise.all((await connectMany(portOf(refusing), 200)).map(closed));
      expect(await refusing.metrics()).toContain(
        'tripline_collector_connections_refused_total{reason="address"} 200',
      );

      const limited = await start({ ...ports, maxConnections: 5 }, options);
      const many = await connectMany(portOf(limited), 200);
      await until(() => many.filter(({ closed }) => closed).length === 195, 'all but five are closed');
      expect(await limited.metrics()).toMatch(/^tripline_collector_connections 5$/m);
      for (const socket of many) socket.destroy();
    },
  );

  it.each(['tls', 'https'] as const)(
    'gives the places of connections to its %s port back whose handshake does not come',
    async (which) => {
      const tls = { port: 0, certFile: 'cert.pem', keyFile: 'key.pem' };
      const { collector, metrics } = await start(
        { tls, http: { port: 0, maxBodyBytes: 1_000 }, frameTimeoutMs: 100, maxConnections: 5 },
        { tls: testCertificate() },
      );
      const port = which === 'tls' ? collector.tlsPort! : collector.httpPort!;
      await Promise.all((await connectMany(port, 5)).map(closed));
      await until(
        async () => (await metrics()).includes('\ntripline_collector_connections 0\n'),
        'no place is taken',
      );
      expect(await metrics()).toContain(
        'tripline_collector_connections_refused_total{reason="tls-handshake"} 5',
      );
    },
  );

  it('holds no more bytes of unfinished lines than allowed, and gives the largest up first', async () => {
    const { collector, accounting, metrics } = await start({ maxUnfinishedBytes: 2_000_000 });
    const heldBytes = async (): Promise<number> =>
      Number(/^tripline_collector_unfinished_bytes (\d+)$/m.exec(await metrics())![1]);
    const kong = await connect(collector.port);
    kong.write(line.subarray(0, 500));
    await until(async () => (await heldBytes()) > 0, 'the beginning of a line is there');
    const flood = await connectMany(collector.port, 50);
    for (const socket of flood) socket.write(Buffer.alloc(200_000, 120));
    await until(
      () => (accounting().rejected.get('unfinished-bytes') ?? 0) >= 40,
      'the flood is closed but for what fits',
    );
    expect(await heldBytes()).toBeLessThanOrEqual(2_000_000);
    await until(() => flood.filter(({ closed }) => closed).length >= 40, 'its connections are closed');
    kong.write(line.subarray(500));
    await until(() => accounting().published === 1, 'the line of Kong comes to its end');
    for (const socket of flood) socket.destroy();
    await until(async () => (await heldBytes()) === 0, 'nothing is held any more');
    expectBalanced(accounting());
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
    const { collector, accounting, metrics } = await start(
      { tls: { port: 0, ...files } },
      { tls: testCertificate() },
    );
    // As Kong does: the certificate is not verified.
    const socket = connectTls({ port: collector.tlsPort!, host: '127.0.0.1', rejectUnauthorized: false });
    const lines = recording('tls-transport');
    for (const one of lines) socket.write(one);
    await until(() => accounting().published === lines.length, 'all lines are published');
    expect(await metrics()).toContain('\ntripline_collector_connections 1\n');
    socket.destroy();
    await until(
      async () => (await metrics()).includes('\ntripline_collector_connections 0\n'),
      'its place is free',
    );
    const plain = await connect(collector.tlsPort!);
    plain.write(line);
    await new Promise((resolve) => plain.once('close', resolve));
    expect(accounting().received).toBe(lines.length);
  });

  it('serves the certificate that is for the name that Kong asks for, else the first', async () => {
    const tls = { port: 0, certFile: 'cert.pem', keyFile: 'key.pem' };
    const { collector, accounting } = await start(
      { tls, http: { port: 0, maxBodyBytes: 1_000 } },
      { tls: certificate('logs'), certificates: [certificate('wildcard')] },
    );
    const nameServed = async (port: number, servername?: string): Promise<string> => {
      const socket = connectTls({
        port,
        host: '127.0.0.1',
        rejectUnauthorized: false,
        ...(servername === undefined ? {} : { servername }),
      });
      await new Promise((resolve) => socket.once('secureConnect', resolve));
      const { subject } = socket.getPeerCertificate();
      if (port === collector.tlsPort) socket.end(numbered(1));
      else socket.destroy();
      return subject.CN as string;
    };
    for (const port of [collector.tlsPort!, collector.httpPort!]) {
      expect(await nameServed(port, 'logs.example.test')).toBe('logs.example.test');
      expect(await nameServed(port, 'eu.example.test')).toBe('eu.example.test');
      expect(await nameServed(port, 'collector-1.eu.example.test')).toBe('eu.example.test');
      expect(await nameServed(port, 'other.example.test')).toBe('logs.example.test');
      expect(await nameServed(port)).toBe('logs.example.test');
    }
    await until(() => accounting().received === 5, 'lines come under every name');
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
        for (const value of recordsOf(body)) ids.push((readApiCall(value) as ApiCall).id);
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
    const { collector, bus, accounting } = await start({}, { bus: outage.bus, maxInFlightBytes: 20_000_000 });
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

  it('bounds what waits for the bus by its bytes, however few lines they are', async () => {
    const scratch = scratchDir();
    undo.push(scratch.dispose);
    const outage = createOutage(createEmbeddedBus({ path: scratch.path }));
    outage.mode = 'silent';
    const maxInFlightBytes = 4_000_000;
    const { collector, accounting } = await start({}, { bus: outage.bus, maxInFlightBytes });
    const socket = await connect(collector.port);
    const count = 40;
    for (let n = 0; n < count; n++) {
      const large = JSON.parse(numbered(n).toString()) as { request: { querystring: object } };
      const parameters = Array.from({ length: 90 }, (_, i) => [`p${i}`, 'word '.repeat(200)]);
      large.request.querystring = Object.fromEntries(parameters) as object;
      socket.write(`${JSON.stringify(large)}\n`);
    }
    let most = 0;
    await until(() => {
      most = Math.max(most, accounting().inFlightBytes);
      return accounting().spooled === count;
    }, 'every line is on disk');
    expect(most).toBeGreaterThan(100_000);
    expect(most).toBeLessThan(maxInFlightBytes + 200_000);
    expect(accounting()).toMatchObject({ inFlight: 0, inFlightBytes: 0 });
    outage.end();
    await until(() => accounting().published === count, 'everything is published');
    expectBalanced(accounting());
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
