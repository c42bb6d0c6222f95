import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startKongStandIn } from './index.ts';
import type { KongStandIn, Seed } from './index.ts';
import { notClaimed, onlySharedFields } from '../fixtures/admin-api/claims.ts';

interface Exchange {
  name: string;
  request: { method: string; path: string; headers: Record<string, string>; body: unknown };
  response: { status: number; headers: Record<string, string>; body: unknown };
}
interface Reply {
  status: number;
  headers: http.IncomingHttpHeaders;
  text: string;
}

const fixture = (name: string): string =>
  readFileSync(new URL(`../fixtures/${name}`, import.meta.url), 'utf8');
const exchanges = fixture('admin-api/exchanges.ndjson')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Exchange);
const number = (exchange: Exchange): number => Number(exchange.name.slice(0, 3));

function send(url: string, { request }: Exchange): Promise<Reply> {
  const { body } = request;
  const text = body === null ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  const target = new URL(url);
  return new Promise((resolve, reject) => {
    const outgoing = http.request(
      {
        host: target.hostname,
        port: target.port,
        method: request.method,
        path: request.path,
        headers: {
          ...request.headers,
          ...(text === undefined ? {} : { 'Content-Length': Buffer.byteLength(text) }),
        },
      },
      (response) => {
        let received = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (received += chunk));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text: received }),
        );
      },
    );
    outgoing.on('error', reject);
    outgoing.end(text);
  });
}

/** Lower-case names; without the length where the recording's body is cut down to shared fields. */
const comparable = (exchange: Exchange): Record<string, string> =>
  Object.fromEntries(
    Object.entries(exchange.response.headers)
      .map(([name, value]): [string, string] => [name.toLowerCase(), value])
      .filter(([name]) => name !== 'content-length'),
  );

function check(exchange: Exchange, reply: Reply): void {
  expect(reply.status).toBe(exchange.response.status);
  expect(reply.headers).toMatchObject(comparable(exchange));
  const isJson = reply.headers['content-type']?.startsWith('application/json') === true;
  const body: unknown = reply.text === '' ? null : isJson ? JSON.parse(reply.text) : reply.text;
  if (!(exchange.name in onlySharedFields)) expect(body).toEqual(exchange.response.body);
}

describe('the stand-in answers every claimed recorded Admin API exchange as Kong did', () => {
  let standIn: KongStandIn;
  // Kong's inventions, ids and times, are given to the stand-in from the recording: so lists have the same order too.
  let nextId = '';
  let now = 0;

  beforeAll(async () => {
    standIn = await startKongStandIn({
      seed: JSON.parse(fixture('seed.json')) as Seed,
      clock: () => now,
      newId: () => nextId,
    });
  });
  afterAll(() => standIn.close());

  it.each(exchanges.filter((one) => number(one) < 192))('$name', async (exchange) => {
    const recorded = exchange.response.body as { id?: string; updated_at?: number } | null;
    nextId = recorded?.id ?? randomUUID();
    if (recorded?.updated_at !== undefined) now = recorded.updated_at * 1000;
    check(exchange, await send(standIn.adminUrl, exchange));
  });
});

describe('with 120 consumers more', () => {
  let standIn: KongStandIn;
  beforeAll(async () => {
    const seed = JSON.parse(fixture('seed.json')) as Seed;
    const bulk = JSON.parse(fixture('bulk-consumers.json')) as NonNullable<Seed['consumers']>;
    standIn = await startKongStandIn({ seed: { ...seed, consumers: [...(seed.consumers ?? []), ...bulk] } });
  });
  afterAll(() => standIn.close());

  it.each(exchanges.filter((one) => number(one) >= 192))('$name', async (exchange) => {
    check(exchange, await send(standIn.adminUrl, exchange));
  });
});

describe('the node describes itself in the fields that a client uses', () => {
  it.each(Object.entries(onlySharedFields))('%s', async (name, fields) => {
    const exchange = exchanges.find((one) => one.name === name)!;
    const standIn = await startKongStandIn({ seed: JSON.parse(fixture('seed.json')) as Seed });
    try {
      const body = JSON.parse((await send(standIn.adminUrl, exchange)).text) as Record<string, unknown>;
      const recorded = exchange.response.body as Record<string, unknown>;
      for (const field of fields) expect([field, body[field]]).toEqual([field, recorded[field]]);
      expect(Object.keys(body)).toEqual(expect.arrayContaining(Object.keys(recorded)));
    } finally {
      await standIn.close();
    }
  });
});

it('every one of the 193 recorded exchanges is either claimed or listed with a reason', () => {
  const claimed = exchanges.map(number);
  const rest = notClaimed.flatMap((group) => group.exchanges);
  expect([...claimed, ...rest].sort((a, b) => a - b)).toEqual(
    Array.from({ length: 193 }, (_, index) => index + 1),
  );
});
