import { rmSync, writeFileSync } from 'node:fs';
import { connect as connectTo, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inheritedSockets, type Collector } from '@tripline/app-collector';
import { createEmbeddedBus } from '@tripline/bus';
import type { ApiCall } from '@tripline/model';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { TcpLogSender } from '@tripline/kong-stand-in';
import { buildChild, startChild, type Child } from '../support/children.ts';
import { createStarter, expectBalanced, numberedLine, numberOf } from '../support/collector.ts';
import { createOutage } from '../support/outage.ts';
import { connect, scratchDir, until, watchTopic } from '../support/parts.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});
const start = createStarter(undo);

let program = '';
beforeAll(async () => {
  program = await buildChild('collector-child');
});

function scratch(): string {
  const { path, dispose } = scratchDir();
  undo.push(dispose);
  return path;
}

interface Ready {
  pid: number;
  port: number;
  httpPort: number;
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);
const body = (numbers: readonly number[]): string =>
  `[${numbers.map((n) => numberedLine(n).toString().trim()).join(',')}]`;

/** Numbers of the lines on the bus of collectors that do not run any more. */
async function numbersOnBus(directory: string, atLeast: number): Promise<number[]> {
  const bus = createEmbeddedBus({ path: join(directory, 'bus') });
  undo.push(() => bus.close());
  const calls = watchTopic<ApiCall>(bus, 'api-calls');
  await until(async () => {
    const lag = (await bus.lag()).find(({ group }) => group === 'test');
    return lag?.records === 0 && calls.length >= atLeast;
  }, 'the bus is read');
  return calls.map(numberOf);
}

function hasEnded(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
}

async function ready(child: Child<Ready>): Promise<Ready> {
  await until(() => {
    if (child.process.exitCode !== null) throw new Error(child.stderr());
    return child.said.length > 0;
  }, 'the collector listens');
  return child.said[0]!;
}

describe('a collector that is killed', () => {
  it('loses nothing that it said it had, at whatever moment of spooling and emptying the spool', async () => {
    const directory = scratch();
    const outage = join(directory, 'outage');
    const kept: number[] = [];
    let next = 0;
    for (let life = 0; life < 6; life++) {
      if (life % 3 === 2) rmSync(outage, { force: true });
      else writeFileSync(outage, '');
      const child = startChild<Ready>(program, [directory]);
      undo.push(() => child.process.kill('SIGKILL'));
      const { httpPort, port } = await ready(child);
      const socket = await connect(port);
      let posts = 0;
      const post = async (): Promise<void> => {
        while (child.process.exitCode === null && child.process.signalCode === null) {
          const numbers = range(next, (next += 20));
          // Beside them lines that nobody vouches for.
          socket.write(numberedLine(10_000_000 + next));
          try {
            const answer = await fetch(`http://127.0.0.1:${httpPort}/`, {
              method: 'POST',
              body: body(numbers),
            });
            if (answer.status === 200) kept.push(...numbers);
            await answer.arrayBuffer();
          } catch {
            // Killed before it could answer.
          }
          posts++;
        }
      };
      const posting = Promise.all([post(), post(), post()]);
      // Another moment in each life; in some the bus comes back just before.
      await until(() => posts > 20 + 17 * life, 'it works');
      if (life % 2 === 1) rmSync(outage, { force: true });
      await until(() => posts > 25 + 18 * life, 'it works on');
      child.process.kill('SIGKILL');
      await posting;
    }
    rmSync(outage, { force: true });
    const last = startChild<Ready>(program, [directory]);
    await ready(last);
    last.process.kill('SIGTERM');
    await last.ended;
    expect(last.process.exitCode).toBe(0);
    const found = new Set(await numbersOnBus(directory, kept.length));
    expect(kept.length).toBeGreaterThan(1_000);
    expect(kept.filter((n) => !found.has(n))).toEqual([]);
  });

  it('refuses no connection while it restarts, if somebody holds its sockets, and reads what came meanwhile', async () => {
    const directory = scratch();
    const holder = startChild<Ready & { ports: { lines: number; http: number } }>(
      fileURLToPath(new URL('../support/socket-holder.mjs', import.meta.url)),
      [program, directory],
    );
    const lives = (): Ready[] => holder.said.filter(({ pid }) => pid > 0);
    undo.push(async () => {
      holder.process.kill('SIGKILL');
      await holder.ended;
      for (const { pid } of lives()) if (!hasEnded(pid)) process.kill(pid, 'SIGKILL');
    });
    await until(() => lives().length === 1, 'the first collector listens');
    const { ports } = holder.said[0]!;
    expect(lives()[0]).toMatchObject({ port: ports.lines, httpPort: ports.http });

    let sent = 0;
    let refused = 0;
    let stop = false;
    /** Lines that were sent while no process was there to accept. */
    const inBetween: number[] = [];
    let down = false;
    const sendLines = async (): Promise<void> => {
      while (!stop) {
        const n = sent++;
        const during = down;
        const socket = connectTo({ port: ports.lines, host: '127.0.0.1' });
        // What breaks after that broke with the process that had accepted it.
        socket.on('error', () => undefined);
        const connected = await new Promise<boolean>((resolve) => {
          socket.once('connect', () => resolve(true));
          socket.once('close', () => resolve(false));
        });
        if (!connected) refused++;
        socket.end(numberedLine(n));
        // From the first look to the last nobody was there: the kernel alone has it.
        await new Promise((resolve) => setTimeout(resolve, 20));
        if (during && down) inBetween.push(n);
      }
    };
    const acknowledged: number[] = [];
    let nextPosted = 1_000_000;
    let postsFailed = 0;
    const postLines = async (): Promise<void> => {
      while (!stop) {
        const numbers = range(nextPosted, (nextPosted += 10));
        // As Kong's queue does: again until it is taken.
        for (let taken = false; !taken;) {
          try {
            const answer = await fetch(`http://127.0.0.1:${ports.http}/`, {
              method: 'POST',
              body: body(numbers),
            });
            taken = answer.status === 200;
          } catch {
            postsFailed++;
          }
        }
        acknowledged.push(...numbers);
      }
    };
    /** It has read what waited for it, and published that: what came after it is acknowledged. */
    const working = (): Promise<void> => {
      const [before, taken] = [sent, acknowledged.length];
      return until(() => sent > before + 20 && acknowledged.length > taken + 200, 'lines are sent and taken');
    };
    const clients = [sendLines(), postLines()];
    for (let life = 1; life <= 3; life++) {
      await working();
      const { pid } = lives().at(-1)!;
      process.kill(pid, 'SIGKILL');
      await until(() => hasEnded(pid), 'it has ended');
      down = true;
      const beforeThat = sent;
      await until(() => sent > beforeThat + 5, 'lines are sent to nobody');
      down = false;
      await until(() => lives().length === life + 1, 'the next one listens');
    }
    await working();
    stop = true;
    await Promise.all(clients);
    const { pid } = lives().at(-1)!;
    holder.process.kill('SIGKILL');
    await holder.ended;
    process.kill(pid, 'SIGTERM');
    await until(() => hasEnded(pid), 'the last one has stopped');
    const found = new Set(await numbersOnBus(directory, acknowledged.length));
    expect(refused).toBe(0);
    expect(inBetween.length).toBeGreaterThan(5);
    expect(inBetween.filter((n) => !found.has(n))).toEqual([]);
    expect(acknowledged.filter((n) => !found.has(n))).toEqual([]);
    // Each kill breaks the post that is under way, at most, and what it had kept alive.
    expect(postsFailed).toBeLessThanOrEqual(6);
  });
});

describe('sockets that are handed over', () => {
  it('are taken by name, and only those that are meant for this process', () => {
    const env = { LISTEN_FDS: '3', LISTEN_PID: '77', LISTEN_FDNAMES: 'http:lines:lines-tls' };
    expect(inheritedSockets(env, 77)).toEqual({ http: 3, lines: 4, 'lines-tls': 5 });
    expect(inheritedSockets(env, 78)).toEqual({});
    expect(inheritedSockets({}, 77)).toEqual({});
    expect(inheritedSockets({ LISTEN_FDS: '1', LISTEN_PID: '77' }, 77)).toEqual({ lines: 3 });
  });

  it('have names that are known, each once', () => {
    const named = (names: string): unknown =>
      inheritedSockets(
        { LISTEN_FDS: String(names.split(':').length), LISTEN_PID: '77', LISTEN_FDNAMES: names },
        77,
      );
    expect(() => named('tripline.socket')).toThrow(/called "tripline\.socket"; allowed.*FileDescriptorName/);
    expect(() => named('lines:lines')).toThrow(/Socket 2 of 2/);
  });
});

/** What a TCP load balancer does: each connection goes to the next collector that takes it. */
async function startBalancer(upstreams: () => Collector[]): Promise<{ port: number; close: () => void }> {
  let turn = 0;
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const list = upstreams().filter((one) => one.health().ready);
    const pipeTo = (tries: number): void => {
      if (list.length === 0) {
        client.destroy();
        return;
      }
      const upstream = connectTo({
        port: list[turn++ % list.length]!.port,
        host: '127.0.0.1',
        allowHalfOpen: true,
      });
      upstream.once('error', () => (tries > 1 ? pipeTo(tries - 1) : client.destroy()));
      upstream.once('connect', () => {
        client.pipe(upstream).pipe(client);
        upstream.on('error', () => client.destroy());
        upstream.on('close', () => client.end());
      });
    };
    open.add(client);
    client.on('error', () => undefined);
    client.on('close', () => open.delete(client));
    pipeTo(list.length);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      server.close();
      for (const client of open) client.destroy();
    },
  };
}

describe('a rolling restart of two collectors behind a load balancer', () => {
  it('costs Kong no line', async () => {
    const path = join(scratch(), 'bus');
    const bus = createEmbeddedBus({ path });
    // Collectors close nothing that is not theirs.
    const shared = { ...createOutage(bus).bus, close: () => Promise.resolve() };
    undo.push(() => bus.close());
    const collectors = [await start({}, { bus: shared }), await start({}, { bus: shared })];
    const balancer = await startBalancer(() => collectors.map(({ collector }) => collector));
    undo.push(balancer.close);
    const calls = watchTopic<ApiCall>(bus, 'api-calls');

    const sender = new TcpLogSender(4);
    const target = {
      host: '127.0.0.1',
      port: balancer.port,
      timeout: 10_000,
      keepalive: 60_000,
      tls: false,
      tls_sni: null,
      custom_fields_by_lua: null,
    };
    let sent = 0;
    const timer = setInterval(() => {
      for (let i = 0; i < 3; i++) sender.send(target, numberedLine(sent++).toString().trim());
    }, 2);
    undo.push(() => clearInterval(timer));
    for (let round = 0; round < 4; round++) {
      const which = round % 2;
      const before = sent;
      await until(() => sent > before + 300, 'lines are sent');
      const old = collectors[which]!;
      await old.collector.stop();
      expectBalanced(old.accounting());
      collectors[which] = await start({}, { bus: shared });
    }
    clearInterval(timer);
    await sender.flushed();
    sender.close();
    expect(sender.counters).toMatchObject({ sent, failed: 0 });
    await until(() => new Set(calls.map(numberOf)).size === sent, 'every line is on the bus');
    expect(calls.length).toBe(sent);
    // Each restart moved the connections of the workers that were on it.
    expect(sender.counters.connectionsOpened).toBeGreaterThan(4);
  });
});
