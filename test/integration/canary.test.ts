import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startKongStandIn, defaultSeed } from '@tripline/kong-stand-in';
import { topics, type Alert, type DeadLetter, type Response } from '@tripline/model';
import { afterEach, describe, expect, it } from 'vitest';
import { createSearch, encodings, named, ownPattern, shaped } from '../support/canaries.ts';
import { connect, scratchDir, until, watchTopic } from '../support/parts.ts';
import { caughtUp, recordedLine, startReceiver, startTestSystem, write } from '../support/running.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

type Line = ReturnType<typeof recordedLine>;

/** A harmless word in every line: where it is not found, nothing was searched. */
const marker = 'lighthouse';

/** Where a secret may stand that is told by its shape. */
const shapePlaces: ((line: Line, secret: string) => void)[] = [
  (line, secret) => (line.request.headers['user-agent'] = `agent/1.0 (${secret})`),
  (line, secret) => (line.request.headers['user-agent'] = ['agent/1.0', secret]),
  (line, secret) => (line.consumer = { ...line.consumer, tags: ['a', secret] }),
  (line, secret) =>
    (line.request.headers['referer'] = `https://www.example.com/find?q=${encodeURIComponent(secret)}`),
  (line, secret) =>
    (line.request.headers['referer'] = `https://www.example.com/start#${encodeURIComponent(secret)}`),
  (line, secret) => (line.request.headers['content-type'] = `text/plain; x="${secret}"`),
  (line, secret) => (line.request.headers['host'] = secret),
  (line, secret) => (line.request.headers['x-note'] = secret),
  (line, secret) => (line.request.headers['x-note'] = ['a', secret, 'b']),
  (line, secret) => (line.request.headers['X-Unkept'] = secret),
  (line, secret) => (line.request.querystring['q'] = secret),
  (line, secret) => (line.request.querystring['q'] = ['first', secret, true]),
  (line, secret) => (line.request.querystring[secret] = true),
  (line, secret) => (line.request.querystring['next'] = `/back?q=${encodeURIComponent(secret)}`),
  (line, secret) => {
    const path = `/${marker}/users/${secret.replaceAll('/', '%2F').replaceAll('?', '%3F')}/orders`;
    line.request['uri'] = path;
    line.request['url'] = `http://api.example.com:8000${path}`;
    line['upstream_uri'] = path;
  },
  (line, secret) => {
    line.request['uri'] = `/${marker}/search?q=${encodeURIComponent(secret)}&page=2`;
    line.request['url'] = `http://api.example.com:8000/search?q=${encodeURIComponent(secret)}`;
    line['upstream_uri'] = `/search?q=${secret}`;
  },
  (line, secret) => (line.response.headers['location'] = `/users/${secret}`),
  (line, secret) => (line.consumer = { ...line.consumer, custom_id: secret }),
  (line, secret) => (line['authenticated_entity'] = { id: secret }),
  (line, secret) => (line['service'] = { id: secret, name: secret }),
  (line, secret) => (line['route'] = { id: secret, name: secret }),
  (line, secret) => (line['workspace_name'] = secret),
  (line, secret) => (line['upstream_status'] = secret),
  (line, secret) => (line.request['method'] = secret),
  (line, secret) => (line.request.id = secret),
];

/** Where any secret may stand, as the place's name tells. */
const namedPlaces: ((line: Line, secret: string) => void)[] = [
  (line, secret) => (line.request.headers['authorization'] = `Bearer ${secret}`),
  (line, secret) =>
    (line.request.headers['authorization'] = `Basic ${Buffer.from(`bob:${secret}`).toString('base64')}`),
  (line, secret) => (line.request.headers['authorization'] = secret),
  (line, secret) => (line.request.headers['Authorization'] = [`Bearer ${secret}`, secret]),
  (line, secret) => (line.request.headers['PROXY-AUTHORIZATION'] = `Bearer ${secret}`),
  (line, secret) => (line.request.headers['apikey'] = secret),
  (line, secret) => (line.request.headers['x-api-key'] = secret),
  (line, secret) => (line.request.headers['X-API-KEY'] = [secret, 'other']),
  (line, secret) => (line.request.headers['x-tenant-badge'] = secret),
  (line, secret) => (line.request.headers['X-TENANT-BADGE'] = ['one', secret]),
  (line, secret) => (line.request.headers['cookie'] = `theme=dark; sid=${secret.replace(/[;\s]/g, '_')}`),
  (line, secret) => (line.request.headers['Cookie'] = [`lang=${secret.replace(/[;\s]/g, '_')}`, 'b=1']),
  (line, secret) => (line.response.headers['set-cookie'] = `sid=${secret}; Path=/; HttpOnly`),
  (line, secret) => (line.response.headers['Set-Cookie'] = [`a=1`, `sid=${secret}`]),
  (line, secret) =>
    (line.request.headers['referer'] =
      `https://www.example.com/cb?access_token=${encodeURIComponent(secret)}`),
  (line, secret) =>
    (line.request.headers['referer'] = `https://bob:${encodeURIComponent(secret)}@www.example.com/`),
  (line, secret) => (line.request.querystring['apikey'] = secret),
  (line, secret) => (line.request.querystring['access_token'] = [secret, secret]),
  (line, secret) => (line.request.querystring['USER[PASSWORD]'] = secret),
  (line, secret) => (line.request.querystring['filter'] = JSON.stringify({ password: secret })),
  (line, secret) => {
    const uri = `/${marker}/reset?token=${encodeURIComponent(secret)}`;
    line.request['uri'] = uri;
    line.request['url'] = `http://bob:${encodeURIComponent(secret)}@api.example.com:8000${uri}`;
    line['upstream_uri'] = uri;
  },
  (line, secret) => (line.request['uri'] = `/${marker}/token/x${encodeURIComponent(secret)}/use`),
  (line, secret) => (line['tripline'] = { credential: secret, user: 'harmless' }),
  (line, secret) => (line['tripline'] = { user: secret, credential: 'Zm9v' }),
  (line, secret) => (line['session_token'] = secret),
];

const loud = {
  id: '0c1dbd85-0000-4000-8000-000000000077',
  // A consumer whose very name is personal data: it goes into alerts, summaries, responses and logs.
  username: shaped.find((secret) => secret.includes('@'))!,
  custom_id: shaped.findLast((secret) => secret.includes('@'))!,
};

const lineCount = 1_200;

/** Lines with canaries in several places each; places, kinds and encodings go round at different speeds. */
function canaryLines(startedAt: number): Line[] {
  const all = [...shaped, ...named];
  return Array.from({ length: lineCount }, (_, n) => {
    const line = recordedLine();
    line.started_at = startedAt + n * 8;
    line.request.id = `cafe${n.toString(16).padStart(28, '0')}`;
    line.request['uri'] = `/${marker}/orders`;
    line.consumer = { ...line.consumer, ...loud };
    for (let turn = 0; turn < 4; turn++) {
      const step = n * 4 + turn;
      const encode = encodings[(step + Math.floor(step / 7)) % encodings.length]!;
      shapePlaces[(step * 5 + turn) % shapePlaces.length]!(line, encode(shaped[(step * 7) % shaped.length]!));
      const byName = namedPlaces[(step * 7 + turn) % namedPlaces.length]!;
      byName(line, encode(all[(step * 11) % all.length]!));
    }
    return line;
  });
}

/** Lines that are refused, with a secret in each. */
function badLines(): string[] {
  const [jwt, mail, password] = [shaped[0]!, loud.username, named[0]!];
  const line = JSON.stringify({
    ...recordedLine(),
    note: mail,
    request: { ...recordedLine().request, headers: { authorization: `Bearer ${jwt}`, apikey: password } },
  });
  const bad = [
    line.slice(0, -1),
    line.slice(0, line.indexOf(jwt) + jwt.length),
    line.slice(0, line.indexOf(password) + password.length + 1),
    line.replace(/"started_at":\d+/, '"started_at":5'),
    line.replace(/"started_at":\d+/, '"started_at":99999999999999'),
    line.replace(/"status":\d+/, '"status":"ok"'),
    `${'['.repeat(80)}"${jwt}"`,
    `{"password":"${password}","x":"${'y'.repeat(30_000)}"}`,
    `{"x":"${'y '.repeat(4_090)}","password":"${password}","q":"${mail}"}${'z'.repeat(30_000)}`,
    `GET / HTTP/1.1\tAuthorization: Bearer ${jwt}\tCookie: sid=${password}`,
    `[{"apikey":"${password}"},"${mail}"]`,
    `{"cookie":"theme=dark; lang=${password}"`,
    JSON.stringify({
      request: { body: { note: `my password is ${password}` } },
      ai: { answer: `yes, ${password}` },
    }),
    `a letter about ${password}`,
  ];
  // Every kind in one bad line, too.
  for (let n = 0; n < shaped.length; n += 8)
    bad.push(`{"q":"${shaped[n]!}","password":"${named[n % named.length]!}"`);
  return bad;
}

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

describe('the whole system', () => {
  it('lets none of 500 secrets out of the collector, wherever they stand and however they are encoded', async () => {
    const secrets = [...shaped, ...named];
    expect(new Set(secrets).size).toBeGreaterThanOrEqual(500);
    const search = createSearch(secrets);

    const scratch = scratchDir();
    undo.push(scratch.dispose);
    const standIn = await startKongStandIn({
      seed: {
        ...defaultSeed(),
        consumers: [...defaultSeed().consumers!, loud],
      },
    });
    undo.push(() => standIn.close());
    const receiver = await startReceiver();
    undo.push(receiver.close);
    writeFileSync(
      join(scratch.path, 'policies.json'),
      JSON.stringify({
        policies: [
          {
            id: 'tell-and-block',
            // As the operator writes the name; alerts carry its token.
            match: { consumer: { username: loud.username } },
            actions: [
              { type: 'notify', webhook: 'ops' },
              { type: 'block', duration: '10m' },
            ],
          },
        ],
      }),
    );
    // Dead letters are limited per second: this clock runs on between them.
    let aheadMs = 0;
    const system = await startTestSystem(
      scratch.path,
      {
        logLevel: 'debug',
        collector: {
          maxLineBytes: 20_000,
          keepHeaders: [
            'x-note',
            'authorization',
            'proxy-authorization',
            'x-api-key',
            'x-tenant-badge',
            'cookie',
          ],
          credentialNames: ['x-tenant-badge'],
        },
        sanitize: { secretNames: ['x-tenant-badge'], secretPatterns: [ownPattern] },
        kong: { adminUrl: standIn.adminUrl },
        webhooks: [{ id: 'ops', url: receiver.url, secret: 'a-secret-for-tests-only', allowPrivate: true }],
      },
      () => Date.now() + aheadMs,
    );
    undo.push(() => system.stop());
    const records = Object.fromEntries(
      topics.map((topic) => [
        topic,
        watchTopic<Record<string, unknown>>(system.bus, topic, `search-${topic}`),
      ]),
    ) as Record<(typeof topics)[number], Record<string, unknown>[]>;

    const socket = await connect(system.collector.port);
    const slot = Math.floor(Date.now() / 10_000) * 10_000 - 20_000;
    await write(
      socket,
      canaryLines(slot).map((line) => Buffer.from(`${JSON.stringify(line)}\n`)),
    );
    const bad = badLines();
    for (const [index, line] of bad.entries()) {
      socket.write(`${line}\n`);
      await until(() => records['dead-letters'].length === index + 1, `dead letter ${index + 1}`);
      aheadMs += 150;
    }
    await until(() => system.responder.responses().some(({ status }) => status === 'active'), 'the block');
    await until(() => receiver.received.length > 0, 'the webhook');
    await caughtUp(system.url, lineCount + bad.length);
    expect(system.collector.accounting().published).toBe(lineCount);

    const plugins = await (await fetch(`${standIn.adminUrl}/plugins`)).text();
    const lake = await system.lake();
    const rows = async (table: string): Promise<string> =>
      JSON.stringify(await lake.query(`SELECT * FROM tripline.${table}`));
    const places: Record<string, string> = {
      'topic api-calls': JSON.stringify(records['api-calls']),
      'topic alerts': JSON.stringify(records.alerts),
      'topic responses': JSON.stringify(records.responses),
      'topic aggregates': JSON.stringify(records.aggregates),
      'topic dead-letters': JSON.stringify(records['dead-letters']),
      'lake api_calls': await rows('api_calls'),
      'lake alerts': await rows('alerts'),
      'lake responses': await rows('responses'),
      metrics: await (await fetch(`${system.url}/metrics`)).text(),
      status: JSON.stringify(await system.status()),
      'GET /alerts': await (await fetch(`${system.url}/alerts?since=0`)).text(),
      'GET /sessions': await (await fetch(`${system.url}/sessions?since=0`)).text(),
      'GET /calls': await (await fetch(`${system.url}/calls?since=0&limit=10000`)).text(),
      'GET /responses': await (await fetch(`${system.url}/responses`)).text(),
      webhooks: JSON.stringify(receiver.received),
      "Kong's plugins": plugins,
    };
    // Stopping writes too.
    await system.stop();
    places['log'] = system.log.join('');
    for (const file of filesUnder(system.dataDir)) {
      if (statSync(file).size > 0)
        places[`file ${file.slice(scratch.path.length)}`] = readFileSync(file, 'latin1');
    }

    // Each place holds what it should: nothing was searched in vain.
    const [alert] = records.alerts as unknown as Alert[];
    const [response] = records.responses as unknown as Response[];
    expect(alert!.actor.id).toBe(loud.id);
    expect(alert!.actor.name).toMatch(/^~email~/);
    for (const place of ['topic api-calls', 'lake api_calls', 'GET /calls'])
      expect(places[place], place).toContain(marker);
    for (const place of [
      'topic alerts',
      'lake alerts',
      'GET /alerts',
      'GET /sessions',
      'GET /calls',
      'webhooks',
      'log',
    ])
      expect(places[place], place).toContain(alert!.id);
    for (const place of ['topic responses', 'lake responses', 'GET /responses', "Kong's plugins", 'log'])
      expect(places[place], place).toContain(response!.id);
    const letters = records['dead-letters'] as unknown as DeadLetter[];
    expect(new Set(letters.map((letter) => letter.reason))).toEqual(
      new Set(['not-json', 'not-a-log-line', 'bad-time', 'future-time', 'too-deep', 'too-long']),
    );
    expect(letters.filter((letter) => letter.sample.includes('~')).length).toBeGreaterThan(
      letters.length / 2,
    );
    const busFile = Object.keys(places).find((name) => /bus.*data\.mdb$|bus.*lmdb/.test(name))!;
    expect(places[busFile]).toContain(marker);
    expect(places['metrics']).toContain('tripline_collector_lines_rejected_total');

    // And the search finds what is there: each secret, in each encoding, in each place.
    const planted = Object.values(places).map((text) => text.slice(0, 2_000));
    for (const encode of encodings) {
      for (const text of planted.slice(0, 3)) {
        const found = search(`${text} "${encode(secrets[5]!)}" ${text}`);
        expect(found.some((one) => one.startsWith(secrets[5]!))).toBe(true);
      }
      const missed = secrets.filter((secret) => search(`"q":"${encode(secret)}"`).length === 0);
      expect(missed).toEqual([]);
    }

    const leaks = Object.entries(places).flatMap(([place, text]) =>
      search(text).map((found) => `${place}: ${found}`),
    );
    expect(leaks.slice(0, 20), `${leaks.length} in all`).toEqual([]);
  });
});
