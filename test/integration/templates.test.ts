import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Alert, ApiCall } from '@tripline/model';
import { afterEach, describe, expect, it } from 'vitest';
import { scratchDir, until, watchTopic } from '../support/parts.ts';
import { recordedLine, runProgram, sendLines, startTestSystem, type TestSystem } from '../support/running.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function scratch(): string {
  const { path, dispose } = scratchDir();
  undo.push(dispose);
  return path;
}

const began = Date.UTC(2026, 10, 21, 9);
const adjectives = ['red', 'blue', 'light', 'heavy', 'warm', 'classic', 'small', 'large', 'soft', 'dark'];
const materials = ['wool', 'cotton', 'leather', 'linen', 'silk', 'denim', 'felt', 'cork', 'suede', 'velvet'];
const things = [
  'shoe',
  'coat',
  'scarf',
  'hat',
  'belt',
  'bag',
  'shirt',
  'glove',
  'sock',
  'robe',
  'vest',
  'tie',
];
/** One of 1,200 products. */
const slug = (index: number): string =>
  `${adjectives[index % 10]}-${materials[Math.floor(index / 10) % 10]}-${things[Math.floor(index / 100) % 12]}`;

/** A successful call of a consumer for a product. */
function productLine(n: number, startedAt: number, username: string, name: string): Buffer {
  const line = recordedLine();
  line.started_at = startedAt;
  line.request.id = n.toString(16).padStart(32, '0');
  line.request['method'] = 'GET';
  line.request['uri'] = `/products/${name}`;
  line.request.querystring = {};
  line.response['status'] = 200;
  line['service'] = { id: '0c1dbd85-0000-4000-8000-0000000000a1', name: 'catalog' };
  line['route'] = {
    id: '0c1dbd85-0000-4000-8000-0000000000a2',
    name: 'catalog-public',
    paths: ['/products'],
  };
  line.consumer = { id: `id-of-${username}`, username };
  return Buffer.from(`${JSON.stringify(line)}\n`);
}

/** 40 customers look at 30 products each, within 40 minutes. */
const ordinary = (): Buffer[] =>
  Array.from({ length: 1_200 }, (_, n) =>
    productLine(n, began + n * 2_000, `customer-${n % 40}`, slug((n * 7) % 1_200)),
  );

describe('objects that are named by words', () => {
  it('are told apart from endpoints after some traffic, so that who walks through all of them is found', async () => {
    // 1,200 products at two a second.
    const walk = Array.from({ length: 1_200 }, (_, n) =>
      productLine(10_000 + n, began + 3_000_000 + n * 500, 'walker', slug(n)),
    );
    const stdin = Buffer.concat([...ordinary(), ...walk]);
    const ended = await runProgram(['replay', '-'], { cwd: scratch(), stdin });
    expect(ended.status, ended.stderr).toBe(0);
    const alerts = ended.stdout
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Alert);
    expect(alerts.map(({ type, actor }) => [type, actor.name])).toEqual([['object-enumeration', 'walker']]);
    expect(JSON.stringify(alerts[0]!.evidence)).toContain('GET /products/{id}');
  });

  it('stay known when the collector is started anew', async () => {
    const cwd = scratch();
    const settings = { lake: { enabled: false } };
    const start = async (): Promise<{ system: TestSystem; calls: ApiCall[] }> => {
      const system = await startTestSystem(cwd, settings);
      undo.push(() => system.stop());
      return { system, calls: watchTopic<ApiCall>(system.bus, 'api-calls') };
    };
    const first = await start();
    undo.push(
      await sendLines(first.system.collector.port, ordinary()).then((socket) => () => socket.destroy()),
    );
    await until(() => first.calls.length === 1_200, 'the calls are on the bus');
    expect(first.calls[0]!.endpoint).toMatch(/^GET \/products\/[a-z]+-/);
    expect(first.calls[1_199]!.endpoint).toBe('GET /products/{id}');
    await first.system.stop();
    expect(existsSync(join(cwd, 'tripline-data', 'templates.json'))).toBe(true);

    const second = await start();
    const line = productLine(20_000, began + 9_000_000, 'customer-1', 'never-seen-before');
    undo.push(await sendLines(second.system.collector.port, [line]).then((socket) => () => socket.destroy()));
    const last = (): ApiCall | undefined =>
      second.calls.find(({ path }) => path === '/products/never-seen-before');
    await until(() => last() !== undefined, 'the call is on the bus');
    expect(last()!.endpoint).toBe('GET /products/{id}');
  });
});
