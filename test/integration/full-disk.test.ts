import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { defaultSeed, demoKey, startKongStandIn, type KongStandIn } from '@tripline/kong-stand-in';
import { afterEach, describe, expect, it } from 'vitest';
import { scratchDir, until } from '../support/parts.ts';
import {
  cleanEnvironment,
  freePort,
  runProgram,
  startProgram,
  statusOf,
  type Ended,
} from '../support/running.ts';
import { createSmallDisk, type SmallDisk } from '../support/small-disk.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

interface Life {
  url: string;
  pid: number;
  stderr: () => string;
  /** Undefined while it lives. */
  over: () => Ended | undefined;
  end: (signal: 'SIGTERM' | 'SIGKILL') => Promise<Ended>;
}

interface Setting {
  disk: SmallDisk;
  kong: KongStandIn;
  /** `tripline up` with its data on the small disk, once it answers. */
  live: () => Promise<Life>;
  cwd: string;
  env: Record<string, string>;
}

async function setting(bytes: number, duration: string): Promise<Setting> {
  const scratch = scratchDir();
  undo.push(scratch.dispose);
  const disk = createSmallDisk(bytes);
  undo.push(disk.dispose);
  const [port, httpPort] = [await freePort(), await freePort()];
  const seed = defaultSeed();
  const tcpLog = { name: 'tcp-log', config: { host: '127.0.0.1', port } };
  const kong = await startKongStandIn({
    seed: { ...seed, plugins: [...seed.plugins!, tcpLog] },
    // Blocks do not reach the traffic: what is sent shall come as lines.
    rebuildEveryMs: Infinity,
  });
  undo.push(() => kong.close());
  const policy = { id: 'stop', match: {}, actions: [{ type: 'block', duration }] };
  writeFileSync(join(scratch.path, 'policies.json'), JSON.stringify({ policies: [policy] }));
  const env = {
    TRIPLINE_DATA_DIR: disk.path,
    TRIPLINE_COLLECTOR__HOST: '127.0.0.1',
    TRIPLINE_COLLECTOR__PORT: String(port),
    TRIPLINE_HTTP__PORT: String(httpPort),
    TRIPLINE_KONG__ADMIN_URL: kong.adminUrl,
  };
  const url = `http://127.0.0.1:${httpPort}`;
  const live = async (): Promise<Life> => {
    const running = startProgram(['up'], { cwd: scratch.path, env });
    let over: Ended | undefined;
    void running.ended.then((ended) => (over = ended));
    const end = (signal: 'SIGTERM' | 'SIGKILL'): Promise<Ended> => {
      running.process.kill(signal);
      return running.ended;
    };
    undo.push(() => end('SIGKILL'));
    await until(async () => {
      if (over) throw new Error(`it ended with ${String(over.status)}:\n${over.stderr}`);
      return fetch(`${url}/healthz`).then(
        (answer) => answer.ok,
        () => false,
      );
    }, 'it answers');
    return { url, pid: running.process.pid!, stderr: running.stderr, over: () => over, end };
  };
  return { disk, kong, live, cwd: scratch.path, env };
}

async function readyz(life: Life): Promise<{ ok: boolean; text: string }> {
  const answer = await fetch(`${life.url}/readyz`);
  return { ok: answer.ok, text: await answer.text() };
}

async function metric(life: Life, pattern: RegExp): Promise<number> {
  const text = await (await fetch(`${life.url}/metrics`)).text();
  return Number(pattern.exec(text)?.[1] ?? NaN);
}

const busProblem = /^tripline_backend_problem\{backend="bus"\} (\d)/m;

/** Usernames of those whom Tripline blocks in Kong. */
async function blocked(kong: KongStandIn): Promise<string[]> {
  const answer = await fetch(`${kong.adminUrl}/plugins?size=1000`);
  const { data } = (await answer.json()) as {
    data: { tags: string[] | null; consumer: { id: string } | null }[];
  };
  const names = new Map(defaultSeed().consumers!.map((one) => [one['id'], one['username'] as string]));
  return data
    .filter(({ tags }) => tags?.includes('tripline'))
    .map(({ consumer }) => names.get(consumer!.id) ?? '?');
}

/** More requests within 10 s of event time than anybody without history may make. */
function bombard(kong: KongStandIn, username: string): void {
  const at = Math.floor(Date.now() / 10_000 - 1) * 10_000;
  for (let n = 0; n < 500; n++) {
    kong.handle({
      method: 'GET',
      path: '/orders?page=1',
      headers: { apikey: demoKey({ username }) },
      clientIp: '203.0.113.9',
      startedAt: at + n * 18,
    });
  }
}

/** Everything that came is somewhere. */
async function expectBalanced(life: Life): Promise<void> {
  const { accounting } = (await statusOf(life.url)).collector;
  const sum = (counts: Record<string, number>): number =>
    Object.values(counts).reduce((all, one) => all + one, 0);
  const { received, restored, published, returned, spooled, inFlight } = accounting;
  expect(received + restored).toBe(
    published + sum(accounting.rejected) + sum(accounting.dropped) + returned + spooled + inFlight,
  );
}

describe('a full disk under `tripline up`', () => {
  it('ends nothing: blocks expire, readiness says why, and all goes on when there is room', async () => {
    const { disk, kong, live } = await setting(160 * 2 ** 20, '8s');
    const life = await live();
    await until(async () => (await readyz(life)).ok, 'ready');
    bombard(kong, 'alice');
    await until(async () => (await blocked(kong)).includes('alice'), 'alice is blocked');

    disk.fill(life.pid);
    let rounds = 0;
    await until(
      async () => {
        // Some lines more each time, as those of a Kong that knows nothing of the disk.
        if (rounds++ % 10 === 0) bombard(kong, 'dana');
        await kong.flushed();
        return (await blocked(kong)).length === 0;
      },
      'the block expires at Kong although nothing can be saved',
      60_000,
    );
    await until(
      async () => {
        bombard(kong, 'dana');
        await kong.flushed();
        return (await metric(life, busProblem)) === 1;
      },
      'the metric says so',
      30_000,
    );
    const unready = await readyz(life);
    expect(unready.ok).toBe(false);
    expect(unready.text).toMatch(/the bus.* cannot be written/);
    expect((await fetch(`${life.url}/healthz`)).ok).toBe(true);
    await expectBalanced(life);
    expect(life.over()).toBeUndefined();

    disk.empty(life.pid);
    await until(
      async () => {
        bombard(kong, 'mallory');
        await kong.flushed();
        return (await blocked(kong)).includes('mallory');
      },
      'who attacks now is blocked',
      60_000,
    );
    await until(async () => (await readyz(life)).ok, 'ready again', 60_000);
    await until(
      async () => (await statusOf(life.url)).collector.accounting.spooled === 0,
      'the spool is empty',
    );
    await expectBalanced(life);
    expect(await metric(life, busProblem)).toBe(0);
    const ended = await life.end('SIGTERM');
    expect(ended.status).toBe(0);
    expect(ended.stderr).not.toMatch(/unhandled/i);
    // Told when it began, not with every line.
    const told = ended.stderr.split('\n').filter((line) => /"role":"bus".*cannot be written:/.test(line));
    expect(told).toHaveLength(1);
  }, 200_000);

  it('does not keep it from starting again: a block that it finds in force expires', async () => {
    const { disk, kong, live } = await setting(160 * 2 ** 20, '10s');
    const first = await live();
    await until(async () => (await readyz(first)).ok, 'ready');
    bombard(kong, 'alice');
    await until(async () => (await blocked(kong)).includes('alice'), 'alice is blocked');
    disk.fill(first.pid);
    await first.end('SIGKILL');
    const second = await live();
    disk.fill(second.pid);
    await until(async () => (await blocked(kong)).length === 0, 'the block expires', 60_000);
    bombard(kong, 'dana');
    await kong.flushed();
    await expectBalanced(second);
    expect(second.over()).toBeUndefined();
    disk.empty(second.pid);
    await until(
      async () => {
        bombard(kong, 'mallory');
        await kong.flushed();
        return (await blocked(kong)).includes('mallory');
      },
      'who attacks now is blocked',
      60_000,
    );
    await expectBalanced(second);
    expect((await second.end('SIGTERM')).status).toBe(0);
  }, 200_000);

  it('is told without a stack where the first start finds no room, and the next one finds nothing half made', async () => {
    const { disk, cwd, env, live } = await setting(8 * 2 ** 20, '10s');
    disk.fill();
    // Where a limit of this process stands for the full disk, the child inherits it.
    const ended = await runProgram(['up'], { cwd, env });
    disk.empty();
    expect(ended.status).toBe(2);
    expect(ended.stderr).toMatch(/dataDir: .*(no space left|file too large).*disk/i);
    expect(ended.stderr).not.toMatch(/\n {4}at /);
    expect(existsSync(join(disk.path, 'token.key'))).toBe(false);
    const life = await live();
    expect((await life.end('SIGTERM')).status).toBe(0);
  }, 120_000);

  it('does not end it where only its log is on that disk, and the log goes on when there is room', async () => {
    const { disk, cwd, env } = await setting(2 ** 20, '10s');
    const log = join(disk.path, 'log');
    const file = openSync(log, 'a');
    disk.fill();
    const child = spawn(process.execPath, [resolve('dist/tripline.js'), 'up'], {
      cwd,
      env: { ...cleanEnvironment(), ...env, TRIPLINE_DATA_DIR: join(cwd, 'data') },
      stdio: ['ignore', 'ignore', file],
    });
    closeSync(file);
    undo.push(() => child.kill('SIGKILL'));
    // Where a limit stands for the full disk, the child has it too, and only what is larger than a log fails for it.
    disk.empty(child.pid);
    disk.fill();
    const url = `http://127.0.0.1:${env['TRIPLINE_HTTP__PORT']}`;
    await until(
      () =>
        fetch(`${url}/readyz`).then(
          (answer) => answer.ok,
          () => false,
        ),
      'ready',
      60_000,
    );
    disk.empty();
    writeFileSync(join(cwd, 'policies.json'), '{ "policies": [] }');
    await until(() => readFileSync(log, 'utf8').includes('"msg":"policies read"'), 'it logs again');
    child.kill('SIGTERM');
    expect(await new Promise((done) => child.once('close', done))).toBe(0);
  }, 120_000);
});
