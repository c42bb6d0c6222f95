import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createEmbeddedBus } from '@tripline/bus';
import type { ApiCall, DeadLetter } from '@tripline/model';
import { afterEach, describe, expect, it } from 'vitest';
import { createSearch, named, shaped } from '../support/canaries.ts';
import { createStarter, expectBalanced, numberedLine, numberOf } from '../support/collector.ts';
import { createOutage, type Outage } from '../support/outage.ts';
import { connect, scratchDir, until, watchTopic } from '../support/parts.ts';
import { recordedLine } from '../support/running.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});
const start = createStarter(undo);

function scratch(): string {
  const { path, dispose } = scratchDir();
  undo.push(dispose);
  return path;
}

function outageOf(path: string, mode: Outage['mode']): Outage {
  const outage = createOutage(createEmbeddedBus({ path }));
  outage.mode = mode;
  return outage;
}

const bytesIn = (dir: string): number =>
  readdirSync(dir).reduce((sum, name) => sum + statSync(join(dir, name)).size, 0);
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

describe('the collector while the bus is away', () => {
  it('loses nothing below the bound of the spool, keeps the order of each connection, and stays ready', async () => {
    const outage = outageOf(scratch(), 'refuse');
    const { collector, bus, accounting, log, metrics } = await start({}, { bus: outage.bus });
    const calls = watchTopic<ApiCall>(bus, 'api-calls');
    const sockets = [await connect(collector.port), await connect(collector.port)];
    const send = (from: number, to: number): void => {
      for (let n = from; n < to; n++)
        for (const [c, socket] of sockets.entries()) socket.write(numberedLine(2 * n + c));
    };
    send(0, 1_000);
    await until(() => accounting().spooled === 2_000, 'the lines of the outage are on disk');
    expectBalanced(accounting());
    expect(collector.health()).toMatchObject({ alive: true, ready: true });
    expect(collector.health().detail).toMatch(
      /spooling since 20.*: 2000 records, \d+ bytes in .*The bus is away/,
    );
    expect(await metrics()).toMatch(/tripline_collector_spool_records 2000\n/);
    expect(await metrics()).toMatch(/tripline_collector_spool_bytes [1-9]\d{5}/);
    outage.end();
    // While the spool is emptied, and after.
    send(1_000, 2_000);
    await until(() => accounting().spooled === 0 && accounting().received === 4_000, 'the spool is empty');
    send(2_000, 2_500);
    await until(() => accounting().published === 5_000, 'everything is published');
    expectBalanced(accounting());
    await until(() => calls.length === 5_000, 'everything is read');
    const numbers = calls.map(numberOf);
    for (const c of [0, 1]) {
      expect(numbers.filter((n) => n % 2 === c)).toEqual(range(0, 2_500).map((n) => 2 * n + c));
    }
    await until(() => !collector.health().detail.includes('spooling'), 'it says so no more');
    const said = log.join('');
    expect(said.match(/API calls go to the spool/g)).toHaveLength(1);
    expect(said.match(/everything spooled is on the bus/g)).toHaveLength(1);
    expect(await metrics()).toMatch(/tripline_collector_spool_bytes 0\n/);
  });

  it('never takes more disk than it may, drops and counts the newest, says so, and recovers by itself', async () => {
    const maxBytes = 200_000;
    const outage = outageOf(scratch(), 'refuse');
    const { collector, bus, accounting, log, spoolDir } = await start(
      { spool: { maxBytes } },
      { bus: outage.bus },
    );
    const calls = watchTopic<ApiCall>(bus, 'api-calls');
    const socket = await connect(collector.port);
    let sent = 0;
    let largest = 0;
    await until(async () => {
      for (let i = 0; i < 50; i++) socket.write(numberedLine(sent++));
      await until(() => accounting().received === sent && accounting().inFlight === 0, 'they are read');
      largest = Math.max(largest, bytesIn(spoolDir));
      return (accounting().dropped.get('spool-full') ?? 0) > 200;
    }, 'the spool is full');
    expectBalanced(accounting());
    expect(largest).toBeLessThanOrEqual(maxBytes);
    expect(largest).toBeGreaterThan(maxBytes - 1_500);
    expect(collector.health().ready).toBe(false);
    expect(collector.health().detail).toMatch(
      /losing lines: the spool .* may hold 200000 \(collector\.spool\.maxBytes\)/,
    );
    expect(log.join('')).toMatch(/lines were dropped: the spool/);
    const kept = accounting().spooled;
    outage.end();
    await until(() => accounting().published === kept, 'the spool is empty');
    socket.write(numberedLine(sent++));
    await until(() => accounting().published === kept + 1, 'a new line is published');
    expect(collector.health().ready).toBe(true);
    expectBalanced(accounting());
    await until(() => calls.length === kept + 1, 'everything is read');
    expect(calls.map(numberOf)).toEqual([...range(0, kept), sent - 1]);
  });

  it('drops and counts while the spool cannot be written either, and spools when it can', async () => {
    const outage = outageOf(scratch(), 'refuse');
    const spoolDir = join(scratch(), 'spool');
    writeFileSync(spoolDir, 'a file where the directory should be');
    const { collector, accounting, log } = await start({}, { bus: outage.bus, spoolDir });
    expect(log.join('')).toMatch(/The spool .* cannot be used: EEXIST/);
    const socket = await connect(collector.port);
    for (let n = 0; n < 20; n++) socket.write(numberedLine(n));
    await until(() => accounting().dropped.get('spool-error') === 20, 'the lines are dropped');
    expect(collector.health()).toMatchObject({ alive: true, ready: false });
    expect(log.join('')).toMatch(/\d+ lines were dropped: the spool .* cannot be written: EEXIST/);
    expectBalanced(accounting());
    rmSync(spoolDir);
    for (let n = 20; n < 50; n++) socket.write(numberedLine(n));
    await until(() => accounting().spooled === 30, 'lines are spooled');
    expect(collector.health().ready).toBe(true);
    outage.end();
    await until(() => accounting().published === 30, 'they are published');
    expectBalanced(accounting());
  });

  it('uses the bus whatever is wrong with the spool', async () => {
    const spoolDir = join(scratch(), 'spool');
    writeFileSync(spoolDir, 'a file where the directory should be');
    const { collector, accounting } = await start({}, { spoolDir });
    const socket = await connect(collector.port);
    for (let n = 0; n < 20; n++) socket.write(numberedLine(n));
    await until(() => accounting().published === 20, 'the lines are published');
    expect(collector.health().ready).toBe(true);
  });

  it('leaves what the bus did not take to the next process, which publishes it before anything new', async () => {
    const path = scratch();
    const spoolDir = join(scratch(), 'spool');
    const outage = outageOf(path, 'refuse');
    const first = await start({}, { bus: outage.bus, spoolDir });
    const socket = await connect(first.collector.port);
    for (let n = 0; n < 500; n++) socket.write(numberedLine(n));
    await until(() => first.accounting().received === 500, 'the lines are read');
    await first.collector.stop();
    expect(first.accounting()).toMatchObject({ spooled: 500, inFlight: 0 });
    await outage.bus.close();

    const again = outageOf(path, 'refuse');
    const { collector, bus, accounting, metrics } = await start({}, { bus: again.bus, spoolDir });
    expect(accounting()).toMatchObject({ restored: 500, spooled: 500, received: 0 });
    const calls = watchTopic<ApiCall>(bus, 'api-calls');
    const next = await connect(collector.port);
    for (let n = 500; n < 700; n++) next.write(numberedLine(n));
    await until(() => accounting().received === 200, 'the lines are read');
    again.end();
    await until(() => calls.length === 700, 'everything is published');
    expect(calls.map(numberOf)).toEqual(range(0, 700));
    expectBalanced(accounting());
    expect(await metrics()).toContain('tripline_collector_lines_restored_total 500');
  });

  it('writes no secret to the disk', async () => {
    const outage = outageOf(scratch(), 'refuse');
    const { collector, accounting, spoolDir } = await start({}, { bus: outage.bus });
    const socket = await connect(collector.port);
    const secrets = [...shaped, ...named];
    for (const secret of secrets) {
      const line = recordedLine();
      line.request.querystring = { token: secret };
      line.request.uri = `/orders?token=${encodeURIComponent(secret)}`;
      Object.assign(line.request.headers, { apikey: secret, cookie: `sid=${secret}` });
      socket.write(`${JSON.stringify(line)}\n`);
    }
    await until(() => accounting().spooled === secrets.length, 'the lines are on disk');
    const onDisk = readdirSync(spoolDir).map((name) => readFileSync(join(spoolDir, name), 'utf8'));
    expect(onDisk.join('').length).toBeGreaterThan(100 * secrets.length);
    expect(createSearch(secrets)(onDisk.join('\n'))).toEqual([]);
  });

  it('drops only the record that the bus finds too large, keeps a sample of it, and publishes the others', async () => {
    const outage = outageOf(scratch(), 'works');
    outage.maxValueChars = 3_000;
    const { collector, bus, accounting } = await start({}, { bus: outage.bus });
    const calls = watchTopic<ApiCall>(bus, 'api-calls');
    const letters = watchTopic<DeadLetter>(bus, 'dead-letters');
    const large = (n: number): Buffer =>
      Buffer.from(
        numberedLine(n)
          .toString()
          .replace(/"uri":"[^"]*"/, `"uri":"/large/${'word/'.repeat(400)}"`)
          .replace(/"user-agent":"[^"]*"/, `"user-agent":"${'many words '.repeat(90)}"`),
      );
    const socket = await connect(collector.port);
    const mixed = (from: number): void => {
      for (let n = from; n < from + 100; n++) socket.write(n % 50 === 7 ? large(n) : numberedLine(n));
    };
    mixed(0);
    await until(() => accounting().received === 100 && accounting().inFlight === 0, 'all is accounted for');
    expect(accounting()).toMatchObject({ published: 98, dropped: new Map([['too-large', 2]]) });
    // The same out of the spool.
    outage.mode = 'refuse';
    mixed(100);
    await until(() => accounting().spooled === 100, 'the lines are spooled');
    outage.end();
    await until(() => accounting().published === 196 && calls.length === 196, 'the others are published');
    expect(accounting().dropped).toEqual(new Map([['too-large', 4]]));
    expectBalanced(accounting());
    expect(collector.health().ready).toBe(true);
    await until(() => letters.length === 4, 'the dead letters');
    for (const letter of letters) {
      expect(letter.reason).toBe('too-large');
      expect(letter.sample).toContain('"id":"000');
    }
  });
});
