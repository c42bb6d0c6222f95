import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createEmbeddedBus, recordsOf } from '@tripline/bus';
import { openEmbeddedLake } from '@tripline/lake';
import { readApiCall, type Alert, type ApiCall } from '@tripline/model';
import { afterEach, describe, expect, it } from 'vitest';
import { connect, scratchDir, until } from '../support/parts.ts';
import {
  callLine,
  caughtUp,
  freePort,
  runProgram,
  startProgram,
  statusOf,
  write,
  type Ended,
  type Running,
} from '../support/running.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function scratch(): string {
  const { path, dispose } = scratchDir();
  undo.push(dispose);
  return path;
}

interface Life extends Running {
  url: string;
  port: number;
}

/** `tripline up` in the directory, once it answers. */
async function live(cwd: string, keyFile?: string): Promise<Life> {
  const [port, httpPort] = [await freePort(), await freePort()];
  const running = startProgram(['up'], { cwd, env: environment(port, httpPort, keyFile) });
  let over: Ended | undefined;
  void running.ended.then((ended) => (over = ended));
  undo.push(async () => {
    running.process.kill('SIGKILL');
    await running.ended;
  });
  const url = `http://127.0.0.1:${httpPort}`;
  await until(async () => {
    if (over) throw new Error(`it ended with ${String(over.status)}:\n${over.stderr}`);
    return fetch(`${url}/healthz`).then(
      (answer) => answer.ok,
      () => false,
    );
  }, 'it answers');
  return { ...running, url, port };
}

function environment(port: number, httpPort: number, keyFile?: string): Record<string, string> {
  return {
    TRIPLINE_COLLECTOR__HOST: '127.0.0.1',
    TRIPLINE_COLLECTOR__PORT: String(port),
    TRIPLINE_HTTP__PORT: String(httpPort),
    ...(keyFile === undefined ? {} : { TRIPLINE_SANITIZE__KEY_FILE: keyFile }),
  };
}

async function end(life: Life, signal: 'SIGTERM' | 'SIGKILL'): Promise<Ended> {
  life.process.kill(signal);
  return life.ended;
}

/** Ids of the calls on the bus of a Tripline that does not run, in order; read from a copy, so that nothing changes. */
async function idsOnBus(cwd: string): Promise<string[]> {
  const copy = join(scratch(), 'bus');
  cpSync(join(cwd, 'tripline-data', 'bus'), copy, { recursive: true });
  const bus = createEmbeddedBus({ path: copy });
  const ids: string[] = [];
  bus.consume({
    topic: 'api-calls',
    group: 'reader',
    onBatch: ({ body }) => {
      for (const value of recordsOf(body)) ids.push((readApiCall(value) as ApiCall).id);
      return Promise.resolve();
    },
  });
  await until(async () => {
    const row = (await bus.lag()).find(({ group }) => group === 'reader');
    return row?.records === 0;
  }, 'the copy of the bus is read');
  await bus.close();
  return ids;
}

interface Lake {
  calls: number;
  ids: string[];
  alerts: { id: string; revision: number }[];
  latest: Alert[];
}

/** What the lake of a Tripline that does not run holds. */
async function lakeOf(cwd: string): Promise<Lake> {
  const lake = await openEmbeddedLake({ path: join(cwd, 'tripline-data', 'lake') });
  try {
    const rows = await lake.query<{ id: string }>('SELECT id FROM tripline.api_calls');
    const alerts = await lake.query<{ id: string; revision: number }>(
      'SELECT id, revision FROM tripline.alerts FINAL ORDER BY id',
    );
    return {
      calls: rows.length,
      ids: rows.map(({ id }) => id),
      alerts,
      latest: (await lake.alertsSince(0)).sort((a, b) => (a.id < b.id ? -1 : 1)),
    };
  } finally {
    await lake.close();
  }
}

async function alertsFrom(life: Life): Promise<Alert[]> {
  const alerts = (await (await fetch(`${life.url}/alerts?since=0`)).json()) as Alert[];
  return alerts.sort((a, b) => (a.id < b.id ? -1 : 1));
}

const consumer = (index: number): { id: string; username: string } => ({
  id: `0c1dbd85-0000-4000-8000-${String(index).padStart(12, '0')}`,
  username: `consumer-${index}`,
});

interface Call {
  id: string;
  line: Buffer;
}

/**
 * Ten quiet consumers all along, and four that bombard for ten seconds, one after the other; in order of time, ending
 * some minutes ago.
 */
function traffic(): Call[] {
  const slot = Math.floor(Date.now() / 10_000) * 10_000 - 600_000;
  const planned: { at: number; who: number }[] = [];
  for (let n = 0; n < 240; n++) for (let who = 0; who < 10; who++) planned.push({ at: n * 1_000 + who, who });
  for (let loud = 0; loud < 4; loud++)
    for (let n = 0; n < 600; n++) planned.push({ at: 10_000 + loud * 60_000 + n * 16, who: 10 + loud });
  planned.sort((a, b) => a.at - b.at);
  return planned.map(({ at, who }, n) => ({
    id: `${n.toString(16).padStart(32, '0')}.${slot + at}`,
    line: callLine(n, slot + at, consumer(who)),
  }));
}

const lines = (calls: readonly Call[]): Buffer[] => calls.map((call) => call.line);
const idsOf = (calls: readonly Call[]): string[] => calls.map((call) => call.id);

/** A key file that several systems share, so that their alerts can be compared to the letter. */
function sharedKey(): string {
  const path = join(scratch(), 'token.key');
  writeFileSync(path, `${Buffer.alloc(32, 7).toString('base64')}\n`, { mode: 0o600 });
  return path;
}

interface Moment {
  what: string;
  /** Resolves at the moment, with how many lines are published at the least. */
  after: (life: Life, sent: number) => Promise<number>;
}

const halfPublished: Moment = {
  what: 'half is published',
  after: (life, sent) => publishedAtLeast(life, sent * 0.5),
};

/** When a life is killed: by how much of what it was sent it says that it is published, or has dealt with. */
const moments: Moment[] = [
  { what: 'a tenth is published', after: (life, sent) => publishedAtLeast(life, sent * 0.1) },
  { what: 'all is published', after: (life, sent) => publishedAtLeast(life, sent) },
  { what: 'the processor has it all', after: (life, sent) => passedBy(life, 'processor', sent) },
  { what: 'the archiver has it all', after: (life, sent) => passedBy(life, 'archiver', sent) },
  halfPublished,
  { what: 'nothing is known', after: () => Promise.resolve(0) },
];

/** How many lines are published at the least, as the status says last. */
async function publishedAtLeast(life: Life, wanted: number): Promise<number> {
  let published = 0;
  await until(async () => {
    published = (await statusOf(life.url)).collector.accounting.published;
    return published >= wanted;
  }, `${wanted} lines published`);
  return published;
}

async function passedBy(life: Life, group: string, sent: number): Promise<number> {
  const published = await publishedAtLeast(life, sent);
  await until(async () => {
    const { lag } = await statusOf(life.url);
    return lag.some((row) => row.topic === 'api-calls' && row.group === group && row.records === 0);
  }, `${group} has passed everything`);
  return published;
}

describe('tripline up, killed at any moment', () => {
  it('loses nothing that was published, keeps each call once, and raises the alerts of an undisturbed run', async () => {
    const cwd = scratch();
    const keyFile = sharedKey();
    const calls = traffic();
    let next = 0;
    for (const [round, moment] of moments.entries()) {
      const upTo = Math.ceil((calls.length * (round + 1)) / moments.length);
      const block = calls.slice(next, upTo);
      const life = await live(cwd, keyFile);
      const socket = await connect(life.port);
      const written = write(socket, lines(block));
      const published = await moment.after(life, block.length);
      await end(life, 'SIGKILL');
      await written;
      socket.destroy();
      const ids = await idsOnBus(cwd);
      // What it had counted is there; what it had not may be; and all of it in order, once.
      expect(ids.length, moment.what).toBeGreaterThanOrEqual(next + published);
      expect(ids).toEqual(idsOf(calls.slice(0, ids.length)));
      next = ids.length;
    }

    const last = await live(cwd, keyFile);
    const rest = calls.slice(next);
    await write(await connect(last.port), lines(rest));
    await caughtUp(last.url, rest.length);
    const alerts = await alertsFrom(last);
    const stopped = await end(last, 'SIGTERM');
    expect(stopped.status, stopped.stderr).toBe(0);

    // The engine allows one lake at a time in a process: one after the other.
    const lake = await lakeOf(cwd);
    expect(lake.calls).toBe(calls.length);
    expect(lake.ids.sort()).toEqual(idsOf(calls).sort());
    expect(lake.latest).toEqual(alerts);

    const calm = scratch();
    const undisturbed = await live(calm, keyFile);
    await write(await connect(undisturbed.port), lines(calls));
    await caughtUp(undisturbed.url, calls.length);
    const expected = await alertsFrom(undisturbed);
    expect((await end(undisturbed, 'SIGTERM')).status).toBe(0);
    expect(expected).toHaveLength(4);
    expect(new Set(expected.map((alert) => alert.actor.name))).toEqual(
      new Set(['consumer-10', 'consumer-11', 'consumer-12', 'consumer-13']),
    );
    expect(alerts).toEqual(expected);
    expect(lake.alerts).toEqual(expected.map(({ id, revision }) => ({ id, revision })));

    // And replay finds the same episodes in the same lines.
    const replayed = await runProgram(['replay', '-'], { cwd: calm, stdin: Buffer.concat(lines(calls)) });
    const ids = replayed.stdout
      .split('\n')
      .slice(0, -1)
      .map((line) => (JSON.parse(line) as Alert).id);
    expect(ids.sort()).toEqual(expected.map((alert) => alert.id));

    // Everything once more, over another kill: each line is known by its id, and nothing is counted twice.
    for (const moment of [halfPublished, undefined]) {
      const again = await live(cwd, keyFile);
      const socket = await connect(again.port);
      const written = write(socket, lines(calls));
      if (moment) {
        await moment.after(again, calls.length);
        await end(again, 'SIGKILL');
        await written;
      } else {
        await caughtUp(again.url, calls.length);
        expect(await alertsFrom(again)).toEqual(expected);
        expect((await end(again, 'SIGTERM')).status).toBe(0);
      }
      socket.destroy();
    }
  }, 120_000);
});

describe('tripline up', () => {
  it('is refused on a data directory that another one uses, with status 2, and disturbs nobody', async () => {
    const cwd = scratch();
    const first = await live(cwd);
    const env = environment(await freePort(), await freePort());
    const second = await runProgram(['up'], { cwd, env });
    expect(second).toMatchObject({ status: 2, stdout: '' });
    expect(second.stderr).toMatch(
      new RegExp(
        `^Another Tripline \\(process ${first.process.pid}\\) uses the data directory .*tripline-data`,
      ),
    );
    // Another directory, but a port that is taken.
    const taken = environment(first.port, await freePort());
    mkdirSync(join(cwd, 'other'));
    const third = await runProgram(['up'], { cwd: join(cwd, 'other'), env: taken });
    expect(third).toMatchObject({ status: 2, stdout: '' });
    expect(third.stderr).toMatch(new RegExp(`:${first.port}: another program has it`));
    const calls = traffic().slice(0, 20);
    await write(await connect(first.port), lines(calls));
    await caughtUp(first.url, calls.length);
    expect((await end(first, 'SIGTERM')).status).toBe(0);
  });

  it('stops under load within 30 s on SIGTERM, with status 0, and loses nothing that was published', async () => {
    const cwd = scratch();
    const first = await live(cwd);
    const calls = traffic();
    const slot = Math.floor(Date.now() / 10_000) * 10_000;
    // Enough that it is still being sent when the signal comes, and far beyond.
    const more = Array.from({ length: 40_000 }, (_, n) => callLine(1_000_000 + n, slot, consumer(n % 50)));
    const socket = await connect(first.port);
    const written = write(socket, [...lines(calls), ...more]);
    await publishedAtLeast(first, 2_000);
    const told = Date.now();
    const ended = end(first, 'SIGTERM');
    // For as long as it still answers.
    let published = 2_000;
    await Promise.race([ended, stillPublished(first, (count) => (published = count))]);
    const { status, stderr } = await ended;
    expect(status, stderr).toBe(0);
    expect(Date.now() - told).toBeLessThan(30_000);
    expect(stderr).toContain('Stopping (SIGTERM).');
    expect(stderr).not.toMatch(/left undone|stopping failed/);
    await written;
    socket.destroy();
    const ids = await idsOnBus(cwd);
    expect(ids.length).toBeGreaterThanOrEqual(published);
    expect(ids.length).toBeLessThan(calls.length + more.length);
    expect(new Set(ids).size).toBe(ids.length);

    const second = await live(cwd);
    await caughtUp(second.url, 0);
    expect((await end(second, 'SIGTERM')).status).toBe(0);
    const lake = await lakeOf(cwd);
    expect(lake.ids.sort()).toEqual(ids.sort());
  });
});

/** Ends when it no longer answers. */
async function stillPublished(life: Life, tell: (published: number) => void): Promise<void> {
  for (;;) {
    try {
      tell((await statusOf(life.url)).collector.accounting.published);
    } catch {
      return;
    }
  }
}
