import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import {
  defaultSeed,
  demoKey,
  startKongStandIn,
  type KongStandIn,
  type KongStandInOptions,
} from '@tripline/kong-stand-in';
import type { Alert, Response } from '@tripline/model';
import { afterEach, describe, expect, it } from 'vitest';
import { connect, scratchDir, until, watchTopic } from '../support/parts.ts';
import {
  callLine,
  freePort,
  runProgram,
  startReceiver,
  startTestSystem,
  write,
  type TestSystem,
} from '../support/running.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

interface Plugin {
  id: string;
  name: string;
  tags: string[] | null;
  config: Record<string, unknown>;
  consumer: { id: string } | null;
}

/** A directory, a Kong that logs to a port, and the system that is started there, as often as needed. */
interface Setting {
  directory: string;
  kong: KongStandIn;
  start: (webhook?: string) => Promise<TestSystem>;
  policies: (...policies: object[]) => void;
}

async function setting(options: KongStandInOptions = {}): Promise<Setting> {
  const scratch = scratchDir();
  undo.push(scratch.dispose);
  const port = await freePort();
  const seed = defaultSeed();
  const tcpLog = { name: 'tcp-log', config: { host: '127.0.0.1', port } };
  const kong = await startKongStandIn({
    seed: { ...seed, plugins: [...seed.plugins!, tcpLog] },
    // New plugins reach the traffic when the test says so.
    rebuildEveryMs: Infinity,
    ...options,
  });
  undo.push(() => kong.close());
  return {
    directory: scratch.path,
    kong,
    start: async (webhook) => {
      const system = await startTestSystem(scratch.path, {
        collector: { host: '127.0.0.1', port },
        kong: { adminUrl: kong.adminUrl },
        lake: { enabled: false },
        webhooks: webhook
          ? [{ id: 'ops', url: webhook, secret: 'a-secret-for-tests-only', allowPrivate: true }]
          : [],
      });
      undo.push(() => system.stop());
      return system;
    },
    policies: (...policies) => {
      writeFileSync(join(scratch.path, 'policies.json'), JSON.stringify({ policies }));
    },
  };
}

const block = (id: string, username: string, duration: string, more: object = {}): object => ({
  id,
  match: { consumer: { username } },
  actions: [{ type: 'block', duration, message: `stopped by ${id}` }],
  ...more,
});

const clientIp = '203.0.113.9';
const ask = (kong: KongStandIn, username: string, startedAt?: number): number =>
  kong.handle({
    method: 'GET',
    path: '/orders?page=1',
    headers: { apikey: demoKey({ username }) },
    clientIp,
    ...(startedAt === undefined ? {} : { startedAt }),
  }).status;

/** One 10 s window of event time, some windows from now. */
const window = (fromNow: number): number => Math.floor(Date.now() / 10_000 + fromNow) * 10_000;

/** More requests in one window than anybody without history may make. Gives how many got which status. */
function bombard(kong: KongStandIn, username: string, at = window(-1)): Record<number, number> {
  const statuses: Record<number, number> = {};
  for (let n = 0; n < 500; n++) {
    const status = ask(kong, username, at + n * 18);
    statuses[status] = (statuses[status] ?? 0) + 1;
  }
  return statuses;
}

async function plugins(kong: KongStandIn): Promise<Plugin[]> {
  const answer = await fetch(`${kong.adminUrl}/plugins?size=1000`);
  return ((await answer.json()) as { data: Plugin[] }).data;
}

const ours = async (kong: KongStandIn): Promise<Plugin[]> =>
  (await plugins(kong)).filter((plugin) => plugin.tags?.includes('tripline') === true);

async function admin(kong: KongStandIn, method: string, path: string, body?: object): Promise<unknown> {
  const answer = await fetch(`${kong.adminUrl}${path}`, {
    method,
    ...(body ? { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) } : {}),
  });
  expect(answer.status, `${method} ${path}`).toBeLessThan(300);
  return answer.status === 204 ? undefined : answer.json();
}

const consumerId = (username: string): string =>
  defaultSeed().consumers!.find((consumer) => consumer['username'] === username)!['id'] as string;

const responseTo = (system: TestSystem, username: string): Response | undefined =>
  system.responder.responses().find(({ target }) => target.id === consumerId(username));

async function untilStatus(
  system: TestSystem,
  username: string,
  status: Response['status'],
  withinMs = 20_000,
): Promise<Response> {
  await until(
    () => responseTo(system, username)?.status === status,
    `the response to ${username} is ${status}`,
    withinMs,
  );
  return responseTo(system, username)!;
}

/** Until the responder knows what is in Kong, so that what comes next is what the test makes happen. */
const ready = (system: TestSystem): Promise<void> =>
  until(async () => (await fetch(`${system.url}/readyz`)).ok, 'ready');

/** Until all lines so far went through collector, processor and responder. */
async function settled(system: TestSystem, kong: KongStandIn): Promise<void> {
  await kong.flushed();
  const { linesSent } = kong.counters();
  let passed = 0;
  await until(async () => {
    const { collector, lag } = await system.status();
    const { received, inFlight } = collector.accounting;
    if (received < linesSent || inFlight > 0) return false;
    // Alerts are published before the processor has passed their calls: look at the lag of all roles once more after.
    const behind = lag.filter(({ group }) => group === 'processor' || group === 'responder');
    passed = behind.every(({ records }) => records === 0) ? passed + 1 : 0;
    return passed > 1;
  }, 'all lines are dealt with');
}

describe('the response to a bombardment', () => {
  it('stops the consumer at Kong, neither raises nor grows alerts by what it stops, and ends on time', async () => {
    const { kong, policies, start } = await setting();
    policies(block('stop-alice', 'alice', '5s'));
    const system = await start();
    const alerts = watchTopic<Alert>(system.bus, 'alerts');
    await ready(system);
    expect(bombard(kong, 'alice', window(-3))).toEqual({ 200: 500 });

    const response = await untilStatus(system, 'alice', 'active');
    const [plugin, ...others] = await ours(kong);
    expect(others).toEqual([]);
    expect(plugin).toMatchObject({
      name: 'request-termination',
      consumer: { id: consumerId('alice') },
      config: { status_code: 403, message: 'stopped by stop-alice' },
      tags: ['tripline', `tripline-response:${response.id}`],
    });
    kong.rebuild();
    expect(ask(kong, 'dana')).toBe(200);
    bombard(kong, 'mallory', window(-3));
    // Kong's workers race: what is a minute apart must not overtake.
    await settled(system, kong);
    const before = alerts.filter((alert) => alert.actor.id === consumerId('alice'));

    // A minute of event time later an alert that grows is told again: mallory's grows, alice's does not.
    expect(bombard(kong, 'alice', window(5))).toEqual({ 403: 500 });
    expect(bombard(kong, 'mallory', window(5))).toEqual({ 200: 500 });
    await settled(system, kong);
    const revisions = (username: string): number[] =>
      alerts.filter((alert) => alert.actor.id === consumerId(username)).map((alert) => alert.revision);
    expect(Math.max(...revisions('mallory'))).toBeGreaterThan(1);
    expect(alerts.filter((alert) => alert.actor.id === consumerId('alice'))).toEqual(before);
    // Only mallory's were counted as calls of hers; and nobody else was touched.
    expect(new Set(alerts.map((alert) => alert.actor.name))).toEqual(new Set(['alice', 'mallory']));

    const expired = await untilStatus(system, 'alice', 'expired');
    expect(await ours(kong)).toEqual([]);
    expect(expired.removedAt! - expired.expiresAt!).toBeLessThan(15_000);
    expect(expired.removedAt! - expired.expiresAt!).toBeGreaterThanOrEqual(0);
    kong.rebuild();
    expect(ask(kong, 'alice')).toBe(200);
  });

  it("limits the consumer without lifting a stricter limit of the operator's, and says so", async () => {
    const { kong, policies, start, directory } = await setting();
    const route = { name: 'accounts-users' };
    const limit = { name: 'rate-limiting', route, config: { minute: 5, policy: 'local' } };
    await admin(kong, 'POST', '/plugins', limit);
    const global = { name: 'rate-limiting', config: { minute: 600, policy: 'local' } };
    await admin(kong, 'POST', '/plugins', global);
    kong.rebuild();
    policies({
      id: 'slow-alice',
      match: { consumer: { username: 'alice' } },
      actions: [{ type: 'rate-limit', duration: '1m', minute: 100 }],
    });
    const system = await start();
    await ready(system);
    const theirs = await plugins(kong);
    bombard(kong, 'alice', window(-3));
    const response = await untilStatus(system, 'alice', 'active');
    expect(response.problem).toContain('(global)');
    expect(response.problem).toMatch(/left as it is: your rate-limiting \S+ on route \S+$/);

    kong.rebuild();
    const minute = Math.floor(Date.now() / 60_000 + 10) * 60_000;
    const served = (path: string): number => {
      const headers = { apikey: demoKey({ username: 'alice' }) };
      const statuses = Array.from(
        { length: 150 },
        (_, n) => kong.handle({ method: 'GET', path, headers, clientIp, startedAt: minute + n }).status,
      );
      return statuses.filter((status) => status === 200).length;
    };
    expect(served('/accounts/users/1')).toBe(5);
    expect(served('/orders?page=1')).toBe(100);

    const list = await runProgram(['responses', 'list'], {
      cwd: directory,
      env: { TRIPLINE_HTTP__PORT: String(system.httpPort) },
    });
    expect(list.stdout).toMatch(
      / active +rate-limit alice, .*\(the lower of both limits holds in the place of /,
    );
    await system.responder.lift(response.id);
    expect(await plugins(kong)).toEqual(theirs);
  });

  it('is put back when somebody deletes its plugin, and taken off for good when it is lifted', async () => {
    const { kong, policies, start, directory } = await setting();
    policies(block('stop-alice', 'alice', '10m'), block('brief', 'dana', '2s'));
    const system = await start();
    await ready(system);
    bombard(kong, 'alice');
    const response = await untilStatus(system, 'alice', 'active');
    const [plugin] = await ours(kong);
    await admin(kong, 'DELETE', `/plugins/${plugin!.id}`);
    // The end of another response makes the responder look at Kong before its half-minute is over.
    bombard(kong, 'dana');
    await untilStatus(system, 'dana', 'expired');
    await until(async () => (await ours(kong)).length === 1, 'the plugin is back');
    expect((await ours(kong))[0]).toMatchObject({
      id: plugin!.id,
      config: plugin!.config,
      tags: plugin!.tags,
    });

    const env = { TRIPLINE_HTTP__PORT: String(system.httpPort) };
    const run = (...args: string[]): ReturnType<typeof runProgram> =>
      runProgram(['responses', ...args], { cwd: directory, env });
    const list = await run('list');
    expect(list.status, list.stderr).toBe(0);
    expect(list.stdout).toMatch(
      new RegExp(`^${response.id} +active +block alice, until .*Z, by stop-alice$`, 'm'),
    );
    expect(list.stdout).toMatch(/ expired +block dana, /);

    // A page of another origin can send a POST, but not with this header.
    const forged = await fetch(`${system.url}/responses/lift?id=${response.id}`, { method: 'POST' });
    expect(forged.status).toBe(403);
    expect(responseTo(system, 'alice')!.status).toBe('active');

    const lifted = await run('lift', response.id);
    expect(lifted).toEqual({ status: 0, stdout: 'Lifted: block alice (lifted).\n', stderr: '' });
    expect(await ours(kong)).toEqual([]);
    const unknown = await run('lift', 'no-such-response');
    expect(unknown).toMatchObject({ status: 2, stdout: '' });
    expect(unknown.stderr).toMatch(/There is no response no-such-response/);

    // The same episode goes on: who was let off stays so.
    bombard(kong, 'alice', window(8));
    await settled(system, kong);
    expect(responseTo(system, 'alice')!.status).toBe('lifted');
    expect(await ours(kong)).toEqual([]);
    await system.stop();
    const stopped = await run('list');
    expect(stopped.status).toBe(2);
    expect(stopped.stderr).toMatch(/No Tripline answers at/);
  });

  it('waits for a Kong that is down, and finds a plugin that was made although Kong answered 500', async () => {
    const { kong, policies, start } = await setting();
    policies(block('stop-alice', 'alice', '10m'), block('stop-dana', 'dana', '10m'));
    const system = await start();
    await ready(system);
    await kong.down();
    bombard(kong, 'alice');
    await until(() => (responseTo(system, 'alice')?.failures ?? 0) > 0, 'a call has failed');
    expect(responseTo(system, 'alice')).toMatchObject({ status: 'pending' });
    expect(responseTo(system, 'alice')!.problem).toMatch(/did not answer/);
    await kong.up();
    await untilStatus(system, 'alice', 'active');
    expect(await ours(kong)).toHaveLength(1);

    const writes = kong.counters().adminWrites;
    kong.failNext(1, 500, { afterEffect: true });
    bombard(kong, 'dana');
    expect((await untilStatus(system, 'dana', 'active')).problem).toBeNull();
    expect(await ours(kong)).toHaveLength(2);
    expect(kong.counters().adminWrites).toBe(writes + 1);
  });

  it('leaves alone what it cannot or must not do: a consumer that is gone, an operator in the place', async () => {
    const { kong, policies, start } = await setting();
    policies({ id: 'stop-all', match: {}, actions: [{ type: 'block', duration: '10m' }] });
    const system = await start();
    await ready(system);
    const operators = await admin(kong, 'POST', '/plugins', {
      name: 'request-termination',
      consumer: { id: consumerId('alice') },
      config: { status_code: 451, message: 'for legal reasons' },
    });
    await admin(kong, 'DELETE', `/consumers/${consumerId('dana')}`);
    const writes = kong.counters().adminWrites;
    bombard(kong, 'alice');
    expect((await untilStatus(system, 'alice', 'blocked-by-operator')).problem).toMatch(/not Tripline's/);
    // Lines of the consumer that were still under way.
    const late = Array.from({ length: 500 }, (_, n) =>
      callLine(n, window(-1) + n * 18, { id: consumerId('dana'), username: 'dana' }),
    );
    await write(await connect(system.collector.port), late);
    expect((await untilStatus(system, 'dana', 'impossible')).problem).toMatch(/does not exist in Kong/);
    expect(await ours(kong)).toEqual([]);
    const terminations = (await plugins(kong)).filter(({ name }) => name === 'request-termination');
    expect(terminations).toEqual([operators]);
    expect(kong.counters().adminWrites).toBe(writes + 2);
  });

  it('says on a Kong without database that it can only alert, and does not try without end', async () => {
    const { kong, policies, start } = await setting({ dbless: true });
    policies({ id: 'stop-all', match: {}, actions: [{ type: 'block', duration: '10m' }] });
    const system = await start();
    await ready(system);
    bombard(kong, 'alice');
    expect((await untilStatus(system, 'alice', 'impossible')).problem).toMatch(/DB-less.*not block or limit/);
    bombard(kong, 'alice', window(8));
    bombard(kong, 'dana');
    await untilStatus(system, 'dana', 'impossible');
    await settled(system, kong);
    // One attempt for each response, none for what came later.
    expect(kong.counters().adminWrites).toBe(2);
    const health = await (await fetch(`${system.url}/readyz`)).text();
    expect(health).toMatch(/DB-less/);
  });

  it('is carried out after a restart between decision and deed, and taken off after one over its end', async () => {
    const { kong, policies, start } = await setting();
    policies(block('stop-alice', 'alice', '6s'));
    let system = await start();
    await ready(system);
    await kong.down();
    bombard(kong, 'alice');
    const decided = await untilStatus(system, 'alice', 'pending');
    await system.stop();
    await kong.up();
    // Policies are not asked again: what was decided is done.
    policies();
    system = await start();
    const active = await untilStatus(system, 'alice', 'active');
    expect(active).toMatchObject({ id: decided.id, expiresAt: decided.expiresAt });
    expect(await ours(kong)).toHaveLength(1);

    await system.stop();
    await until(() => Date.now() > decided.expiresAt!, 'its time is over');
    expect(await ours(kong)).toHaveLength(1);
    system = await start();
    const expired = await untilStatus(system, 'alice', 'expired');
    expect(await ours(kong)).toEqual([]);
    expect(expired.removedAt).toBeGreaterThan(decided.expiresAt!);
  });

  it('writes nothing to Kong and notifies nobody in a dry run, and says what it would have done', async () => {
    const { kong, policies, start } = await setting();
    const receiver = await startReceiver();
    undo.push(receiver.close);
    const actions = [
      { type: 'block', duration: '10m' },
      { type: 'rate-limit', duration: '10m', minute: 5 },
      { type: 'notify', webhook: 'ops' },
    ];
    policies(
      { id: 'only-try', dryRun: true, match: { consumer: { username: 'alice' } }, actions },
      { id: 'tell', match: { consumer: { username: 'dana' } }, actions: [actions[2]] },
    );
    const system = await start(receiver.url);
    await ready(system);
    bombard(kong, 'alice');
    await untilStatus(system, 'alice', 'dry-run');
    bombard(kong, 'dana');
    await until(() => receiver.received.length > 0, 'the other webhook');
    await settled(system, kong);
    expect(system.responder.responses().map(({ action, status }) => [action.type, status])).toEqual([
      ['block', 'dry-run'],
      ['rate-limit', 'dry-run'],
    ]);
    expect(kong.counters().adminWrites).toBe(0);
    expect(
      receiver.received.map(({ body }) => (JSON.parse(body) as { data: Alert }).data.actor.name),
    ).toEqual(['dana']);
  });

  it('follows the policy file as it changes, and keeps the policies while the file has mistakes', async () => {
    const { kong, policies, start, directory } = await setting();
    const system = await start();
    await ready(system);
    bombard(kong, 'alice');
    await settled(system, kong);
    expect(system.responder.responses()).toEqual([]);

    policies(block('stop', '*', '10m'));
    await until(async () => (await system.status()).policies?.count === 1, 'the policies are read');
    bombard(kong, 'dana');
    await untilStatus(system, 'dana', 'active');

    writeFileSync(join(directory, 'policies.json'), '{\n  "policies": [{ "id": "half"\n');
    await until(async () => (await system.status()).policies!.problems.length > 0, 'the mistake is seen');
    expect((await system.status()).policies).toMatchObject({ count: 1, problems: [{ line: 3 }] });
    expect(system.log.join('')).toMatch(
      /the policy file has mistakes, 1 policies from before stay in effect/,
    );
    bombard(kong, 'mallory');
    expect((await untilStatus(system, 'mallory', 'active')).policyId).toBe('stop');

    policies(block('gentler', '*', '1h'));
    await until(
      async () => (await system.status()).policies?.problems.length === 0,
      'the file is right again',
    );
    bombard(kong, 'victor');
    expect((await untilStatus(system, 'victor', 'active')).policyId).toBe('gentler');
    // What was decided stays.
    expect(responseTo(system, 'dana')).toMatchObject({ policyId: 'stop', status: 'active' });
  });

  it('reaches a webhook through the proxy of the environment, and shows what the receiver says', async () => {
    const asked: string[] = [];
    const proxy = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`);
      request.resume().on('end', () => response.writeHead(400).end('no_text'));
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    undo.push(() => proxy.close().closeAllConnections());
    const before = process.env['http_proxy'];
    process.env['http_proxy'] = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    undo.push(() => {
      if (before === undefined) delete process.env['http_proxy'];
      else process.env['http_proxy'] = before;
    });
    const { kong, policies, start, directory } = await setting();
    policies({ id: 'tell', match: {}, actions: [{ type: 'notify', webhook: 'ops' }] });
    const system = await start('http://chat.example/hook');
    await ready(system);
    bombard(kong, 'alice');
    await until(() => asked.length > 0, 'the proxy is asked');
    expect(asked).toEqual(['POST http://chat.example/hook']);
    const env = { TRIPLINE_HTTP__PORT: String(system.httpPort) };
    await until(
      async () => (await system.status()).webhooks?.[0]?.problem != null,
      'the refusal is in the status',
    );
    const { stdout } = await runProgram(['doctor'], { cwd: directory, env });
    expect(stdout).toContain(
      'webhooks: webhook ops: the receiver answered 400: "no_text"; 1 messages wait, 0 are counted',
    );
  });
});
