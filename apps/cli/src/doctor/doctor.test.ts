import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createKongAdmin } from '@tripline/kong';
import { afterEach, describe, expect, it } from 'vitest';
import type { CollectorStatus, Status } from '../running.ts';
import { checkKong, type CollectorPorts } from './kong.ts';
import { checkLag } from './lag.ts';
import { checkAddresses, checkClock, checkLines } from './lines.ts';
import { checkWebhooks } from './webhooks.ts';

const usual: CollectorStatus['observations']['clients'] = {
  lines: 2_000,
  distinct: 600,
  top: '192.0.2.1',
  topShare: 0.02,
  privateShare: 0,
  topPlace: 'Frankfurt, DE (AS64580)',
  topPlaceShare: 0.3,
  topPlaceActors: 40,
};
const check = (change: Partial<typeof usual>) =>
  checkAddresses({
    observations: { clients: { ...usual, ...change }, senders: [] },
  } as unknown as CollectorStatus);

describe('doctor on client addresses', () => {
  it('says that detectors of places rest when nearly all of many actors are at one place', () => {
    expect(check({ topPlaceShare: 0.97 })).toMatchObject([
      {
        level: 'warn',
        what: 'client addresses: 97 % of the located lines, of 40 actors, are from Frankfurt, DE (AS64580)',
        advice: expect.stringContaining('Impossible travel and credential sharing rest') as unknown,
      },
    ]);
  });

  it('is content with many places, and with a few actors at one', () => {
    expect(check({})).toMatchObject([{ level: 'ok' }]);
    expect(check({ topPlaceShare: 1, topPlaceActors: 5 })).toMatchObject([{ level: 'ok' }]);
  });

  it('names the address that shows for everybody', () => {
    expect(check({ topShare: 0.95, topPlaceShare: 0.97 })).toMatchObject([
      { level: 'warn', what: 'client addresses: 600 different, 95 % of 2000 lines are from 192.0.2.1' },
    ]);
  });
});

describe('doctor on Kong', () => {
  const undo: (() => unknown)[] = [];
  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step();
  });
  const httpLog = { name: 'http-log', config: { http_endpoint: 'http://kong:pw@collector:9603/' } };
  const tcpLog = { name: 'tcp-log', config: { host: 'collector', port: 9600, tls: false } };

  /** Checks an Admin API that knows these plugins, and answers 403 to what `denied` names. */
  async function checked(
    plugins: { name: string; config: object; enabled?: boolean }[],
    { denied = [], ports = {} }: { denied?: string[]; ports?: Partial<CollectorPorts> } = {},
  ): Promise<string[]> {
    const server = createServer((request, response) => {
      const path = request.url!.replace(/[?].*|[/][0-9a-f-]{36}/, '') || '/';
      const answer = (status: number, body: object): void => {
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
      };
      if (denied.includes(`${request.method} ${path}`))
        answer(403, { message: 'you do not have permissions to read this resource' });
      else if (request.method === 'DELETE') response.writeHead(204).end();
      else if (path === '/')
        answer(200, { version: '3.9.3', hostname: 'kong-1', configuration: { database: 'postgres' } });
      else
        answer(200, {
          data: plugins.map((plugin, index) => ({ id: `id-${index}`, enabled: true, ...plugin })),
          next: null,
        });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const admin = createKongAdmin({ url });
    undo.push(async () => {
      await admin.close();
      server.closeAllConnections();
      server.close();
    });
    const findings = await checkKong(admin, { lines: 9600, tls: 9601, http: 9603, ...ports }, url);
    return findings.map(({ level, what, advice }) => `${level} ${what} ${advice ?? ''}`.trim());
  }

  it('is content with http-log alone, and shows no password', async () => {
    const found = await checked([httpLog]);
    expect(found).toEqual([
      expect.stringMatching(/^ok Kong: 3\.9\.3 on kong-1/),
      'ok Kong: the Admin API lets us write',
      'ok http-log: points to http://collector:9603/',
    ]);
  });

  it.each<[string, Parameters<typeof checked>[0], Partial<CollectorPorts>]>([
    ['http-log, which the collector does not take', [httpLog], { http: undefined }],
    ['http-log that is disabled', [{ ...httpLog, enabled: false }], {}],
    ['http-log to another port', [{ ...httpLog, config: { http_endpoint: 'https://siem.test/' } }], {}],
    ['tcp-log that speaks TLS to the plain port', [{ ...tcpLog, config: { port: 9600, tls: true } }], {}],
    ['tcp-log to another port', [{ ...tcpLog, config: { host: 'siem', port: 514 } }], {}],
  ])('fails with only %s', async (_what, plugins, ports) => {
    const found = await checked(plugins, { ports });
    expect(found.at(-1)).toMatch(/^fail tcp-log: .* tripline kong connect/);
  });

  it('takes tcp-log over TLS, and mentions that two plugins send the same', async () => {
    const overTls = { ...tcpLog, config: { host: 'collector', port: 9601, tls: true } };
    expect((await checked([overTls])).at(-1)).toBe('ok tcp-log: points to collector:9601 (TLS)');
    expect((await checked([tcpLog, httpLog])).at(-1)).toMatch(/^note tcp-log and http-log both point here/);
  });

  it('goes on where the token may not read /, and says exactly what it may not', async () => {
    const found = await checked([tcpLog], { denied: ['GET /'] });
    expect(found[0]).toMatch(/^note Kong: .* may not read GET \//);
    expect(found.slice(1)).toEqual([
      'ok Kong: the Admin API lets us write',
      'ok tcp-log: points to collector:9600',
    ]);
    const cannotWrite = await checked([tcpLog], { denied: ['GET /', 'DELETE /plugins'] });
    expect(cannotWrite[1]).toMatch(/^fail Kong: cannot write plugins: .*403.* delete \/plugins/);
    expect(cannotWrite[2]).toMatch(/^ok tcp-log/);
    const cannotRead = await checked([tcpLog], { denied: ['GET /', 'GET /plugins'] });
    expect(cannotRead.at(-1)).toMatch(/^fail Kong: cannot read plugins: .*403.* read \/plugins/);
  });

  it('warns of functions of others that could lose a whole line', async () => {
    const custom_fields_by_lua = {
      stage: "return 'prod'",
      plan: "return kong.client.get_consumer().custom_id:match('^[a-z]+')",
      'tripline.user': "local h = kong.request.get_header('authorization'); return h",
    };
    const found = await checked([{ ...tcpLog, config: { ...tcpLog.config, custom_fields_by_lua } }]);
    expect(found.slice(-2)).toEqual([
      expect.stringMatching(/^warn tcp-log: .*id-0 would lose the whole line: tripline\.user .*kong connect/),
      expect.stringMatching(/^warn tcp-log: .*id-0 would lose the whole line: plan .*pcall/),
    ]);
  });
});

describe('doctor on lines', () => {
  it('mentions TCP sessions, and finds nothing wrong with them', () => {
    const status = {
      port: 9600,
      accounting: {
        received: 641,
        restored: 0,
        spooled: 0,
        returned: 0,
        published: 513,
        inFlight: 0,
        streamSessions: 128,
        rejected: {},
        dropped: {},
      },
      observations: { lastLineAt: 1_000 },
    } as unknown as CollectorStatus;
    expect(checkLines(2_000, status)).toMatchObject([
      {
        level: 'ok',
        what: expect.stringContaining(
          '641 received = 513 published + 0 rejected + 0 dropped + 128',
        ) as unknown,
      },
      { level: 'note', what: expect.stringMatching(/^stream sessions: 128 lines/) as unknown },
    ]);
  });
});

describe('doctor on the clock', () => {
  it.each([
    [40, 'ok', "clock: lines come at best 40 ms after Kong's time of them"],
    [90_000, 'warn', "clock: lines come at best 90 s after Kong's time of them"],
    [300_087_136, 'warn', "clock: lines come at best 3 days after Kong's time of them"],
    [-7_000, 'warn', "clock: Kong's clock is 7 s ahead"],
  ])('tells an offset of %i ms as %s, in units that a person reads', (clockOffsetMs, level, what) => {
    const status = { observations: { clockOffsetMs } } as unknown as CollectorStatus;
    expect(checkClock(status)).toMatchObject({ level, what });
  });
});

describe('doctor on webhooks', () => {
  const status = {
    channel: 'chat',
    problem: null,
    waiting: 0,
    collecting: 0,
    deadLetters: 0,
    lastDeadLetter: null,
  };

  it('shows what waits and what was given up, with the words of the receiver', () => {
    expect(checkWebhooks([status])).toEqual([{ level: 'ok', what: 'webhooks: chat takes messages' }]);
    const findings = checkWebhooks([
      { ...status, problem: 'webhook chat: the receiver answered 503', waiting: 7, collecting: 3 },
      {
        ...status,
        channel: 'ops',
        deadLetters: 2,
        lastDeadLetter: {
          at: 0,
          detail: 'webhook ops, alert a, revision 1: the receiver answered 400: "no_text"',
        },
      },
    ]);
    expect(findings.map(({ level, what }) => [level, what])).toEqual([
      [
        'warn',
        'webhooks: webhook chat: the receiver answered 503; 7 messages wait, 3 are counted for the next digests',
      ],
      [
        'warn',
        'webhooks: 2 messages to ops were given up since the start, the last at 1970-01-01T00:00:00.000Z: ' +
          'webhook ops, alert a, revision 1: the receiver answered 400: "no_text"',
      ],
    ]);
  });
});

describe('doctor on the lag', () => {
  it('says who has lost records to a full topic, and what to do', () => {
    const lag = [
      { topic: 'api-calls', group: 'archiver', records: 7, lost: 4_200 },
      { topic: 'api-calls', group: 'processor', records: 0 },
    ];
    expect(checkLag({ lag } as unknown as Status)).toMatchObject([
      {
        level: 'warn',
        what: expect.stringMatching(/^lost: archiver .* on api-calls that 4200 records/) as unknown,
        advice: expect.stringContaining('bus.maxBytes') as unknown,
      },
    ]);
  });
});
