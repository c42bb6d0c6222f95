import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { startKongStandIn } from './index.ts';
import type { KongStandIn, Seed, StandInAnswer } from './index.ts';

/** What of a recorded tcp-log line shows which configuration Kong applied, and its counter. */
interface Recorded {
  phase: number;
  consumer?: string;
  path: string;
  startedAt: number;
  status: number;
  /** Of request-termination's answer: each message has a length of its own. */
  contentLength?: string;
  limit?: string;
  remaining?: string;
  reset?: string;
  retryAfter?: string;
}

const recorded = (name: string): Recorded[] =>
  readFileSync(new URL(`../fixtures/precedence/${name}.ndjson`, import.meta.url), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Recorded);

let standIn: KongStandIn;
afterEach(() => standIn.close());

/** Two services behind key-auth, each key that of the consumer's name. */
async function start(services: Record<string, Record<string, string[]>>, consumers: string[]): Promise<void> {
  const seed: Seed = {
    services: Object.keys(services).map((name) => ({ name, host: '127.0.0.1' })),
    consumers: consumers.map((username) => ({ username })),
    routes: Object.entries(services).flatMap(([service, routes]) =>
      Object.entries(routes).map(([name, paths]) => ({ name, paths, service: { name: service } })),
    ),
    plugins: [{ name: 'key-auth' }],
    keyauth_credentials: consumers.map((username) => ({ key: username, consumer: { username } })),
  };
  standIn = await startKongStandIn({ seed, rebuildEveryMs: 0 });
}

async function admin(method: string, path: string, body?: object): Promise<{ id: string }> {
  const answer = await fetch(`${standIn.adminUrl}${path}`, {
    method,
    ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  expect(answer.ok, `${method} ${path}: ${answer.status}`).toBe(true);
  return answer.status === 204 ? { id: '' } : ((await answer.json()) as { id: string });
}

function send({ path, startedAt, consumer = 'mallory' }: Recorded): StandInAnswer {
  const headers = { apikey: consumer };
  return standIn.handle({ method: 'GET', path, startedAt, headers, clientIp: '198.51.100.50' });
}

const ofAnswer = ['status', 'contentLength', 'limit', 'remaining', 'reset', 'retryAfter'];
const answerOf = (line: Recorded): Partial<Recorded> =>
  Object.fromEntries(Object.entries(line).filter(([field]) => ofAnswer.includes(field)));

function shown({ status, headers }: StandInAnswer, window: string): Partial<Recorded> {
  const all = {
    status,
    contentLength: status === 403 ? headers['content-length'] : undefined,
    limit: headers[`x-ratelimit-limit-${window}`],
    remaining: headers[`x-ratelimit-remaining-${window}`],
    reset: headers['ratelimit-reset'],
    retryAfter: headers['retry-after'],
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

describe('of several configurations of a plugin the stand-in applies the one that Kong applied', () => {
  it('for each rank, by status, message, limit and counter, as the most specific ones are taken away', async () => {
    await start({ preclab: { 'p-1': ['/p/1'], 'p-2': ['/p/2'] } }, ['alice', 'qa-bot']);
    const [route, service, consumer] = [{ name: 'p-1' }, { name: 'preclab' }, { username: 'alice' }];
    // Least specific first, with the limits 1,000 to 1,007.
    const scopes: [string, object][] = [
      ['global', {}],
      ['service', { service }],
      ['route', { route }],
      ['consumer', { consumer }],
      ['route+service', { route, service }],
      ['service+consumer', { service, consumer }],
      ['route+consumer', { route, consumer }],
      ['route+service+consumer', { route, service, consumer }],
    ];
    const made: string[][] = [];
    for (const [at, [where, scope]] of scopes.entries()) {
      const config = { status_code: 403, message: `from ${where}` };
      const limit = { hour: 1_000 + at, policy: 'local' };
      made.push([
        (await admin('POST', '/plugins', { name: 'request-termination', config, ...scope })).id,
        (await admin('POST', '/plugins', { name: 'rate-limiting', config: limit, ...scope })).id,
      ]);
    }
    let phase = 0;
    for (const line of recorded('scopes')) {
      for (; phase < line.phase; phase++) {
        for (const id of made.pop()!) await admin('DELETE', `/plugins/${id}`);
      }
      expect({ line, ...shown(send(line), 'hour') }).toEqual({ line, ...answerOf(line) });
    }
  });

  it('a limit on the consumer lifts that of the route, one on both counts on with its counter, a disabled one does not count', async () => {
    await start({ guarded: { limited: ['/g/limited'] }, orders: { list: ['/orders'] } }, ['mallory']);
    const limit = (minute: number, scope: object): Promise<{ id: string }> =>
      admin('POST', '/plugins', { name: 'rate-limiting', config: { minute, policy: 'local' }, ...scope });
    const [route, consumer] = [{ name: 'limited' }, { username: 'mallory' }];
    let [onConsumer, onBoth] = ['', ''];
    const changes: (() => Promise<unknown>)[] = [
      () => limit(5, { route }),
      async () => (onConsumer = (await limit(100, { consumer })).id),
      async () => (onBoth = (await limit(2, { route, consumer })).id),
      () => admin('DELETE', `/plugins/${onConsumer}`),
      () => admin('PATCH', `/plugins/${onBoth}`, { enabled: false }),
      () => admin('DELETE', `/plugins/${onBoth}`),
    ];
    const lines = recorded('limits');
    for (const [phase, change] of changes.entries()) {
      await change();
      for (const line of lines.filter((one) => one.phase === phase)) {
        expect({ line, ...shown(send(line), 'minute') }).toEqual({ line, ...answerOf(line) });
        // Each request was made twice; the recording holds the first.
        send(line);
      }
    }
  });

  it('counts months and years of the calendar', async () => {
    await start({ orders: { list: ['/orders'] } }, ['mallory']);
    await admin('POST', '/plugins', { name: 'rate-limiting', config: { month: 2, year: 3 } });
    const at = (text: string): number =>
      send({ phase: 0, path: '/orders', status: 200, startedAt: Date.parse(text) }).status;
    const times = ['2026-02-01T00:00Z', '2026-02-20T00:00Z', '2026-02-28T23:59Z', '2026-03-01T00:00Z'];
    expect(times.map(at)).toEqual([200, 200, 429, 200]);
    expect(['2026-12-31T23:59Z', '2027-01-01T00:00Z'].map(at)).toEqual([429, 200]);
  });
});
