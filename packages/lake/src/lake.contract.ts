import type { Alert, ApiCall, Response } from '@tripline/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LakeRefusedError, LakeTooNewError, type Lake } from './lake.ts';

/** A lake on storage of its own, empty at first, which can be left and entered again. */
export interface LakeUnderTest {
  lake: Lake;
  /** Closes the lake and opens it on what it left behind. */
  reopen: () => Promise<Lake>;
  /** Runs a statement past the lake, with the right to write. */
  write: (sql: string) => Promise<void>;
  dispose: () => Promise<void>;
}

const dayMs = 86_400_000;

/** What every lake guarantees; run for each kind of connection. */
export function lakeContract(name: string, open: () => Promise<LakeUnderTest>): void {
  describe(`${name}: the lake contract`, () => {
    let under: LakeUnderTest;
    let lake: Lake;
    beforeAll(async () => {
      under = await open();
      lake = under.lake;
      // Several roles may begin at once.
      await Promise.all([1, 2, 3].map(() => lake.migrate({ retentionDays: 30 })));
    });
    afterAll(() => under.dispose());

    // Times near now, as retention begins to count at the real clock; a quarter past a full hour, so no day is split.
    const now = Math.floor(Date.now() / 3_600_000) * 3_600_000;
    const counted = async (ids: string): Promise<{ rows: number; ids: number }> => {
      const sql =
        'SELECT toUInt32(count()) AS rows, toUInt32(uniqExact(id)) AS ids FROM tripline.api_calls WHERE startsWith(id, {ids:String})';
      return (await lake.query<{ rows: number; ids: number }>(sql, { ids }))[0]!;
    };

    it('gives back every field of an API call as it was on the bus', async () => {
      const call = fullCall('full-0001', now);
      await lake.insert('apiCalls', ndjson([call]));
      const [row] = await lake.query(
        'SELECT * REPLACE (toUnixTimestamp64Milli(startedAt) AS startedAt) FROM tripline.api_calls WHERE id = {id:String}',
        { id: call.id },
      );
      expect(row).toEqual(call);
    });

    it('fills what a call leaves out with empty values, and with null where 0 would be a value', async () => {
      await lake.insert('apiCalls', ndjson([bareCall('bare-0001', now)]));
      const [row] = await lake.query('SELECT * FROM tripline.api_calls WHERE id = {id:String}', {
        id: 'bare-0001',
      });
      expect(row).toMatchObject({
        consumerId: '',
        consumerTags: [],
        ip: '',
        latitude: null,
        upstreamMs: null,
        asn: 0,
        query: {},
        refused: false,
      });
    });

    it('takes a field that it does not know yet, as a newer collector may send one', async () => {
      await lake.insert('apiCalls', ndjson([{ ...bareCall('newer-0001', now), fromTheFuture: [1] }]));
      expect(await counted('newer-')).toEqual({ rows: 1, ids: 1 });
    });

    it('counts a batch once that is written again, also after a restart', async () => {
      const batch = ndjson([bareCall('once-0001', now), bareCall('once-0002', now - dayMs)]);
      await lake.insert('apiCalls', batch);
      await lake.insert('apiCalls', batch);
      expect(await counted('once-')).toEqual({ rows: 2, ids: 2 });
      lake = await under.reopen();
      await lake.insert('apiCalls', batch);
      expect(await counted('once-')).toEqual({ rows: 2, ids: 2 });
    });

    it('counts a call once whose id comes again in other batches, before the engine has merged them and after', async () => {
      const again = bareCall('twice-0001', now);
      await under.write('SYSTEM STOP MERGES tripline.api_calls');
      await lake.insert('apiCalls', ndjson([again, bareCall('twice-0002', now)]));
      await lake.insert('apiCalls', ndjson([again, bareCall('twice-0003', now - dayMs)]));
      expect(await counted('twice-')).toEqual({ rows: 3, ids: 3 });
      // Within one batch too, on a day that has no other.
      const alone = bareCall('twice-0004', now - 9 * dayMs);
      await lake.insert('apiCalls', ndjson([alone, alone]));
      expect(await counted('twice-')).toEqual({ rows: 4, ids: 4 });
      await under.write('SYSTEM START MERGES tripline.api_calls');
      await under.write('OPTIMIZE TABLE tripline.api_calls FINAL');
      expect(await counted('twice-')).toEqual({ rows: 4, ids: 4 });
    });

    it('keeps calls apart that differ in their id only', async () => {
      const batch = Array.from({ length: 500 }, (_, i) => bareCall(`apart-${i}`, now));
      await lake.insert('apiCalls', ndjson(batch));
      await under.write('OPTIMIZE TABLE tripline.api_calls FINAL');
      expect(await counted('apart-')).toEqual({ rows: 500, ids: 500 });
    });

    it('writes all of a large batch over several days, from several writers at once', async () => {
      const batches = Array.from({ length: 4 }, (_, b) =>
        ndjson(Array.from({ length: 5_000 }, (__, i) => bareCall(`large-${b}-${i}`, now - (i % 3) * dayMs))),
      );
      await Promise.all(batches.map((batch) => lake.insert('apiCalls', batch)));
      await Promise.all(batches.map((batch) => lake.insert('apiCalls', batch)));
      expect(await counted('large-')).toEqual({ rows: 20_000, ids: 20_000 });
    });

    it.each([
      ['text where a number is due', '{"id":"bad-0001","startedAt":1,"status":"abc"}'],
      ['a line that was cut off', '{"id":"bad-0001","startedAt":'],
      ['no object', '[]'],
      ['no JSON', 'garbage'],
    ])('refuses a batch with %s as a whole, and names the fault without the row', async (_, bad) => {
      const good = ndjson([bareCall('bad-0000', now)]);
      const batch = Buffer.concat([good, Buffer.from(`${bad}\n`), good]);
      const failure: unknown = await lake.insert('apiCalls', batch).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(LakeRefusedError);
      expect((failure as Error).message).toContain('tripline.api_calls');
      expect((failure as Error).message).not.toContain('bad-000');
      expect((await counted('bad-')).rows).toBe(0);
    });

    it('refuses alerts and responses that are no objects with an id', async () => {
      for (const table of ['alerts', 'responses'] as const) {
        for (const bad of ['{"id":"x"', '[]', '{"revision":1}', 'garbage']) {
          await expect(
            lake.insert(table, Buffer.from(`${bad}\n`)),
            `${table}: ${bad}`,
          ).rejects.toBeInstanceOf(LakeRefusedError);
        }
      }
    });

    it('gives back the latest state of each alert exactly as it was published, oldest first', async () => {
      const first = alert('alert-1', { revision: 1, raisedAt: now - 2_000, status: 'open' });
      const last = { ...first, revision: 3, status: 'closed' as const, count: 999 };
      const other = alert('alert-2', {
        raisedAt: now - 5_000,
        evidence: { nested: { deep: [1, 2.5, null, true, { a: 'ü \\ " \n 中 😀' }] }, big: 1e300 },
        fromTheFuture: { kept: true },
      });
      const older = alert('alert-0', { raisedAt: now - 60_000 });
      await lake.insert('alerts', ndjson([first, older, last]));
      await lake.insert('alerts', ndjson([other, { ...first, revision: 2 }]));
      expect(await lake.alertsSince(now - 10_000)).toEqual([other, last]);
      expect(await lake.alertsSince(now - 2_000)).toEqual([last]);
      expect(await lake.alertsSince(now)).toEqual([]);
      const found = await lake.query(
        "SELECT actorName, endpoint, toUInt32(count) AS count FROM tripline.alerts WHERE id = 'alert-1'",
      );
      expect(found).toEqual([{ actorName: 'Ann "A" O\'Neill', endpoint: '', count: 999 }]);
      const open = await lake.query(
        "SELECT id FROM tripline.alerts WHERE status = 'open' AND raisedAt >= fromUnixTimestamp64Milli({from:Int64})",
        { from: now - 10_000 },
      );
      expect(open).toEqual([{ id: 'alert-2' }]);
    });

    it('gives back the latest state of each response, newest decision first', async () => {
      const one = response('resp-1', { revision: 1, decidedAt: now + 10_000 });
      const two = response('resp-2', { revision: 1, decidedAt: now + 20_000 });
      const lifted = { ...one, revision: 2, status: 'lifted' as const, removedAt: now + 30_000 };
      await lake.insert('responses', ndjson([lifted, two]));
      await lake.insert('responses', ndjson([one]));
      expect(await lake.responses(2)).toEqual([two, lifted]);
      expect(await lake.responses(1)).toEqual([two]);
    });

    describe('sessions and risk', () => {
      const at = now + 2 * 3_600_000;
      const range = { fromMs: at, untilMs: at + 3 * 3_600_000, riskAtLeast: 0, limit: 100 };
      const minuteMs = 60_000;
      const call = (id: string, minutes: number, more: Partial<ApiCall> = {}): ApiCall => ({
        ...bareCall(`risk-${id}`, at + minutes * minuteMs),
        actorKind: 'consumer',
        actorId: 'risk-ann',
        actorName: 'ann',
        ip: '198.51.100.7',
        userAgent: 'curl/8',
        service: 'orders',
        ...more,
      });
      const finding = (id: string, more: Partial<Alert>): Alert =>
        alert(`risk-${id}`, {
          actor: { kind: 'consumer', id: 'risk-ann', name: 'ann' },
          service: null,
          sources: [],
          sampleCallIds: [],
          severity: 'medium',
          raisedAt: at,
          startedAt: at,
          lastSeenAt: at + 25 * minuteMs,
          ...more,
        });
      const calls = [
        call('a1', 0),
        call('a2', 20),
        call('a3', 50),
        call('a4', 81, { status: 404 }),
        call('phone', 1, { userAgent: 'phone' }),
        call('moved', 2, { ip: '198.51.100.8' }),
        call('bob', 3, { actorId: 'risk-bob', actorName: 'bob' }),
      ];
      const risks = async (): Promise<Record<string, number>> =>
        Object.fromEntries((await lake.ratedCalls(range)).map(({ id, risk }) => [id.slice(5), risk]));

      it('ends a session behind a pause of more than 30 minutes, and keeps user agents, addresses and actors apart', async () => {
        await lake.insert('apiCalls', ndjson(calls));
        // A call that comes twice counts once.
        await lake.insert('apiCalls', ndjson(calls.slice(0, 2)));
        const sessions = await lake.sessions(range);
        expect(sessions.map(({ id, calls }) => [id, calls])).toEqual([
          ['risk-a4', 1],
          ['risk-a1', 3],
          ['risk-bob', 1],
          ['risk-moved', 1],
          ['risk-phone', 1],
        ]);
        expect(sessions[1]).toEqual({
          id: 'risk-a1',
          actorKind: 'consumer',
          actorId: 'risk-ann',
          actorName: 'ann',
          ip: '198.51.100.7',
          country: '',
          asn: 0,
          userAgent: 'curl/8',
          startedAt: at,
          lastSeenAt: at + 50 * minuteMs,
          calls: 3,
          failedCalls: 0,
          endpoints: 1,
          risk: 0,
          findings: {},
        });
      });

      it('joins two sessions when a late call fills the pause between them', async () => {
        await lake.insert('apiCalls', ndjson([call('late', 70)]));
        const [joined] = await lake.sessions(range);
        expect(joined).toMatchObject({ id: 'risk-a1', calls: 5, failedCalls: 1 });
      });

      it('gives half of the points to the calls of an episode and all to its samples, in scope only', async () => {
        const about = finding('about', { sampleCallIds: ['risk-a2'] });
        await lake.insert('alerts', ndjson([about]));
        expect(await risks()).toEqual({
          a1: 15,
          a2: 30,
          a3: 0,
          a4: 0,
          late: 0,
          phone: 15,
          moved: 15,
          bob: 0,
        });
        const elsewhere = finding('elsewhere', { service: 'billing' });
        await lake.insert('alerts', ndjson([elsewhere]));
        expect(await risks()).toMatchObject({ a1: 15, a2: 30 });
      });

      it('gives points to calls after the last revision for as long as the next may be due, and no more when it is closed', async () => {
        const later = 10 * 60;
        const eve = { actorId: 'risk-eve', actorName: 'eve' };
        // From 25 minutes of age on, the next revision is due after 25 / 9 minutes at the latest.
        await lake.insert(
          'apiCalls',
          ndjson([call('e1', later + 10, eve), call('e2', later + 27, eve), call('e3', later + 29, eve)]),
        );
        const open = finding('eve', {
          actor: { kind: 'consumer', id: 'risk-eve', name: 'eve' },
          raisedAt: at + later * minuteMs,
          startedAt: at + later * minuteMs,
          lastSeenAt: at + (later + 25) * minuteMs,
        });
        const of = async (fromMinutes: number): Promise<number[]> => {
          const filter = {
            ...range,
            fromMs: at + (later + fromMinutes) * minuteMs,
            untilMs: at + (later + 60) * minuteMs,
          };
          return (await lake.ratedCalls(filter)).map(({ risk }) => risk);
        };
        await lake.insert('alerts', ndjson([open]));
        expect(await of(0)).toEqual([0, 15, 15]);
        // Also where the alert's last call lies before the range.
        expect(await of(26)).toEqual([0, 15]);
        await lake.insert('alerts', ndjson([{ ...open, revision: 2, status: 'closed' as const }]));
        expect(await of(0)).toEqual([0, 0, 15]);
      });

      it('follows the latest revision of an alert', async () => {
        const grown = finding('about', { revision: 2, severity: 'high', lastSeenAt: at + 60 * minuteMs });
        await lake.insert('alerts', ndjson([{ ...grown, sampleCallIds: ['risk-a2'] }]));
        expect(await risks()).toMatchObject({ a1: 30, a2: 60, a3: 30, late: 0, bob: 0 });
      });

      it('blames whoever calls from an address that an alert is about or that an attack on an endpoint came from', async () => {
        const address = finding('address', {
          actor: { kind: 'address', id: '198.51.100.8', name: '198.51.100.8' },
          severity: 'low',
        });
        const endpoint = finding('endpoint', {
          actor: { kind: 'endpoint', id: 'orders GET /orders/{id}', name: 'GET /orders/{id}' },
          endpoint: 'GET /orders/{id}',
          sources: [{ ip: '198.51.100.7', count: 3 }],
        });
        await lake.insert('alerts', ndjson([address, endpoint]));
        expect(await risks()).toMatchObject({ a1: 45, a2: 75, a3: 30, bob: 15, moved: 35, phone: 45 });
      });

      it('takes the addresses of an IPv6 /64 for one: for an alert about it, and for a session', async () => {
        const from = at + 5 * 3_600_000;
        const later = { ...range, fromMs: from, untilMs: from + 3_600_000 };
        const scan = (id: string, ip: string, network: string): ApiCall => ({
          ...bareCall(`risk-v6-${id}`, from + minuteMs),
          actorKind: 'address',
          actorId: network,
          actorName: network,
          ip,
          network,
          userAgent: 'scanner',
        });
        const calls = [
          scan('a', '2001:db8:77:1::a', '2001:db8:77:1::/64'),
          scan('b', '2001:db8:77:1::b', '2001:db8:77:1::/64'),
          scan('c', '2001:db8:77:2::a', '2001:db8:77:2::/64'),
        ];
        await lake.insert('apiCalls', ndjson(calls));
        const times = { raisedAt: from, startedAt: from, lastSeenAt: from + 10 * minuteMs };
        const about = finding('v6-about', {
          ...times,
          actor: { kind: 'address', id: '2001:db8:77:1::/64', name: '2001:db8:77:1::/64' },
        });
        const endpoint = finding('v6-endpoint', {
          ...times,
          actor: { kind: 'endpoint', id: 'accounts POST /login', name: 'accounts POST /login' },
          sources: [{ ip: '2001:db8:77:1::/64', count: 2 }],
        });
        await lake.insert('alerts', ndjson([about, endpoint]));
        const rated = await lake.ratedCalls(later);
        expect(Object.fromEntries(rated.map(({ id, risk }) => [id.slice(8), risk]))).toEqual({
          a: 30,
          b: 30,
          c: 0,
        });
        expect((await lake.sessions(later)).map(({ ip, calls, risk }) => [ip, calls, risk])).toEqual([
          ['2001:db8:77:1::/64', 2, 30],
          ['2001:db8:77:2::/64', 1, 0],
        ]);
      });

      it('rates a session by the sum of its findings, each once, and never above 100', async () => {
        const [worst] = await lake.sessions(range);
        expect(worst).toMatchObject({ risk: 75, findings: { 'risk-about': 60, 'risk-endpoint': 15 } });
        const worse = finding('worse', { severity: 'critical', sampleCallIds: ['risk-a1'] });
        await lake.insert('alerts', ndjson([worse]));
        const [capped] = await lake.sessions(range);
        expect(capped).toMatchObject({ id: 'risk-a1', risk: 100 });
        expect(capped!.findings).toEqual({ 'risk-about': 60, 'risk-endpoint': 15, 'risk-worse': 90 });
      });

      it('looks at one actor, a time, a least risk and so many rows only', async () => {
        const actor = { kind: 'consumer' as const, id: 'risk-bob' };
        expect((await lake.sessions({ ...range, actor })).map(({ id }) => id)).toEqual(['risk-bob']);
        expect((await lake.ratedCalls({ ...range, actor })).map(({ id }) => id)).toEqual(['risk-bob']);
        expect((await lake.ratedCalls({ ...range, riskAtLeast: 100 })).map(({ id }) => id)).toEqual([
          'risk-a2',
          'risk-a1',
        ]);
        expect((await lake.sessions({ ...range, riskAtLeast: 81 })).map(({ id }) => id)).toEqual([
          'risk-a1',
          'risk-phone',
        ]);
        expect((await lake.ratedCalls({ ...range, limit: 1 })).map(({ id }) => id)).toEqual(['risk-a4']);
        expect(await lake.ratedCalls({ ...range, untilMs: at + 1 })).toHaveLength(1);
      });

      it.each([
        { untilMs: at },
        { riskAtLeast: 101 },
        { riskAtLeast: Number.NaN },
        { limit: 0 },
        { limit: 10_001 },
      ])('refuses a filter that cannot be meant: %o', async (wrong) => {
        await expect(lake.sessions({ ...range, ...wrong })).rejects.toThrow(RangeError);
        await expect(lake.ratedCalls({ ...range, ...wrong })).rejects.toThrow(RangeError);
      });
    });

    it('takes parameters as values, whatever is in them', async () => {
      const odd = `'; DROP TABLE tripline.alerts; -- \\ "ü" {x:String}`;
      const rows = await lake.query('SELECT {odd:String} AS odd, {n:UInt32} AS n', { odd, n: 41 });
      expect(rows).toEqual([{ odd, n: 41 }]);
    });

    it.each([
      ['INSERT', "INSERT INTO tripline.alerts (alert) VALUES ('{}')"],
      ['DROP', 'DROP TABLE tripline.alerts'],
      ['ALTER', 'ALTER TABLE tripline.alerts DELETE WHERE 1'],
      ['a second statement', 'SELECT 1; DROP TABLE tripline.alerts'],
      ['other limits', 'SELECT 1 SETTINGS max_execution_time = 0'],
      ['the file system', "SELECT * FROM file('/etc/hostname', LineAsString)"],
    ])('does not let a query reach for %s', async (_, sql) => {
      // A server takes one statement at a time, so the second one is a mistake in the first.
      await expect(lake.query(sql)).rejects.toThrow(/readonly|Multi-statements are not allowed/i);
    });

    it('ends a query that gives too many rows, or has a fault, with an error that says so', async () => {
      await expect(lake.query('SELECT number FROM numbers(100001)')).rejects.toThrow(
        /Limit for result exceeded/,
      );
      await expect(lake.query('SELECT nothing FROM tripline.api_calls')).rejects.toThrow(/nothing/);
      await expect(lake.query('SELECT {missing:String}')).rejects.toThrow(/missing/);
    });

    it('gives no row of a query that failed half-way to the next one', async () => {
      const failing = 'SELECT number FROM numbers(90000) WHERE throwIf(number = 80000) = 0';
      for (let i = 0; i < 3; i++) {
        await expect(lake.query(failing)).rejects.toThrow();
        expect(await lake.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
      }
    });

    it('can be upgraded again without effect', async () => {
      const before = await counted('');
      await lake.migrate({ retentionDays: 30 });
      await lake.migrate({ retentionDays: 30 });
      expect(await counted('')).toEqual(before);
      const versions = await lake.query('SELECT version FROM tripline.migrations ORDER BY version');
      expect(versions).toEqual([{ version: 1 }, { version: 2 }, { version: 3 }, { version: 4 }]);
    });

    it('lets go of calls and alerts beyond the retention, and of responses that are over', async () => {
      await lake.insert('apiCalls', ndjson([bareCall('gone-0001', now - 20 * dayMs)]));
      await lake.insert('alerts', ndjson([alert('gone-alert', { raisedAt: now - 20 * dayMs })]));
      const inForce = response('gone-not', { decidedAt: now - 20 * dayMs, status: 'active' });
      const over = response('gone-over', { decidedAt: now - 20 * dayMs, status: 'expired' });
      await lake.insert('responses', ndjson([inForce, over]));
      const left = async (): Promise<unknown[]> =>
        lake.query(
          `SELECT id FROM tripline.api_calls WHERE startsWith(id, 'gone-') UNION ALL
           SELECT id FROM tripline.alerts WHERE startsWith(id, 'gone-') UNION ALL
           SELECT id FROM tripline.responses WHERE startsWith(id, 'gone-') ORDER BY id`,
        );
      expect(await left()).toHaveLength(4);
      await lake.migrate({ retentionDays: 10 });
      for (const table of ['api_calls', 'alerts', 'responses'])
        await under.write(`OPTIMIZE TABLE tripline.${table} FINAL`);
      expect(await left()).toEqual([{ id: 'gone-not' }]);
    });

    it.each([0, 1.5, 3_651, Number.NaN])(
      'refuses to keep rows for %s days, and says what is allowed',
      async (days) => {
        await expect(lake.migrate({ retentionDays: days })).rejects.toThrow(/from 1 to 3650/);
      },
    );

    // Last, as no version of the code that is tested here can open this lake any more.
    it('refuses tables of a newer version, and says what to do', async () => {
      await under.write("INSERT INTO tripline.migrations VALUES (1000, 'later', now())");
      const failure: unknown = await lake.migrate({ retentionDays: 30 }).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(LakeTooNewError);
      expect((failure as Error).message).toMatch(/version 1000.*up to 4.*Run that version/);
    });
  });
}

function ndjson(rows: readonly object[]): Buffer {
  return Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
}

function bareCall(id: string, startedAt: number): ApiCall {
  return {
    id,
    startedAt,
    actorKind: 'address',
    actorId: '203.0.113.9',
    actorName: '203.0.113.9',
    method: 'GET',
    path: '/orders/17',
    endpoint: 'GET /orders/{id}',
    status: 200,
    source: 'upstream',
    requestBytes: 300,
    responseBytes: 1_000,
    latencyMs: 12,
  };
}

function fullCall(id: string, startedAt: number): Required<ApiCall> {
  return {
    ...bareCall(id, startedAt + 123),
    actorKind: 'consumer',
    verifiedBy: 'kong',
    consumerId: 'c0ffee00-0000-4000-8000-000000000001',
    consumerUsername: 'Søren "S" Ødegård',
    consumerCustomId: 'ACME/EU 7',
    consumerTags: ['gold', 'a,b'],
    credentialId: 'c0ffee00-0000-4000-8000-000000000002',
    credential: '~key~0123456789abcdefghijkl',
    user: '~user~0123456789abcdefghijkl',
    authScheme: 'basic',
    presented: 'something',
    auth: 'failure',
    addressSuccesses: 3,
    ip: '2001:db8::1',
    network: '2001:db8::/64',
    country: 'DE',
    city: 'Köln',
    latitude: 50.9375,
    longitude: 6.9603,
    asn: 4_200_000_000,
    asOrganization: 'Example \\ Net',
    host: 'api.example.com',
    service: 'orders',
    route: 'orders-route',
    query: { 'ids[]': ['1', '2'], debug: [], __proto__x: ['\u0000'], 'a b': ['', '中'] },
    userAgent: 'Mozilla/5.0 "x"\ty',
    referer: 'https://example.com/?a=%20',
    contentType: 'application/json',
    cookies: { sid: '~cookie~0123456789abcdefghijkl' },
    headers: { 'x-team': 'blue' },
    status: 499,
    source: 'kong',
    upstreamStatus: '502, 200',
    grpcStatus: 0,
    pathGone: true,
    refused: true,
    requestBytes: 9_000_000_000,
    responseBytes: 0,
    latencyMs: 3_600_000,
    upstreamMs: 0,
    workspace: 'default',
  };
}

function alert(id: string, changes: Partial<Alert> & Record<string, unknown>): Alert {
  return {
    id,
    revision: 1,
    type: 'request-spike',
    severity: 'high',
    score: 71.5,
    actor: { kind: 'consumer', id: 'c1', name: 'Ann "A" O\'Neill', tags: ['gold'] },
    service: 'orders',
    route: null,
    endpoint: null,
    raisedAt: 0,
    startedAt: 0,
    lastSeenAt: 0,
    count: 412,
    status: 'open',
    observed: { value: 412, unit: 'requests/10s' },
    expected: { value: 3.1, low: 0, high: 18, unit: 'requests/10s' },
    summary: 'Ann made 412 requests in 10 s',
    sources: [{ ip: '203.0.113.9', count: 412, country: 'DE' }],
    evidence: {},
    sampleCallIds: ['call-0001'],
    references: ['OWASP API4:2023'],
    ...changes,
  };
}

function response(id: string, changes: Partial<Response>): Response {
  return {
    id,
    revision: 1,
    policyId: 'stop-spikes',
    alertId: 'alert-1',
    action: { type: 'block', duration: '15m', status: 403, message: 'Blocked' },
    target: { kind: 'consumer', id: 'c1', name: 'Ann' },
    status: 'expired',
    decidedAt: 0,
    expiresAt: null,
    activeAt: null,
    removedAt: null,
    failures: 0,
    problem: null,
    ...changes,
  };
}
