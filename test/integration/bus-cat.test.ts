import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createEmbeddedBus, jsonRecord } from '@tripline/bus';
import { encodeApiCall, type ApiCall } from '@tripline/model';
import { afterEach, describe, expect, it } from 'vitest';
import { scratchDir, until } from '../support/parts.ts';
import { runProgram, startProgram } from '../support/running.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function scratch(): string {
  const { path, dispose } = scratchDir();
  undo.push(dispose);
  return path;
}

const call = (n: number): ApiCall => ({
  id: `call-${n}-xx`,
  startedAt: 1_800_000_000_000 + n,
  actorKind: 'address',
  actorId: '203.0.113.9',
  actorName: '203.0.113.9',
  method: 'GET',
  path: '/orders/17',
  endpoint: 'GET /orders/{id}',
  status: 200,
  source: 'upstream',
  query: { debug: [] },
  requestBytes: 1,
  responseBytes: 1,
  latencyMs: 1,
});
const record = (n: number) => ({ key: 'k', value: encodeApiCall(call(n)) });
const linesOf = (text: string): unknown[] =>
  text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as unknown);

describe('tripline bus cat', () => {
  it('prints API calls as JSON, all or so many, and says what a record is that holds none', async () => {
    const cwd = scratch();
    const bus = createEmbeddedBus({ path: join(cwd, 'tripline-data', 'bus') });
    await bus.publish('api-calls', [record(0), record(1)]);
    await bus.publish('api-calls', [{ key: 'k', value: Buffer.from('rubbish') }, jsonRecord('k', call(2))]);
    await bus.publish('alerts', [jsonRecord('k', { id: 'a' })]);
    await bus.close();
    const all = await runProgram(['bus', 'cat', 'api-calls'], { cwd });
    expect(all).toMatchObject({ status: 0, stderr: '' });
    expect(linesOf(all.stdout)).toEqual([
      call(0),
      call(1),
      { unreadable: expect.stringMatching(/^no API call: /) as unknown, bytes: 7 },
      call(2),
    ]);
    const some = await runProgram(['bus', 'cat', 'api-calls', '--limit', '1'], { cwd });
    expect(linesOf(some.stdout)).toEqual([call(0)]);
    const alerts = await runProgram(['bus', 'cat', 'alerts', '--from', 'oldest'], { cwd });
    expect(linesOf(alerts.stdout)).toEqual([{ id: 'a' }]);
    expect((await runProgram(['bus', 'cat', 'responses'], { cwd })).stdout).toBe('');
  });

  it('follows the bus that another process writes', async () => {
    const cwd = scratch();
    const bus = createEmbeddedBus({ path: join(cwd, 'tripline-data', 'bus') });
    undo.push(() => bus.close());
    await bus.publish('api-calls', [record(0)]);
    const following = startProgram(['bus', 'cat', 'api-calls', '--follow', '--limit', '3'], { cwd });
    let seen = '';
    following.process.stdout!.on('data', (chunk: Buffer) => (seen += chunk.toString()));
    await until(() => seen.includes('call-0-xx'), 'the first is printed');
    await bus.publish('api-calls', [record(1)]);
    await until(() => seen.includes('call-1-xx'), 'the second is printed');
    await bus.publish('api-calls', [record(2), record(3)]);
    const ended = await following.ended;
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    expect(linesOf(ended.stdout)).toEqual([call(0), call(1), call(2)]);
  });

  it('says what is wrong and what is allowed', async () => {
    const cwd = scratch();
    const refused = async (...args: string[]): Promise<string> => {
      const ended = await runProgram(['bus', ...args], { cwd });
      expect(ended.status).toBe(2);
      expect(ended.stderr).not.toMatch(/\n {4}at /);
      return ended.stderr;
    };
    expect(await refused('dog')).toMatch(/There is: tripline bus cat TOPIC/);
    expect(await refused('cat', 'calls')).toMatch(/no topic "calls"; there are api-calls, /);
    expect(await refused('cat', 'alerts', '--from', 'noon')).toMatch(/--from is "noon": allowed are oldest/);
    expect(await refused('cat', 'alerts', '--limit', '0')).toMatch(/--limit is "0"/);
    expect(await refused('cat', 'alerts')).toMatch(/There is no bus at .*tripline-data.*--config/);
  });
});

describe('a machine on which the clients of Kafka and Redis cannot be loaded', () => {
  const env = { NODE_OPTIONS: `--import=${resolve('test/support/without-clients.mjs')}` };

  it('runs the embedded engines', async () => {
    const cwd = scratch();
    const settings = { collector: { port: 0 }, http: { port: 0 } };
    writeFileSync(join(cwd, 'tripline.json'), JSON.stringify(settings));
    const running = startProgram(['up'], { cwd, env });
    undo.push(() => running.process.kill('SIGKILL'));
    await until(() => running.stderr().includes('Tripline is running'), 'it runs');
    running.process.kill('SIGTERM');
    expect((await running.ended).status).toBe(0);
  });

  it.each([
    [
      'bus',
      { kafka: { brokers: ['127.0.0.1:9'] } },
      /bus\.kafka needs kafkajs and snappy, .*native binding.*npm ci/,
    ],
    [
      'state',
      { redis: { url: 'redis://127.0.0.1:9' } },
      /state\.redis needs ioredis, .*native binding.*npm ci/,
    ],
  ])('says which setting of %s needs what, and what to do', async (section, value, message) => {
    const cwd = scratch();
    writeFileSync(join(cwd, 'tripline.json'), JSON.stringify({ [section]: value }));
    const ended = await runProgram(['doctor'], { cwd, env });
    expect(ended.stdout + ended.stderr).toMatch(message);
    expect(ended.stderr).not.toMatch(/\n {4}at /);
  });
});
