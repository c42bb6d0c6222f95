import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join, resolve as resolvePath } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defaultSeed, demoKey, startKongStandIn } from '@tripline/kong-stand-in';
import type { Alert } from '@tripline/model';
import { afterEach, describe, expect, it } from 'vitest';
import { recording, scratchDir, until } from '../support/parts.ts';
import {
  cleanEnvironment,
  callLine,
  caughtUp,
  freePort,
  runProgram,
  sendLines,
  startProgram,
  startTestSystem,
  type Ended,
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

const program = resolvePath('dist/tripline.js');
const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/tcp-log/${name}.ndjson`, import.meta.url));
const recordings = [
  'abuse-patterns',
  'auth-failures',
  'block-transition',
  'custom-fields',
  'edge-cases',
  'errors',
  'normal',
  'terminated-and-limited',
  'tls-transport',
];

/** The figures of the summary that replay prints on standard error. */
function summaryOf(stderr: string): {
  lines: number;
  accepted: number;
  duplicates: number;
  rejected: number;
} {
  const number = (pattern: RegExp): number => {
    const found = pattern.exec(stderr);
    expect(found, `${String(pattern)} in:\n${stderr}`).not.toBeNull();
    return Number(found![1]);
  };
  return {
    lines: number(/^Replayed (\d+) lines/m),
    accepted: number(/^ {2}accepted +(\d+),/m),
    duplicates: number(/of which (\d+) were duplicates/),
    rejected: number(/^ {2}rejected +(\d+)/m),
  };
}

function alertsOf(stdout: string): Alert[] {
  expect(stdout === '' || stdout.endsWith('\n')).toBe(true);
  const alerts = stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Alert);
  for (const alert of alerts) {
    expect(alert).toMatchObject({
      id: expect.any(String),
      revision: expect.any(Number),
      type: expect.stringMatching(/^(request-spike|credential-stuffing)$/),
      severity: expect.stringMatching(/^(low|medium|high|critical)$/),
      score: expect.any(Number),
      actor: { kind: expect.any(String), id: expect.any(String), name: expect.any(String) },
      raisedAt: expect.any(Number),
      startedAt: expect.any(Number),
      lastSeenAt: expect.any(Number),
      count: expect.any(Number),
      status: 'closed',
      observed: { value: expect.any(Number), unit: expect.any(String) },
      expected: { value: expect.any(Number), low: expect.any(Number), high: expect.any(Number) },
      summary: expect.any(String),
      sources: expect.any(Array),
      evidence: expect.any(Object),
      sampleCallIds: expect.any(Array),
      references: expect.any(Array),
    });
    for (const field of ['service', 'route', 'endpoint'] as const)
      expect(alert[field] === null || typeof alert[field] === 'string').toBe(true);
    expect(alert.startedAt).toBeLessThanOrEqual(alert.raisedAt);
    // An endpoint is judged when its minute is over, so perhaps after the last call.
    const raisedAfterMs = alert.actor.kind === 'endpoint' ? 60_000 : 0;
    expect(alert.raisedAt).toBeLessThanOrEqual(alert.lastSeenAt + raisedAfterMs);
  }
  expect(new Set(alerts.map((alert) => alert.id)).size).toBe(alerts.length);
  return alerts;
}

const began = Date.UTC(2026, 10, 21, 9);
const loud = { id: '0c1dbd85-0000-4000-8000-000000000001', username: 'loud' };
const quiet = { id: '0c1dbd85-0000-4000-8000-000000000002', username: 'quiet' };

/** A minute of a quiet consumer, and ten seconds of one that bombards. */
function bombardment(): Buffer[] {
  const lines: { at: number; line: Buffer }[] = [];
  for (let n = 0; n < 60; n++) lines.push({ at: n * 1_000, line: callLine(n, began + n * 1_000, quiet) });
  for (let n = 0; n < 500; n++)
    lines.push({ at: 20_000 + n * 18, line: callLine(1_000 + n, began + 20_000 + n * 18, loud) });
  return lines.sort((a, b) => a.at - b.at).map(({ line }) => line);
}

describe('tripline replay', () => {
  it.each(recordings)('reads the recording %s to its end, twice with the same bytes', async (name) => {
    const cwd = scratch();
    const [once, again] = await Promise.all([
      runProgram(['replay', fixture(name)], { cwd }),
      runProgram(['replay', '-'], { cwd, stdin: Buffer.concat(recording(name)) }),
    ]);
    expect(once.status, once.stderr).toBe(0);
    expect(again.status, again.stderr).toBe(0);
    alertsOf(once.stdout);
    const summary = summaryOf(once.stderr);
    expect(summary.lines).toBe(recording(name).length);
    expect(summary.accepted + summary.rejected).toBe(summary.lines);
    expect(summary.rejected).toBe(0);
    // Standard input says the same as the file, byte for byte, and so does the summary.
    expect(again.stdout).toBe(once.stdout);
    expect(again.stderr).toBe(once.stderr);
  });

  it('prints each alert once, as one JSON line, and what policies would have done, on standard error', async () => {
    const cwd = scratch();
    const policies = join(cwd, 'own.json');
    const block = { type: 'block', duration: '15m' };
    writeFileSync(policies, JSON.stringify({ policies: [{ id: 'stop-them', match: {}, actions: [block] }] }));
    const stdin = Buffer.concat(bombardment());
    const args = ['replay', '-', '--policies', policies];
    const once = await runProgram(args, { cwd, stdin });
    expect(once.status, once.stderr).toBe(0);
    const alerts = alertsOf(once.stdout);
    expect(alerts).toHaveLength(1);
    expect(alerts[0]).toMatchObject({ actor: { id: loud.id, name: 'loud' }, count: 500 });
    expect(summaryOf(once.stderr)).toEqual({ lines: 560, accepted: 560, duplicates: 0, rejected: 0 });
    expect(once.stderr).toMatch(/^ +1 {2}request-spike$/m);
    expect(once.stderr).toMatch(/^ +1 {2}stop-them: block loud$/m);
    expect(once.stdout).toBe((await runProgram(args, { cwd, stdin })).stdout);

    // Into a file instead.
    const file = join(cwd, 'alerts.ndjson');
    const filed = await runProgram([...args, '--alerts', file], { cwd, stdin });
    expect(filed).toMatchObject({ status: 0, stdout: '' });
    expect(readFileSync(file, 'utf8')).toBe(once.stdout);
  });

  it('counts bad lines by reason, drops lines that came twice, and reads on', async () => {
    const cwd = scratch();
    const good = bombardment();
    const tooLong = Buffer.from(`{"x":"${'y'.repeat(1_100_000)}"}\n`);
    const badTime = good[0]!.toString().replace(/"started_at":\d+/, '"started_at":12');
    const deep = Buffer.from(`{"a":${'['.repeat(200)}${']'.repeat(200)}}\n`);
    const rubbish = [
      Buffer.from('rubbish\n'),
      Buffer.from([0xff, 0xfe, 0x00, 0x0a]),
      Buffer.from('\r\n\n'),
      Buffer.from('[1,2]\n{}\n'),
      Buffer.from(badTime),
      deep,
      tooLong,
      good[3]!.subarray(0, 300),
      Buffer.from('\n'),
    ];
    const stdin = Buffer.concat([...rubbish, ...good, good[7]!, good[8]!, good[9]!.subarray(0, 200)]);
    const ended = await runProgram(['replay', '-'], { cwd, stdin });
    expect(ended.status, ended.stderr).toBe(0);
    expect(alertsOf(ended.stdout)).toHaveLength(1);
    const summary = summaryOf(ended.stderr);
    expect(summary).toEqual({ lines: 562 + 9, accepted: 562, duplicates: 2, rejected: 9 });
    const reasons = Object.fromEntries(
      [...ended.stderr.matchAll(/^ +(\d+) {2}([a-z-]+)$/gm)].map(([, count, reason]) => [
        reason,
        Number(count),
      ]),
    );
    expect(reasons).toEqual({
      'not-json': 4,
      'not-a-log-line': 2,
      'bad-time': 1,
      'too-deep': 1,
      'too-long': 1,
      'request-spike': 1,
    });
  });

  it('says what is wrong with its input, with status 2', async () => {
    const cwd = scratch();
    const missing = await runProgram(['replay', 'missing.ndjson'], { cwd });
    expect(missing).toMatchObject({ status: 2, stdout: '' });
    expect(missing.stderr).toMatch(/^missing\.ndjson cannot be read: .*no such file/);
    const directory = await runProgram(['replay', cwd], { cwd });
    expect(directory).toMatchObject({ status: 2, stdout: '' });
    expect(directory.stderr).toMatch(/directory/);
    const nothing = await runProgram(['replay'], { cwd });
    expect(nothing).toMatchObject({ status: 2, stdout: '' });
    expect(nothing.stderr).toMatch(/This needs a FILE/);
    const option = await runProgram(['replay', '-', '--no-such-option'], { cwd });
    expect(option).toMatchObject({ status: 2, stdout: '' });
    expect(option.stderr).toMatch(/--no-such-option/);
    expect(option.stderr).not.toMatch(/\n {4}at /);
  });

  it('says so, with status 1, when no line was accepted, and where alerts cannot be written, with status 2', async () => {
    const cwd = scratch();
    const list = await runProgram(['replay', '-'], { cwd, stdin: Buffer.from('[{"a":1}]\n') });
    expect(list).toMatchObject({ status: 1, stdout: '' });
    expect(list.stderr).toMatch(/^No line of - was accepted\. A line is one JSON object/m);
    const nowhere = await runProgram(['replay', '-', '--alerts', 'no/such/folder/x'], { cwd });
    expect(nowhere.status).toBe(2);
    expect(nowhere.stderr).toMatch(/^--alerts: no\/such\/folder\/x cannot be written: ENOENT/);
  });

  it('leaves nothing behind when it is interrupted', async () => {
    const folder = scratch();
    const running = startProgram(['replay', '-'], { cwd: folder, env: { TMPDIR: folder } });
    await until(() => readdirSync(folder).length > 0, 'it has begun');
    running.process.kill('SIGINT');
    expect((await running.ended).status).toBe(130);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('ends without a fuss when nobody reads its output any more', async () => {
    const running = startProgram(['replay', '-'], { cwd: scratch() });
    running.process.stdout!.destroy();
    running.process.stdin!.end(Buffer.concat(bombardment()));
    const ended = await running.ended;
    expect(ended.status, ended.stderr).toBe(0);
    expect(ended.stderr).not.toMatch(/EPIPE|\n {4}at /);
  });

  it.each([['help'], ['doctor'], ['series', 'rows.csv'], ['parameters', 'calls.ndjson']])(
    'ends quietly when nobody reads what %s says any more, as with `| head`',
    async (...args) => {
      const cwd = scratch();
      writeFileSync(join(cwd, 'rows.csv'), `timestamp,value\n${'1700000000,1\n'.repeat(50_000)}`);
      const call = '{"endpoint":"GET /a","parameters":{"q":"x"},"score":true}\n';
      writeFileSync(join(cwd, 'calls.ndjson'), call.repeat(20_000));
      const running = startProgram(args, { cwd });
      running.process.stdout!.destroy();
      const ended = await running.ended;
      expect(ended.status, ended.stderr).toBe(0);
      expect(ended.stderr).not.toMatch(/EPIPE|\n {4}at /);
    },
  );

  it('goes on when nobody reads its log any more', async () => {
    const [port, httpPort] = [await freePort(), await freePort()];
    const env = { TRIPLINE_COLLECTOR__PORT: String(port), TRIPLINE_HTTP__PORT: String(httpPort) };
    const running = startProgram(['up'], { cwd: scratch(), env });
    undo.push(() => running.process.kill('SIGKILL'));
    running.process.stderr!.destroy();
    const healthy = (): Promise<boolean> =>
      fetch(`http://127.0.0.1:${httpPort}/readyz`).then(
        (answer) => answer.ok,
        () => false,
      );
    await until(healthy, 'it is ready');
    running.process.kill('SIGTERM');
    expect((await running.ended).status).toBe(0);
  });

  it('takes an input without lines', async () => {
    const empty = await runProgram(['replay', '-'], { cwd: scratch() });
    expect(empty).toMatchObject({ status: 0, stdout: '' });
    expect(summaryOf(empty.stderr)).toEqual({ lines: 0, accepted: 0, duplicates: 0, rejected: 0 });
  });
});

describe('tripline policies check', () => {
  it('accepts a good file with status 0', async () => {
    const cwd = scratch();
    const policy = { id: 'a', match: { type: 'request-spike' }, actions: [{ type: 'notify', webhook: 'x' }] };
    writeFileSync(join(cwd, 'good.json'), JSON.stringify({ policies: [policy] }));
    const ended = await runProgram(['policies', 'check', 'good.json'], { cwd });
    expect(ended).toEqual({ status: 0, stdout: 'good.json: 1 policy, no problems.\n', stderr: '' });
  });

  it('names every mistake with line, path and what is allowed, with status 1', async () => {
    const cwd = scratch();
    writeFileSync(
      join(cwd, 'bad.json'),
      `{
  "policies": [
    { "id": "First One", "match": {}, "actions": [{ "type": "notify", "webhook": "x" }] },
    { "id": "second", "match": { "severityAtLeast": "extreme" },
      "actions": [{ "type": "block", "duration": "ten minutes" }] }
  ]
}
`,
    );
    const ended = await runProgram(['policies', 'check', 'bad.json'], { cwd });
    expect(ended.status).toBe(1);
    expect(ended.stderr).toBe('');
    expect(ended.stdout).toMatch(/^bad\.json:3:\d+: policies\S*id: .*a-z/m);
    expect(ended.stdout).toMatch(/^bad\.json:4:\d+: policies\S*severityAtLeast: .*critical/m);
    expect(ended.stdout).toMatch(/^bad\.json:5:\d+: policies\S*duration: .*15m/m);
    writeFileSync(join(cwd, 'broken.json'), '{\n  "policies": [\n    }\n');
    const broken = await runProgram(['policies', 'check', 'broken.json'], { cwd });
    expect(broken.status).toBe(1);
    expect(broken.stdout).toMatch(/^broken\.json:3:\d+: /);
    const missing = await runProgram(['policies', 'check', 'missing.json'], { cwd });
    expect(missing.status).toBe(2);
    expect(missing.stderr).toMatch(/missing\.json cannot be read/);
  });
});

describe('tripline policies test', () => {
  it('says what policies would have done about the alerts of a Tripline that runs, and of one that has stopped', async () => {
    const cwd = scratch();
    const port = await freePort();
    writeFileSync(join(cwd, 'tripline.json'), JSON.stringify({ http: { port }, collector: { port: 0 } }));
    const block = {
      id: 'stop',
      match: { type: 'request-spike' },
      actions: [{ type: 'block', duration: '5m' }],
    };
    writeFileSync(join(cwd, 'new.json'), JSON.stringify({ policies: [block] }));
    const test = (): Promise<Ended> => runProgram(['policies', 'test', 'new.json', '--since', '2h'], { cwd });

    const nothing = await test();
    expect(nothing).toMatchObject({ status: 2, stdout: '' });
    expect(nothing.stderr).toMatch(/^There are no alerts to test with: no Tripline answers at .*no lake\.$/m);
    expect(readdirSync(cwd).sort()).toEqual(['new.json', 'tripline.json']);

    const system = await startTestSystem(cwd, { http: { port } });
    undo.push(() => system.stop());
    const slot = Math.floor(Date.now() / 10_000 - 1) * 10_000;
    const lines = Array.from({ length: 500 }, (_, n) => callLine(n, slot + n * 18, loud));
    await sendLines(system.collector.port, lines);
    await caughtUp(system.url, lines.length);
    const running = await test();
    expect(running.stdout).toMatch(
      /request-spike {2}\S+\n {4}stop: block \S+ for 5m\n1 alert in the last 2h; these policies would have acted on 1\.\n$/,
    );
    expect(running).toMatchObject({ status: 0, stderr: '' });

    // With the Admin API at hand it also says what the operator's own plugins leave of it.
    const limit = { type: 'rate-limit', duration: '5m', minute: 100 };
    writeFileSync(join(cwd, 'limit.json'), JSON.stringify({ policies: [{ ...block, actions: [limit] }] }));
    const seed = defaultSeed();
    const strict = { name: 'rate-limiting', config: { minute: 5 } };
    const standIn = await startKongStandIn({ seed: { ...seed, plugins: [...seed.plugins!, strict] } });
    undo.push(() => standIn.close());
    const env = { TRIPLINE_KONG__ADMIN_URL: standIn.adminUrl };
    const beside = (): Promise<Ended> =>
      runProgram(['policies', 'test', 'limit.json', '--since', '2h'], { cwd, env });
    expect((await beside()).stdout).toMatch(
      /stop: rate-limit \S+ for 5m\n {8}without effect: .* as strict already .* your rate-limiting \S+ \(global\)\n1 alert /,
    );
    await standIn.down();
    expect((await beside()).stdout).toMatch(
      /for 5m\n1 alert .*\nWhat the plugins in Kong leave .* not known: /,
    );
    expect(standIn.counters().adminWrites).toBe(0);

    await system.stop();
    expect(await test()).toEqual(running);
  });
});

describe('tripline doctor and kong connect', () => {
  it('tell what lacks, set it up once, and find all well afterwards', async () => {
    const cwd = scratch();
    const standIn = await startKongStandIn({ seed: defaultSeed(), rebuildEveryMs: 0 });
    undo.push(() => standIn.close());
    const ports = { collector: await freePort(), http: await freePort() };
    const system = await startTestSystem(cwd, {
      collector: { host: '127.0.0.1', port: ports.collector },
      http: { port: ports.http },
      kong: { adminUrl: standIn.adminUrl },
      lake: { enabled: false },
    });
    undo.push(() => system.stop());
    const env = {
      TRIPLINE_COLLECTOR__PORT: String(ports.collector),
      TRIPLINE_HTTP__PORT: String(ports.http),
      TRIPLINE_KONG__ADMIN_URL: standIn.adminUrl,
    };
    const run = (...args: string[]): ReturnType<typeof runProgram> => runProgram(args, { cwd, env });

    const before = await run('doctor');
    expect(before.status, before.stderr).toBe(1);
    expect(before.stdout).toMatch(/^FAIL +tcp-log: no such plugin is enabled$/m);
    expect(before.stdout).toMatch(/^FAIL +lines: none has come to port \d+$/m);
    expect(before.stdout).toMatch(/^OK +Kong: 3\.9\.3 on \S+ answers at /m);

    const writes = standIn.counters().adminWrites;
    const dry = await run('kong', 'connect', '--host', '127.0.0.1');
    expect(dry.status, dry.stderr).toBe(0);
    expect(dry.stdout).toMatch(/^Create a global tcp-log plugin /);
    expect(dry.stdout).toMatch(/Nothing was changed\. Run it again with --apply/);
    expect(dry.stdout).toMatch(/^ {2}- name: tcp-log$/m);
    expect(standIn.counters().adminWrites).toBe(writes);

    const applied = await run('kong', 'connect', '--host', '127.0.0.1', '--apply');
    expect(applied.status, applied.stderr).toBe(0);
    expect(applied.stdout).toMatch(/^Done\. /m);
    expect(standIn.counters().adminWrites).toBe(writes + 1);
    const again = await run('kong', 'connect', '--host', '127.0.0.1', '--apply');
    expect(again.status, again.stderr).toBe(0);
    expect(again.stdout).toMatch(/^Nothing to do: /);
    expect(standIn.counters().adminWrites).toBe(writes + 1);

    for (let n = 0; n < 5; n++) {
      const answer = standIn.handle({
        method: 'GET',
        path: '/orders?page=1',
        headers: { apikey: demoKey({ username: 'alice' }) },
        clientIp: '203.0.113.9',
      });
      expect(answer.status).toBe(200);
    }
    await until(() => system.collector.accounting().published === 5, 'the lines have arrived');
    const after = await run('doctor');
    expect(after.status, after.stdout).toBe(0);
    expect(after.stdout).not.toMatch(/^FAIL/m);
    expect(after.stdout).toMatch(/^OK +tcp-log: points to 127\.0\.0\.1:\d+$/m);
    expect(after.stdout).toMatch(/^OK +lines: 5 received = 5 published \+ 0 rejected/m);

    writeFileSync(join(cwd, 'policies.json'), '{"policies": [{}]}');
    const badPolicies = await run('doctor');
    expect(badPolicies.status).toBe(1);
    expect(badPolicies.stdout).toMatch(/^FAIL +policies: .*policies\.json has \d+ problems, first line 1/m);
    const notify = { type: 'notify', webhook: 'on-call' };
    const policy = { id: 'tell-us', match: { severityAtLeast: 'low' }, actions: [notify] };
    writeFileSync(join(cwd, 'policies.json'), JSON.stringify({ policies: [policy] }));
    const unknownWebhook = await run('doctor');
    expect(unknownWebhook.status).toBe(0);
    expect(unknownWebhook.stdout).toMatch(
      /^WARN +policies: tell-us notifies nobody: there is no webhook on-call\n +.*there are none\.$/m,
    );
    writeFileSync(join(cwd, 'policies.json'), '{"policies": []}');

    await standIn.down();
    const withoutKong = await run('doctor');
    expect(withoutKong.status).toBe(1);
    expect(withoutKong.stdout).toMatch(/^FAIL +Kong: /m);
    await standIn.up();

    await system.stop();
    const stopped = await run('doctor');
    expect(stopped.status).toBe(1);
    expect(stopped.stdout).toMatch(/^FAIL +no Tripline answers at http:\/\/127\.0\.0\.1:\d+/m);
    expect(stopped.stdout).toMatch(/^OK +tcp-log: points to 127\.0\.0\.1:\d+$/m);
  });

  it('kong connect says what to set when no Admin API is configured, and when it does not answer', async () => {
    const cwd = scratch();
    const none = await runProgram(['kong', 'connect'], { cwd });
    expect(none).toMatchObject({ status: 2, stdout: '' });
    expect(none.stderr).toMatch(/kong\.adminUrl/);
    const env = { TRIPLINE_KONG__ADMIN_URL: `http://127.0.0.1:${await freePort()}` };
    const silent = await runProgram(['kong', 'connect', '--host', '127.0.0.1'], { cwd, env });
    expect(silent).toMatchObject({ status: 1, stdout: '' });
    expect(silent.stderr).toMatch(/^Kong's Admin API did not answer .*connection refused/);
    // An expected failure is told in words, not by a stack.
    expect(silent.stderr).not.toMatch(/\n {4}at /);
    const standIn = await startKongStandIn({ rbacToken: 'right' });
    undo.push(() => standIn.close());
    const denied = await runProgram(['kong', 'connect', '--host', '127.0.0.1'], {
      cwd,
      env: { TRIPLINE_KONG__ADMIN_URL: standIn.adminUrl },
    });
    expect(denied).toMatchObject({ status: 1, stdout: '' });
    expect(denied.stderr).not.toMatch(/\n {4}at /);
    const bank = JSON.stringify([{ name: 'bank', identity: { claim: 'sub' } }]);
    const claim = { TRIPLINE_KONG__ADMIN_URL: standIn.adminUrl, TRIPLINE_SERVICES: bank };
    const noKey = await runProgram(['kong', 'connect', '--host', '127.0.0.1'], { cwd, env: claim });
    expect(noKey.status).toBe(2);
    expect(noKey.stderr).toMatch(/^services: bank declares the claim sub .* Set kong\.fingerprintKey/);
    const withClaim = await runProgram(['kong', 'connect', '--host', '127.0.0.1'], {
      cwd,
      env: {
        ...claim,
        TRIPLINE_KONG__ADMIN_TOKEN: 'right',
        TRIPLINE_KONG__FINGERPRINT_KEY: '0123456789abcdef',
      },
    });
    expect(withClaim.stdout).toContain('tripline.claim');
    const badHost = await runProgram(['kong', 'connect', '--host', 'a b'], {
      cwd,
      env: { TRIPLINE_KONG__ADMIN_URL: standIn.adminUrl, TRIPLINE_KONG__ADMIN_TOKEN: 'right' },
    });
    expect(badHost.status).toBe(2);
    expect(badHost.stderr).toMatch(/^collectorHost: "a b" is no host name/);
  });
});

describe('the command line', () => {
  it('answers an unknown command, and none, with status 2', async () => {
    const cwd = scratch();
    const unknown = await runProgram(['explode'], { cwd });
    expect(unknown).toMatchObject({ status: 2, stdout: '' });
    expect(unknown.stderr).toMatch(/^There is no command "explode"; there are up, .*replay/);
    const none = await runProgram([], { cwd });
    expect(none.status).toBe(2);
    const help = await runProgram(['help'], { cwd });
    expect(help.status).toBe(0);
    expect(help.stdout).toMatch(/^Usage: tripline <command>/);
  });

  it('ends a start that cannot succeed with status 2, says what to change and shows no stack', async () => {
    const cwd = scratch();
    writeFileSync(join(cwd, 'file'), 'junk');
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as AddressInfo;
    const starts: [settings: object, message: RegExp][] = [
      [{ geo: { cityFile: 'gone.mmdb' } }, /^geo\.cityFile: .*gone\.mmdb cannot be read/m],
      [{ geo: { asnFile: 'file' } }, /^geo\.asnFile: .*file cannot be read as an MMDB database/m],
      [{ dataDir: 'file' }, /^dataDir: .*file cannot be used: .*EEXIST/m],
      [{ policiesFile: '.' }, /^policiesFile: .* cannot be read: EISDIR/m],
      [{ http: { port } }, /^Cannot listen on 127\.0\.0\.1:\d+: another program.* Set http\.port/m],
      [
        { detectors: { requestSpike: { enable: false } } },
        /^ {2}detectors\.requestSpike\.enable: there is no such key; .* detectors\.requestSpike\.enabled$/m,
      ],
    ];
    for (const [settings, message] of starts) {
      const config = { collector: { port: 0 }, http: { port: 0 }, lake: { enabled: false }, ...settings };
      writeFileSync(join(cwd, 'tripline.json'), JSON.stringify(config));
      const ended = await runProgram(['up'], { cwd });
      expect(ended.stderr).toMatch(message);
      expect(ended.stderr).not.toMatch(/^\s+at /m);
      expect(ended.status, ended.stderr).toBe(2);
    }
    await new Promise((resolve) => taken.close(resolve));
  });

  it('refuses to start where a forged line could block somebody, and says which settings there are', async () => {
    const cwd = scratch();
    const block = { type: 'block', duration: '5m' };
    const policy = { id: 'stop', match: { type: 'request-spike' }, actions: [block] };
    writeFileSync(join(cwd, 'policies.json'), JSON.stringify({ policies: [policy] }));
    const configure = (collector: object): void =>
      writeFileSync(
        join(cwd, 'tripline.json'),
        JSON.stringify({ collector: { port: 0, ...collector }, http: { port: 0 }, lake: { enabled: false } }),
      );
    configure({});
    const refused = await runProgram(['up'], { cwd });
    expect(refused).toMatchObject({ status: 2, stdout: '' });
    expect(refused.stderr).toMatch(
      /policies\[0\] "stop" would block .*collector\.token .*collector\.allow .*collector\.trustUnauthenticated: true/,
    );
    expect(refused.stderr).not.toMatch(/^\s+at /m);
    const checked = await runProgram(['doctor'], { cwd });
    expect(checked.status).toBe(1);
    expect(checked.stdout).toMatch(
      /^FAIL +policies: line 1: policies\[0\] "stop" would block .*collector\.allow/m,
    );
    configure({ trustUnauthenticated: true });
    const running = startProgram(['up'], { cwd });
    await until(() => running.stderr().includes('Tripline is running'), 'it runs');
    running.process.kill('SIGTERM');
    await running.ended;
  });

  it('does not take a socket that was handed over for one of this machine alone', async () => {
    const cwd = scratch();
    const settings = { collector: { host: '127.0.0.1' }, http: { port: 0 }, lake: { enabled: false } };
    writeFileSync(join(cwd, 'tripline.json'), JSON.stringify(settings));
    const held = createServer();
    await new Promise<void>((resolve) => held.listen(0, '0.0.0.0', resolve));
    const { fd } = (held as unknown as { _handle: { fd: number } })._handle;
    const child = spawn('/bin/sh', ['-c', 'LISTEN_PID=$$ exec "$0" "$@"', process.execPath, program, 'up'], {
      cwd,
      stdio: ['ignore', 'ignore', 'pipe', fd],
      env: { ...cleanEnvironment(), LISTEN_FDS: '1' },
    });
    let stderr = '';
    child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const status = await new Promise((resolve) => child.once('close', resolve));
    held.close();
    expect(stderr).toMatch(/^collector\.host is 127\.0\.0\.1, but the socket .* listens on 0\.0\.0\.0:\d+/m);
    expect(status).toBe(2);
  });

  it('lists every problem of tripline.json at once, with status 2', async () => {
    const cwd = scratch();
    writeFileSync(
      join(cwd, 'tripline.json'),
      JSON.stringify({
        collector: { port: 'many', maxDepth: 2, colour: 'blue' },
        lake: { retentionDays: 0 },
        kong: { adminUrl: 'ftp://kong' },
        webhooks: [{ id: 'x', url: 'https://example.com', secret: 'short' }],
      }),
    );
    const ended = await runProgram(['up'], { cwd });
    expect(ended).toMatchObject({ status: 2, stdout: '' });
    for (const key of [
      'collector.port: ',
      'collector.maxDepth: ',
      'colour',
      'lake.retentionDays: ',
      'kong.adminUrl: ',
      'webhooks.0.secret: ',
    ])
      expect(ended.stderr).toContain(key);
    expect(ended.stderr).not.toContain('short');
    writeFileSync(join(cwd, 'tripline.json'), '{ not json');
    const broken = await runProgram(['doctor'], { cwd });
    expect(broken.status).toBe(2);
    expect(broken.stderr).toMatch(/tripline\.json is not valid JSON/);
  });
});
